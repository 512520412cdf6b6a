//! What compression breaks and memory mends: checks C1, C1b, C3, C4 and C5 of the reproduction suite.

pub(super) mod contract;

use super::nodes;
use dpsgd::distributed::compress::{Exponential, Rounding, TopK};
use dpsgd::distributed::memory::Memory;
use dpsgd::distributed::objective::{Objective, Quadratic};
use dpsgd::distributed::vector::{difference, dot, norm, scaled};
use dpsgd::distributed::{
    Algorithm, Compress, CompressedDescent, Ef21, ErrorFeedback, FirstMemory, Local, Nodes, Radius, Uplink, Width,
};
use dpsgd::seed::{Key, Role};
use rand::Rng;
use rand_distr::StandardNormal;

fn by<C: Compress + 'static>(compress: C) -> Uplink {
    Uplink::new(Box::new(compress), Width::F64, Key::from_seed(0))
}

fn top(k: usize) -> Uplink {
    by(TopK::new(k).unwrap())
}

/// `<v_i, x>^2 + |x|^2 / 4 - <s_i, x>` for the three nodes of C1; s_i is 0 there.
fn three(shifts: [f64; 3]) -> Vec<Quadratic> {
    let v = [[-3.0, 2.0, 2.0], [2.0, -3.0, 2.0], [2.0, 2.0, -3.0]];
    let node = |i: usize| {
        let product = |j: usize| 2.0 * v[i][j / 3] * v[i][j % 3] + if j / 3 == j % 3 { 0.5 } else { 0.0 };
        let mut linear = vec![0.0; 3];
        linear[i] = shifts[i];
        Quadratic::new((0..9).map(product).collect(), linear, 0.0).unwrap()
    };
    (0..3).map(node).collect()
}

/// The shifts of C4, and the minimiser that they lead to.
const SHIFTS: [f64; 3] = [10.0, -5.0, 2.0];
const SHIFTED: [f64; 3] = [0.815_533_98, 0.524_271_84, 0.660_194_17];

/// Constants of [`three`]: delta of Top-1, L, the root of the mean square of the nodes' L_i, and mu.
const DELTA: f64 = 3.0;
const L: f64 = 103.0 / 6.0;
const L_NODES: f64 = 34.5;
const MU: f64 = 7.0 / 6.0;

fn rounds(algorithm: &mut dyn Algorithm, nodes: &mut Nodes<'_>, local: &mut Local, count: usize) {
    for _ in 0..count {
        algorithm.round(nodes, local).unwrap();
    }
}

/// How many rounds it takes until the mean gradient of [`three`] is below 1e-10 at the new point.
fn rounds_to(mut algorithm: impl Algorithm) -> usize {
    let (mut nodes, mut local) = nodes(three([0.0; 3]));
    for round in 1..100_000 {
        algorithm.round(&mut nodes, &mut local).unwrap();
        if super::slope(&mut nodes, algorithm.points()[0]) < 1e-10 {
            return round;
        }
    }
    panic!("not within 100,000 rounds");
}

#[test]
fn c1_without_memory_top_1_diverges_by_an_exact_factor() {
    for (step, factor, after) in [(0.01, 1.018_333_3, 1.438_133_5), (0.05, 1.091_666_7, 5.778_312_1)] {
        let (mut nodes, mut local) = nodes(three([0.0; 3]));
        let mut dcgd = CompressedDescent::new(vec![1.0; 3], step, top(1)).unwrap();
        let exact = 1.0 + 11.0 * step / 6.0;
        assert!((exact - factor).abs() < 1e-7);
        for round in 1..=20 {
            dcgd.round(&mut nodes, &mut local).unwrap();
            let expected = exact.powi(round);
            let right = dcgd.points()[0].iter().all(|x| (x / expected - 1.0).abs() < 1e-13);
            assert!(right, "{:?} and not {expected} after round {round}", dcgd.points());
        }
        assert!((dcgd.points()[0][0] - after).abs() < 1e-7, "{:?}", dcgd.points());
    }
    // From other starts too.
    for start in [[1.0, 0.2, -0.7], [-0.3, 2.0, 0.9]] {
        let (mut nodes, mut local) = nodes(three([0.0; 3]));
        let mut dcgd = CompressedDescent::new(start.to_vec(), 0.02, top(1)).unwrap();
        rounds(&mut dcgd, &mut nodes, &mut local, 400);
        assert!(norm(dcgd.points()[0]) > 1e3, "{:?}", dcgd.points());
    }
}

#[test]
fn c1b_ties_go_to_the_lowest_index() {
    let run = |k: usize| {
        let (mut nodes, mut local) = nodes(three([0.0; 3]));
        let mut dcgd = CompressedDescent::new(vec![1.0; 3], 0.02, top(k)).unwrap();
        rounds(&mut dcgd, &mut nodes, &mut local, 400);
        norm(dcgd.points()[0])
    };
    assert!((run(2) - 24.3).abs() <= 0.1, "{}", run(2));
    assert!(run(3) < 1e-3, "Top-3 of three numbers is gradient descent: {}", run(3));
}

fn ef21(step: f64, start: FirstMemory) -> Ef21 {
    Ef21::new(vec![1.0; 3], 3, step, start, top(1)).unwrap()
}

#[test]
fn c3_memory_converges_in_the_rounds_of_the_reference() {
    let near = |algorithm: &str, found: usize, expected: usize| {
        assert!(found.abs_diff(expected) <= 2, "{algorithm}: {found} rounds and not {expected}");
    };
    let identity = by(Radius::INFINITE);
    near("GD", rounds_to(CompressedDescent::new(vec![1.0; 3], 1.0 / L, identity).unwrap()), 338);
    for (step, by_feedback, by_difference) in [(0.01, 2001, 2000), (0.02, 987, 984), (0.05, 339, 325), (0.1, 180, 167)]
    {
        near("EF", rounds_to(ErrorFeedback::new(vec![1.0; 3], 3, step, top(1)).unwrap()), by_feedback);
        near("EF21", rounds_to(ef21(step, FirstMemory::Full)), by_difference);
    }
    let (nonconvex, pl) =
        (Ef21::step_nonconvex(DELTA, L, L_NODES).unwrap(), Ef21::step_pl(DELTA, L, L_NODES, MU).unwrap());
    assert!((nonconvex - 0.005_859_121).abs() < 1e-9 && (pl - 0.004_268_781).abs() < 1e-9, "{nonconvex}, {pl}");
    for (start, by_nonconvex, by_pl) in
        [(FirstMemory::Full, 3437, 4730), (FirstMemory::Compressed, 3441, 4734), (FirstMemory::Zero, 3442, 4735)]
    {
        near("EF21", rounds_to(ef21(nonconvex, start)), by_nonconvex);
        near("EF21", rounds_to(ef21(pl, start)), by_pl);
    }
    let (mut nodes, mut local) = nodes(three([0.0; 3]));
    let mut slow = ErrorFeedback::new(vec![1.0; 3], 3, 1.0 / (14.0 * 2.0 * DELTA * L_NODES), top(1)).unwrap();
    rounds(&mut slow, &mut nodes, &mut local, 20_000);
    let left = norm(slow.points()[0]);
    assert!((left - 5.494e-4).abs() < 1e-7, "{left}");
}

#[test]
fn c3_constants_of_ef21() {
    let (theta, beta) = (Ef21::theta(DELTA).unwrap(), Ef21::beta(DELTA).unwrap());
    assert!((theta - 0.183_503_4).abs() < 1e-7 && (beta - 3.632_993_2).abs() < 1e-7, "{theta}, {beta}");
    assert!(((beta / theta).sqrt() - 4.449_489_7).abs() < 1e-7);
    // Without compression EF21 is gradient descent.
    assert_eq!((Ef21::theta(1.0).unwrap(), Ef21::beta(1.0).unwrap()), (1.0, 0.0));
    assert_eq!(Ef21::step_nonconvex(1.0, 4.0, 8.0).unwrap(), 0.25);
    // theta is near 1/(2 delta), to the last digits.
    assert!((Ef21::theta(1e12).unwrap() * 2e12 - 1.0).abs() < 1e-11);
}

#[test]
fn c3_the_lyapunov_function_of_ef21_shrinks_as_promised() {
    let (mut nodes, mut local) = nodes(three([0.0; 3]));
    let step = Ef21::step_pl(DELTA, L, L_NODES, MU).unwrap();
    let mut algorithm = ef21(step, FirstMemory::Compressed);
    let (mut last, mut worst): (Option<f64>, f64) = (None, 0.0);
    for _ in 0..1500 {
        // The gap at x with the memory of the gradients at x: known after the exchange at x, which the next round begins with.
        let before = algorithm.points()[0].to_vec();
        let (losses, gradients) = (nodes.losses(&before).unwrap(), nodes.gradients(&before).unwrap());
        algorithm.round(&mut nodes, &mut local).unwrap();
        let off = |(memory, g): (&Memory, &Vec<f64>)| norm(&difference(g, memory.known())).powi(2) / 3.0;
        let distance: f64 = algorithm.memories().iter().zip(&gradients).map(off).sum();
        let value = losses.iter().sum::<f64>() / 3.0 + step / Ef21::theta(DELTA).unwrap() * distance;
        worst = last.map_or(worst, |last| worst.max(value / last));
        last = Some(value);
    }
    assert!((worst - 0.99014).abs() < 1e-5 && worst <= 1.0 - step * MU, "{worst}");
}

/// The mean square of the distance from the minimum of C4 over the last quarter of 200/step rounds, and the first round after which
/// it is below 1e-20.
fn floor(mut algorithm: impl Algorithm, step: f64) -> (f64, Option<usize>) {
    let (mut nodes, mut local) = nodes(three(SHIFTS));
    let (count, minimum) = ((200.0 / step).round() as usize, minimum());
    let (mut sum, mut near) = (0.0, None);
    for round in 1..=count {
        algorithm.round(&mut nodes, &mut local).unwrap();
        let off = norm(&difference(algorithm.points()[0], &minimum)).powi(2);
        sum += if 4 * round > 3 * count { off } else { 0.0 };
        near = near.or((off < 1e-20).then_some(round));
    }
    (sum / (count / 4) as f64, near)
}

/// The minimiser of C4 in closed form. The mean Hessian is `103/6 I - 16/3 J`, J all ones: its inverse is
/// `6/103 (I + 32/7 J)`, and the mean of the s_i is (10, -5, 2)/3.
fn minimum() -> Vec<f64> {
    let sum = SHIFTS.iter().sum::<f64>();
    SHIFTS.iter().map(|s| 2.0 / 103.0 * (s + 32.0 / 7.0 * sum)).collect()
}

#[test]
fn c4_error_feedback_has_a_floor_and_ef21_has_none() {
    for (found, expected) in minimum().iter().zip(SHIFTED) {
        assert!((found - expected).abs() < 1e-8, "{found} and not {expected}");
    }
    let mut last = None;
    // At step 0.02 the run of error feedback is chaotic: the order in which numbers are added decides the second digit (4.14e-3 to
    // 4.28e-3; the reference has 4.163e-3). What is checked of it is how it falls.
    for (step, expected, rounds) in
        [(0.02, None, 935), (0.01, Some(1.119e-3), 1897), (0.005, Some(2.681e-4), 3828), (0.0025, Some(5.959e-5), 7681)]
    {
        let (left, _) = floor(ErrorFeedback::new(vec![1.0; 3], 3, step, top(1)).unwrap(), step);
        if let Some(expected) = expected {
            let digit = 10_f64.powf(f64::log10(expected).floor() - 3.0);
            assert!((left - expected).abs() <= digit, "EF: {left} and not {expected}");
        }
        if let Some(last) = last {
            assert!((3.0..=5.5).contains(&(last / left)), "EF: {last} to {left}");
        }
        last = Some(left);
        let (left, near) = floor(ef21(step, FirstMemory::Compressed), step);
        assert!(left < 1e-20 && near.is_some_and(|near| near.abs_diff(rounds) <= 1), "EF21: {left}, {near:?}");
        let (left, _) = floor(CompressedDescent::new(vec![1.0; 3], step, top(1)).unwrap(), step);
        assert!(left.is_nan() || left > 1e3, "DCGD: {left}");
    }
}

/// `A^T A / 30 + 0.05 I` for a Gaussian A `(30, 30)`.
fn random_quadratic() -> Quadratic {
    let a: Vec<f64> = Key::from_seed(5).stream(Role::Init, 0).sample_iter(StandardNormal).take(900).collect();
    let column = |j: usize| a.iter().skip(j).step_by(30).copied().collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = (0..30).map(column).collect();
    let element = |i: usize, j: usize| dot(&columns[i], &columns[j]) / 30.0 + if i == j { 0.05 } else { 0.0 };
    Quadratic::new((0..900).map(|p| element(p / 30, p % 30)).collect(), vec![0.0; 30], 0.0).unwrap()
}

/// The largest eigenvalue of `shift I + sign H`, H the Hessian: L, or what is left of a shift under mu.
fn eigenvalue(quadratic: &Quadratic, shift: f64, sign: f64) -> f64 {
    let mut x: Vec<f64> = (1..=30).map(|i| f64::from(i).sin()).collect();
    for _ in 0..20_000 {
        let image: Vec<f64> = quadratic.gradient(&x).iter().zip(&x).map(|(g, x)| shift * x + sign * g).collect();
        x = scaled(1.0 / norm(&image), &image);
    }
    shift + sign * dot(&x, &quadratic.gradient(&x))
}

#[test]
fn c5_one_node_shrinks_by_the_promised_factor() {
    let quadratic = random_quadratic();
    let l = eigenvalue(&quadratic, 0.0, 1.0);
    let mu = l - eigenvalue(&quadratic, l, -1.0);
    assert!(mu > 0.05 - 1e-9 && mu < 0.2 && l > 2.0, "{mu}, {l}");
    let rounding = |base| Box::new(Exponential::new(base, Rounding::Nearest).unwrap());
    let top = |k| Box::new(TopK::new(k).unwrap());
    let compressors: [Box<dyn Compress>; 5] = [top(1), top(3), top(10), rounding(2.0), rounding(4.0)];
    for compress in compressors {
        let class = compress.class(30).unwrap();
        let step = CompressedDescent::step(&class, l).unwrap();
        let bound = CompressedDescent::factor(&class, step, mu).unwrap();
        let uplink = Uplink::new(compress, Width::F64, Key::from_seed(0));
        let (mut nodes, mut local) = nodes(vec![quadratic.clone()]);
        let mut cgd = CompressedDescent::new(vec![1.0; 30], step, uplink).unwrap();
        let mut worst: f64 = 0.0;
        for _ in 0..2000 {
            let before = nodes.losses(cgd.points()[0]).unwrap()[0];
            cgd.round(&mut nodes, &mut local).unwrap();
            worst = worst.max(nodes.losses(cgd.points()[0]).unwrap()[0] / before);
        }
        assert!(worst <= bound && bound < 1.0, "{worst} and not at most {bound}");
    }
}
