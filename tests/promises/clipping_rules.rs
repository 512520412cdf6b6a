//! Every clipping rule keeps its bound, whatever the gradients: one contract, and a row for each rule.

use candle_core::{DType, Device, Tensor};
use dpsgd::Error;
use dpsgd::clip::{Clip, ClipNorm, ClipRule, ClippedSum, PerGroup, Stabiliser};
use dpsgd::grad::{Norms, Written};
use dpsgd::nn::Parameters;
use dpsgd::noise::{Mechanism, Noiseless};
use dpsgd::seed::Key;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NAMES: [&str; 4] = ["conv.bias", "conv.weight", "head.weight", "scale"];

fn names() -> Vec<String> {
    NAMES.map(String::from).to_vec()
}

fn norm(c: f64) -> ClipNorm {
    ClipNorm::new(c).unwrap()
}

fn automatic(gamma: f64) -> ClipRule {
    ClipRule::Automatic { gamma: Stabiliser::new("gamma", gamma).unwrap() }
}

fn psac(r: f64) -> ClipRule {
    ClipRule::Psac { r: Stabiliser::new("r", r).unwrap() }
}

/// Every rule at the clip norm `c`, with a name for messages.
fn rules(c: f64) -> Vec<(String, Box<dyn Clip>)> {
    let far = [automatic(1e-20), automatic(1.0), automatic(1e20), psac(1e-20), psac(1.0), psac(1e20)];
    let rules = ClipRule::ALL.into_iter().chain(far);
    let mut all: Vec<(String, Box<dyn Clip>)> =
        rules.map(|rule| (format!("{rule:?}, C = {c}"), rule.build(norm(c), &names()))).collect();
    // Squares of 0.36 and 0.64: together C, up to the rounding of three products.
    let parts = [("conv", norm(0.6 * c)), ("", norm(0.8 * c))];
    all.push((format!("custom groups, C = {c}"), Box::new(PerGroup::new(&names(), &parts).unwrap())));
    all
}

/// Norms of `examples` for the groups of `clip`, at scales from the smallest f64 to the largest.
fn extreme_norms(clip: &dyn Clip, examples: usize, rng: &mut ChaCha8Rng) -> Norms {
    let mut of = || match rng.random_range(0..20) {
        0 => 0.0,
        1 => f64::from_bits(rng.random_range(1..1 << 20)),
        _ => 10f64.powf(rng.random_range(-300.0..307.0)),
    };
    let norms: Vec<Vec<f64>> = NAMES.iter().map(|_| (0..examples).map(|_| of()).collect()).collect();
    Norms::new(examples, &clip.groups(&names()), &norms).unwrap()
}

#[test]
fn weight_times_norm_never_exceeds_the_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for c in [1e-19, 0.7, 1.0, 3.3e4, 1e20] {
        for (name, clip) in rules(c) {
            let bounds = clip.bounds();
            let norms = extreme_norms(clip.as_ref(), 20_000, &mut rng);
            let weights = clip.weights(&norms);
            assert_eq!(weights.len(), norms.rows().map(<[f64]>::len).sum::<usize>(), "{name}");
            for (row, weights) in norms.rows().zip(weights.chunks(norms.groups())) {
                for ((norm, weight), bound) in row.iter().zip(weights).zip(&bounds) {
                    assert!(weight.is_finite() && *weight >= 0.0, "{name}: weight {weight} for {norm}");
                    assert!(weight * norm <= *bound, "{name}: weight {weight} for {norm}, bound {bound}");
                }
            }
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_has_the_weight_zero() {
    for (name, clip) in rules(0.7) {
        let groups = clip.groups(&names());
        for wrong in [f64::NAN, f64::INFINITY] {
            let norms = Norms::new(1, &groups, &NAMES.map(|_| vec![wrong])).unwrap();
            assert!(clip.weights(&norms).iter().all(|weight| *weight == 0.0), "{name}: {wrong}");
        }
    }
}

#[test]
fn the_bounds_together_are_the_clip_norm() {
    for c in [1e-19, 0.7, 1.0, 3.3e4, 1e20] {
        for (name, clip) in rules(c) {
            let root = clip.bounds().iter().map(|bound| (bound / c).powi(2)).sum::<f64>().sqrt();
            assert!((root - 1.0).abs() <= 1e-12, "{name}: {root} times C");
        }
    }
}

fn parameters() -> Parameters {
    let parameters = Parameters::new(Key::from_seed(0), DType::F64, &Device::Cpu);
    NAMES.iter().for_each(|name| drop(parameters.var_builder().get(2, name).unwrap()));
    parameters
}

/// The bound and the norm of what one example with these gradients, two numbers for each parameter, adds to a sum.
fn added(clip: &dyn Clip, gradients: &[f32; 8]) -> dpsgd::Result<(f64, f64)> {
    let of = |pair: &[f32]| Tensor::from_slice(pair, (1, 2), &Device::Cpu).unwrap();
    let gradients = Written::new(1, gradients.chunks(2).map(of).collect());
    let sum = ClippedSum::new(&parameters(), clip, std::iter::once(gradients))?;
    let bound = sum.bound();
    let (release, _) = Noiseless::new(1.0)?.release(sum)?;
    let values = release.into_gradient().into_iter().flat_map(|tensor| tensor.to_vec1::<f64>().unwrap());
    // Scaled, or squares of small numbers would vanish.
    Ok((bound, values.map(|value| (value / bound).powi(2)).sum::<f64>().sqrt() * bound))
}

#[test]
fn no_example_exceeds_the_bound_of_the_sum() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for c in [1e-19, 0.7, 1e20] {
        for (name, clip) in rules(c) {
            for trial in 0..200 {
                let gradients: [f32; 8] =
                    std::array::from_fn(|_| 10f32.powi(rng.random_range(-44..38)) * rng.random_range(-1.0f32..1.0));
                let (bound, norm) = added(clip.as_ref(), &gradients).unwrap();
                assert!(bound >= c * (1.0 - 1e-12) && bound <= c * (1.0 + 2e-12), "{name}: bound {bound}");
                assert!(norm <= bound, "{name}, trial {trial}: {gradients:?} adds {norm}, bound {bound}");
            }
            // The bound is no slack one: a long gradient comes near it.
            let (bound, norm) = added(clip.as_ref(), &[3e37; 8]).unwrap();
            assert!(norm > 0.999 * bound, "{name}: {norm}, bound {bound}");
            assert_eq!(added(clip.as_ref(), &[0.0; 8]).unwrap().1, 0.0, "{name}");
            assert_eq!(added(clip.as_ref(), &[1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0]).unwrap().1, 0.0, "{name}");
        }
    }
}

/// A rule whose weights are 0.1 % too large.
struct Generous(Box<dyn Clip>);

impl Clip for Generous {
    fn groups(&self, parameters: &[String]) -> Vec<usize> {
        self.0.groups(parameters)
    }
    fn bounds(&self) -> Vec<f64> {
        self.0.bounds()
    }
    fn weights(&self, norms: &Norms) -> Vec<f64> {
        self.0.weights(norms).iter().map(|weight| 1.001 * weight).collect()
    }
}

#[test]
fn a_rule_that_is_a_thousandth_too_generous_is_refused() {
    for (name, clip) in rules(0.7) {
        let refused = added(&Generous(clip), &[3e37; 8]);
        assert!(matches!(refused, Err(Error::LyingClip { .. })), "{name}: {refused:?}");
    }
}

/// The expected clipped gradient of Example 1 of Chen, Wu and Hong 2020 (arXiv 2006.15429) at `x`: the mean of (x - a)^2 / 2 over
/// a = -3, -3 and 9, at the clip norm 1.
fn drift(rule: ClipRule, x: f64) -> f64 {
    let gradients = [x + 3.0, x + 3.0, x - 9.0];
    let names = ["x".to_string()];
    let norms = Norms::new(3, &[0], &[gradients.map(f64::abs).to_vec()]).unwrap();
    let weights = rule.build(norm(1.0), &names).weights(&norms);
    gradients.iter().zip(weights).map(|(gradient, weight)| gradient * weight).sum::<f64>() / 3.0
}

/// Where the drift is zero; it grows with x.
fn fixed_point(rule: ClipRule) -> f64 {
    let (mut low, mut high) = (-3.0, 9.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if drift(rule, middle) < 0.0 { low = middle } else { high = middle }
    }
    low
}

#[test]
fn rules_stop_where_the_geometric_example_says() {
    // The minimum is at 1. Flat clipping stops at -2.5, by hand: (2/3)(x + 3) = 1/3. One parameter is one group. Normalising stops at
    // the median, -3. The others: roots of the expectation over the three values, from an independent calculation.
    for (rule, stops, at_minimum) in [
        (ClipRule::Flat, -2.5, 1.0 / 3.0),
        (ClipRule::PerLayer, -2.5, 1.0 / 3.0),
        (ClipRule::PerParameter, -2.5, 1.0 / 3.0),
        (ClipRule::Normalised, -3.0, 1.0 / 3.0),
        (automatic(0.01), -2.9900, 0.3321),
        (automatic(1.0), -2.1521, 0.2370),
        (automatic(10.0), 0.0835, 0.0423),
        (psac(0.1), -2.7301, 0.3298),
        (psac(1.0), -2.3882, 0.3062),
    ] {
        let (found, drift) = (fixed_point(rule), drift(rule, 1.0));
        assert!((found - stops).abs() <= 6e-5, "{rule:?} stops at {found}, not {stops}");
        assert!((drift - at_minimum).abs() <= 6e-5, "{rule:?} drifts by {drift} at the minimum, not {at_minimum}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn every_rule_trains_and_is_named_in_the_report_at_the_same_cost() {
    use super::command_line::{json, ok};
    let here = tempfile::tempdir().unwrap();
    let mut costs = Vec::new();
    for (flags, rule, words) in [
        ("", ClipRule::Flat, "flat: weight min(1, C / norm)"),
        ("--clipping per-layer", ClipRule::PerLayer, "per-layer: each of K layers at C / sqrt(K)"),
        ("--clipping per-parameter", ClipRule::PerParameter, "per-parameter: each of K parameters at C / sqrt(K)"),
        ("--clipping automatic", automatic(0.01), "automatic: weight C / (norm + 0.01)"),
        ("--clipping automatic --clipping-gamma 0.5", automatic(0.5), "automatic: weight C / (norm + 0.5)"),
        ("--clipping normalised", ClipRule::Normalised, "normalised: weight C / norm"),
        ("--clipping psac", psac(0.1), "psac: weight C / (norm + 0.1 / (norm + 0.1))"),
        ("--clipping psac --clipping-r 0.02", psac(0.02), "psac: weight C / (norm + 0.02 / (norm + 0.02))"),
    ] {
        let directory = format!("run-{}", costs.len());
        let report =
            json(here.path(), &format!("train --model mlp --steps 3 --quiet --seed 7 --out {directory} {flags}"));
        let written = serde_json::to_value(rule).unwrap();
        assert_eq!((&report["privacy"]["clipping"], &report["plan"]["clipping"]), (&written, &written), "{flags}");
        let statement = std::fs::read_to_string(here.path().join(&directory).join("statement.txt")).unwrap();
        assert!(statement.contains(&format!("per example, {words}, clip norm C = 1")), "{flags}: {statement}");
        ok(here.path(), &format!("verify {directory}"));
        let privacy = &report["privacy"];
        costs.push((privacy["epsilon"].clone(), privacy["noise_multiplier"].clone()));
    }
    assert!(costs.windows(2).all(|pair| pair[0] == pair[1]), "{costs:?}");
}
