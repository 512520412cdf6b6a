//! Every optimiser steps as its formula says, remembers what it needs and refuses what is not its own.

use candle_core::{DType, Device, Tensor};
use dp_accountant::{Delta, NoiseMultiplier};
use dpsgd::clip::{ClipNorm, ClippedSum, Flat, Unclipped};
use dpsgd::grad::Written;
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::noise::{Gaussian, Mechanism, Noiseless, Release};
use dpsgd::optim::{
    AdamConfig, BiasCorrection, EmaConfig, Optimizer, OptimizerConfig, Rule, Schedule, SgdConfig, Shape,
};
use dpsgd::plan::Draft;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};
use dpsgd::{Error, Result};
use rand::{Rng, SeedableRng};
use std::collections::HashMap;

const STEPS: u32 = 20;

/// Every optimiser and every setting that changes what it computes.
fn table() -> Vec<(&'static str, OptimizerConfig)> {
    let sgd = SgdConfig { learning_rate: 0.05, ..SgdConfig::default() };
    let heavy = SgdConfig { momentum: 0.9, ..sgd };
    let adam = AdamConfig { learning_rate: 0.02, ..AdamConfig::default() };
    let decaying = AdamConfig { weight_decay: 0.1, beta1: 0.8, beta2: 0.95, epsilon: 1e-3, ..adam };
    let schedule = |warmup, shape| Schedule { warmup, shape };
    let with = |rule: Rule, schedule: Schedule, ema: Option<EmaConfig>| OptimizerConfig { rule, schedule, ema };
    let (cosine, linear) = (Shape::Cosine { to: 0.1 }, Shape::Linear { to: 0.0 });
    let stairs = Shape::Step { every: 6, factor: 0.5 };
    let ema = |decay, warmup| Some(EmaConfig { decay, warmup });
    vec![
        ("sgd", Rule::Sgd(sgd).into()),
        ("sgd, decay", Rule::Sgd(SgdConfig { weight_decay: 0.1, ..sgd }).into()),
        ("sgd, momentum", Rule::Sgd(heavy).into()),
        ("sgd, momentum, decay", Rule::Sgd(SgdConfig { weight_decay: 0.1, ..heavy }).into()),
        ("sgd, Nesterov", Rule::Sgd(SgdConfig { nesterov: true, ..heavy }).into()),
        ("sgd, Nesterov, decay", Rule::Sgd(SgdConfig { nesterov: true, weight_decay: 0.1, ..heavy }).into()),
        ("adam", Rule::Adam(adam).into()),
        ("adam, decay", Rule::Adam(decaying).into()),
        ("adam, uncorrected", Rule::Adam(AdamConfig { bias_correction: BiasCorrection::Off, ..adam }).into()),
        ("adam, floor", Rule::Adam(AdamConfig { bias_correction: BiasCorrection::Floor(5.0), ..adam }).into()),
        ("adamw", Rule::AdamW(AdamConfig { weight_decay: 0.01, ..adam }).into()),
        ("adamw, decay", Rule::AdamW(decaying).into()),
        ("sgd, warm-up", with(Rule::Sgd(heavy), schedule(5, Shape::Constant), None)),
        ("sgd, linear", with(Rule::Sgd(heavy), schedule(0, linear), None)),
        ("adamw, stairs", with(Rule::AdamW(decaying), schedule(3, stairs), None)),
        ("sgd, average", with(Rule::Sgd(sgd), Schedule::default(), ema(0.9, false))),
        ("adam, cosine, average", with(Rule::Adam(adam), schedule(4, cosine), ema(0.9999, true))),
    ]
}

/// The formulas in plain loops, for a release with noise of deviation `s`.
struct Reference {
    config: OptimizerConfig,
    s: f64,
    t: u32,
    w: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    average: Vec<f64>,
}

impl Reference {
    fn new(config: OptimizerConfig, s: f64, w: Vec<f64>) -> Self {
        let zeros = vec![0.0; w.len()];
        Self { config, s, t: 0, average: w.clone(), w, first: zeros.clone(), second: zeros }
    }

    fn factor(&self) -> f64 {
        let Schedule { warmup, shape } = self.config.schedule;
        let (t, warmup, all) = (f64::from(self.t), f64::from(warmup), f64::from(STEPS));
        if t < warmup {
            return (t + 1.0) / (warmup + 1.0);
        }
        let p = (t - warmup) / (all - warmup);
        match shape {
            Shape::Constant => 1.0,
            Shape::Linear { to } => (1.0 - p) + p * to,
            Shape::Cosine { to } => to + (1.0 - to) * (1.0 + (std::f64::consts::PI * p).cos()) / 2.0,
            Shape::Step { every, factor } => factor.powi(((self.t - self.config.schedule.warmup) / every) as i32),
        }
    }

    fn step(&mut self, gradient: &[f64]) {
        let factor = self.factor();
        self.t += 1;
        for (i, g) in gradient.iter().copied().enumerate() {
            let w = self.w[i];
            self.w[i] = match self.config.rule {
                Rule::Sgd(c) => {
                    let g = g + c.weight_decay * w;
                    self.first[i] = if self.t == 1 { g } else { c.momentum * self.first[i] + g };
                    let along = if c.nesterov { g + c.momentum * self.first[i] } else { self.first[i] };
                    w - c.learning_rate * factor * along
                }
                Rule::Adam(c) => self.adam(c, i, w, g + c.weight_decay * w, factor),
                Rule::AdamW(c) => self.adam(c, i, w - c.learning_rate * factor * c.weight_decay * w, g, factor),
            };
        }
        if let Some(ema) = self.config.ema {
            let t = f64::from(self.t - 1);
            let d = if ema.warmup { f64::min(ema.decay, (1.0 + t) / (10.0 + t)) } else { ema.decay };
            for (average, w) in self.average.iter_mut().zip(&self.w) {
                *average = d * *average + (1.0 - d) * w;
            }
        }
    }

    fn adam(&mut self, c: AdamConfig, i: usize, w: f64, g: f64, factor: f64) -> f64 {
        self.first[i] = c.beta1 * self.first[i] + (1.0 - c.beta1) * g;
        self.second[i] = c.beta2 * self.second[i] + (1.0 - c.beta2) * g * g;
        let mean = self.first[i] / (1.0 - c.beta1.powi(self.t as i32));
        let square = self.second[i] / (1.0 - c.beta2.powi(self.t as i32));
        let variance = self.s * self.s;
        let root = match c.bias_correction {
            BiasCorrection::Scaled if self.s > 0.0 => (square - variance).max(0.25 * variance).sqrt(),
            BiasCorrection::Floor(floor) if self.s > 0.0 => (square - variance).max(floor).sqrt(),
            _ => square.sqrt() + c.epsilon,
        };
        w - c.learning_rate * factor * mean / root
    }

    fn end(&self) -> &[f64] {
        if self.config.ema.is_some() { &self.average } else { &self.w }
    }
}

/// Parameters `a` `(3, 5)`, `b` of no dimension and `c` of 9,000 elements, with the same start for the same type.
fn parameters(dtype: DType) -> Parameters {
    let parameters = Parameters::new(Key::from_seed(3), dtype, &Device::Cpu);
    let vb = parameters.var_builder();
    vb.get_with_hints((3, 5), "a", candle_nn::Init::Randn { mean: 0.0, stdev: 1.0 }).unwrap();
    vb.get_with_hints((), "b", candle_nn::Init::Const(0.5)).unwrap();
    vb.get_with_hints(9000, "c", candle_nn::Init::Randn { mean: 0.0, stdev: 1.0 }).unwrap();
    parameters
}

fn values(parameters: &Parameters) -> Vec<f64> {
    parameters.iter().flat_map(|(_, var)| flat(var.as_tensor())).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The gradient of step `t`: some elements a thousand times as large as others.
fn gradient(count: usize, t: u32) -> Vec<f64> {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1000 + u64::from(t));
    (0..count).map(|i| 10f64.powi(i as i32 % 4 - 3) * (rng.random::<f64>() - 0.3)).collect()
}

/// A sum of one example with this gradient.
fn sum_of(parameters: &Parameters, gradient: &[f64], clip: &dyn dpsgd::clip::Clip) -> ClippedSum {
    let mut at = 0;
    let parts = parameters.iter().map(|(_, var)| {
        let (from, shape) = (at, [&[1], var.dims()].concat());
        at += var.elem_count();
        let part = Tensor::from_vec(gradient[from..at].to_vec(), shape, &Device::Cpu).unwrap();
        part.to_dtype(var.dtype()).unwrap()
    });
    let example = Written::new(1, parts.collect());
    ClippedSum::new(parameters, clip, std::iter::once(example)).unwrap()
}

/// The gradient itself, released without noise.
fn plain(parameters: &Parameters, t: u32) -> Release {
    let gradient = gradient(values(parameters).len(), t);
    Noiseless::new(1.0).unwrap().release(sum_of(parameters, &gradient, &Unclipped)).unwrap().0
}

/// The gradient of step `t` under the noise of step `t`: deviation 0.5 * 40 / 4 = 5. Made again, it is the same.
fn noisy(parameters: &Parameters, t: u32) -> Release {
    let gradient = gradient(values(parameters).len(), t);
    let flat = Flat::new(ClipNorm::new(40.0).unwrap());
    let noise = NoiseMultiplier::new(0.5).unwrap();
    let mut mechanism = Gaussian::new(noise, 4.0, Key::from_seed(8), t).unwrap();
    mechanism.release(sum_of(parameters, &gradient, &flat)).unwrap().0
}

fn distance(ours: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(ours.len(), reference.len());
    ours.iter().zip(reference).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

type Made = fn(&Parameters, u32) -> Release;

#[test]
fn releases_say_how_noisy_they_are() {
    let parameters = parameters(DType::F32);
    assert_eq!((plain(&parameters, 0).deviation(), noisy(&parameters, 0).deviation()), (0.0, 5.0));
}

#[test]
fn steps_are_those_of_the_formula() {
    for (name, config) in table() {
        for (release, s) in [(plain as Made, 0.0), (noisy as Made, 5.0)] {
            // 20 steps of a few roundings each, of parameters and velocities below 100. Taking 25 off a mean square of which a fifth
            // is left at least multiplies the roundings in it by six; 1 - 0.999 has lost three digits.
            for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-4)] {
                let parameters = parameters(dtype);
                let mut ours = config.build(STEPS).unwrap();
                let mut reference = Reference::new(config, s, values(&parameters));
                for t in 0..STEPS {
                    let seen: Vec<f64> = release(&parameters, t).into_gradient().iter().flat_map(flat).collect();
                    ours.step(&parameters, release(&parameters, t)).unwrap();
                    reference.step(&seen);
                }
                let far = distance(&values(&parameters), &reference.w);
                assert!(far < tolerance, "{name} in {dtype:?} with noise {s}: {far}");
                for _ in 0..2 {
                    ours.finish(&parameters).unwrap();
                    let far = distance(&values(&parameters), reference.end());
                    assert!(far < tolerance, "the end of {name} in {dtype:?} with noise {s}: {far}");
                }
            }
        }
    }
}

/// What an optimiser remembers, as a checkpoint holds it.
fn kept(optimizer: &dyn Optimizer) -> HashMap<String, Tensor> {
    optimizer.state().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect()
}

fn restore(optimizer: &mut dyn Optimizer, parameters: &Parameters, state: &HashMap<String, Tensor>) -> Result<()> {
    let missing = |name: &str| Error::value(name, "nothing", "a tensor");
    optimizer.restore(parameters, &|name| state.get(name).cloned().ok_or_else(|| missing(name)))
}

#[test]
fn a_restored_optimiser_goes_on_to_the_same_bits() {
    for (name, config) in table() {
        for stop in [1, 7] {
            let (whole, parts) = (parameters(DType::F32), parameters(DType::F32));
            let (mut one, mut before) = (config.build(STEPS).unwrap(), config.build(STEPS).unwrap());
            for t in 0..stop {
                one.step(&whole, noisy(&whole, t)).unwrap();
                before.step(&parts, noisy(&parts, t)).unwrap();
            }
            let state = kept(before.as_ref());
            let untouched: HashMap<_, _> = state.iter().map(|(name, tensor)| (name, flat(tensor))).collect();
            let mut after = config.build(STEPS).unwrap();
            restore(after.as_mut(), &parts, &state).unwrap();
            for t in stop..STEPS {
                one.step(&whole, noisy(&whole, t)).unwrap();
                after.step(&parts, noisy(&parts, t)).unwrap();
                assert!(values(&whole) == values(&parts), "{name}, stopped after {stop}: other bits at step {t}");
            }
            one.finish(&whole).unwrap();
            after.finish(&parts).unwrap();
            assert!(values(&whole) == values(&parts), "{name}, stopped after {stop}: another end");
            assert!(state.iter().all(|(name, tensor)| flat(tensor) == untouched[name]), "{name} changed its state");
        }
    }
}

#[test]
fn a_state_that_is_not_the_optimisers_is_refused() {
    let parameters = parameters(DType::F32);
    for (name, config) in table() {
        let mut optimizer = config.build(STEPS).unwrap();
        optimizer.step(&parameters, noisy(&parameters, 0)).unwrap();
        let state = kept(optimizer.as_ref());
        for key in state.keys() {
            let with = |tensor: Option<Tensor>| {
                let mut other = state.clone();
                other.remove(key);
                other.extend(tensor.map(|tensor| (key.clone(), tensor)));
                restore(config.build(STEPS).unwrap().as_mut(), &parameters, &other)
            };
            let tensor = &state[key];
            assert!(with(Some(tensor.clone())).is_ok(), "{name}");
            assert!(with(None).is_err(), "{name} without {key}");
            let another = if tensor.dtype() == DType::F64 { DType::F32 } else { DType::F64 };
            assert!(with(Some(tensor.to_dtype(another).unwrap())).is_err(), "{name}: {key} of another type");
            assert!(with(Some(tensor.unsqueeze(0).unwrap())).is_err(), "{name}: {key} of another shape");
        }
    }
}

#[test]
fn a_release_for_other_parameters_is_refused_and_moves_nothing() {
    let of = |shapes: &[(&str, usize)], dtype| {
        let parameters = Parameters::new(Key::from_seed(3), dtype, &Device::Cpu);
        for (name, size) in shapes {
            parameters.var_builder().get(*size, name).unwrap();
        }
        parameters
    };
    let own = of(&[("a", 4), ("b", 2)], DType::F32);
    let (others, before) = ([("a", 4), ("b", 3)], values(&own));
    for (name, config) in table() {
        let mut optimizer = config.build(STEPS).unwrap();
        for other in [of(&others, DType::F32), of(&others[..1], DType::F32), of(&[("a", 4), ("b", 2)], DType::F64)] {
            let refusal = optimizer.step(&own, plain(&other, 0)).unwrap_err().to_string();
            assert!(refusal.contains("release"), "{name}: {refusal}");
            assert_eq!(values(&own), before, "{name}");
        }
        assert!(optimizer.step(&own, plain(&own, 0)).is_ok(), "{name}");
        own.iter().for_each(|(_, var)| var.set(&var.zeros_like().unwrap()).unwrap());
    }
}

/// Parameters stepped along pure noise of deviation s, without momentum: what the last step divided the gradient by, squared,
/// on average over all elements, as a share of s^2.
fn mean_square_divided_by(bias_correction: BiasCorrection) -> f64 {
    let parameters = Parameters::new(Key::from_seed(3), DType::F64, &Device::Cpu);
    parameters.var_builder().get(500, "w").unwrap();
    let learning_rate = 1e-3;
    let adam = AdamConfig { learning_rate, beta1: 0.0, bias_correction, ..AdamConfig::default() };
    let mut adam = OptimizerConfig::from(Rule::Adam(adam)).build(2000).unwrap();
    let noise = |t: u32| {
        let clip = Flat::new(ClipNorm::new(0.5).unwrap());
        let none = std::iter::empty::<Result<Written>>();
        let noise = NoiseMultiplier::new(3.0).unwrap();
        let mut mechanism = Gaussian::new(noise, 15.0, Key::from_seed(4), t).unwrap();
        mechanism.release(ClippedSum::new(&parameters, &clip, none).unwrap()).unwrap().0
    };
    let s = noise(0).deviation();
    assert!((s - 0.1).abs() < 1e-15);
    for t in 0..1999 {
        adam.step(&parameters, noise(t)).unwrap();
    }
    let before = values(&parameters);
    adam.step(&parameters, noise(1999)).unwrap();
    let gradient: Vec<f64> = noise(1999).into_gradient().iter().flat_map(flat).collect();
    let moved = before.iter().zip(values(&parameters)).map(|(before, after)| before - after);
    let squares: f64 = gradient.iter().zip(moved).map(|(g, moved)| (learning_rate * g / moved).powi(2)).sum();
    squares / (500.0 * s * s)
}

/// After 2,000 steps the mean square of an element is s^2 with a deviation of 0.036 s^2, a sum of many squares and nearly normal.
/// A floor of 0.25 s^2 is 6.9 deviations above what is left of it: one of 500 elements exceeds it with a chance below 1e-6.
/// The control is the mean of 500: within 1 % of s^2 but with a chance below 1e-9.
#[test]
fn under_pure_noise_the_corrected_mean_square_is_the_floor() {
    let scaled = mean_square_divided_by(BiasCorrection::Scaled);
    assert!((scaled - 0.25).abs() < 1e-6, "{scaled}");
    let floor = mean_square_divided_by(BiasCorrection::Floor(0.004));
    assert!((floor - 0.4).abs() < 1e-6, "{floor}");
    let control = mean_square_divided_by(BiasCorrection::Off);
    assert!((control - 1.0).abs() < 0.01, "without correction: {control}");
}

#[test]
fn numbers_outside_their_range_are_refused_by_name() {
    let sgd = SgdConfig::default();
    let adam = AdamConfig::default();
    let plain = OptimizerConfig::from(Rule::Sgd(sgd));
    let rules = [
        ("learning rate", Rule::Sgd(SgdConfig { learning_rate: 0.0, ..sgd })),
        ("learning rate", Rule::Adam(AdamConfig { learning_rate: f64::INFINITY, ..adam })),
        ("momentum", Rule::Sgd(SgdConfig { momentum: 1.0, ..sgd })),
        ("momentum", Rule::Sgd(SgdConfig { nesterov: true, ..sgd })),
        ("weight decay", Rule::Sgd(SgdConfig { weight_decay: -1.0, ..sgd })),
        ("weight decay", Rule::AdamW(AdamConfig { weight_decay: f64::NAN, ..adam })),
        ("beta1", Rule::Adam(AdamConfig { beta1: 1.0, ..adam })),
        ("beta2", Rule::Adam(AdamConfig { beta2: -0.1, ..adam })),
        ("adam epsilon", Rule::Adam(AdamConfig { epsilon: 0.0, ..adam })),
        ("bias floor", Rule::Adam(AdamConfig { bias_correction: BiasCorrection::Floor(0.0), ..adam })),
    ];
    let warmup = Schedule { warmup: STEPS, shape: Shape::Constant };
    let cosine = Schedule { warmup: 0, shape: Shape::Cosine { to: 2.0 } };
    let others = [
        ("ema", OptimizerConfig { ema: Some(EmaConfig { decay: 1.0, warmup: true }), ..plain }),
        ("warmup steps", OptimizerConfig { schedule: warmup, ..plain }),
        ("final fraction", OptimizerConfig { schedule: cosine, ..plain }),
    ];
    let rules = rules.into_iter().map(|(name, rule)| (name, OptimizerConfig::from(rule)));
    for (name, config) in rules.chain(others) {
        let refusal = config.build(STEPS).err().expect(name).to_string();
        assert!(refusal.contains(name), "{name}: {refusal}");
    }
}

#[test]
fn a_configuration_is_the_same_after_json() {
    for (name, config) in table() {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerConfig>(&text).unwrap(), config, "{name}: {text}");
    }
    let text = serde_json::to_string(&table()[0].1).unwrap();
    assert!(serde_json::from_str::<OptimizerConfig>(&text.replace("nesterov", "nestorov")).is_err(), "{text}");
}

/// A run of six steps from a checkpoint after `stop` of them that another optimiser may have written: the parameters it ends with.
fn resumed(first: OptimizerConfig, stop: u32, second: OptimizerConfig) -> Result<Vec<f64>> {
    let (data, _) = dpsgd::data::embedded::optdigits()?;
    let draft =
        Draft { accountant: "rdp".into(), ..Draft::new(data.len(), 64, 6, ClipNorm::new(1.0)?, Delta::new(1e-5)?) };
    let (plan, key, run) = (draft.with_noise(NoiseMultiplier::new(2.0)?)?, Key::from_seed(1), Run::default());
    let made = || {
        let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
        let model = Architecture::Logistic.build(data.shape(), data.classes().len(), parameters.var_builder());
        (parameters, model.unwrap())
    };
    let ((a, of_a), (b, of_b)) = (made(), made());
    let mut before = Trainer::new(&plan, &run, &key, &data, &of_a, &a, first.build(6)?)?;
    if stop > 0 {
        before.train(|now| Ok(if now.step == stop { Wish::Stop } else { Wish::Continue }))?;
    }
    let checkpoint = before.checkpoint(&())?;
    let mut after = Trainer::new(&plan, &run, &key, &data, &of_b, &b, second.build(6)?)?;
    let untouched = values(&b);
    if let Err(refusal) = after.resume(&checkpoint) {
        assert!(values(&b) == untouched && after.step() == 0 && after.ledger().is_empty(), "{refusal}");
        return Err(refusal);
    }
    after.train(|_| Ok(Wish::Continue))?;
    Ok(values(&b))
}

#[test]
fn a_run_goes_on_from_every_checkpoint_of_its_own_optimiser_and_of_no_other() {
    let table: HashMap<_, _> = table().into_iter().collect();
    let names = ["sgd", "sgd, momentum", "sgd, linear", "adam", "sgd, average", "adam, cosine, average"];
    for (name, config) in names.iter().map(|name| (name, table[name])) {
        let whole = resumed(config, 0, config).unwrap();
        for stop in [1, 3, 6] {
            assert!(resumed(config, stop, config).unwrap() == whole, "{name} stopped after {stop}");
        }
        for other in names.iter().filter(|other| *other != name) {
            let refusal = resumed(config, 3, table[other]).err().map(|error| error.to_string());
            assert!(refusal.as_ref().is_some_and(|text| text.contains("optimi")), "{name} by {other}: {refusal:?}");
        }
    }
}
