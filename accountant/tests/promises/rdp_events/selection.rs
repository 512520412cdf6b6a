//! The best of several runs against its exact law.

use dp_accountant::{Accountant, Event, Rdp, Relation, Repetitions};

use super::{ORDERS, divergence, larger, pure};
use crate::plans::delta;

/// The law of the best of K runs over ordered answers, the first one the best; then the probability of no run at all.
fn best_of(run: &[f64], generating: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut left = 1.0;
    let mut law: Vec<f64> = run
        .iter()
        .map(|p| {
            let before = generating(left);
            left = f64::max(left - p, 0.0);
            before - generating(left)
        })
        .collect();
    law.push(generating(0.0));
    law
}

#[test]
fn the_best_of_a_random_number_of_runs_costs_no_more_than_said() {
    let run = 0.4_f64;
    for (shape, gamma) in [(1.0, 0.1), (0.0, 0.05), (-0.5, 0.01), (2.0, 0.5)] {
        let generating = |x: f64| {
            if shape == 0.0 {
                (-(1.0 - gamma) * x).ln_1p() / f64::ln(gamma)
            } else {
                ((1.0 - (1.0 - gamma) * x).powf(-shape) - 1.0) / (f64::powf(gamma, -shape) - 1.0)
            }
        };
        select(run, Repetitions::negative_binomial(shape, gamma).unwrap(), generating);
    }
    for mean in [0.2_f64, 3.0, 40.0] {
        select(run, Repetitions::poisson(mean).unwrap(), |x| (mean * (x - 1.0)).exp());
    }
}

fn select(e: f64, repetitions: Repetitions, generating: impl Fn(f64) -> f64) {
    let event = Event::RepeatAndSelect { repetitions, event: Box::new(pure(e)) };
    let (high, low) = (1.0 / (1.0 + (-e).exp()), 1.0 / (1.0 + e.exp()));
    let (p, q) = (best_of(&[high, low], &generating), best_of(&[low, high], &generating));
    // Without an outcome "no run" its zeros are dropped.
    let keep = |law: &[f64]| law.iter().copied().filter(|mass| *mass > 0.0).collect::<Vec<f64>>();
    let (p, q) = (keep(&p), keep(&q));
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    for at in ORDERS {
        let want = larger(&p, &q, at);
        for relation in Relation::ALL {
            let got = divergence(relation, &event, at);
            assert!(got >= want - 1e-11, "{repetitions:?} at {at}: {got} below {want}");
        }
    }
    // Useful as well: far below what all runs together would cost at the mean number, if that is large.
    let one = Rdp::default().epsilon(&event, delta(1e-6)).unwrap().upper();
    assert!(one < 0.4 * 40.0, "{repetitions:?}: {one}");
}
