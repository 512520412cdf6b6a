//! Samples against the exact moments of finite mechanisms, both directions.

use dp_accountant::{Accountant, Batches, Event, Rdp, Relation};

use super::{ORDERS, answers, divergence, exact, laplace, larger, mix, pure, response};
use crate::plans::{delta, dp_sgd, gaussian, rate};
use crate::vectors::{number, rows};

/// A bound holds at every order, and is no further off than `loose` at whole ones.
fn covers(relation: Relation, event: &Event, loose: f64, truth: impl Fn(f64) -> f64) {
    for at in ORDERS {
        let (got, want) = (divergence(relation, event, at), truth(at));
        assert!(got >= want - 1e-11, "{relation} {event:?} at {at}: {got} below {want}");
        assert!(
            at.fract() != 0.0 || got <= loose * want + 1e-11,
            "{relation} {event:?} at {at}: {got} far above {want}"
        );
    }
}

#[test]
fn a_poisson_sample_costs_no_more_than_said_in_either_direction() {
    for q in [1e-3, 0.05, 0.5, 0.9] {
        // The pure pair is symmetric: the sum is exact at whole orders.
        for e in [0.1_f64, 1.0, 3.0] {
            let (high, low) = (1.0 / (1.0 + (-e).exp()), 1.0 / (1.0 + e.exp()));
            let (null, with) = ([low, high], [high, low]);
            let sampled = mix(q, &with, &null);
            let event = pure(e).poisson_sampled(rate(q));
            covers(Relation::AddRemove, &event, 1.000_001, |at| larger(&sampled, &null, at));
        }
        // Randomized response says nothing about a missing unit: where it gives no answer at all, only whether it was in
        // the sample mixes, and that is no amplification.
        for (p, k) in [(0.3, 10), (0.5, 2), (0.02, 3)] {
            let (null, with) = (vec![1.0 / k as f64; k], answers(p, k, 0));
            let event = response(p, k as u64).poisson_sampled(rate(q));
            covers(Relation::ZeroOut, &event, 1.000_001, |at| {
                let inside = (at - 1.0) * larger(&with, &null, at);
                (q * inside.exp_m1()).ln_1p() / (at - 1.0)
            });
        }
    }
}

#[test]
fn the_direction_that_adds_can_be_the_larger_one_without_symmetry() {
    // Why the general bound must cover it: the null output is rare where the other is.
    let (null, with, q) = ([0.5, 0.5], [0.999, 0.001], 0.5);
    let sampled = mix(q, &with, &null);
    assert!(exact(&null, &sampled, 20.0) > 1.01 * exact(&sampled, &null, 20.0));
}

#[test]
fn replace_on_a_poisson_sample_is_covered() {
    for (q, p, k) in [(0.1, 0.3, 4), (0.6, 0.1, 3)] {
        let (null, one, two) = (answers(p, k, 2), answers(p, k, 0), answers(p, k, 1));
        let event = response(p, k as u64).poisson_sampled(rate(q));
        for at in ORDERS {
            let want = larger(&mix(q, &one, &null), &mix(q, &two, &null), at);
            assert!(divergence(Relation::Replace, &event, at) >= want - 1e-11);
        }
    }
    // Laplace noise: the integral of w_+^order w_-^(1 - order) by a fine sum, and quadratic in the rate.
    for (q, b) in [(0.01, 2.0), (0.2, 1.0)] {
        let event = laplace(b).poisson_sampled(rate(q));
        for at in [2.0, 3.5, 12.0] {
            let dx = 1e-3;
            let density = |x: f64| 0.5 / b * (-x.abs() / b).exp();
            let sum: f64 = (-100_000..=100_000)
                .map(|k| {
                    let x = (f64::from(k) + 0.5) * dx;
                    let ratio = |shift: f64| (1.0 - q) * density(x) + q * density(x - shift);
                    dx * (at * ratio(1.0).ln() + (1.0 - at) * ratio(-1.0).ln()).exp()
                })
                .sum();
            let (got, want) = (divergence(Relation::Replace, &event, at), sum.ln() / (at - 1.0));
            assert!(got >= want - 1e-9, "({q}, {b}) at {at}: {got} below {want}");
            assert!(q > 0.1 || got < 10.0 * want, "({q}, {b}) at {at}: {got} far above {want}");
        }
    }
}

#[test]
fn a_batch_without_replacement_costs_no_more_than_said() {
    for (batch, p, k) in [(1, 0.3, 4), (10, 0.5, 3), (50, 0.05, 3), (5, 0.97, 5)] {
        let batches = Batches::new(100, batch).unwrap();
        let event = response(p, k as u64).without_replacement(batches);
        let (null, one, two) = (answers(p, k, 2), answers(p, k, 0), answers(p, k, 1));
        let q = batch as f64 / 100.0;
        for at in ORDERS {
            let want = larger(&mix(q, &one, &null), &mix(q, &two, &null), at);
            let got = divergence(Relation::Replace, &event, at);
            assert!(got >= want - 1e-11, "({batch}, {p}, {k}) at {at}: {got} below {want}");
            assert!(got <= divergence(Relation::Replace, &response(p, k as u64), at) + 1e-12);
        }
    }
    // Gaussians: never below the pair of sensitivity 2, which is a lower bound, and amplified.
    for (z, at) in [(4.0, 2.0), (4.0, 12.0), (1.0, 5.5), (20.0, 60.0)] {
        let event = gaussian(z).without_replacement(Batches::new(1000, 10).unwrap());
        let got = divergence(Relation::Replace, &event, at);
        let least = divergence(Relation::Replace, &dp_sgd(z, 0.01, 1), at);
        let bare = divergence(Relation::Replace, &gaussian(z), at);
        assert!(got >= least && got < bare, "({z}, {at}): {got}, between {least} and {bare}");
        assert!(z < 4.0 || got < 0.02 * bare, "({z}, {at}): {got} is hardly amplified from {bare}");
    }
}

#[test]
fn published_lower_bounds_without_replacement_are_respected() {
    for row in rows("wor_replace_one_lower_bound") {
        let q = number(&row, "q");
        let batches = Batches::new(1_000_000, (q * 1e6).round() as u64).unwrap();
        let event =
            gaussian(number(&row, "sigma")).without_replacement(batches).repeated(row["steps"].as_u64().unwrap());
        let got = Rdp::new(Relation::Replace).epsilon(&event, delta(number(&row, "delta"))).unwrap().upper();
        println!("without replacement: {got} for {row}");
        assert!(got.is_finite() && got >= number(&row, "epsilon_at_least"), "{got} {row}");
    }
}
