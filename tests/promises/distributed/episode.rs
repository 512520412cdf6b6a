//! EPISODE, and CELGC beside it: checks E1 and E2 of the reproduction suite.

use super::{at_once, centres, formula, hosted, nodes, run};
use dpsgd::distributed::objective::{Objective, Polynomial};
use dpsgd::distributed::{Algorithm, Celgc, ClippedStep, Episode, Width};
use dpsgd::seed::{Key, Role};
use rand_chacha::rand_core::RngCore;

fn episode(start: f64, nodes: usize, step: ClippedStep, local: u32) -> Episode {
    Episode::new(vec![start], nodes, step, local, Width::F64).unwrap()
}

#[test]
fn e1_nodes_that_disagree_end_at_the_mean() {
    for local in [8, 64] {
        let (mut nodes, mut transport) = nodes(centres(&[0.0, 0.0, 9.0]));
        let mut episode = episode(5.0, 3, ClippedStep::new(0.01, 0.01).unwrap(), local);
        let end = at_once(|| run(&mut episode, &mut nodes, &mut transport, 4000 / local as usize))[0];
        assert!((end - 3.0).abs() < 1e-9, "{end} with {local} local steps");
        let answers = 4000 / local * (local + 1);
        assert!(nodes.answers().iter().all(|asked| *asked == answers), "a round asks for one more than its steps");
    }
}

/// `x^4 - 3 x^3 - H h_i x^2 + x` for both nodes, h = -1 and 2.
fn quartics(heterogeneity: f64) -> Vec<Polynomial> {
    [-1.0, 2.0].map(|h| Polynomial::new(vec![0.0, 1.0, -heterogeneity * h, -3.0, 1.0])).to_vec()
}

fn mean_value(heterogeneity: f64, x: f64) -> f64 {
    quartics(heterogeneity).iter().map(|f| f.value(&[x])).sum::<f64>() / 2.0
}

/// A number, and one unit of its last digit.
type Printed = (f64, f64);

/// (H, x*, f*, where CELGC ends, above f*, rounds of EPISODE to 1e-8).
const PRINTED: [(f64, Printed, Printed, Printed, Printed, u32); 4] = [
    (1.0, (2.311365813, 1e-9), (-8.863279832, 1e-9), (2.300027278, 1e-9), (0.001373238, 1e-9), 11),
    (2.0, (2.414213562, 1e-9), (-11.65685425, 1e-8), (2.35, 1e-9), (0.0487354995, 1e-10), 11),
    (4.0, (2.597885911, 1e-9), (-17.95046762, 1e-8), (1.654480122, 1e-9), (8.036727, 1e-6), 8),
    (8.0, (2.908160115, 1e-9), (-33.18026508, 1e-8), (1.0, 0.0), (28.180265, 1e-6), 15),
];

#[test]
fn e2_the_quartic_without_noise() {
    let step = ClippedStep::new(0.01, 0.05).unwrap();
    let near = |found: f64, (printed, unit): Printed| (found - printed).abs() <= unit;
    for (h, optimum, least, end, above, rounds) in PRINTED {
        let (mut both, mut transport) = nodes(quartics(h));
        let mut local = Celgc::new(vec![1.0], 2, step, 8, Width::F64).unwrap();
        let found = run(&mut local, &mut both, &mut transport, 500)[0];
        assert!(near(found, end), "{found} and not {end:?} at H = {h}");
        let (mut both, mut transport) = nodes(quartics(h));
        let mut episode = episode(1.0, 2, step, 8);
        let points: Vec<f64> = (0..500).map(|_| run(&mut episode, &mut both, &mut transport, 1)[0]).collect();
        let last = points[499];
        assert!(near(last, optimum) && near(mean_value(h, last), least), "{last} at H = {h}");
        assert!(near(mean_value(h, found) - mean_value(h, last), above), "at H = {h}");
        let first = 1 + points.iter().position(|x| (x - last).abs() < 1e-8).unwrap() as u32;
        assert!(first.abs_diff(rounds) <= 1, "{first} rounds and not {rounds} at H = {h}");
    }
}

#[test]
fn e2_the_quartic_with_noise() {
    let step = ClippedStep::new(0.01, 0.05).unwrap();
    for (h, (_, _), (least, _), _, _, _) in PRINTED {
        for seed in 0..5 {
            let gap = |algorithm: &mut dyn Algorithm| {
                let noisy = |(node, f): (usize, Polynomial)| {
                    let key = Key::from_seed(seed).derived(&format!("noise of node {node}"));
                    formula(1, move |x, answer| {
                        let draw = key.stream(Role::Noise, answer).next_u64() as f64 / 2.0_f64.powi(63) - 1.0;
                        vec![f.gradient(x)[0] + draw]
                    })
                };
                let (mut both, mut transport) = hosted(quartics(h).into_iter().enumerate().map(noisy).collect());
                mean_value(h, run(algorithm, &mut both, &mut transport, 500)[0]) - least
            };
            // Seeds 0 to 4. The range of EPISODE is that of five runs; where heterogeneity is large, CELGC is far
            // above it in every one.
            let found = gap(&mut episode(1.0, 2, step, 8));
            assert!((-1e-8..=0.0015).contains(&found), "{found} above the least at H = {h}, seed {seed}");
            let local = gap(&mut Celgc::new(vec![1.0], 2, step, 8, Width::F64).unwrap());
            assert!(h < 4.0 || local > 6.0, "{local} above the least at H = {h}, seed {seed}");
        }
    }
}
