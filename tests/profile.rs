//! The profile of a process: a test binary of its own, because it counts what every thread of it does.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use dpsgd::clip::{ClipNorm, ClippedSum, Flat};
use dpsgd::grad::{Engine, Recorded};
use dpsgd::model::Classifier;
use dpsgd::nn::{Activation, Parameters, Sequential, linear};
use dpsgd::profile::{self, Part};
use dpsgd::seed::Key;
use std::time::{Duration, Instant};

#[test]
fn products_are_counted_and_nothing_is_counted_twice() {
    let (batch, ins, hidden, classes) = (50, 30, 20, 4);
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let vb = parameters.var_builder();
    let network = Sequential::new().add(linear(ins, hidden, vb.pp("a")).unwrap()).add(Activation::Tanh);
    let model = Classifier::new(network.add(linear(hidden, classes, vb.pp("b")).unwrap()));
    let xs = Tensor::rand(0.0_f32, 1.0, (batch, ins), &Device::Cpu).unwrap();
    let ys = Tensor::zeros(batch, DType::U32, &Device::Cpu).unwrap();
    let step = || {
        let gradients = Recorded::new(&model, &parameters, &xs, &ys, Engine::default());
        ClippedSum::new(&parameters, &Flat::new(ClipNorm::new(1.0).unwrap()), std::iter::once(gradients)).unwrap()
    };
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (profile, elapsed) = one_thread.install(|| {
        let start = Instant::now();
        profile::start();
        step();
        (profile::stop(), start.elapsed())
    });
    assert!(profile.total() > Duration::ZERO && profile.total() <= elapsed, "{profile:?} in {elapsed:?}");
    for part in [Part::Products, Part::Activations, Part::CrossEntropy, Part::Norms, Part::Sums, Part::Graph] {
        assert!(profile.time(part) > Duration::ZERO, "{part:?} in {profile:?}");
    }
    assert_eq!(profile.time(Part::Pooling), Duration::ZERO);
    // Two forward products, one for the hidden layer's cotangents, and the sum of the first weight in blocks.
    let expected = 2 * batch * (ins * hidden + hidden * classes + classes * hidden + ins * hidden);
    assert_eq!(profile.operations(), [expected as u64, 0]);
    one_thread.install(step);
    assert_eq!(profile::stop(), profile, "counted after the stop");
}
