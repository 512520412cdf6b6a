//! Clip-GD stops where nodes that disagree cancel each other: its halves of checks R2 to R4 of the reproduction suite.

use super::{at_once, centres, logistic, nodes, run, slope, smoothness, uplink};
use dpsgd::distributed::objective::Quadratic;
use dpsgd::distributed::{Algorithm, ClipGd};

#[test]
fn r2_clipped_gradients_that_cancel_never_move_the_point() {
    for step in [0.01, 0.1, 1.0, 100.0] {
        let (mut nodes, mut local) = nodes(vec![Quadratic::around(&[0.0], 2.0), Quadratic::around(&[0.0], -1.0)]);
        let mut clip_gd = ClipGd::new(vec![5.0], step, uplink(1.0)).unwrap();
        let end = at_once(|| run(&mut clip_gd, &mut nodes, &mut local, 1000));
        assert_eq!(end, [5.0], "at step {step}");
        assert_eq!(slope(&mut nodes, &end), 2.5);
    }
}

#[test]
fn r3_the_clipped_mean_ends_at_the_median() {
    for step in [0.1, 0.5] {
        let (mut nodes, mut local) = nodes(centres(&[0.0, 0.0, 3.0]));
        let mut clip_gd = ClipGd::new(vec![10.0], step, uplink(0.1)).unwrap();
        let end = at_once(|| run(&mut clip_gd, &mut nodes, &mut local, 20_000));
        assert!((end[0] - 0.05).abs() < 1e-12, "{end:?} at step {step}");
        assert!((slope(&mut nodes, &end) - 0.95).abs() < 1e-12);
    }
}

#[test]
fn r4_logistic_regression_ends_away_from_the_optimum() {
    // (t, [(rounds, slope, one unit of its last digit)], loss after 4,000 rounds).
    let rows = [
        (1.0, [(2000, 0.474036, 1e-6), (4000, 0.474036, 1e-6), (10_000, 0.474036, 1e-6)], (0.672920, 1e-6)),
        (0.1, [(2000, 0.528160, 1e-6), (4000, 0.52816, 1e-5), (10_000, 0.528161, 1e-6)], (0.68069, 1e-5)),
    ];
    let descend = |t: f64, ends: &[(usize, f64, f64)], (loss, unit): (f64, f64)| {
        let (mut nodes, mut local) = nodes(logistic());
        let mut clip_gd = ClipGd::new(vec![0.5; 20], 1.0 / smoothness(), uplink(t)).unwrap();
        let mut done = 0;
        for (rounds, expected, digit) in ends {
            let end = run(&mut clip_gd, &mut nodes, &mut local, rounds - done);
            done = *rounds;
            let found = slope(&mut nodes, &end);
            assert!((found - expected).abs() <= *digit, "{found} and not {expected} after {rounds} at t = {t}");
            if *rounds == 4000 {
                let found = nodes.losses(&end).unwrap().iter().sum::<f64>() / 10.0;
                assert!((found - loss).abs() <= unit, "{found} and not {loss} at t = {t}");
            }
        }
    };
    at_once(|| {
        rows.iter().for_each(|(t, ends, loss)| descend(*t, ends, *loss));
        descend(0.01, &[(4000, 0.8604, 1e-4)], (1.051725, 1e-6));
    });
}

#[test]
fn a_step_size_that_is_none_is_refused() {
    assert!([-1.0, f64::NAN, f64::INFINITY].iter().all(|step| ClipGd::new(vec![0.0], *step, uplink(1.0)).is_err()));
    assert_eq!(ClipGd::new(vec![0.5], 0.0, uplink(1.0)).unwrap().points(), [[0.5].as_slice()]);
}
