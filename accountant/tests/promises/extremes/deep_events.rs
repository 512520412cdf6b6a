//! Events inside events, thousands of times: refused, where they exhausted the stack.

use std::num::NonZeroU64;

use dp_accountant::filter::RdpFilter;
use dp_accountant::{Event, Ledger, NAMES, Pld, Rdp, Relation, Unaccountable, by_name, group};

use crate::plans::{delta, epsilon, gaussian, order};

fn shuffled(times: usize) -> Event {
    let two = NonZeroU64::new(2).unwrap();
    (0..times).fold(gaussian(1.0), |event, _| event.shuffled(two))
}

#[test]
fn deep_events() {
    let deep = shuffled(3000);
    let refused = |refusal: Unaccountable| {
        assert!(matches!(refusal, Unaccountable::Unsupported { .. }), "{refusal}");
        assert!(refusal.to_string().contains("more than 64 samplers inside each other"), "{refusal}");
    };
    for relation in Relation::ALL {
        for name in NAMES {
            let accountant = by_name(name, relation).unwrap();
            refused(accountant.epsilon(&deep, delta(1e-5)).unwrap_err());
            refused(accountant.delta(&deep, epsilon(1.0)).unwrap_err());
            // Among other releases it is as deep.
            let among = Event::composed([gaussian(2.0), deep.clone()]).repeated(7);
            refused(accountant.epsilon(&among, delta(1e-5)).unwrap_err());
        }
        refused(Rdp::new(relation).divergence(&deep, order(2.0)).unwrap_err());
        refused(Pld::new(relation).distribution(&deep, delta(1e-5)).unwrap_err());
        refused(RdpFilter::new(relation, order(2.0), 1.0).unwrap().ask(&deep).unwrap_err());
        assert!(group::event(&deep, relation, NonZeroU64::new(2).unwrap()).is_err());
    }
    // What is within the depth is answered.
    let rdp = by_name("rdp", Relation::Replace).unwrap();
    assert!(rdp.epsilon(&shuffled(60), delta(1e-5)).is_ok());
}

#[test]
fn deep_events_from_a_file() {
    let text = serde_json::to_string(&shuffled(3000)).unwrap();
    let error = serde_json::from_str::<Event>(&text).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
    let ledger = format!("[{{\"event\":{text},\"count\":1}}]");
    let error = serde_json::from_str::<Ledger>(&ledger).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
    // What can be read from a file is answered or refused.
    for depth in [30, 60, 65, 100] {
        let text = serde_json::to_string(&shuffled(depth)).unwrap();
        let Ok(event) = serde_json::from_str::<Event>(&text) else { continue };
        for name in NAMES {
            match by_name(name, Relation::ZeroOut).unwrap().epsilon(&event, delta(1e-5)) {
                Ok(bound) => assert!(depth <= 64 && bound.upper() > 0.0, "{name} {depth}"),
                Err(refusal) => assert!(matches!(refusal, Unaccountable::Unsupported { .. }), "{name}: {refusal}"),
            }
        }
    }
}
