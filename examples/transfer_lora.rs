//! A base from public records, low-rank adapters from private ones: only the adapters see private data, and only they get noise.
//!
//! The public records are half of the digits as they are; the private ones are the other half, mirrored, so that the base alone
//! does badly on them. `cargo run --release --example transfer_lora`

use candle_core::{DType, Device};
use dpsgd::clip::ClipNorm;
use dpsgd::data::{Dataset, embedded::optdigits};
use dpsgd::dp_accountant::{Delta, Epsilon, NoiseMultiplier};
use dpsgd::evaluate::accuracy;
use dpsgd::model::Classifier;
use dpsgd::nn::{Activation, Flatten, Parameters, Sequential, linear, lora_linear};
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::Draft;
use dpsgd::report::model_file;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};

/// Some rows of the digits, mirrored if asked for.
fn part(data: &Dataset, rows: std::ops::Range<usize>, mirrored: bool) -> dpsgd::Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    data.gather(&rows.collect::<Vec<_>>(), &mut pixels, &mut labels)?;
    if mirrored {
        pixels.chunks_mut(8).for_each(<[f32]>::reverse);
    }
    Dataset::from_dense(data.name(), data.shape(), pixels, data.classes().to_vec(), labels)
}

fn draft(data: &Dataset, steps: u32) -> dpsgd::Result<Draft> {
    Ok(Draft::new(data.len(), data.len() / 4, steps, ClipNorm::new(1.0)?, Delta::new(1e-5)?))
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = optdigits()?;
    let half = train.len() / 2;
    let (public, private) = (part(&train, 0..half, false)?, part(&train, half..train.len(), true)?);
    let test = part(&test, 0..test.len(), true)?;
    // A run whose guarantee is to hold takes Key::from_os(): a seed in a source file is no secret.
    let (key, run) = (Key::from_seed(1), Run::default());
    let sgd = |learning_rate| Sgd::new(SgdConfig { learning_rate, momentum: 0.9, ..SgdConfig::default() });

    // The base, without privacy: public records need none. It goes through a file, as one from elsewhere would.
    let directory = std::env::temp_dir().join(format!("dpsgd-transfer-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("base.safetensors");
    let of_base = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    let vb = of_base.var_builder();
    let (hidden, output) = (linear(64, 64, vb.pp("hidden"))?, linear(64, 10, vb.pp("output"))?);
    let base = Classifier::new(Sequential::new().add(Flatten).add(hidden).add(Activation::Tanh).add(output));
    let plan = draft(&public, 100)?.with_noise(NoiseMultiplier::new(1.0)?)?;
    let trainer = Trainer::new(&plan, &run, &key, &public, &base, &of_base, Box::new(sgd(0.2)?))?;
    trainer.without_privacy().train(|_| Ok(Wish::Continue))?;
    std::fs::write(&file, model_file(&of_base)?.0)?;

    // The same layers, loaded by name and frozen, with an adapter of rank 8 beside each.
    let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    parameters.freeze("hidden");
    parameters.freeze("output");
    let vb = parameters.var_builder();
    let (hidden, output) = (linear(64, 64, vb.pp("hidden"))?, linear(64, 10, vb.pp("output"))?);
    parameters.load(&candle_core::safetensors::load(&file, &Device::Cpu)?, &file)?;
    std::fs::remove_dir_all(&directory)?;
    let hidden = lora_linear(hidden, 8, 8.0, vb.pp("adapters.hidden"))?;
    let output = lora_linear(output, 8, 8.0, vb.pp("adapters.output"))?;
    let model = Classifier::new(Sequential::new().add(Flatten).add(hidden).add(Activation::Tanh).add(output));
    let before = accuracy(&model, &test, &parameters, run.physical_batch)?;

    let plan = draft(&private, 100)?.calibrated(Epsilon::new(3.0)?)?;
    let mut trainer = Trainer::new(&plan, &run, &key, &private, &model, &parameters, Box::new(sgd(0.2)?))?;
    trainer.train(|_| Ok(Wish::Continue))?;
    let spent = plan.epsilon(&trainer.ledger().event())?.upper();
    let after = accuracy(&model, &test, &parameters, run.physical_batch)?;
    println!(
        "mirrored digits: {:.1} % with the base, {:.1} % with adapters of epsilon {spent:.3}",
        100.0 * before,
        100.0 * after
    );
    assert!(spent <= 3.0, "epsilon {spent}");
    assert!(after > 0.75 && after > before + 0.2, "accuracy {before} before and {after} after");
    Ok(())
}
