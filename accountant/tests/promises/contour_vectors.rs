//! The golden epsilons and deltas lie in the certified intervals of the contour integral.

use dp_accountant::{Accountant, Auto, Event, Moments, Relation};

use crate::plans::{delta, dp_sgd, epsilon};
use crate::vectors::{number, plan, rows};

#[test]
fn poisson_gaussian_tight() {
    let (mut narrow, mut wide, mut refused) = (0, Vec::new(), Vec::new());
    for row in rows("poisson_gaussian_tight") {
        let relation = if row["neighbouring"] == "replace_one" { Relation::Replace } else { Relation::AddRemove };
        let (e, d, id) = (number(&row, "epsilon"), number(&row, "delta"), row["id"].to_string());
        let moments = Moments::new(relation);
        let in_delta = !row["tol_rel"].is_null() || e == 1.0;
        let answer =
            if in_delta { moments.delta(&plan(&row), epsilon(e)) } else { moments.epsilon(&plan(&row), delta(d)) };
        let Ok(bound) = answer else {
            refused.push(id);
            continue;
        };
        let truth = if in_delta { d } else { e };
        let doubt = row["tol_rel"].as_f64().map_or_else(|| number(&row, "tol_abs"), |relative| relative * d);
        assert!(bound.lower() - doubt <= truth && truth <= bound.upper() + doubt, "{bound:?}: {row}");
        assert!((bound.estimate() - truth).abs() <= doubt + bound.upper() - bound.lower(), "{bound:?}: {row}");
        let unit = if in_delta { bound.upper() } else { bound.upper().max(1.0) };
        if bound.upper() - bound.lower() <= 1e-6 * unit {
            narrow += 1;
        } else {
            wide.push(id);
        }
        // The default accountant is never worse.
        if !in_delta {
            let auto = Auto::new(relation).epsilon(&plan(&row), delta(d)).unwrap();
            assert!(auto.upper() >= bound.lower() && auto.lower() <= bound.upper(), "{auto:?} {bound:?}");
        }
    }
    println!("{narrow} to 1e-6, wider: {wide:?}, refused: {refused:?}");
    // Every one of the 40 rows, or none where they are not here.
    assert!(wide.is_empty() && refused.is_empty() && (narrow == 0 || narrow == 40), "{narrow} {wide:?} {refused:?}");
}

#[test]
fn a_thousand_distinct_releases_are_answered() {
    // pld, which merges and rounds, leaves [3.1346, 3.1746]; rdp proves 3.4362.
    let segment = |k: u32| dp_sgd(1.0 + 1e-3 * f64::from(k), 0.005 + 1e-5 * f64::from(k), 10);
    let plan = Event::composed((0..1000).map(segment));
    let bound = Moments::new(Relation::AddRemove).epsilon(&plan, delta(1e-5)).unwrap();
    assert!(bound.upper() - bound.lower() < 1e-9, "{bound:?}");
    assert!(bound.lower() > 3.1346 && bound.upper() < 3.1746, "{bound:?}");
}
