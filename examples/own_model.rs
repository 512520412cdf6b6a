//! A network of one's own: the crate's layers wherever there are parameters, candle's operations everywhere between them.
//!
//! `cargo run --release --example own_model`

use candle_core::{DType, Device, Tensor};
use dpsgd::clip::ClipNorm;
use dpsgd::data::embedded::optdigits;
use dpsgd::dp_accountant::{Delta, Epsilon};
use dpsgd::evaluate::accuracy;
use dpsgd::grad::Tape;
use dpsgd::model::Classifier;
use dpsgd::nn::{Conv2d, Conv2dConfig, Layer, Linear, Parameters, conv2d, linear};
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::Draft;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};

/// Sixteen filters, half of which say how much of the other half gets through, and a linear layer.
struct Gated {
    filters: Conv2d,
    output: Linear,
}

impl Layer for Gated {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        let ys = self.filters.forward(&xs.unsqueeze(1)?, tape)?;
        let (values, gates) = (ys.narrow(1, 0, 8)?.tanh()?, candle_nn::ops::sigmoid(&ys.narrow(1, 8, 8)?)?);
        self.output.forward(&(values * gates)?.flatten_from(1)?, tape)
    }
}

pub(crate) fn main() -> dpsgd::Result<()> {
    let (train, test) = optdigits()?;
    // A run whose guarantee is to hold takes Key::from_os(): a seed in a source file is no secret.
    let key = Key::from_seed(1);
    let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    let vb = parameters.var_builder();
    let config = Conv2dConfig { padding: 1.into(), stride: 2, ..Conv2dConfig::default() };
    let filters = conv2d(1, 16, 3, config, vb.pp("filters"))?;
    let model = Classifier::new(Gated { filters, output: linear(8 * 4 * 4, 10, vb.pp("output"))? });

    let draft = Draft::new(train.len(), 956, 60, ClipNorm::new(1.0)?, Delta::new(1e-5)?);
    let plan = draft.calibrated(Epsilon::new(2.0)?)?;
    let sgd = Sgd::new(SgdConfig { learning_rate: 0.5, momentum: 0.9, ..SgdConfig::default() })?;
    let run = Run::default();
    let mut trainer = Trainer::new(&plan, &run, &key, &train, &model, &parameters, Box::new(sgd))?;
    trainer.train(|_| Ok(Wish::Continue))?;

    let spent = plan.epsilon(&trainer.ledger().event())?.upper();
    let accuracy = accuracy(&model, &test, &parameters, run.physical_batch)?;
    println!("a gated convolution: {:.1} % of the test digits at epsilon {spent:.3}", 100.0 * accuracy);
    assert!(spent <= 2.0, "epsilon {spent}");
    assert!(accuracy > 0.8, "accuracy {accuracy}");
    Ok(())
}
