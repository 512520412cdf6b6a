//! What is written reads back the same, and what could not have been written is refused.

use dp_accountant::{Event, Ledger, NoiseMultiplier, Relation};

use crate::contract::corpus;
use crate::plans::{dp_sgd, gaussian};

#[test]
fn events_read_back() {
    for event in corpus() {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[test]
fn ledgers_read_back_and_stay_short() {
    let mut ledger = Ledger::new();
    (0..500).for_each(|_| ledger.record(dp_sgd(1.1, 0.01, 1)));
    ledger.record(gaussian(20.0));
    let text = serde_json::to_string(&ledger).unwrap();
    assert!(text.len() < 300, "{text}");
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
}

#[test]
fn relations_bear_their_names() {
    for relation in Relation::ALL {
        assert_eq!(serde_json::to_string(&relation).unwrap(), format!("\"{relation}\""));
    }
}

#[test]
fn numbers_outside_their_domain_are_refused_by_name() {
    for (text, expected) in [
        (r#"{"gaussian":{"noise_multiplier":0}}"#, "noise multiplier = 0: allowed is"),
        (r#"{"gaussian":{"noise_multiplier":-1.5}}"#, "noise multiplier = -1.5: allowed is"),
        (
            r#"{"poisson-sampled":{"sampling_rate":1.5,"event":{"gaussian":{"noise_multiplier":1}}}}"#,
            "sampling rate = 1.5: allowed is",
        ),
        (r#"{"repeated":{"count":0,"event":{"gaussian":{"noise_multiplier":1}}}}"#, "count = 0: allowed is"),
        (r#"{"cauchy":{"scale":1}}"#, "unknown variant"),
        (r#"{"laplace":{"scale":1}}"#, "unknown field"),
        (r#"{"gaussian":{"noise_multiplier":1,"sigma":2}}"#, "unknown field"),
    ] {
        let error = serde_json::from_str::<Event>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(serde_json::from_str::<NoiseMultiplier>("1e999").is_err());
}
