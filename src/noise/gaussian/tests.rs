use super::*;

const BLOCK: usize = StandardNormals::BLOCK;

fn noise(z: f64, count: usize, seed: u64, step: u32) -> Vec<f64> {
    let mut values = vec![0.0; count];
    StandardNormals::new(&Key::from_seed(seed), step).fill(&mut values);
    values.iter().map(|x| z * x).collect()
}

/// Moments one to four within five deviations, and the Kolmogorov-Smirnov distance to N(0, deviation^2), as seen at 16,385
/// points, below its 1e-6 critical value.
fn is_normal(values: &[f64], deviation: f64) -> bool {
    let n = values.len() as f64;
    let (mut moments, mut histogram) = ([0.0; 4], vec![0_u32; CELLS + 1]);
    for x in values {
        let x = x / deviation;
        moments.iter_mut().zip([x, x * x, x * x * x, x * x * x * x]).for_each(|(sum, power)| *sum += power);
        histogram[((x + 8.0) * (CELLS as f64 / 16.0)).ceil().clamp(0.0, CELLS as f64) as usize] += 1;
    }
    // A grid can only miss distance: P(sqrt(n) D > 2.7) <= 2 exp(-2 2.7^2) = 9.3e-7 (Massart 1990).
    let (mut below, mut distance) = (0, 0.0_f64);
    for (i, count) in histogram.into_iter().enumerate() {
        below += count;
        distance = distance.max((f64::from(below) / n - cdf(i as f64 * (16.0 / CELLS as f64) - 8.0)).abs());
    }
    // Powers one to four of N(0, 1) have means 0, 1, 0, 3 and variances 1, 2, 15, 96; five deviations: 6e-7 each.
    let expected = [(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0)];
    let close = |(sum, (mean, variance)): (f64, (f64, f64))| (sum / n - mean).abs() < 5.0 * (variance / n).sqrt();
    n.sqrt() * distance < 2.7 && moments.into_iter().zip(expected).all(close)
}

/// Cells of the histogram over -8 to 8.
const CELLS: usize = 1 << 14;

/// The normal distribution function by Abramowitz and Stegun 7.1.26, good to 1.5e-7: far below what the tests resolve.
fn cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    0.5 * (1.0 + (1.0 - poly * (-z * z).exp()).copysign(x))
}

#[test]
fn noise_is_normal_at_its_scale_and_half_of_it_is_caught() {
    let values = noise(2.0, 100_000, 1, 0);
    assert!(is_normal(&values, 2.0));
    // Negative controls: half the noise, five per cent less, uniform noise of the right variance.
    assert!(!is_normal(&values.iter().map(|x| x / 2.0).collect::<Vec<_>>(), 2.0));
    assert!(!is_normal(&values.iter().map(|x| x * 0.95).collect::<Vec<_>>(), 2.0));
    let uniform = |i: u32| 2.0 * 3f64.sqrt() * (2.0 * (f64::from(i) + 0.5) / 1e5 - 1.0);
    assert!(!is_normal(&(0..100_000).map(uniform).collect::<Vec<_>>(), 2.0));
}

#[test]
fn ten_million_draws_are_normal_and_two_thousandths_more_are_caught() {
    let mut values = noise(1.0, 10_000_000, 5, 0);
    assert!(is_normal(&values, 1.0));
    // Negative controls: a scale or a mean off by two thousandths, and the middle of one layer left out.
    assert!(!is_normal(&values, 1.002));
    assert!(!is_normal(&values.iter().map(|x| x + 0.002).collect::<Vec<_>>(), 1.0));
    values.retain(|x| !(1.0..1.005).contains(x));
    assert!(!is_normal(&values, 1.0));
}

/// How many of the values are further from 0 than 3, 4, 5 and 6.
fn beyond(values: &[f64]) -> [u32; 4] {
    let mut counts = [0; 4];
    for x in values {
        if x.abs() > 3.0 {
            counts.iter_mut().zip([3.0, 4.0, 5.0, 6.0]).for_each(|(count, bound)| *count += u32::from(x.abs() > bound));
        }
    }
    counts
}

#[test]
fn tails_hold_what_they_should_out_to_six_deviations() {
    let (chunk, chunks) = (1 << 20, 128);
    let mut values = vec![0.0; chunk];
    let (mut counts, mut narrow, mut cut) = ([0; 4], [0; 4], [0; 4]);
    for step in 0..chunks {
        StandardNormals::new(&Key::from_seed(6), step).fill(&mut values);
        let add = |sums: &mut [u32; 4], counts: [u32; 4]| sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        add(&mut counts, beyond(&values));
        if step < 16 {
            add(&mut narrow, beyond(&values.iter().map(|x| 0.99 * x).collect::<Vec<_>>()));
        }
        add(&mut cut, beyond(&values.iter().filter(|x| x.abs() < 4.9).copied().collect::<Vec<_>>()));
    }
    let as_normal = |counts: [u32; 4], draws: f64| {
        counts.map(f64::from).into_iter().zip(BEYOND).all(|(count, p)| {
            // Bernstein's inequality: false in one of 5e7 cases at most.
            let (expected, l) = (p * draws, 1e8_f64.ln());
            (count - expected).abs() <= l / 3.0 + (l * l / 9.0 + 2.0 * l * expected).sqrt()
        })
    };
    let draws = chunk as f64 * f64::from(chunks);
    assert!(as_normal(counts, draws), "{counts:?} of {draws} draws");
    // Negative controls: one per cent less noise, and no noise beyond 4.9 deviations.
    assert!(!as_normal(narrow, draws / 8.0));
    assert!(!as_normal(cut, draws));
}

/// P(|X| > 3), 4, 5, 6 for N(0, 1), by mpmath.
const BEYOND: [f64; 4] = [0.002_699_796_063_26, 6.334_248_366_62e-5, 5.733_031_437_58e-7, 1.973_175_290_08e-9];

#[test]
fn noise_is_frozen_by_seed_and_step_and_independent_of_where_a_tensor_ends() {
    let values = noise(1.0, 3 * BLOCK, 2, 7);
    assert_eq!(values[..4], FROZEN);
    let mut second = vec![0.0; 10];
    StandardNormals::new(&Key::from_seed(2), 7).combine(&mut second, 1, |_, draw| draw);
    assert_eq!(values[BLOCK..BLOCK + 10], second);
    assert_eq!(values[..BLOCK + 200], noise(1.0, BLOCK + 200, 2, 7));
    assert_ne!(values[..4], noise(1.0, 4, 2, 8)[..]);
    assert_ne!(values[..4], noise(1.0, 4, 3, 7)[..]);
    let digest = values.iter().fold(0_u64, |hash, x| hash.rotate_left(5) ^ x.to_bits());
    assert_eq!(digest, FROZEN_DIGEST, "of {} draws, those with further numbers among them", values.len());
}

/// Frozen since draws are made 128 at a time; a change would break every resumed run.
const FROZEN: [f64; 4] = [0.15237287899342294, 0.7154416529736747, 0.035704654451485386, 0.2216458942831603];
const FROZEN_DIGEST: u64 = 13_120_597_312_919_183_782;

#[test]
fn noise_is_the_same_with_any_number_of_threads() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| noise(1.0, 20 * BLOCK + 17, 8, 0))
    };
    let one = with(1);
    for threads in [2, 3, 7] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

#[test]
fn blocks_and_steps_are_uncorrelated() {
    let n = 50_000;
    let (a, b) = (noise(1.0, n, 4, 0), noise(1.0, n, 4, 1));
    // Neighbours, neighbours of one layer of words, of one batch of sixteen ChaCha blocks, and of one block of draws.
    let lags = [1, 8, 128, BLOCK].map(|lag| (&a[..n - lag], &a[lag..]));
    for (x, y) in lags.into_iter().chain([(&a[..], &b[..])]) {
        // A mean of n products of independent standard normals has deviation 1 / sqrt(n); six of them: 2e-9 each. The same
        // holds of (x^2 - 1)(y^2 - 1) / 2, with heavier tails: 20 deviations, 2e-5 each by the fourth moment.
        let root = (x.len() as f64).sqrt();
        let correlation = x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / x.len() as f64;
        let squares = x.iter().zip(y).map(|(x, y)| (x * x - 1.0) * (y * y - 1.0) / 2.0).sum::<f64>() / x.len() as f64;
        assert!(correlation.abs() < 6.0 / root && squares.abs() < 20.0 / root, "{correlation} {squares}");
    }
}

#[test]
fn a_release_draws_for_all_parameters_in_name_order() {
    use crate::clip::{ClipNorm, Flat};
    use crate::nn::Parameters;
    use candle_core::{DType, Device};
    let parameters = Parameters::new(Key::from_seed(0), DType::F64, &Device::Cpu);
    for (name, size) in [("b", 10), ("a", BLOCK + 1)] {
        parameters.var_builder().get(size, name).unwrap();
    }
    let clip = Flat::new(ClipNorm::new(3.0).unwrap());
    let sum = ClippedSum::new::<crate::grad::Recorded>(&parameters, &clip, std::iter::empty()).unwrap();
    let mut gaussian = Gaussian::new(NoiseMultiplier::new(2.0).unwrap(), 8.0, Key::from_seed(9), 4).unwrap();
    let gradient = gaussian.release(sum).unwrap().0.into_gradient();
    let expected: Vec<f64> = noise(6.0, 2 * BLOCK + 10, 9, 4).iter().map(|x| x / 8.0).collect();
    assert_eq!(gradient[0].to_vec1::<f64>().unwrap(), expected[..BLOCK + 1]);
    assert_eq!(gradient[1].to_vec1::<f64>().unwrap(), expected[2 * BLOCK..]);
}

#[test]
fn a_bound_that_gives_no_ordinary_noise_is_refused() {
    use crate::clip::Clip;
    use crate::grad::{Norms, Recorded};
    use crate::nn::Parameters;
    use candle_core::{DType, Device};
    struct Bound(f64);
    impl Clip for Bound {
        fn bounds(&self) -> Vec<f64> {
            vec![self.0]
        }
        fn weights(&self, norms: &Norms) -> Vec<f64> {
            norms.rows().flatten().map(|_| 0.0).collect()
        }
    }
    let parameters = Parameters::new(Key::from_seed(0), DType::F64, &Device::Cpu);
    parameters.var_builder().get(3, "w").unwrap();
    for (bound, fits) in [(1.0, true), (1e-300, true), (1e-320, false), (5e-324, false), (f64::INFINITY, false)] {
        let sum = ClippedSum::new::<Recorded>(&parameters, &Bound(bound), std::iter::empty()).unwrap();
        let mut gaussian = Gaussian::new(NoiseMultiplier::new(0.1).unwrap(), 8.0, Key::from_seed(9), 0).unwrap();
        assert_eq!(gaussian.release(sum).is_ok(), fits, "{bound}");
    }
}
