//! Frozen parameters take part in everything but training.

use candle_core::{DType, Device, Tensor};
use dp_accountant::{Delta, NoiseMultiplier};
use dpsgd::Error;
use dpsgd::checkpoint::Checkpoint;
use dpsgd::clip::ClipNorm;
use dpsgd::data::Dataset;
use dpsgd::grad::{Engine, PerExample, Recorded, Weights};
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Flatten, Parameters, Sequential, linear};
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::{Draft, Plan};
use dpsgd::report::model_file;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};
use std::collections::{BTreeMap, BTreeSet};

fn plan() -> Plan {
    let draft = Draft::new(40, 10, 4, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap());
    draft.with_noise(NoiseMultiplier::new(2.0).unwrap()).unwrap()
}

fn data() -> Dataset {
    let features = (0..40 * 36).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
    let labels = (0..40).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[6, 6], features, vec!["a".into(), "b".into()], labels).unwrap()
}

/// A network with two layers in which `early` is frozen before it is built and `late` afterwards.
fn built(early: &[&str], late: &[&str]) -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
    early.iter().for_each(|path| parameters.freeze(path));
    let model = Architecture::Mlp.build(&[6, 6], 2, parameters.var_builder()).unwrap();
    late.iter().for_each(|path| parameters.freeze(path));
    (parameters, model)
}

fn values(parameters: &Parameters) -> BTreeMap<String, Vec<f32>> {
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    parameters.tensors().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

/// The parts of the architecture: everything before a name's first dot.
fn parts() -> Vec<String> {
    let (parameters, _) = built(&[], &[]);
    let mut parts: Vec<String> =
        parameters.iter().filter_map(|(name, _)| Some(name.split_once('.')?.0.into())).collect();
    parts.dedup();
    assert!(parts.len() >= 2, "{parts:?}");
    parts
}

/// Trains to the end of the plan, or goes on to it from a checkpoint; then everything by name, and the checkpoint's file.
fn train(
    (parameters, model): &(Parameters, Classifier<Sequential>),
    from: Option<&Checkpoint>,
    stop: u32,
) -> dpsgd::Result<(BTreeMap<String, Vec<f32>>, tempfile::TempDir)> {
    let (plan, run, key, data) = (plan(), Run::default(), Key::from_seed(9), data());
    let sgd = Sgd::new(SgdConfig { learning_rate: 0.2, momentum: 0.9, ..SgdConfig::default() })?;
    let mut trainer = Trainer::new(&plan, &run, &key, &data, model, parameters, Box::new(sgd))?;
    if let Some(checkpoint) = from {
        trainer.resume(checkpoint)?;
    }
    trainer.train(|progress| Ok(if progress.step == stop { Wish::Stop } else { Wish::Continue }))?;
    let directory = tempfile::tempdir().unwrap();
    trainer.checkpoint(&())?.write(&directory.path().join("checkpoint"))?;
    Ok((values(parameters), directory))
}

#[test]
fn training_moves_what_is_not_frozen_and_the_model_file_holds_all() {
    for part in parts() {
        let before = values(&built(&[], &[]).0);
        let runs = [built(&[&part], &[]), built(&[], &[&part])].map(|network| {
            let (after, _) = train(&network, None, 4).unwrap();
            for (name, values) in &after {
                let frozen = name.starts_with(&format!("{part}."));
                assert_eq!(values == &before[name], frozen, "{name} with {part} frozen");
            }
            let (file, _) = model_file(&network.0).unwrap();
            let saved = candle_core::safetensors::load_buffer(&file, &Device::Cpu).unwrap();
            assert_eq!(saved.keys().collect::<BTreeSet<_>>(), after.keys().collect());
            after
        });
        assert_eq!(runs[0], runs[1], "freezing before and after the model is built trains the same");
    }
}

#[test]
fn a_frozen_parameter_is_in_no_gradient() {
    let part = &parts()[0];
    let xs = Tensor::ones((3, 6, 6), DType::F32, &Device::Cpu).unwrap();
    let ys = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
    let norms = |(parameters, model): (Parameters, Classifier<Sequential>)| {
        let mut recorded = Recorded::new(&model, &parameters, &xs, &ys, Engine::default()).unwrap();
        let norms = recorded.norms(&vec![0; parameters.len()]).unwrap();
        let sum = recorded.weighted_sum(&Weights::flat(vec![1.0; 3], parameters.len())).unwrap();
        assert_eq!(sum.len(), parameters.len());
        norms.rows().map(|row| row[0]).collect::<Vec<f64>>()
    };
    let (whole, less) = (norms(built(&[], &[])), norms(built(&[part], &[])));
    assert_eq!(less, norms(built(&[], &[part])));
    assert!(whole.iter().zip(&less).all(|(whole, less)| less < whole && *less > 0.0), "{whole:?} {less:?}");
}

#[test]
fn a_run_goes_on_only_with_the_same_parameters_frozen() {
    let part = &parts()[0];
    let (whole, _) = train(&built(&[part], &[]), None, 4).unwrap();
    let (_, directory) = train(&built(&[part], &[]), None, 2).unwrap();
    let checkpoint = Checkpoint::read(&directory.path().join("checkpoint")).unwrap();
    let (resumed, _) = train(&built(&[part], &[]), Some(&checkpoint), 4).unwrap();
    assert_eq!(resumed, whole);
    for other in [built(&[], &[]), built(&[&parts()[1]], &[])] {
        let refusal = train(&other, Some(&checkpoint), 4).map(|_| ()).unwrap_err();
        assert!(
            matches!(&refusal, Error::Refused { reason } if reason.contains("in the run of the checkpoint")),
            "{refusal}"
        );
    }
}

#[test]
fn a_run_goes_on_only_with_all_its_parameters() {
    let layers = |names: &[&str]| {
        let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
        let vb = parameters.var_builder();
        let first = Sequential::new().add(Flatten).add(linear(36, 2, vb.pp("first")).unwrap());
        let network = names.iter().fold(first, |network, name| network.add(linear(2, 2, vb.pp(name)).unwrap()));
        (parameters, Classifier::new(network))
    };
    let (_, directory) = train(&layers(&["second"]), None, 2).unwrap();
    let checkpoint = Checkpoint::read(&directory.path().join("checkpoint")).unwrap();
    train(&layers(&["second"]), Some(&checkpoint), 4).unwrap();
    for (other, named) in [(layers(&[]), "second.bias"), (layers(&["second", "third"]), "third.bias")] {
        let refusal = train(&other, Some(&checkpoint), 4).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(named), "{refusal}");
    }
}

#[test]
fn a_path_that_freezes_nothing_is_refused_before_training() {
    let refusal = train(&built(&["encodr"], &[]), None, 4).map(|_| ()).unwrap_err().to_string();
    assert!(refusal.contains("\"encodr\"") && refusal.contains(&format!("{}.weight", parts()[0])), "{refusal}");
}
