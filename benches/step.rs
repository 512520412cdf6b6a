//! What privacy costs: a DP step and the same model's step without clipping and noise, interleaved, one JSON line for each case.
//!
//! `cargo bench --bench step` runs every model; `-- mnist` those whose name contains it. Both steps go through the same
//! forward, backward and optimiser; the plain one sums the gradients without measuring them.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use dp_accountant::NoiseMultiplier;
use dpsgd::clip::{Clip, ClipNorm, ClippedSum, Flat, Unclipped};
use dpsgd::grad::{Engine, Recorded};
use dpsgd::model::{Classifier, Model};
use dpsgd::nn::{
    Activation, Conv2dConfig, Flatten, Last, MaxPool2d, Parameters, RecurrentConfig, Sequential, conv2d, embedding,
    linear, lstm,
};
use dpsgd::noise::{Gaussian, Mechanism, Noiseless};
use dpsgd::optim::{Optimizer, Sgd, SgdConfig};
use dpsgd::seed::Key;
use serde_json::json;
use std::time::{Duration, Instant};

/// A model of the published comparisons with the batches it is measured at.
struct Case {
    name: &'static str,
    shape: &'static [usize],
    classes: usize,
    batches: &'static [usize],
    network: fn(candle_nn::VarBuilder<'_>) -> candle_core::Result<Sequential>,
    /// The size of the vocabulary, where records are tokens.
    tokens: Option<u32>,
}

/// Both steps are repeated for so long, and at least so often.
const TIME: Duration = Duration::from_secs(6);
const LEAST: usize = 7;

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "mnist-cnn",
            shape: &[1, 28, 28],
            classes: 10,
            batches: &[64, 256, 1024],
            network: mnist_cnn,
            tokens: None,
        },
        Case { name: "cifar-cnn", shape: &[3, 32, 32], classes: 10, batches: &[256], network: cifar_cnn, tokens: None },
        Case { name: "mlp", shape: &[784], classes: 10, batches: &[256], network: mlp, tokens: None },
        Case {
            name: "lstm",
            shape: &[64],
            classes: 2,
            batches: &[64],
            network: lstm_classifier,
            tokens: Some(VOCABULARY),
        },
        Case {
            name: "logistic",
            shape: &[123],
            classes: 2,
            batches: &[512],
            network: |vb| Ok(Sequential::new().add(linear(123, 2, vb)?)),
            tokens: None,
        },
        Case {
            name: "wide-linear",
            shape: &[12_500],
            classes: 10,
            batches: &[512],
            network: |vb| Ok(Sequential::new().add(linear(12_500, 10, vb)?)),
            tokens: None,
        },
    ]
}

/// 16 filters 8 x 8, 32 filters 4 x 4, pooling of stride 1, tanh: 26,010 parameters (Papernot et al. 2021).
fn mnist_cnn(vb: candle_nn::VarBuilder<'_>) -> candle_core::Result<Sequential> {
    let stride = Conv2dConfig { stride: 2, ..Default::default() };
    let pool = MaxPool2d { kernel: (2, 2), stride: 1 };
    Ok(Sequential::new()
        .add(conv2d(1, 16, 8, Conv2dConfig { padding: 2.into(), ..stride }, vb.pp("conv1"))?)
        .add(Activation::Tanh)
        .add(pool)
        .add(conv2d(16, 32, 4, stride, vb.pp("conv2"))?)
        .add(Activation::Tanh)
        .add(pool)
        .add(Flatten)
        .add(linear(512, 32, vb.pp("hidden"))?)
        .add(Activation::Tanh)
        .add(linear(32, 10, vb.pp("output"))?))
}

/// Six 3 x 3 convolutions with pooling after every second one, tanh: 550,570 parameters (Papernot et al. 2021).
fn cifar_cnn(vb: candle_nn::VarBuilder<'_>) -> candle_core::Result<Sequential> {
    let same = Conv2dConfig { padding: 1.into(), ..Default::default() };
    let mut network = Sequential::new();
    let mut ins = 3;
    for (i, outs) in [32, 32, 64, 64, 128, 128].into_iter().enumerate() {
        network = network.add(conv2d(ins, outs, 3, same, vb.pp(format!("conv{i}")))?).add(Activation::Tanh);
        if i % 2 == 1 {
            network = network.add(MaxPool2d { kernel: (2, 2), stride: 2 });
        }
        ins = outs;
    }
    network = network.add(Flatten).add(linear(128 * 16, 128, vb.pp("hidden"))?).add(Activation::Tanh);
    Ok(network.add(linear(128, 10, vb.pp("output"))?))
}

fn mlp(vb: candle_nn::VarBuilder<'_>) -> candle_core::Result<Sequential> {
    Ok(Sequential::new()
        .add(linear(784, 1000, vb.pp("first"))?)
        .add(Activation::Relu)
        .add(linear(1000, 1000, vb.pp("second"))?)
        .add(Activation::Relu)
        .add(linear(1000, 10, vb.pp("output"))?))
}

/// An embedding of 64, an LSTM of 128 whose last state is classified: a text classifier over 5,000 words.
fn lstm_classifier(vb: candle_nn::VarBuilder<'_>) -> candle_core::Result<Sequential> {
    Ok(Sequential::new()
        .add(embedding(VOCABULARY as usize, 64, vb.pp("embedding"))?)
        .add(lstm(64, 128, RecurrentConfig::default(), vb.pp("lstm"))?)
        .add(Last)
        .add(linear(128, 2, vb.pp("output"))?))
}

const VOCABULARY: u32 = 5000;

/// One model on the way, with its optimiser and mechanism.
struct Training<'a> {
    model: &'a dyn Model,
    parameters: &'a Parameters,
    clip: Box<dyn Clip>,
    mechanism: Box<dyn Mechanism>,
    optimizer: Sgd,
}

impl Training<'_> {
    /// One step, in milliseconds.
    fn step(&mut self, xs: &Tensor, ys: &Tensor) -> f64 {
        let start = Instant::now();
        let gradients = Recorded::new(self.model, self.parameters, xs, ys, Engine::default());
        let sum = ClippedSum::new(self.parameters, self.clip.as_ref(), std::iter::once(gradients)).unwrap();
        let (release, _) = self.mechanism.release(sum).unwrap();
        self.optimizer.step(self.parameters, release).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    }
}

fn measure(case: &Case, batch: usize) {
    let key = Key::from_seed(1);
    let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    let model = Classifier::new((case.network)(parameters.var_builder()).unwrap());
    let full: Vec<usize> = std::iter::once(batch).chain(case.shape.iter().copied()).collect();
    let xs = match case.tokens {
        None => Tensor::rand(0.0_f32, 1.0, full, &Device::Cpu),
        Some(size) => Tensor::rand(0.0_f32, size as f32, full, &Device::Cpu).and_then(|xs| xs.to_dtype(DType::U32)),
    };
    let xs = xs.unwrap();
    let ys: Vec<u32> = (0..batch).map(|i| (i % case.classes) as u32).collect();
    let ys = Tensor::from_vec(ys, batch, &Device::Cpu).unwrap();
    let training = |clip: Box<dyn Clip>, mechanism: Box<dyn Mechanism>| Training {
        model: &model,
        parameters: &parameters,
        clip,
        mechanism,
        optimizer: Sgd::new(SgdConfig { learning_rate: 1e-3, momentum: 0.0 }).unwrap(),
    };
    let noise = Gaussian::new(NoiseMultiplier::new(1.0).unwrap(), batch as f64, key, 0).unwrap();
    let mut private = training(Box::new(Flat::new(ClipNorm::new(0.1).unwrap())), Box::new(noise));
    let mut plain = training(Box::new(Unclipped), Box::new(Noiseless::new(batch as f64).unwrap()));
    private.step(&xs, &ys);
    plain.step(&xs, &ys);
    let (start, mut dp, mut twin) = (Instant::now(), Vec::new(), Vec::new());
    while dp.len() < LEAST || start.elapsed() < TIME {
        dp.push(private.step(&xs, &ys));
        twin.push(plain.step(&xs, &ys));
    }
    // Side by side in time, so that what else the machine does enters both.
    let ratios = dp.iter().zip(&twin).map(|(dp, twin)| dp / twin).collect();
    let (dp, twin) = (median(dp), median(twin));
    println!(
        "{}",
        json!({"bench": "step", "model": case.name, "batch": batch, "threads": rayon::current_num_threads(),
               "parameters": parameters.elements(), "dp_ms": dp, "plain_ms": twin, "ratio": median(ratios),
               "dp_examples_per_second": batch as f64 / dp * 1e3, "plain_examples_per_second": batch as f64 / twin * 1e3})
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    dpsgd::keep_freed_memory();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for case in cases() {
        if wanted.is_empty() || wanted.iter().any(|name| case.name.contains(name.as_str())) {
            for batch in case.batches {
                rayon::scope(|_| measure(&case, *batch));
            }
        }
    }
}
