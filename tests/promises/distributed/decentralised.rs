//! Algorithms without a server on problems whose answers are known to the last digit: checks K1 to K6 of the reproduction suite.

mod identities;
mod noise;
pub(super) mod resumption;

use super::{mean, nodes};
use dpsgd::distributed::objective::{Objective, Quadratic};
use dpsgd::distributed::vector::{difference, dot};
use dpsgd::distributed::{Algorithm, Dsgd, Gossip, GradientTracking, Kgt, Start, Topology, Width};
use dpsgd::seed::Key;

pub(crate) fn gossip(topology: &Topology, nodes: usize) -> Gossip {
    Gossip::new(topology.mixing(nodes, &Key::from_seed(0)).unwrap(), Width::F64)
}

fn ring(nodes: usize) -> Gossip {
    gossip(&Topology::Ring, nodes)
}

/// `f_i(x) = (i / n) (x - m_i)^2 / 2` with `m_i = zeta (-1)^i`, i = 1 to n.
fn family(n: usize, zeta: f64) -> Vec<Quadratic> {
    let centre = |i: usize| if i.is_multiple_of(2) { zeta } else { -zeta };
    (1..=n).map(|i| Quadratic::around(&[centre(i)], i as f64 / n as f64)).collect()
}

fn dsgd(start: f64, n: usize, step: f64, local_steps: u32) -> Dsgd {
    Dsgd::new(vec![start], n, step, local_steps, ring(n)).unwrap()
}

fn kgt(n: usize, step: f64, local_steps: u32, start: Start) -> Kgt {
    Kgt::new(vec![0.0], n, (step, 1.0), local_steps, start, ring(n)).unwrap()
}

fn periodical(n: usize, step: f64, local_steps: u32) -> GradientTracking {
    GradientTracking::new(vec![0.0], n, step, local_steps, Start::Own, ring(n)).unwrap()
}

/// `|xbar - truth|^2 + mean |x_i - xbar|^2`.
fn error(points: &[&[f64]], truth: &[f64]) -> f64 {
    let points: Vec<Vec<f64>> = points.iter().map(|point| point.to_vec()).collect();
    let average = mean(&points);
    let squared = |a: &[f64], b: &[f64]| dot(&difference(a, b), &difference(a, b));
    let spread = points.iter().map(|point| squared(point, &average)).sum::<f64>() / points.len() as f64;
    squared(&average, truth) + spread
}

fn average(algorithm: &dyn Algorithm) -> f64 {
    mean(&algorithm.points().iter().map(|point| point.to_vec()).collect::<Vec<_>>())[0]
}

/// The errors after every round; infinite from the one on that a gradient was not finite in.
fn errors<F: Objective + 'static>(
    algorithm: &mut dyn Algorithm,
    objectives: Vec<F>,
    truth: f64,
    rounds: usize,
) -> Vec<f64> {
    let (mut nodes, mut local) = nodes(objectives);
    let round = |_| match algorithm.round(&mut nodes, &mut local) {
        Ok(_) => error(&algorithm.points(), &[truth]),
        Err(refused) if refused.to_string().contains("finite") => f64::INFINITY,
        Err(other) => panic!("{other}"),
    };
    (0..rounds).map(round).collect()
}

/// The first round, counted from 1, after which the error is below 1e-12.
fn rounds_to(errors: &[f64]) -> usize {
    1 + errors.iter().position(|error| *error < 1e-12).expect("the error never fell below 1e-12")
}

/// Whether `found` is the printed value to one unit of its last digit.
fn printed(found: f64, value: f64, unit: f64) {
    assert!((found - value).abs() <= unit, "{found:e} and not {value:e}");
}

/// The solution of `X = W (D X + (1 - D) m)`, D = (1 - step a_i)^K, where D-SGD on the family ends, by elimination.
fn limit(n: usize, zeta: f64, step: f64, local_steps: i32) -> Vec<f64> {
    let mixing = Topology::Ring.mixing(n, &Key::from_seed(0)).unwrap();
    let kept = |j: usize| (1.0 - step * (j + 1) as f64 / n as f64).powi(local_steps);
    let centre = |j: usize| if j.is_multiple_of(2) { -zeta } else { zeta };
    let row = |i: usize| -> Vec<f64> {
        let left = (0..n).map(|j| f64::from(u8::from(i == j)) - mixing.weight(i, j) * kept(j));
        let right = (0..n).map(|j| mixing.weight(i, j) * (1.0 - kept(j)) * centre(j)).sum();
        left.chain([right]).collect()
    };
    let mut rows: Vec<Vec<f64>> = (0..n).map(row).collect();
    for pivot in 0..n {
        for other in (0..n).filter(|other| *other != pivot) {
            let factor = rows[other][pivot] / rows[pivot][pivot];
            (pivot..=n).for_each(|column| rows[other][column] -= factor * rows[pivot][column]);
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

#[test]
fn k1_nodes_that_disagree_bias_dsgd_and_not_kgt() {
    for (steps, at, left, on_complete, rounds) in [
        (1, 0.1169152379, 1.450484e-3, 0.1111111111, 196),
        (5, 0.1226570071, 1.353687e-2, 0.1019590644, 143),
        (10, 0.1212095842, 2.774260e-2, 0.0920847776, 219),
        (20, 0.1099705490, 5.014629e-2, 0.0766399615, 371),
    ] {
        let digits = 10_f64.powf(f64::log10(left).floor() - 6.0);
        for zeta in [1.0, 10.0, 1000.0] {
            let mut algorithm = dsgd(0.0, 8, 0.1, steps);
            let found = errors(&mut algorithm, family(8, zeta), zeta / 9.0, 4000);
            printed(average(&algorithm) / zeta, at, 1e-10);
            printed(found[3999] / (zeta * zeta), left, digits);
            for (point, limit) in algorithm.points().iter().zip(limit(8, zeta, 0.1, steps as i32)) {
                printed(point[0] / zeta, limit / zeta, 1e-10);
            }
            let found = errors(&mut kgt(8, 0.1, steps, Start::Mean), family(8, zeta), zeta / 9.0, 4000);
            assert!(found[3999] / (zeta * zeta) < 1e-29, "{} with {steps} steps", found[3999]);
            assert!(zeta > 1.0 || rounds_to(&found).abs_diff(rounds) <= 1, "{} and not {rounds}", rounds_to(&found));
        }
        let mut complete = Dsgd::new(vec![0.0], 8, 0.1, steps, gossip(&Topology::Complete, 8)).unwrap();
        errors(&mut complete, family(8, 1.0), 1.0 / 9.0, 4000);
        printed(average(&complete), on_complete, 1e-10);
    }
}

#[test]
fn k1_nodes_that_agree_and_other_starts() {
    let found = errors(&mut dsgd(1.0, 8, 0.1, 10), family(8, 0.0), 0.0, 4000);
    assert!(found[0] > 1e-2 && found[3999] < 1e-29, "{} to {}", found[0], found[3999]);
    let mut from_one = Kgt::new(vec![1.0], 8, (0.1, 1.0), 10, Start::Mean, ring(8)).unwrap();
    let found = errors(&mut from_one, family(8, 0.0), 0.0, 4000);
    assert!(found[0] > 1e-2 && found[3999] < 1e-29, "{} to {}", found[0], found[3999]);
    let found = rounds_to(&errors(&mut kgt(8, 0.1, 10, Start::Own), family(8, 1.0), 1.0 / 9.0, 400));
    assert!(found.abs_diff(255) <= 1, "{found}");
}

#[test]
fn k1_messages_fall_with_local_steps_until_consensus_is_what_takes_time() {
    for (length, steps, expected) in [
        (None, [1, 2, 5, 10, 20, 50].as_slice(), [1027, 513, 201, 113, 128, 220].as_slice()),
        (Some(0.5), &[1, 2, 5, 10, 50], &[138, 141, 143, 143, 144]),
    ] {
        for (steps, expected) in steps.iter().zip(expected) {
            let step = length.map_or(0.02, |length: f64| length / f64::from(*steps));
            let found = errors(&mut kgt(8, step, *steps, Start::Mean), family(8, 1.0), 1.0 / 9.0, 1100);
            let found = rounds_to(&found);
            assert!(found.abs_diff(*expected) <= 1, "{found} and not {expected} with {steps} steps of {step}");
        }
    }
}

#[test]
fn k2_kgt_takes_larger_steps_than_periodical_gradient_tracking() {
    for (steps, of_kgt, of_periodical) in [(5, 143, 185), (10, 219, 347), (20, 371, 922)] {
        let kgt = rounds_to(&errors(&mut kgt(8, 0.1, steps, Start::Mean), family(8, 1.0), 1.0 / 9.0, 1000));
        let gt = rounds_to(&errors(&mut periodical(8, 0.1, steps), family(8, 1.0), 1.0 / 9.0, 1000));
        assert!(kgt.abs_diff(of_kgt) <= 1 && gt.abs_diff(of_periodical) <= 1, "{kgt}, {gt} with {steps} steps");
    }
    let of_kgt = |step| errors(&mut kgt(8, step, 10, Start::Mean), family(8, 1.0), 1.0 / 9.0, 3000)[2999];
    let of_periodical = |step| errors(&mut periodical(8, step, 10), family(8, 1.0), 1.0 / 9.0, 3000)[2999];
    printed(of_kgt(1.9), 2.6e-12, 1e-13);
    assert!(of_kgt(0.5) < 1e-12 && of_kgt(1.0) < 1e-12);
    printed(of_periodical(0.5), 7e-4, 1e-4);
    printed(of_periodical(1.0), 7e-2, 1e-2);
    // Diverged: further away than at the start, or no number any more.
    for diverged in [of_kgt(2.2), of_periodical(1.9)] {
        assert!(diverged > 1e3, "{diverged}");
    }
}

/// `ln(1 + (x - m)^2)`.
struct Cauchy(f64);

impl Objective for Cauchy {
    fn dim(&self) -> usize {
        1
    }

    fn value(&self, point: &[f64]) -> f64 {
        (point[0] - self.0).powi(2).ln_1p()
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let off = point[0] - self.0;
        vec![2.0 * off / (1.0 + off * off)]
    }
}

#[test]
fn k5_an_objective_that_is_not_convex() {
    let objectives = || [-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0].map(Cauchy).into_iter().collect::<Vec<_>>();
    let slope = |x: f64| super::slope(&mut nodes(objectives()).0, &[x]);
    for steps in [1, 10] {
        let mut algorithm = Kgt::new(vec![4.0], 8, (0.05, 1.0), steps, Start::Mean, ring(8)).unwrap();
        errors(&mut algorithm, objectives(), 0.0, 3000);
        let found = average(&algorithm);
        printed(found, 0.8162466457, 1e-10);
        assert!(slope(found) < 1e-13, "{}", slope(found));
    }
    for (steps, at, left, unit) in [(1, 0.80876890, 3.03e-3, 1e-5), (10, 0.66053815, 6.25e-2, 1e-4)] {
        let mut algorithm = dsgd(4.0, 8, 0.05, steps);
        errors(&mut algorithm, objectives(), 0.0, 3000);
        printed(average(&algorithm), at, 1e-8);
        printed(slope(average(&algorithm)), left, unit);
    }
}

#[test]
fn k6_a_larger_ring() {
    // The printed 5e-31 is what rounding leaves: less of it is right too.
    const ROUNDING: (f64, f64) = (2.5e-31, 2.5e-31);
    let truth = 1.0 / 33.0;
    for (step, expected, rounds) in [
        (0.005, [(5.8e-8, 1e-9), (6.2e-17, 1e-18), ROUNDING], 2542),
        (0.01, [(9.6e-7, 1e-8), (1.3e-12, 1e-13), (2e-23, 1e-23)], 4071),
        (0.02, [(9.0e-6, 1e-7), (2.0e-9, 1e-10), (8.5e-16, 1e-17)], 7076),
        (0.05, [(6.0e-5, 1e-6), (9.2e-7, 1e-8), (7.1e-10, 1e-11)], 16014),
    ] {
        let found = errors(&mut kgt(32, step, 10, Start::Mean), family(32, 1.0), truth, 16100);
        for (after, (value, unit)) in [1000, 4000, 10_000].into_iter().zip(expected) {
            printed(found[after - 1], value, unit);
        }
        assert!(rounds_to(&found).abs_diff(rounds) <= 1, "{} and not {rounds}", rounds_to(&found));
    }
    let found = errors(&mut dsgd(0.0, 32, 0.01, 10), family(32, 1.0), truth, 8000);
    printed(found[7999], 3.151e-3, 1e-6);
}
