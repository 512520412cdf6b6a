//! Geometric perturbation corrects clipping bias and costs nothing: the numbered checks of the example problems, through the
//! trainer.

use candle_core::{DType, Device, Tensor};
use dp_accountant::{Delta, NoiseMultiplier};
use dpsgd::clip::{ClipNorm, ClippedSum, Flat, Perturbation};
use dpsgd::data::Dataset;
use dpsgd::grad::{Engine, PerExample, Recorded, Tape, Weights};
use dpsgd::model::Model;
use dpsgd::nn::{Activation, Layer, Parameters, Positions, Sequential, linear, positions};
use dpsgd::noise::{Mechanism, Noiseless};
use dpsgd::optim::{Averaged, EmaConfig, Sgd, SgdConfig};
use dpsgd::plan::{Draft, Plan};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};
use std::num::NonZeroUsize;

/// Half the squared distance from the parameter to a record: the mean of all losses is least at the records' mean.
struct Distance(Positions);

impl Distance {
    fn new(dim: usize, parameters: &Parameters) -> Self {
        Self(positions(1, dim, parameters.var_builder()).unwrap())
    }
}

impl Model for Distance {
    fn losses(&self, xs: &Tensor, _: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        self.0.forward(&xs.neg()?, tape)?.sqr()?.sum((1, 2))? * 0.5
    }
}

fn records(points: &[Vec<f32>]) -> Dataset {
    let (dim, features) = (points[0].len(), points.concat());
    let classes = vec!["a".into(), "b".into()];
    let labels = (0..points.len() as u32).map(|i| i % 2).collect();
    Dataset::from_dense("points", &[1, dim], features, classes, labels).unwrap()
}

fn plan(records: usize, expected_batch: usize, steps: u32, perturbation: Option<f64>) -> Plan {
    plan_at(1.0, records, expected_batch, steps, perturbation)
}

fn plan_at(clip_norm: f64, records: usize, expected_batch: usize, steps: u32, perturbation: Option<f64>) -> Plan {
    let draft = Draft {
        perturbation: perturbation.map(|k| Perturbation::new(k).unwrap()),
        ..Draft::new(records, expected_batch, steps, ClipNorm::new(clip_norm).unwrap(), Delta::new(1e-5).unwrap())
    };
    draft.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap()
}

/// Trains from zero and returns the mean of the parameter over the second half of the steps.
fn mean_of_second_half(plan: &Plan, data: &Dataset, learning_rate: f64, physical: usize) -> Vec<f64> {
    mean_from(0.0, plan, data, learning_rate, physical)
}

/// The same from a point all of whose coordinates are `start`.
fn mean_from(start: f64, plan: &Plan, data: &Dataset, learning_rate: f64, physical: usize) -> Vec<f64> {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let model = Distance::new(data.width(), &parameters);
    let (_, var) = parameters.iter().next().unwrap();
    var.set(&var.zeros_like().unwrap().affine(0.0, start).unwrap()).unwrap();
    let run = Run { physical_batch: NonZeroUsize::new(physical).unwrap(), ..Run::default() };
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate, ..SgdConfig::default() }).unwrap());
    let key = Key::from_seed(2);
    let mut trainer = Trainer::new(plan, &run, &key, data, &model, &parameters, sgd).unwrap();
    let (mut sum, mut count) = (vec![0.0; data.width()], 0.0);
    trainer
        .train(|progress| {
            if progress.step > progress.of / 2 {
                sum.iter_mut().zip(values(var.as_tensor())).for_each(|(sum, x)| *sum += x);
                count += 1.0;
            }
            Ok(Wish::Continue)
        })
        .unwrap();
    assert_eq!(trainer.ledger().event(), plan.event().unwrap());
    sum.into_iter().map(|x| x / count).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn example_1_ends_at_the_biased_point_and_perturbation_moves_it() {
    // Check G4 of the reference: a = (-3, -3, 9), x* = 1, fixed points by closed form. The mean over n steps has a standard
    // error of about sqrt(2 / n) times the deviation of a step over the slope: below 0.01 in every row, so that a tolerance of
    // 0.04 fails by chance less than once in ten thousand rows, and the seed is fixed.
    let data = records(&(0..3000).map(|i| vec![if i % 3 == 2 { 9.0 } else { -3.0 }]).collect::<Vec<_>>());
    for (k, learning_rate, steps, fixed_point) in [
        (None, 0.1, 1000, -2.5),
        (Some(2.0), 0.3, 3000, -1.5948),
        (Some(5.0), 0.5, 6000, 0.0963),
        (Some(10.0), 0.7, 8000, 0.7797),
    ] {
        let end = mean_of_second_half(&plan(3000, 1000, steps, k), &data, learning_rate, 256)[0];
        assert!((end - fixed_point).abs() < 0.04, "k = {k:?}: {end} and not {fixed_point}");
    }
}

/// The records of the first example problem, in the first of `dim` coordinates.
fn example_1(dim: usize) -> Dataset {
    let point = |i: usize| {
        (0..dim)
            .map(|j| {
                if j > 0 {
                    0.0
                } else if i % 3 == 2 {
                    9.0
                } else {
                    -3.0
                }
            })
            .collect::<Vec<_>>()
    };
    records(&(0..3000).map(point).collect::<Vec<_>>())
}

#[test]
fn the_biased_point_of_example_1_moves_with_the_clip_norm() {
    // Check G1: -3 + c / 2 up to c = 8, and no bias from there on. The mean of the second half is known to 0.01 times c at worst.
    let data = example_1(1);
    for (clip_norm, fixed_point) in [(0.5, -2.75), (2.0, -2.0), (4.0, -1.0), (6.0, 0.0), (8.0, 1.0), (9.0, 1.0)] {
        let end = mean_of_second_half(&plan_at(clip_norm, 3000, 1000, 600, None), &data, 0.1, 256)[0];
        assert!(
            (end - fixed_point).abs() < 0.03 * f64::max(clip_norm, 1.0),
            "c = {clip_norm}: {end} and not {fixed_point}"
        );
    }
}

#[test]
fn example_2_has_no_way_back_until_gradients_are_perturbed() {
    // Checks G3 and G6: records -3 and 3. The expected clipped gradient is 0 on all of [-2, 2], so that training stays where it
    // began, at 1.9, up to a random walk of deviation 0.1; with K = 2 it comes back to 0.
    let data = records(&(0..3000).map(|i| vec![if i % 2 == 0 { 3.0 } else { -3.0 }]).collect::<Vec<_>>());
    let stays = mean_from(1.9, &plan(3000, 1000, 1000, None), &data, 0.1, 256)[0];
    assert!((1.4..2.1).contains(&stays), "{stays}");
    let back = mean_from(1.9, &plan(3000, 1000, 3000, Some(2.0)), &data, 0.3, 256)[0];
    assert!(back.abs() < 0.05, "{back}");
}

#[test]
fn more_dimensions_take_the_bias_away_faster() {
    // Check G5: the first example in R^d with noise of K = 10 in all coordinates; the bias by quadrature. The standard error of a mean
    // over 2,000 steps is 0.01.
    for (dim, bias) in [(2, -0.16272), (10, -0.05316)] {
        let end = mean_of_second_half(&plan(3000, 1000, 4000, Some(10.0)), &example_1(dim), 0.7, 256);
        assert!((end[0] - 1.0 - bias).abs() < 0.04, "d = {dim}: {} and not {}", end[0], 1.0 + bias);
        assert!(end[1..].iter().all(|other| other.abs() < 0.05), "{end:?}");
    }
}

#[test]
fn a_mean_in_ten_dimensions_is_estimated_with_less_bias_at_the_same_epsilon() {
    // Check G8: 9,000 points about 0 and 1,000 about 10 e_1; the table's values within its tolerance of 0.05.
    let noise = |i: usize, j: usize| {
        let mixed = ((i * 10 + j) as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    // Uniform with the deviation of the table's normal points, 0.1.
    let point = |i: usize| {
        let far = if i % 10 == 9 { 10.0 } else { 0.0 };
        (0..10).map(|j| 12f32.sqrt() * 0.1 * noise(i, j) + if j == 0 { far } else { 0.0 }).collect::<Vec<_>>()
    };
    let data = records(&(0..10_000).map(point).collect::<Vec<_>>());
    let mut event = None;
    for (k, learning_rate, first) in
        [(None, 0.5, 0.111), (Some(1.0), 1.0, 0.351), (Some(3.0), 3.0, 0.769), (Some(10.0), 10.0, 0.991)]
    {
        let plan = plan(10_000, 256, 1500, k);
        let end = mean_of_second_half(&plan, &data, learning_rate, 256);
        assert!((end[0] - first).abs() < 0.05, "k = {k:?}: {} and not {first}", end[0]);
        assert_eq!(*event.get_or_insert(plan.event().unwrap()), plan.event().unwrap());
    }
}

/// Half the squared error of a network with one hidden layer; a record is two inputs and a target.
struct Regression(Sequential);

impl Regression {
    fn new(parameters: &Parameters) -> Self {
        let vb = parameters.var_builder();
        let hidden = linear(2, 16, vb.pp("hidden")).unwrap();
        Self(Sequential::new().add(hidden).add(Activation::Tanh).add(linear(16, 1, vb.pp("output")).unwrap()))
    }

    fn predictions(&self, xs: &Tensor) -> Vec<f64> {
        values(&self.0.forward(&xs.narrow(1, 0, 2).unwrap(), &Tape::off()).unwrap())
    }
}

impl Model for Regression {
    fn losses(&self, xs: &Tensor, _: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        let predicted = self.0.forward(&xs.narrow(1, 0, 2)?.contiguous()?, tape)?;
        (predicted - xs.narrow(1, 2, 1)?)?.sqr()?.sum(1)? * 0.5
    }
}

#[test]
fn a_network_under_skewed_noise_ends_closer_to_the_optimum_at_the_same_epsilon() {
    // One target in ten is 10 too high, so that the optimum of the squared error, the conditional mean, is 1 above what most
    // records say. The gradients of the few are long and point one way: the clip takes away what they weigh.
    let data: Vec<Vec<f32>> = (0..4000usize)
        .map(|i| {
            let (a, b) = ((i * 37 % 200) as f32 / 100.0 - 1.0, (i * 91 % 163) as f32 / 81.5 - 1.0);
            vec![a, b, (2.0 * a).sin() + b / 2.0 + if i % 10 == 3 { 10.0 } else { 0.0 }]
        })
        .collect();
    let labels = (0..data.len() as u32).map(|i| i % 2).collect();
    let data = Dataset::from_dense("skewed", &[3], data.concat(), vec!["a".into(), "b".into()], labels).unwrap();
    let grid: Vec<f32> = (0..121).flat_map(|i| [(i / 11) as f32 / 5.0 - 1.0, (i % 11) as f32 / 5.0 - 1.0]).collect();
    let grid = Tensor::from_vec(grid, (121, 2), &Device::Cpu).unwrap();

    let trained = |perturbation: Option<f64>, learning_rate: f64, private: bool| {
        let plan = plan(4000, 500, 600, perturbation);
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        let model = Regression::new(&parameters);
        let (run, key) = (Run::default(), Key::from_seed(4));
        let sgd = Sgd::new(SgdConfig { learning_rate, ..SgdConfig::default() }).unwrap();
        let ema = Averaged::new(Box::new(sgd), EmaConfig { decay: 0.98, warmup: true }).unwrap();
        let mut trainer = Trainer::new(&plan, &run, &key, &data, &model, &parameters, Box::new(ema)).unwrap();
        if !private {
            trainer = trainer.without_privacy();
        }
        trainer.train(|_| Ok(Wish::Continue)).unwrap();
        (model.predictions(&grid), trainer.ledger().event())
    };
    let (optimum, _) = trained(None, 0.1, false);
    let mean = optimum.iter().sum::<f64>() / 121.0;
    assert!((mean - 1.0).abs() < 0.2, "the twin without clipping learns the conditional mean: {mean}");
    let distance = |of: &[f64]| of.iter().zip(&optimum).map(|(a, b)| (a - b).powi(2) / 121.0).sum::<f64>().sqrt();
    let (plain, plain_cost) = trained(None, 0.2, true);
    let (corrected, corrected_cost) = trained(Some(6.0), 6.0, true);
    let (plain, corrected) = (distance(&plain), distance(&corrected));
    println!("distance from the optimum: {plain} clipped, {corrected} perturbed and clipped");
    assert_eq!(plain_cost, corrected_cost, "at the same epsilon");
    assert!(plain > 0.7, "clipping alone misses most of the mean: {plain}");
    assert!(corrected < plain / 2.0, "{corrected} and {plain}");
}

#[test]
fn micro_batches_change_nothing_but_rounding() {
    let data = records(&(0..60).map(|i| vec![i as f32 / 10.0, 1.0, -2.0]).collect::<Vec<_>>());
    let plan = plan(60, 30, 40, Some(3.0));
    let whole = mean_of_second_half(&plan, &data, 0.5, 256);
    for physical in [1, 7] {
        let parts = mean_of_second_half(&plan, &data, 0.5, physical);
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-5, "{physical}: {parts:?} and not {whole:?}");
        }
    }
}

fn recorded(parameters: &Parameters, model: &Distance, points: &[f32], dim: usize) -> Recorded {
    let count = points.len() / dim;
    let xs = Tensor::from_slice(points, (count, 1, dim), &Device::Cpu).unwrap();
    let ys = Tensor::zeros(count, DType::U32, &Device::Cpu).unwrap();
    Recorded::new(model, parameters, &xs, &ys, Engine::default()).unwrap()
}

#[test]
fn a_record_moves_the_sum_by_at_most_the_clip_norm() {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let (model, key, flat) = (Distance::new(4, &parameters), Key::from_seed(3), Flat::new(ClipNorm::new(0.7).unwrap()));
    let points: Vec<f32> = (0..44).map(|i| ((i * 37) % 23) as f32 - 11.0).collect();
    for k in [0.01, 1.0, 100.0] {
        let perturbation = Perturbation::new(k).unwrap();
        let sum = |points: &[f32]| {
            let gradients = perturbation.of(recorded(&parameters, &model, points, 4), &key, 5, 0);
            let sum = ClippedSum::new(&parameters, &flat, std::iter::once(Ok(gradients))).unwrap();
            values(&Noiseless::new(1.0).unwrap().release(sum).unwrap().0.into_gradient()[0])
        };
        let (all, without) = (sum(&points), sum(&points[..40]));
        let moved = all.iter().zip(&without).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        // The release is rounded to f32.
        assert!(moved > 0.6 && moved < 0.7 * (1.0 + 1e-5), "k = {k}: {moved}");
    }
}

#[test]
fn the_noise_is_normal_fresh_for_every_example_and_step_and_of_its_size() {
    const DIM: usize = 5000;
    let parameters = Parameters::new(Key::from_seed(1), DType::F64, &Device::Cpu);
    let (model, key) = (Distance::new(DIM, &parameters), Key::from_seed(4));
    let (_, var) = parameters.iter().next().unwrap();
    var.set(&var.zeros_like().unwrap()).unwrap();
    let xs = Tensor::zeros((3, 1, DIM), DType::F64, &Device::Cpu).unwrap();
    let ys = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
    // Gradients of zero: what is summed is the noise.
    let noise = |step: u32, first: usize, example: usize| {
        let recorded = Recorded::new(&model, &parameters, &xs, &ys, Engine::default()).unwrap();
        let mut one = vec![0.0; 3];
        one[example] = 1.0;
        let sum = Perturbation::new(2.0).unwrap().of(recorded, &key, step, first).weighted_sum(&Weights::flat(one, 1));
        values(&sum.unwrap()[0])
    };
    let all = [noise(0, 0, 0), noise(0, 0, 1), noise(0, 0, 2), noise(1, 0, 0), noise(0, 3, 0)];
    assert_eq!(noise(0, 1, 0), all[1], "the noise belongs to the place in the batch, not in the micro-batch");
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / DIM as f64;
    for (i, a) in all.iter().enumerate() {
        // The mean square of 5,000 draws of variance 4 has a deviation of 0.08, a mean product of 0.057: six deviations fail by
        // chance twice in a billion tests.
        assert!((product(a, a) - 4.0).abs() < 0.48, "{i}: {}", product(a, a));
        all[..i].iter().for_each(|b| assert!(product(a, b).abs() < 0.34, "{i}: {}", product(a, b)));
    }
}
