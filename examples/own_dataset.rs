//! Records of one's own: anything that can be written as numbers in a row, scaled by what is public.
//!
//! `cargo run --release --example own_dataset`

use candle_core::{DType, Device};
use dpsgd::clip::ClipNorm;
use dpsgd::data::Dataset;
use dpsgd::dp_accountant::{Delta, Epsilon};
use dpsgd::evaluate::accuracy;
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::Draft;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};

/// What some sensor might send: two positions in millimetres, from -1000 to 1000 by its data sheet.
struct Reading {
    x: f32,
    y: f32,
    inside: bool,
}

/// Readings in a spiral from the centre to the rim; the inner half is one class, the outer half the other.
fn readings(count: usize, phase: f32) -> Vec<Reading> {
    let reading = |i: usize| {
        let (radius, angle) = (1000.0 * i as f32 / count as f32, phase + 2.4 * i as f32);
        Reading { x: radius * angle.cos(), y: radius * angle.sin(), inside: radius < 500.0 }
    };
    (0..count).map(reading).collect()
}

/// Scaled by the data sheet and not by the readings: a maximum of the data would be private. The squares let a small network see
/// distances.
fn dataset(name: &str, readings: &[Reading]) -> dpsgd::Result<Dataset> {
    let features = |reading: &Reading| {
        let (x, y) = (reading.x / 1000.0, reading.y / 1000.0);
        [x, y, x * x, y * y]
    };
    let labels = readings.iter().map(|reading| u32::from(reading.inside)).collect();
    let classes = vec!["outside".into(), "inside".into()];
    Dataset::from_dense(name, &[4], readings.iter().flat_map(features).collect(), classes, labels)
}

pub(crate) fn main() -> dpsgd::Result<()> {
    let (train, test) = (dataset("spiral", &readings(4000, 0.0))?, dataset("spiral-test", &readings(1000, 1.0))?);
    // A run whose guarantee is to hold takes Key::from_os(): a seed in a source file is no secret.
    let key = Key::from_seed(1);
    let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    let model = Architecture::Mlp.build(train.shape(), train.classes().len(), parameters.var_builder())?;

    let draft = Draft::new(train.len(), 1000, 80, ClipNorm::new(1.0)?, Delta::new(1e-5)?);
    let plan = draft.calibrated(Epsilon::new(1.0)?)?;
    let sgd = Sgd::new(SgdConfig { learning_rate: 0.5, momentum: 0.9, ..SgdConfig::default() })?;
    let run = Run::default();
    let mut trainer = Trainer::new(&plan, &run, &key, &train, &model, &parameters, Box::new(sgd))?;
    trainer.train(|_| Ok(Wish::Continue))?;

    let spent = plan.epsilon(&trainer.ledger().event())?.upper();
    let accuracy = accuracy(&model, &test, &parameters, run.physical_batch)?;
    println!("{} readings: {:.1} % of {} others at epsilon {spent:.3}", train.len(), 100.0 * accuracy, test.len());
    assert!(spent <= 1.0, "epsilon {spent}");
    assert!(accuracy > 0.9, "accuracy {accuracy}");
    Ok(())
}
