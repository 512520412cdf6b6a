//! Augmentation multiplicity: copies of an example are averaged before the clip, so that it costs what a run without copies costs.

use candle_core::{D, DType, Device, Tensor, Var};
use dp_accountant::{Delta, NoiseMultiplier};
use dpsgd::augment::Augmentation;
use dpsgd::clip::{ClipNorm, ClippedSum, Flat, Perturbation, Unclipped};
use dpsgd::data::Dataset;
use dpsgd::data::embedded::optdigits;
use dpsgd::grad::{Engine, PerExample, Recorded, Weights, one_example_at_a_time};
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Parameters, Sequential};
use dpsgd::noise::{Mechanism, Noiseless};
use dpsgd::optim::{Optimizer, Sgd, SgdConfig};
use dpsgd::plan::{Draft, Plan};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};
use std::num::NonZeroUsize;

const COPIES: usize = 3;

fn augmentation() -> Augmentation {
    Augmentation::new(COPIES, 1, true).unwrap()
}

/// Images without a blank region, where several places of a pooling window would tie.
fn without_ties() -> Dataset {
    let mix = |i: u64| i.wrapping_add(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let pixels = (0..16 * 64).map(|i| (mix(mix(i)) as f64 / f64::from(1u32 << 31)) as f32).collect();
    let classes = (0..10).map(|class| class.to_string()).collect();
    Dataset::from_dense("made up", &[8, 8], pixels, classes, (0..16).map(|i| i % 10).collect()).unwrap()
}

fn built(architecture: Architecture, dtype: DType) -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(5), dtype, &Device::Cpu);
    let model = architecture.build(&[8, 8], 10, parameters.var_builder()).unwrap();
    (parameters, model)
}

fn flat(tensors: &[Tensor]) -> Vec<f64> {
    tensors.iter().flat_map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The copies of `rows` as a batch of rows.
fn copies(data: &Dataset, rows: &[usize], dtype: DType) -> (Tensor, Tensor) {
    let (values, labels) = augmentation().copies_of(data, rows, &Key::from_seed(2), 0, 0).unwrap();
    let n = labels.len();
    let xs = Tensor::from_vec(values, (n, 8, 8), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    (xs, Tensor::from_vec(labels, n, &Device::Cpu).unwrap())
}

fn recorded(architecture: Architecture, data: &Dataset, rows: &[usize]) -> (Parameters, Recorded) {
    let (parameters, model) = built(architecture, DType::F64);
    let (xs, ys) = copies(data, rows, DType::F64);
    let recorded = Recorded::new(&model, &parameters, &xs, &ys, Engine::default()).unwrap();
    (parameters, recorded)
}

/// The mean softmax cross-entropy of a batch through candle's own operations, for the parameters of `architecture` in name order.
fn mean_loss(architecture: Architecture, variables: &[Var], xs: &Tensor, ys: &Tensor) -> candle_core::Result<Tensor> {
    let dense = |xs: &Tensor, bias: usize| xs.matmul(&variables[bias + 1].t()?)?.broadcast_add(&variables[bias]);
    let logits = if architecture == Architecture::Mlp {
        dense(&dense(&xs.flatten_from(1)?, 0)?.tanh()?, 2)?
    } else {
        let convolution = |xs: &Tensor, bias: usize| {
            let ys = xs.conv2d(&variables[bias + 1], 1, 1, 1, 1)?;
            let ys = ys.broadcast_add(&variables[bias].reshape((1, (), 1, 1))?)?.tanh()?;
            let (n, channels, height, width) = ys.dims4()?;
            // The backward pass of candle's own pooling shares a cotangent out among all places of a window.
            ys.reshape(&[n, channels, height / 2, 2, width / 2, 2][..])?.max(5)?.max(3)
        };
        let features = convolution(&convolution(&xs.unsqueeze(1)?, 0)?, 2)?.flatten_from(1)?;
        dense(&dense(&features, 4)?.tanh()?, 6)?
    };
    candle_nn::ops::log_softmax(&logits, D::Minus1)?.gather(&ys.unsqueeze(1)?, 1)?.neg()?.mean_all()
}

#[test]
fn the_gradient_of_an_example_is_that_of_the_mean_loss_of_its_copies() {
    let data = without_ties();
    let rows = [3, 1, 4, 15];
    for architecture in [Architecture::Mlp, Architecture::Cnn] {
        let (parameters, mine) = recorded(architecture, &data, &rows);
        let variables: Vec<Var> = parameters.iter().map(|(_, var)| var).collect();
        let (xs, ys) = copies(&data, &rows, DType::F64);
        let (xs, ys) = (xs.reshape((4, COPIES, 8, 8)).unwrap(), ys.reshape((4, COPIES)).unwrap());
        let loss = |x: &Tensor, y: &Tensor| mean_loss(architecture, &variables, &x.squeeze(0)?, &y.squeeze(0)?);
        let mut naive = one_example_at_a_time(&variables, &xs, &ys, loss).unwrap();
        let mut mine = mine.averaged(augmentation().copies()).unwrap();
        let groups = vec![0; parameters.len()];
        let (found, truth) = (mine.norms(&groups).unwrap(), naive.norms(&groups).unwrap());
        for (found, truth) in found.rows().flatten().zip(truth.rows().flatten()) {
            assert!((found / truth - 1.0).abs() < 1e-10, "{architecture:?}: norm {found} and not {truth}");
        }
        let weights = Weights::flat(vec![0.5, -1.0, 2.0, 0.25], parameters.len());
        let (found, truth) =
            (flat(&mine.weighted_sum(&weights).unwrap()), flat(&naive.weighted_sum(&weights).unwrap()));
        let apart = found.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(norm(&truth) > 0.1 && apart < 1e-12, "{architecture:?}: {apart} apart");
    }
}

/// The clipped sum of `rows`: of the mean over each record's copies, or, wrongly, of every copy by itself.
fn clipped_sum(architecture: Architecture, data: &Dataset, rows: &[usize], c: f64, each_copy: bool) -> Vec<f64> {
    let (parameters, gradients) = recorded(architecture, data, rows);
    let gradients = if each_copy { Ok(gradients) } else { gradients.averaged(augmentation().copies()) };
    let flat_rule = Flat::new(ClipNorm::new(c).unwrap());
    let sum = ClippedSum::new(&parameters, &flat_rule, std::iter::once(gradients)).unwrap();
    flat(&Noiseless::new(1.0).unwrap().release(sum).unwrap().0.into_gradient())
}

#[test]
fn a_record_more_changes_the_sum_by_at_most_the_clip_norm_and_clipping_each_copy_would_not_do() {
    let (data, _) = optdigits().unwrap();
    let rows: Vec<usize> = (0..12).collect();
    for architecture in [Architecture::Logistic, Architecture::Mlp, Architecture::Cnn] {
        for c in [1e-3, 0.1, 1.0] {
            let apart = |each_copy: bool| {
                let with = clipped_sum(architecture, &data, &rows, c, each_copy);
                let without = clipped_sum(architecture, &data, &rows[..11], c, each_copy);
                norm(&with.iter().zip(&without).map(|(a, b)| a - b).collect::<Vec<_>>())
            };
            let (mean, each) = (apart(false), apart(true));
            assert!(mean > 0.5 * c.min(0.5) && mean <= c * (1.0 + 1e-12), "{architecture:?}: {mean} at C = {c}");
            // The negative control: the same copies, clipped one by one and added up.
            assert!(each > 1.5 * c, "{architecture:?}: {each} at C = {c}");
        }
    }
}

fn plan(steps: u32, perturbation: Option<f64>) -> Plan {
    let draft = Draft {
        perturbation: perturbation.map(|k| Perturbation::new(k).unwrap()),
        ..Draft::new(3823, 48, steps, ClipNorm::new(0.5).unwrap(), Delta::new(1e-5).unwrap())
    };
    draft.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap()
}

/// Trains with copies, checks the ledger and returns the parameters.
fn trained(plan: &Plan, physical: usize, private: bool, stop: Option<u32>) -> Vec<f64> {
    let (data, _) = optdigits().unwrap();
    let sgd = || Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, ..SgdConfig::default() }).unwrap());
    let (key, run) =
        (Key::from_seed(9), Run { physical_batch: NonZeroUsize::new(physical).unwrap(), ..Run::default() });
    let (parameters, model) = built(Architecture::Cnn, DType::F32);
    let start = || {
        let trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, sgd()).unwrap();
        trainer.augmented(augmentation()).unwrap()
    };
    let mut trainer = if private { start() } else { start().without_privacy() };
    let watch = |step| Ok(if Some(step) == stop { Wish::Stop } else { Wish::Continue });
    trainer.train(|progress| watch(progress.step)).unwrap();
    if !trainer.is_done() {
        let checkpoint = trainer.checkpoint(&()).unwrap();
        trainer = start();
        trainer.resume(&checkpoint).unwrap();
        trainer.train(|_| Ok(Wish::Continue)).unwrap();
    }
    if private {
        assert_eq!(trainer.ledger().event(), plan.event().unwrap());
    }
    flat(&parameters.iter().map(|(_, var)| var.as_tensor().clone()).collect::<Vec<_>>())
}

#[test]
fn micro_batches_change_rounding_only_and_an_interruption_nothing() {
    for perturbation in [None, Some(0.01)] {
        let plan = plan(4, perturbation);
        let whole = trained(&plan, 256, true, None);
        assert_eq!(trained(&plan, 256, true, Some(2)), whole);
        for physical in [1, 7, 40] {
            let parts = trained(&plan, physical, true, None);
            let apart = whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-5, "a physical batch of {physical} moved a parameter by {apart}");
        }
    }
}

/// What the twin without privacy is to end with: step by step the sum of the means over the copies, or of the records themselves,
/// of the plan's batches, over the expected batch.
fn twin_by_hand(plan: &Plan, augmentation: Option<Augmentation>) -> Vec<f64> {
    let ((data, _), key) = (optdigits().unwrap(), Key::from_seed(9));
    let (parameters, model) = built(Architecture::Cnn, DType::F32);
    let mut sgd = Sgd::new(SgdConfig { learning_rate: 0.2, ..SgdConfig::default() }).unwrap();
    let mut sampler = plan.sampler(&key, 0).unwrap();
    for step in 0..plan.draft().steps {
        let batch = sampler.next_batch();
        let rows: Vec<usize> = batch.micro_batches(NonZeroUsize::MAX).flatten().copied().collect();
        let (values, labels) = match augmentation {
            Some(augmentation) => augmentation.copies_of(&data, &rows, &key, step, 0).unwrap(),
            None => {
                let (mut values, mut labels) = (Vec::new(), Vec::new());
                data.gather(&rows, &mut values, &mut labels).unwrap();
                (values, labels)
            }
        };
        let n = labels.len();
        let xs = Tensor::from_vec(values, (n, 8, 8), &Device::Cpu).unwrap();
        let ys = Tensor::from_vec(labels, n, &Device::Cpu).unwrap();
        let recorded = Recorded::new(&model, &parameters, &xs, &ys, Engine::default()).unwrap();
        let gradients = match augmentation {
            Some(augmentation) => recorded.averaged(augmentation.copies()),
            None => Ok(recorded),
        };
        let sum = ClippedSum::new(&parameters, &Unclipped, std::iter::once(gradients)).unwrap();
        let (release, _) = Noiseless::new(plan.draft().expected_batch as f64).unwrap().release(sum).unwrap();
        sgd.step(&parameters, release).unwrap();
    }
    flat(&parameters.iter().map(|(_, var)| var.as_tensor().clone()).collect::<Vec<_>>())
}

#[test]
fn the_twin_without_privacy_learns_from_the_same_copies() {
    let plan = plan(3, None);
    let distance = |one: &[f64], other: &[f64]| norm(&one.iter().zip(other).map(|(a, b)| a - b).collect::<Vec<_>>());
    let (copies, records) = (twin_by_hand(&plan, Some(augmentation())), twin_by_hand(&plan, None));
    for physical in [4096, 1] {
        let twin = trained(&plan, physical, false, None);
        let (apart, control) = (distance(&twin, &copies), distance(&twin, &records));
        assert!(
            apart < 1e-4 && control > 100.0 * apart.max(1e-6),
            "{apart}, and {control} from the records themselves"
        );
    }
    assert_ne!(trained(&plan, 4096, false, None), trained(&plan, 4096, true, None));
}

#[test]
fn a_run_does_not_go_on_with_other_copies() {
    let (plan, (data, _)) = (plan(4, None), optdigits().unwrap());
    let (key, run) = (Key::from_seed(9), Run::default());
    let sgd = || Box::new(Sgd::new(SgdConfig::default()).unwrap());
    let (begun, another) = (built(Architecture::Logistic, DType::F32), built(Architecture::Logistic, DType::F32));
    let of = |augmentation: Option<Augmentation>, built| {
        let (parameters, model): &(Parameters, Classifier<Sequential>) = built;
        let trainer = Trainer::new(&plan, &run, &key, &data, model, parameters, sgd()).unwrap();
        match augmentation {
            Some(augmentation) => trainer.augmented(augmentation).unwrap(),
            None => trainer,
        }
    };
    let values =
        |parameters: &Parameters| flat(&parameters.iter().map(|(_, var)| var.as_tensor().clone()).collect::<Vec<_>>());
    let (none, three) = (None, Some(augmentation()));
    let two = Some(Augmentation::new(2, 1, true).unwrap());
    for (then, now) in [(three, none), (three, two), (none, three)] {
        let mut first = of(then, &begun);
        first.train(|progress| Ok(if progress.step == 2 { Wish::Stop } else { Wish::Continue })).unwrap();
        let checkpoint = first.checkpoint(&()).unwrap();
        assert_eq!(checkpoint.augmentation(), then);
        let (mut other, before) = (of(now, &another), values(&another.0));
        let refusal = other.resume(&checkpoint).unwrap_err().to_string();
        assert!(refusal.contains("the same augmentation"), "{refusal}");
        assert!(values(&another.0) == before && other.step() == 0 && other.ledger().is_empty());
        // Nor can it be told so afterwards.
        let late = now.map(|now| first.augmented(now).err().unwrap().to_string());
        assert!(late.is_none_or(|late| late.contains("2 steps were taken without these copies")));
    }
}

#[cfg(feature = "cli")]
mod flags {
    use crate::command_line::{dpsgd, here, json, ok};

    const RUN: &str = "train --steps 6 --seed 3 --quiet";

    #[test]
    fn copies_cost_nothing_and_one_that_is_the_example_is_no_augmentation() {
        let here = here();
        let plain = json(here.path(), RUN);
        let one = json(here.path(), &format!("{RUN} --augmentation 1"));
        let many = json(here.path(), &format!("{RUN} --augmentation 4 --augment shift:1,flip"));
        assert_eq!(one["model"]["sha256"], plain["model"]["sha256"], "not a bit may differ");
        assert_ne!(many["model"]["sha256"], plain["model"]["sha256"]);
        for part in ["privacy", "plan"] {
            assert!(plain[part].is_object() && plain[part] == many[part], "{part} differs: {}", many[part]);
        }
        assert_eq!(plain["recipe"]["augmentation"], serde_json::Value::Null);
        assert_eq!(many["recipe"]["augmentation"], serde_json::json!({ "copies": 4, "shift": 1, "flip": true }));
    }

    #[test]
    fn a_run_says_what_it_learnt_from_and_is_repeated_from_its_configuration() {
        let here = here();
        ok(here.path(), &format!("{RUN} --augment shift:2 --augmentation 3 --out first"));
        ok(here.path(), "verify first");
        let file = |name: &str| std::fs::read_to_string(here.path().join(name)).unwrap();
        let config = file("first/config.toml");
        assert!(config.contains("augmentation = 3\n") && config.contains("augment = [\"shift:2\"]\n"), "{config}");
        let statement = file("first/statement.txt");
        assert!(statement.contains("3 random copies") && statement.contains("2 pixels"), "{statement}");
        let page = file("first/report.html");
        assert!(page.contains("3 random copies") && page.contains("(copies of examples)"), "{page}");
        ok(here.path(), "train --config first/config.toml --seed 3 --quiet --out second");
        let model = |name: &str| std::fs::read(here.path().join(name).join("model.safetensors")).unwrap();
        assert_eq!(model("first"), model("second"));
    }

    #[test]
    fn the_twin_without_privacy_learns_from_copies_too() {
        let here = here();
        let twin = |flags: &str| json(here.path(), &format!("{RUN} --no-privacy{flags}"));
        let (plain, flipped) = (twin(""), twin(" --augment flip"));
        assert_eq!(flipped["recipe"]["augmentation"]["copies"], 1);
        let loss = |twin: &serde_json::Value| twin["utility"]["test_loss"].as_f64().unwrap();
        assert_ne!(loss(&flipped), loss(&plain));
        assert_eq!(loss(&flipped), loss(&twin(" --augment flip")));
    }

    #[test]
    fn records_that_are_no_images_are_refused_with_a_reason() {
        let here = here();
        for (flags, part) in [
            ("--data small.csv --augment flip", "images"),
            ("--augmentation 2", "all equal"),
            ("--augmentation 0 --augment flip", "1 to 1024"),
            ("--augment shift:8", "at most 7"),
            ("--augment rotate:8", "shift:P, flip"),
        ] {
            let ran = dpsgd(here.path(), &format!("train --steps 1 {flags}").split_whitespace().collect::<Vec<_>>());
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{flags}: {}", ran.stderr);
            assert!(ran.first_line().contains("--augment") && ran.stderr.contains(part), "{flags}: {}", ran.stderr);
        }
    }
}
