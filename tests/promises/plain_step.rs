//! Law 2: without noise and without clipping, one step equals candle's own SGD step.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::Optimizer as _;
use dp_accountant::{Event, SamplingRate};
use dpsgd::clip::{ClippedSum, Unclipped};
use dpsgd::grad::{Engine, Recorded};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::noise::{Mechanism, Noiseless};
use dpsgd::optim::{Optimizer, Sgd, SgdConfig};
use dpsgd::sample::{Poisson, Sampling};
use dpsgd::seed::Key;

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_step_without_noise_and_clip_is_candles_own() {
    let records = 12;
    let device = Device::Cpu;
    let parameters = Parameters::new(Key::from_seed(1), DType::F64, &device);
    let model = Architecture::Mlp.build(&[5], 3, parameters.var_builder()).unwrap();
    let xs = Tensor::rand(-1f64, 1.0, (records, 5), &device).unwrap();
    let ys = Tensor::from_vec((0..records as u32).map(|i| i % 3).collect(), records, &device).unwrap();

    // Candle's twin: the same initial values, candle-nn's layers, loss and optimiser.
    let start: Vec<(String, Var)> = parameters
        .iter()
        .map(|(name, var)| (name, Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap()))
        .collect();
    let twin = |name: &str| start.iter().find(|(known, _)| known == name).unwrap().1.as_tensor().clone();
    let layer =
        |name: &str| candle_nn::Linear::new(twin(&format!("{name}.weight")), Some(twin(&format!("{name}.bias"))));
    let learning_rate = 0.3;
    let mut candle = candle_nn::SGD::new(start.iter().map(|(_, var)| var.clone()).collect(), learning_rate).unwrap();

    let mut ours = Sgd::new(SgdConfig { learning_rate, ..SgdConfig::default() }).unwrap();
    let mut sampler = Poisson::new(records, SamplingRate::new(1.0).unwrap(), Key::from_seed(2), 0);
    let mut mechanism = Noiseless::new(records as f64).unwrap();
    for _ in 0..3 {
        let hidden = candle_nn::Module::forward(&layer("hidden"), &xs).unwrap().tanh().unwrap();
        let logits = candle_nn::Module::forward(&layer("output"), &hidden).unwrap();
        candle.backward_step(&candle_nn::loss::cross_entropy(&logits, &ys).unwrap()).unwrap();

        let batch = sampler.next_batch();
        let micro = std::num::NonZeroUsize::new(5).unwrap();
        let gradients = batch.micro_batches(micro).map(|rows| {
            let rows = Tensor::from_vec(rows.iter().map(|i| *i as u32).collect::<Vec<_>>(), rows.len(), &device)?;
            let (xs, ys) = (xs.index_select(&rows, 0)?, ys.index_select(&rows, 0)?);
            Recorded::new(&model, &parameters, &xs, &ys, Engine::default())
        });
        let sum = ClippedSum::new(&parameters, &Unclipped, gradients).unwrap();
        let (release, event) = mechanism.release(sum).unwrap();
        assert!(matches!(event, Event::NonPrivate { .. }));
        ours.step(&parameters, release).unwrap();
    }
    for (name, var) in parameters.iter() {
        for (ours, candles) in values(var.as_tensor()).iter().zip(values(&twin(&name))) {
            assert!((ours - candles).abs() < 1e-12, "{name}: {ours} and not {candles}");
        }
    }
    let moved = values(&twin("output.weight"));
    assert!(moved.iter().all(|x| x.is_finite()) && xs.dim(D::Minus1).unwrap() == 5);
}

#[test]
fn a_sum_that_nothing_bounds_gets_no_private_release() {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    parameters.var_builder().get(3, "w").unwrap();
    let none = std::iter::empty::<dpsgd::Result<dpsgd::grad::Written>>();
    let sum = ClippedSum::new(&parameters, &Unclipped, none).unwrap();
    let noise = dp_accountant::NoiseMultiplier::new(1.0).unwrap();
    let mut mechanism = dpsgd::noise::Gaussian::new(noise, 1.0, Key::from_seed(1), 0).unwrap();
    let refusal = mechanism.release(sum).unwrap_err();
    assert!(refusal.is_refusal() && refusal.to_string().contains("inf"), "{refusal}");
}
