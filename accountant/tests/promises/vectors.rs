//! Every golden value that belongs to these accountants holds within its own tolerance.

use std::collections::BTreeMap;

use dp_accountant::{Accountant, Analytic, Event, Order, Rdp, Relation, calibrate};
use serde_json::Value;

use crate::plans::{delta, dp_accounting_orders, dp_sgd, epsilon, gaussian, noise, opacus_orders, order, rate};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/accounting.json");

/// The rows of these kinds, or nothing, loudly, when the file is not here.
pub(crate) fn rows(kind: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(FILE) else {
        skipped(&format!("../shared is not here: the reference values of kind {kind} are not checked"));
        return Vec::new();
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let all = file["vectors"].as_array().unwrap().iter();
    let rows: Vec<Value> = all.filter(|row| row["kind"] == kind).cloned().collect();
    assert!(!rows.is_empty(), "no rows of kind {kind}");
    println!("{kind}: {} rows", rows.len());
    rows
}

pub(crate) fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"))
}

fn count(row: &Value) -> u64 {
    row["steps"].as_u64().unwrap_or_else(|| panic!("steps in {row}"))
}

pub(crate) fn plan(row: &Value) -> Event {
    dp_sgd(number(row, "sigma"), number(row, "q"), count(row))
}

/// Asserts that `got` is within the row's own tolerance of `want`.
fn close(row: &Value, got: f64, want: f64) {
    let allowed = match (row["tol_abs"].as_f64(), row["tol_rel"].as_f64()) {
        (Some(absolute), None) => absolute,
        (None, Some(relative)) => relative * want.abs(),
        _ => panic!("no tolerance in {row}"),
    };
    assert!((got - want).abs() <= allowed, "got {got}, want {want} +- {allowed}: {row}");
}

#[test]
fn rdp_exact() {
    for row in rows("rdp_exact") {
        let got = Rdp::default().divergence(&plan(&row), order(number(&row, "order"))).unwrap();
        let want = number(&row, "rdp");
        close(&row, got, want);
        assert!(got >= want * (1.0 - 1e-15), "an upper bound below the truth: {got} {row}");
        assert!(got <= want * (1.0 + 1e-11), "the certificate is loose: {got} {row}");
    }
}

#[test]
fn rdp_published() {
    for row in rows("rdp_published") {
        let got = Rdp::default().divergence(&plan(&row), order(number(&row, "order"))).unwrap();
        if number(&row, "q") == 0.0 {
            // The quadrature value of these rows is rounding noise of 1e-34; the published zero is exact.
            assert_eq!((got, number(&row, "rdp")), (0.0, 0.0));
        } else {
            close(&row, got, number(&row, "rdp_quadrature"));
        }
    }
}

#[test]
fn rdp_values() {
    for row in rows("rdp_values") {
        let orders = row["orders"].as_array().unwrap();
        for (at, want) in orders.iter().zip(row["rdp"].as_array().unwrap()) {
            // Order infinity is no order here.
            let (Some(at), Some(want)) = (at.as_f64(), want.as_f64()) else { continue };
            let got = Rdp::default().divergence(&plan(&row), order(at)).unwrap();
            if at == 1.5 {
                // The row's note: the published value is 3 % too large, the exact one is this.
                assert!((got / (50.0 * 1.300_141_8e-5) - 1.0).abs() < 1e-7, "{got}");
                assert!(got < want);
            } else {
                close(&row, got, want);
            }
        }
    }
}

#[test]
fn rdp_epsilon() {
    for row in rows("rdp_epsilon") {
        let orders = if row["accountant"].is_null() {
            (1..400).map(|k| order(1.0 + 0.25 * f64::from(k))).collect()
        } else {
            dp_accounting_orders()
        };
        let rdp = Rdp::with_orders(Relation::AddRemove, orders);
        let delta = delta(number(&row, "delta"));
        close(&row, rdp.epsilon(&plan(&row), delta).unwrap().upper(), number(&row, "epsilon"));
        assert_eq!(rdp.best_order(&plan(&row), delta).unwrap().get(), number(&row, "order"));
        // Real orders can only do better.
        let free = Rdp::default().epsilon(&plan(&row), delta).unwrap().upper();
        assert!(free <= number(&row, "epsilon"));
    }
}

#[test]
fn rdp_epsilon_heterogeneous() {
    for row in rows("rdp_epsilon_heterogeneous") {
        let event = Event::composed(row["events"].as_array().unwrap().iter().map(|part| {
            let at = |i: usize| part[i].as_f64().unwrap();
            dp_sgd(at(1), at(0), part[2].as_u64().unwrap())
        }));
        let rdp = Rdp::with_orders(Relation::AddRemove, (2..=32).map(|a| order(f64::from(a))).collect());
        let delta = delta(number(&row, "delta"));
        close(&row, rdp.epsilon(&event, delta).unwrap().upper(), number(&row, "epsilon"));
        assert_eq!(rdp.best_order(&event, delta).unwrap().get(), number(&row, "order"));
    }
}

#[test]
fn rdp_to_eps() {
    for row in rows("rdp_to_eps") {
        let thousandths: Vec<Order> = (1..=99_000).map(|k| order(1.0 + f64::from(k) / 1000.0)).collect();
        for rdp in [Rdp::default(), Rdp::with_orders(Relation::AddRemove, thousandths)] {
            let bound = rdp.epsilon(&gaussian(number(&row, "sigma")), delta(number(&row, "delta"))).unwrap();
            close(&row, bound.upper(), number(&row, "epsilon"));
        }
    }
}

#[test]
fn zcdp_to_eps() {
    for row in rows("zcdp_to_eps") {
        // A Gaussian release has rho = 1 / (2 sigma^2), and no other mechanism enters its conversion.
        let event = gaussian((0.5 / number(&row, "rho")).sqrt());
        let rdp = Rdp::with_orders(Relation::AddRemove, opacus_orders());
        let got = rdp.epsilon(&event, delta(number(&row, "delta"))).unwrap().upper();
        close(&row, got, number(&row, "epsilon"));
    }
}

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
fn calibrate_sigma() {
    for row in rows("calibrate_sigma").iter().filter(|row| row["accountant"] == "rdp") {
        let rdp = Rdp::with_orders(Relation::AddRemove, opacus_orders());
        let (q, target) = (rate(number(row, "q")), number(row, "target_epsilon"));
        let plan = |z| Event::gaussian(z).poisson_sampled(q).repeated(count(row));
        let delta = delta(number(row, "delta"));
        let answer = calibrate::noise_multiplier(&rdp, plan, epsilon(target), delta).unwrap();
        assert!(answer.bound.upper() <= target);
        // The published value was found to an epsilon within `epsilon_tolerance` below the target, by bisection.
        let published = rdp.epsilon(&plan(noise(number(row, "sigma"))), delta).unwrap().upper();
        println!("sigma {} against {}, epsilon there {published}", answer.value, number(row, "sigma"));
        close(row, answer.value.get(), number(row, "sigma"));
    }
}

#[test]
fn tfp_example_privacy() {
    for row in rows("tfp_example_privacy") {
        let delta = delta(number(&row, "delta"));
        let want = number(&row, "epsilon");
        if row["accountant"] == "RDP" {
            let rdp = Rdp::with_orders(Relation::AddRemove, dp_accounting_orders());
            let got = rdp.epsilon(&plan(&row), delta).unwrap().upper();
            if number(&row, "q") == 1.0 {
                close(&row, got, want);
            } else {
                // That tool overestimates the divergence at its best order 4.4 (see `golden`): ours is just below.
                assert!(got < want && got > 0.9999 * want, "{got} {row}");
            }
        } else if number(&row, "q") == 1.0 {
            close(&row, Analytic::default().epsilon(&plan(&row), delta).unwrap().upper(), want);
        }
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

#[test]
fn must_not_fail() {
    let mut checked = 0;
    for row in rows("must_not_fail") {
        let value = |key: &str| row[key].as_f64();
        let at = delta(value("delta").unwrap_or(1e-5));
        let steps = row["steps"].as_u64().unwrap_or(1);
        match (value("q"), value("sigma"), value("target_epsilon")) {
            (Some(q), Some(z), None) => {
                let bound = Rdp::default().epsilon(&dp_sgd(z, q, steps), at).unwrap();
                assert!(bound.upper().is_finite() && bound.upper() > 0.0, "{bound:?} {row}");
                let (from, to) = match row["orders"].as_str().map(|orders| orders.split_once("..").unwrap()) {
                    Some((from, to)) => (from.parse::<f64>().unwrap(), to.parse::<f64>().unwrap()),
                    None => (1.01, 300.0),
                };
                let mut last = 0.0;
                for k in 0..=20 {
                    let a = from + (to - from) * f64::from(k) / 20.0;
                    let divergence = Rdp::default().divergence(&dp_sgd(z, q, steps), order(a)).unwrap();
                    assert!(divergence.is_finite() && divergence >= last, "order {a}: {divergence} {row}");
                    last = divergence;
                }
            }
            (Some(q), None, Some(target)) => {
                let plan = |z| Event::gaussian(z).poisson_sampled(rate(q)).repeated(steps);
                let answer = calibrate::noise_multiplier(&Rdp::default(), plan, epsilon(target), at).unwrap();
                assert!(answer.bound.upper() <= target && answer.slack < 1e-3 * target, "{answer:?} {row}");
            }
            (None, None, None) => {
                // A Gaussian calibrated to a tiny epsilon, released n times.
                let n = row["n"].as_u64().unwrap();
                let plan = |z| Event::gaussian(z).repeated(n);
                let target = epsilon(number(&row, "epsilon"));
                let answer = calibrate::noise_multiplier(&Analytic::default(), plan, target, at).unwrap();
                assert!(answer.bound.upper() <= target.get(), "{answer:?} {row}");
            }
            _ => panic!("a row of a new form: {row}"),
        }
        checked += 1;
    }
    println!("must_not_fail: {checked} checked");
}

/// Says so past the test harness, which keeps what a passing test prints to itself.
fn skipped(what: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}
