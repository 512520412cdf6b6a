//! Laws 1, 5, 10 and 12, the sensitivity of a whole step, and controls that a broken trainer must fail.

use candle_core::{DType, Device, Tensor};
use dp_accountant::{Delta, Epsilon, Ledger, NoiseMultiplier, Relation};
use dpsgd::clip::{ClipNorm, ClipRule, ClippedSum, Flat};
use dpsgd::data::Dataset;
use dpsgd::grad::Recorded;
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Parameters, Sequential};
use dpsgd::noise::{Mechanism, Noiseless};
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::{Draft, Plan};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish, tensors};
use std::num::NonZeroUsize;

/// Made-up records in two classes, one of them far outside the others.
fn data(records: usize) -> Dataset {
    let features = (0..records * 36).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let features = features.into_iter().enumerate().map(|(i, x)| if i / 36 == 3 { 1e4 * x } else { x }).collect();
    let labels = (0..records as u32).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[6, 6], features, vec!["a".into(), "b".into()], labels).unwrap()
}

fn draft(records: usize) -> Draft {
    Draft::new(records, records / 4, 12, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap())
}

fn noise(z: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(z).unwrap()
}

fn built(architecture: Architecture, dtype: DType) -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(5), dtype, &Device::Cpu);
    let model = architecture.build(&[6, 6], 2, parameters.var_builder()).unwrap();
    (parameters, model)
}

/// Trains and returns the ledger and the parameters; `stop` ends the run after that many steps.
fn train(plan: &Plan, run: &Run, architecture: Architecture, stop: u32) -> (Ledger, Vec<f64>) {
    let (key, data) = (Key::from_seed(9), data(plan.draft().records));
    let (parameters, model) = built(architecture, DType::F32);
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, momentum: 0.9, ..SgdConfig::default() }).unwrap());
    let mut trainer = Trainer::new(plan, run, &key, &data, &model, &parameters, sgd).unwrap();
    let watch =
        |progress: &dpsgd::train::Progress<'_>| Ok(if progress.step == stop { Wish::Stop } else { Wish::Continue });
    trainer.train(watch).unwrap();
    (trainer.ledger().clone(), values(&parameters))
}

fn values(parameters: &Parameters) -> Vec<f64> {
    parameters.iter().flat_map(|(_, var)| flat(var.as_tensor())).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_plan_costs_before_the_run_what_the_ledger_says_after_it() {
    let stopping = Draft { steps: 5000, budget: Some(Epsilon::new(2.0).unwrap()), ..draft(40) };
    for plan in [
        draft(40).with_noise(noise(1.3)).unwrap(),
        draft(40).calibrated(Epsilon::new(1.0).unwrap()).unwrap(),
        Draft { expected_batch: 40, relation: Relation::Replace, ..draft(40) }.with_noise(noise(4.0)).unwrap(),
        stopping.with_noise(noise(3.0)).unwrap(),
    ] {
        let before = plan.event().unwrap();
        let (ledger, _) = train(&plan, &Run::default(), Architecture::Logistic, u32::MAX);
        assert_eq!(ledger.event(), before);
        assert_eq!(ledger.steps(), u64::from(plan.affordable_steps().unwrap()));
        if let Some(budget) = plan.draft().budget {
            assert!(plan.epsilon(&ledger.event()).unwrap().upper() <= budget.get());
        }
    }
}

#[test]
fn a_run_that_stops_early_pays_for_the_steps_it_took() {
    let plan = draft(40).with_noise(noise(1.3)).unwrap();
    let (ledger, _) = train(&plan, &Run::default(), Architecture::Logistic, 5);
    assert_eq!(ledger.event(), plan.event_of(5).unwrap());
}

#[test]
fn run_settings_change_no_event_and_the_result_by_rounding_only() {
    let plan = draft(64).with_noise(noise(1.0)).unwrap();
    let with = |run: &Run| train(&plan, run, Architecture::Cnn, u32::MAX);
    let (ledger, parameters) = with(&Run::default());
    let physical = |batch: usize| Run { physical_batch: NonZeroUsize::new(batch).unwrap(), ..Run::default() };
    for run in [physical(1), physical(3), physical(1000), Run { portable_kernels: true, ..Run::default() }] {
        let (other_ledger, other) = with(&run);
        assert_eq!(other_ledger, ledger, "{run:?}");
        let distance = parameters.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(distance < 1e-4, "{run:?} moved a parameter by {distance}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let plan = draft(64).with_noise(noise(1.0)).unwrap();
    for (name, architecture) in Architecture::ALL.into_iter().filter(|(_, a)| !a.takes_tokens()) {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&plan, &Run::default(), architecture, u32::MAX))
        };
        let one = with(1);
        for threads in [2, 5] {
            assert_eq!(with(threads).1, one.1, "{name} on {threads} threads");
        }
    }
}

/// The clipped sum of `rows`, read through the mechanism that adds nothing.
fn clipped_sum(
    data: &Dataset,
    rows: &[usize],
    (rule, clip_norm): (ClipRule, f64),
    dtype: DType,
    architecture: Architecture,
) -> Vec<f64> {
    let (parameters, model) = built(architecture, dtype);
    let run = Run::default();
    let gradients = rows.chunks(3).map(|rows| {
        let (xs, ys) = tensors(data, rows, &parameters)?;
        Recorded::new(&model, &parameters, &xs, &ys, run.engine())
    });
    let names: Vec<String> = parameters.iter().map(|(name, _)| name).collect();
    let clip = rule.build(ClipNorm::new(clip_norm).unwrap(), &names);
    let sum = ClippedSum::new(&parameters, clip.as_ref(), gradients).unwrap();
    let (release, _) = Noiseless::new(1.0).unwrap().release(sum).unwrap();
    release.into_gradient().iter().flat_map(flat).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_record_moves_the_sum_by_at_most_the_clip_norm() {
    let data = data(20);
    for (name, architecture) in Architecture::ALL.into_iter().filter(|(_, a)| !a.takes_tokens()) {
        let every = ClipRule::ALL.map(|rule| (rule, 0.7));
        for (rule, clip_norm) in [(ClipRule::Flat, 1e-3), (ClipRule::Flat, 50.0)].into_iter().chain(every) {
            let name = format!("{name}, {}", rule.name());
            let alone: Vec<Vec<f64>> =
                (0..20).map(|i| clipped_sum(&data, &[i], (rule, clip_norm), DType::F32, architecture)).collect();
            let zero = vec![0.0; alone[0].len()];
            for (i, sum) in alone.iter().enumerate() {
                let norm = distance(sum, &zero);
                // What is seen has been rounded to f32 on its way out, each element by half a last bit at most.
                assert!(
                    norm <= clip_norm * (1.0 + 0.5 * f64::from(f32::EPSILON)),
                    "{name}: record {i} alone has the norm {norm} above {clip_norm}"
                );
            }
            // Beside others the sum rounds in f64; parameters of f64 let it be seen to the last bit.
            let rows: Vec<usize> = (0..20).collect();
            let all = clipped_sum(&data, &rows, (rule, clip_norm), DType::F64, architecture);
            for i in [0, 3, 19] {
                let without: Vec<usize> = rows.iter().copied().filter(|row| *row != i).collect();
                let moved = distance(&all, &clipped_sum(&data, &without, (rule, clip_norm), DType::F64, architecture));
                assert!(moved <= clip_norm * (1.0 + 1e-9), "{name}: removing record {i} moves the sum by {moved}");
            }
        }
    }
}

#[test]
fn a_record_moves_a_sum_of_thousands_by_at_most_the_clip_norm() {
    // A sum in f32 fails this: one record in front pushes it over powers of two and moves every later rounding.
    let n = 8192;
    let rows: Vec<f32> = (0..n).map(|i| if i == 0 { 0.5 } else { 1.0 + 1e-4 * (i % 7) as f32 }).collect();
    let sum = |rows: &[f32]| {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        parameters.var_builder().get(1, "w").unwrap();
        let gradients = Tensor::from_slice(rows, (rows.len(), 1), &Device::Cpu).unwrap();
        let gradients = dpsgd::grad::Written::new(rows.len(), vec![gradients]);
        let clip = Flat::new(ClipNorm::new(1.0).unwrap());
        let sum = ClippedSum::new(&parameters, &clip, std::iter::once(gradients)).unwrap();
        // Divided by 2^13 the sum is near one, and its release in f32 is off by at most 2^-12 times its last bit.
        flat(&Noiseless::new(8192.0).unwrap().release(sum).unwrap().0.into_gradient()[0])[0] * 8192.0
    };
    let moved = sum(&rows) - sum(&rows[1..]);
    assert!((moved - 0.5).abs() <= 2.0 * 8192.0 * 6e-8, "a record of norm 0.5 moves the sum by {moved}");
}

/// The noise that the run really added, seen from outside: with a clip norm of almost nothing, parameters after one step
/// without momentum are their start minus learning rate times noise over batch.
fn noise_seen(plan: &Plan) -> Vec<f64> {
    let (key, data) = (Key::from_seed(31), data(plan.draft().records));
    let parameters = Parameters::new(Key::from_seed(5), DType::F64, &Device::Cpu);
    let model = Architecture::Mlp.build(&[6, 6], 2, parameters.var_builder()).unwrap();
    let before = values(&parameters);
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 1.0, ..SgdConfig::default() }).unwrap());
    let run = Run::default();
    let mut trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, sgd).unwrap();
    trainer.train(|_| Ok(Wish::Stop)).unwrap();
    let scale = plan.draft().expected_batch as f64 / plan.draft().clip_norm.get();
    before.iter().zip(values(&parameters)).map(|(a, b)| (a - b) * scale).collect()
}

/// Whether the spread of the values is that of noise of deviation `z`, to five standard errors: false alarm 6e-7. The clipped
/// gradients add at most `batch` to the norm, which the slack covers.
fn has_spread(values: &[f64], z: f64, batch: f64) -> bool {
    let n = values.len() as f64;
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    (norm - z * n.sqrt()).abs() <= 5.0 * z / std::f64::consts::SQRT_2 + batch
}

#[test]
fn the_noise_of_a_run_has_the_planned_scale_and_half_of_it_is_caught() {
    // Batch 1 of 4 expected: at most four clipped gradients of norm 1 beside 4,994 noises of deviation 20.
    let plan = Draft { expected_batch: 1, ..draft(4) }.with_noise(noise(20.0)).unwrap();
    let seen = noise_seen(&plan);
    assert_eq!(seen.len(), 36 * 128 + 128 + 128 * 2 + 2);
    assert!(has_spread(&seen, 20.0, 4.0));
    // Runs that add less noise than this one promises.
    for (less, what) in [(10.0, "half the noise"), (18.0, "nine tenths of the noise")] {
        let plan = Draft { expected_batch: 1, ..draft(4) }.with_noise(noise(less)).unwrap();
        assert!(!has_spread(&noise_seen(&plan), 20.0, 4.0), "{what} was not caught");
    }
}

#[test]
fn empty_batches_are_steps_of_pure_noise_and_are_paid_for() {
    // Rate 1 / 400 over 12 steps: nearly every batch of this key is empty.
    let plan = Draft { expected_batch: 1, ..draft(400) }.with_noise(noise(1.0)).unwrap();
    let (key, data) = (Key::from_seed(9), data(400));
    let (parameters, model) = built(Architecture::Logistic, DType::F32);
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, ..SgdConfig::default() }).unwrap());
    let run = Run::default();
    let mut trainer = Trainer::new(&plan, &run, &key, &data, &model, &parameters, sgd).unwrap();
    let (mut empty, mut before) = (0, values(&parameters));
    trainer
        .train(|progress| {
            let now = values(&parameters);
            if progress.clipping.examples == 0 {
                empty += 1;
                assert_ne!(now, before, "an empty batch released nothing");
            }
            before = now;
            Ok(Wish::Continue)
        })
        .unwrap();
    assert!(empty > 0);
    assert_eq!(trainer.ledger().steps(), 12);
}

#[test]
fn a_plan_for_other_data_is_refused() {
    let plan = draft(40).with_noise(noise(1.0)).unwrap();
    let (key, data, run) = (Key::from_seed(9), data(41), Run::default());
    let (parameters, model) = built(Architecture::Logistic, DType::F32);
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, ..SgdConfig::default() }).unwrap());
    let refusal = Trainer::new(&plan, &run, &key, &data, &model, &parameters, sgd).err().unwrap().to_string();
    assert!(refusal.contains("records = 40") && refusal.contains("41"), "{refusal}");
}

#[test]
fn a_checkpoint_does_not_print_its_key() {
    let plan = draft(40).with_noise(noise(1.3)).unwrap();
    let (key, data, run) = (Key::from_seed(9), data(40), Run::default());
    let (parameters, model) = built(Architecture::Logistic, DType::F32);
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, ..SgdConfig::default() }).unwrap());
    let trainer = Trainer::new(&plan, &run, &key, &data, &model, &parameters, sgd).unwrap();
    assert_eq!(format!("{:?}", trainer.checkpoint(&()).unwrap()), "Checkpoint { step: 0, .. }");
}

#[test]
fn the_twin_draws_the_same_batches_and_has_no_guarantee_to_state() {
    let plan = draft(40).with_noise(noise(1.0)).unwrap();
    let (key, data, run) = (Key::from_seed(9), data(40), Run::default());
    let examples = |private: bool| {
        let (parameters, model) = built(Architecture::Mlp, DType::F32);
        let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.1, momentum: 0.9, ..SgdConfig::default() }).unwrap());
        let trainer = Trainer::new(&plan, &run, &key, &data, &model, &parameters, sgd).unwrap();
        let mut trainer = if private { trainer } else { trainer.without_privacy() };
        let mut sizes = Vec::new();
        trainer
            .train(|progress| {
                sizes.push((progress.clipping.examples, progress.clipping.clipped > 0));
                Ok(Wish::Continue)
            })
            .unwrap();
        (sizes, plan.epsilon(&trainer.ledger().event()).is_ok())
    };
    let (private, twin) = (examples(true), examples(false));
    let sizes = |steps: &[(usize, bool)]| steps.iter().map(|(size, _)| *size).collect::<Vec<_>>();
    assert_eq!(sizes(&private.0), sizes(&twin.0));
    assert!(private.0.iter().any(|(_, clipped)| *clipped) && !twin.0.iter().any(|(_, clipped)| *clipped));
    assert!(private.1 && !twin.1, "a run without noise stated an epsilon");
}
