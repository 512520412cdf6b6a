//! Gaussian releases: closed forms, and tight values of sampled ones.

use std::collections::BTreeMap;

use dp_accountant::{Accountant, Analytic, Rdp, Relation};

use super::{close, count, number, plan, rows};
use crate::plans::{delta, epsilon, gaussian};

#[test]
fn gaussian_analytic() {
    for row in rows("gaussian_analytic") {
        let analytic = Analytic::default();
        let (bound, want) = if let Some(mu) = row["mu"].as_f64() {
            let bound = analytic.delta(&gaussian(1.0 / mu), epsilon(number(&row, "epsilon"))).unwrap();
            (bound, number(&row, "delta"))
        } else {
            let bound = analytic.epsilon(&plan(&row), delta(number(&row, "delta"))).unwrap();
            (bound, number(&row, "epsilon"))
        };
        close(&row, bound.estimate(), want);
        let width = bound.upper() - bound.lower();
        assert!(bound.lower() <= want && want <= bound.upper() && width < 1e-12 * want, "{bound:?} {row}");
    }
}

#[test]
fn gaussian_composed() {
    for row in rows("gaussian_composed") {
        let event = gaussian(number(&row, "sigma")).repeated(count(&row));
        let bound = Analytic::default().delta(&event, epsilon(number(&row, "epsilon"))).unwrap();
        close(&row, bound.upper(), number(&row, "delta"));
    }
}

#[test]
fn poisson_gaussian_tight() {
    let (mut kinds, mut checked, mut useful) = (BTreeMap::<String, u32>::new(), 0, 0);
    for row in rows("poisson_gaussian_tight") {
        let relation = match row["neighbouring"].as_str() {
            Some("add_or_remove") => Relation::AddRemove,
            Some("replace_one") => Relation::Replace,
            other => panic!("{other:?} in {row}"),
        };
        checked += 1;
        *kinds.entry(relation.to_string()).or_default() += 1;
        let rdp = Rdp::new(relation);
        let (e, d) = (number(&row, "epsilon"), number(&row, "delta"));
        // The truth is the pair (e, d), uncertain in delta by a relative amount or in one of the two by an absolute one.
        if row["tol_rel"].is_null() && e != 1.0 {
            let doubt = number(&row, "tol_abs");
            let bound = rdp.epsilon(&plan(&row), delta(d)).unwrap();
            assert!(bound.lower() <= e + doubt, "lower {} above the truth: {row}", bound.lower());
            assert!(bound.upper() >= e - doubt, "upper {} below the truth: {row}", bound.upper());
            useful += u32::from(bound.upper() <= 1.25 * e);
        } else {
            let doubt = row["tol_rel"].as_f64().map_or_else(|| number(&row, "tol_abs"), |relative| relative * d);
            let bound = rdp.delta(&plan(&row), epsilon(e)).unwrap();
            assert!(bound.lower() <= d + doubt && bound.upper() >= d - doubt, "{bound:?}: {row}");
        }
    }
    println!("{kinds:?}, {useful} of them within a quarter above the truth");
    // Renyi accounting is loose for few steps and small rates, not elsewhere.
    assert!(4 * useful >= 3 * checked, "{useful} of {checked}");
}
