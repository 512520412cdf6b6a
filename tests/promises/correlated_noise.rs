//! Noise that is correlated over steps has the law and the cost that its plan states, and runs with it go on as if they had not
//! stopped.

use candle_core::{DType, Device};
use dp_accountant::{
    Delta, Epsilon, Event, Ledger, NoiseMultiplier, Order, Participation, Rdp, Relation, SamplingRate,
};
use dpsgd::checkpoint::Checkpoint;
use dpsgd::clip::{Adaptive, ClipNorm, ClipRule, ClippedSum, Flat, Unclipped};
use dpsgd::data::Dataset;
use dpsgd::grad::Recorded;
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Parameters, Sequential};
use dpsgd::noise::{Banded, Mechanism, NoiseRule, Noiseless, StandardNormals, Tree};
use dpsgd::optim::{AdamConfig, OptimizerConfig, Rule, SgdConfig};
use dpsgd::plan::{Draft, Factors, Past, Plan, Schedules};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish, tensors};
use std::num::{NonZeroU32, NonZeroU64};

const RECORDS: usize = 200;

fn bands(bands: u32) -> NonZeroU32 {
    NonZeroU32::new(bands).unwrap()
}

fn banded(of: u32) -> NoiseRule {
    NoiseRule::Banded { bands: bands(of) }
}

fn noise(z: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(z).unwrap()
}

/// Every rule, with trees of 8 and of 7 steps.
fn rules() -> Vec<(NoiseRule, usize)> {
    let independent = NoiseRule::Independent;
    vec![
        (independent, 25),
        (NoiseRule::Tree, 25),
        (NoiseRule::Tree, 29),
        (banded(1), 25),
        (banded(3), 25),
        (banded(8), 25),
    ]
}

fn draft(noise: NoiseRule, expected_batch: usize) -> Draft {
    Draft {
        clipping: ClipRule::PerLayer,
        noise,
        ..Draft::new(RECORDS, expected_batch, 20, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap())
    }
}

fn data() -> Dataset {
    let features = (0..RECORDS * 36).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
    let labels = (0..RECORDS as u32).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[6, 6], features, vec!["a".into(), "b".into()], labels).unwrap()
}

fn built() -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
    let model = Architecture::Mlp.build(&[6, 6], 2, parameters.var_builder()).unwrap();
    (parameters, model)
}

fn sgd() -> OptimizerConfig {
    Rule::Sgd(SgdConfig { learning_rate: 0.2, momentum: 0.9, ..SgdConfig::default() }).into()
}

/// Trains until `until`, in pieces that end after the steps `stops`, each in another trainer from a checkpoint written and read: the
/// bits of the parameters and the ledger.
fn trained(plan: &Plan, optimizer: OptimizerConfig, stops: &[u32], until: u32) -> (Vec<u32>, Ledger) {
    let (key, data, run, directory) = (Key::from_seed(9), data(), Run::default(), tempfile::tempdir().unwrap());
    let file = directory.path().join("checkpoint");
    let mut ended = None;
    for stop in stops.iter().copied().chain([until]) {
        let (parameters, model) = built();
        let optimizer = optimizer.build(20).unwrap();
        let mut trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, optimizer).unwrap();
        if file.exists() {
            trainer.resume(&Checkpoint::read(&file).unwrap()).unwrap();
        }
        let watch = |progress: &dpsgd::train::Progress<'_>| {
            assert_eq!(progress.ledger.event(), plan.event_of(progress.step).unwrap(), "after {}", progress.step);
            assert_eq!(progress.ledger.steps(), plan.draft().past.steps() + u64::from(progress.step));
            Ok(if progress.step == stop { Wish::Stop } else { Wish::Continue })
        };
        if stop > 0 {
            trainer.train(watch).unwrap();
        }
        trainer.checkpoint(&()).unwrap().write(&file).unwrap();
        let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bits = parameters.iter().flat_map(|(_, var)| values(var.as_tensor())).map(f32::to_bits).collect();
        ended = Some((bits, trainer.ledger().clone()));
    }
    ended.unwrap()
}

#[test]
fn the_plan_costs_before_the_run_what_the_ledger_says_after_it() {
    for (rule, batch) in rules() {
        let draft = draft(rule, batch);
        let stopping = Draft { steps: 300, budget: Some(Epsilon::new(3.0).unwrap()), ..draft.clone() };
        for plan in [
            draft.clone().with_noise(noise(1.3)).unwrap(),
            draft.calibrated(Epsilon::new(2.0).unwrap()).unwrap(),
            stopping.with_noise(noise(3.0)).unwrap(),
        ] {
            let (steps, before) = (plan.affordable_steps().unwrap(), plan.event().unwrap());
            let (_, ledger) = trained(&plan, sgd(), &[], u32::MAX);
            assert_eq!(ledger.event(), before, "{:?}", plan.draft());
            assert_eq!(ledger.steps(), u64::from(steps));
            if let Some(budget) = plan.draft().budget {
                let upper = |steps| plan.epsilon(&plan.event_of(steps).unwrap()).unwrap().upper();
                assert!(upper(steps) <= budget.get(), "{:?}", plan.draft());
                // A calibrated plan takes all its steps and barely fits; the others stop before the step that would not.
                let barely =
                    if steps == 20 { upper(20) > 0.999 * budget.get() } else { upper(steps + 1) > budget.get() };
                assert!(barely && steps < 300, "{steps} of {:?}", plan.draft());
            }
        }
    }
}

#[test]
fn a_run_goes_on_from_every_step_to_the_same_bits() {
    let adam = Rule::Adam(AdamConfig::default());
    for (rule, batch) in rules() {
        let plan = draft(rule, batch).with_noise(noise(1.3)).unwrap();
        for optimizer in [sgd(), adam.into()] {
            let whole = trained(&plan, optimizer, &[], u32::MAX);
            for stops in [&[1][..], &[7], &[8], &[3, 9, 19], &[20]] {
                assert_eq!(trained(&plan, optimizer, stops, u32::MAX), whole, "{rule:?} after {stops:?}");
            }
        }
    }
}

#[test]
fn a_run_that_stops_early_pays_for_its_steps_and_more_steps_never_cost_less() {
    for (rule, batch) in rules() {
        let plan = draft(rule, batch).with_noise(noise(1.3)).unwrap();
        let mut last = 0.0;
        for steps in 1..=20 {
            let upper = plan.epsilon(&plan.event_of(steps).unwrap()).unwrap().upper();
            assert!(upper >= last, "{rule:?}: {upper} after {steps} steps, {last} before");
            last = upper;
        }
        let (_, ledger) = trained(&plan, sgd(), &[], 11);
        assert_eq!(ledger.event(), plan.event_of(11).unwrap());
    }
}

#[test]
fn a_run_never_takes_the_place_of_what_its_model_had_cost_before() {
    // What the model has cost ends with what the run itself looks like after some steps.
    for (rule, batch) in rules() {
        let before = draft(rule, batch).with_noise(noise(1.3)).unwrap();
        for steps in [1, 4, 11, 20] {
            let model = before.event_of(steps).unwrap();
            let past = Past { model, ..Past::default() };
            let plan = Draft { past, ..draft(rule, batch) }.with_noise(noise(1.3)).unwrap();
            let whole = trained(&plan, sgd(), &[], u32::MAX);
            assert_eq!(whole.1.event(), plan.event().unwrap(), "{rule:?} after {steps}");
            assert_eq!(whole.1.steps(), u64::from(steps) + 20, "{rule:?} after {steps}");
            for stops in [&[0][..], &[4], &[0, 1, 12]] {
                assert_eq!(
                    trained(&plan, sgd(), stops, u32::MAX),
                    whole,
                    "{rule:?} after {steps}, stopped at {stops:?}"
                );
            }
        }
    }
}

#[test]
fn sums_of_a_tree_are_divided_by_the_mean_size_of_its_batches() {
    // 200 records in 7 batches a pass, whether 28 or 29 were asked for; and 7 records in one batch.
    let plan = |rule, batch| draft(rule, batch).with_noise(noise(1.3)).unwrap();
    let (one, other) = (plan(NoiseRule::Tree, 28), plan(NoiseRule::Tree, 29));
    assert_eq!((one.mean_batch(), other.mean_batch()), (200.0 / 7.0, 200.0 / 7.0));
    assert_eq!(trained(&one, sgd(), &[], u32::MAX), trained(&other, sgd(), &[], u32::MAX));
    assert_eq!((plan(banded(3), 28).mean_batch(), plan(NoiseRule::Independent, 29).mean_batch()), (28.0, 29.0));
    let seven = Draft { records: 7, ..draft(NoiseRule::Tree, 5) }.with_noise(noise(1.3)).unwrap();
    assert_eq!(seven.mean_batch(), 7.0);
    let (parameters, _) = built();
    let clip = Flat::new(ClipNorm::new(0.7).unwrap());
    let sum = ClippedSum::new::<Recorded>(&parameters, &clip, std::iter::empty()).unwrap();
    let mut mechanism = seven.mechanism(&Key::from_seed(1), 0).unwrap();
    let (release, event) = mechanism.release(sum).unwrap();
    assert!((release.deviation() / (1.3 * 0.7 / 7.0) - 1.0).abs() < 1e-12, "{}", release.deviation());
    // The cost knows the steps of a pass and not the divisor.
    assert_eq!(
        event,
        Draft { expected_batch: 7, ..seven.draft().clone() }.with_noise(noise(1.3)).unwrap().event_of(1).unwrap()
    );
}

#[test]
fn the_twin_without_privacy_draws_the_same_batches() {
    for (rule, batch) in rules() {
        let plan = draft(rule, batch).with_noise(noise(1.3)).unwrap();
        let (key, data, run) = (Key::from_seed(9), data(), Run::default());
        let (parameters, model) = built();
        let mut twin = Trainer::new(&plan, &run, &key, &data, &model, &parameters, sgd().build(20).unwrap())
            .unwrap()
            .without_privacy();
        let mut sizes = Vec::new();
        let watch = |progress: &dpsgd::train::Progress<'_>| {
            sizes.push(progress.clipping.examples);
            Ok(Wish::Continue)
        };
        twin.train(watch).unwrap();
        let (by_hand, model) = built();
        let (mut optimizer, mut sampler) = (sgd().build(20).unwrap(), plan.sampler(&key, 0).unwrap());
        for size in &sizes {
            let rows: Vec<usize> =
                sampler.next_batch().micro_batches(std::num::NonZeroUsize::MAX).flatten().copied().collect();
            assert_eq!(rows.len(), *size, "{rule:?}");
            let (xs, ys) = tensors(&data, &rows, &by_hand).unwrap();
            let recorded = Recorded::new(&model, &by_hand, &xs, &ys, run.engine());
            let sum = ClippedSum::new(&by_hand, &Unclipped, std::iter::once(recorded)).unwrap();
            let (release, _) = Noiseless::new(plan.mean_batch()).unwrap().release(sum).unwrap();
            optimizer.step(&by_hand, release).unwrap();
        }
        let bits = |parameters: &Parameters| {
            let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            parameters.iter().flat_map(|(_, var)| values(var.as_tensor())).collect::<Vec<_>>()
        };
        assert_eq!(bits(&parameters), bits(&by_hand), "{rule:?}");
    }
}

#[test]
fn one_band_is_independent_noise_to_the_bit_and_at_the_same_cost() {
    let runs = [NoiseRule::Independent, banded(1)].map(|rule| {
        let plan = draft(rule, 25).with_noise(noise(1.3)).unwrap();
        (trained(&plan, sgd(), &[], u32::MAX).0, plan.epsilon(&plan.event().unwrap()).unwrap())
    });
    assert_eq!(runs[0], runs[1]);
    let other = draft(banded(2), 25).with_noise(noise(1.3)).unwrap();
    assert_ne!(trained(&other, sgd(), &[], u32::MAX).0, runs[0].0);
}

#[test]
fn events_are_those_of_the_papers() {
    let tree = |steps| Event::TreeAggregation {
        noise_multiplier: noise(2.0),
        participation: Participation::new(steps, 1, 0).unwrap(),
    };
    // 20 steps are two trees of 8 and four steps of a third.
    let plan = draft(NoiseRule::Tree, 25).with_noise(noise(2.0)).unwrap();
    assert_eq!(plan.event().unwrap(), Event::composed([tree(8), tree(8), tree(4)]));
    // Kairouz et al. 2021: RDP(a) = a sum over trees of (floor(log2 T) + 1) / (2 sigma^2).
    for order in [1.5, 2.0, 8.0, 64.0] {
        let golden = order * (4.0 + 4.0 + 3.0) / (2.0 * 4.0);
        let found =
            Rdp::new(Relation::AddRemove).divergence(&plan.event().unwrap(), Order::new(order).unwrap()).unwrap();
        assert!((found / golden - 1.0).abs() < 1e-12, "{found}, not {golden}");
    }
    // Choquette-Choo et al. 2023, theorem 4: DP-SGD with ceil(steps / bands) iterations at the rate q bands.
    let plan = draft(banded(3), 25).with_noise(noise(2.0)).unwrap();
    let rate = SamplingRate::new(25.0 / 200.0 * 3.0).unwrap();
    let dpsgd = Event::gaussian(noise(2.0)).poisson_sampled(rate).repeated(7);
    let epsilon = |event: &Event| {
        let bound = plan.epsilon(event).unwrap();
        (bound.estimate(), bound.upper())
    };
    assert_eq!(epsilon(&plan.event().unwrap()), epsilon(&dpsgd));
}

const ELEMENTS: usize = 20_000;

/// What each of the first `steps` releases of sums of nothing is, for parameters of 20,000 numbers, and the deviations it states.
fn releases(steps: u32, mut mechanism: impl Mechanism) -> Vec<(Vec<f64>, f64)> {
    let parameters = Parameters::new(Key::from_seed(0), DType::F64, &Device::Cpu);
    parameters.var_builder().get(ELEMENTS - 10, "b").unwrap();
    parameters.var_builder().get(10, "a").unwrap();
    let clip = Flat::new(ClipNorm::new(3.0).unwrap());
    let release = |_| {
        let sum = ClippedSum::new::<Recorded>(&parameters, &clip, std::iter::empty()).unwrap();
        let (release, _) = mechanism.release(sum).unwrap();
        let deviation = release.deviation();
        let values = release.into_gradient().iter().flat_map(|part| part.to_vec1::<f64>().unwrap()).collect();
        (values, deviation)
    };
    (0..steps).map(release).collect()
}

fn tree(steps: u64, first: u32) -> Tree {
    let (clip_norm, steps) = (ClipNorm::new(3.0).unwrap(), NonZeroU64::new(steps).unwrap());
    Tree::new(noise(2.0), clip_norm, steps, 8.0, Key::from_seed(4), first).unwrap()
}

fn matrix(of: u32, first: u32) -> Banded {
    Banded::new(noise(2.0), ClipNorm::new(3.0).unwrap(), bands(of), 8.0, Key::from_seed(4), first).unwrap()
}

/// z C over the expected batch.
const UNIT: f64 = 2.0 * 3.0 / 8.0;

/// Whether the mean square of independent normal draws is `variance` up to five and a half deviations: false in 4e-8 of the cases.
fn has_variance(values: &[f64], variance: f64) -> bool {
    let n = values.len() as f64;
    let found = values.iter().map(|x| x * x).sum::<f64>() / n;
    (found / variance - 1.0).abs() < 5.5 * (2.0 / n).sqrt()
}

fn add(sums: &mut [f64], values: &[f64]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

#[test]
fn sums_of_tree_releases_have_the_noise_of_as_many_nodes_as_the_step_has_ones() {
    // Two trees of 21 steps, whose noise is independent: the sums of the second begin anew.
    let (made, steps) = (releases(42, tree(21, 0)), 21_u32);
    let (mut sums, mut independent) = (vec![0.0; ELEMENTS], vec![0.0; ELEMENTS]);
    let mut control = 0;
    for (step, (values, deviation)) in made.iter().enumerate() {
        let t = step as u32 % steps + 1;
        if t == 1 {
            sums.fill(0.0);
            independent.fill(0.0);
        }
        add(&mut sums, values);
        let mut draws = vec![0.0; ELEMENTS];
        StandardNormals::new(&Key::from_seed(7), step as u32).fill(&mut draws);
        add(&mut independent, &draws.iter().map(|draw| UNIT * draw).collect::<Vec<_>>());
        let variance = f64::from(t.count_ones()) * UNIT * UNIT;
        assert!(has_variance(&sums, variance), "after {t} steps");
        assert!(has_variance(values, deviation * deviation), "the deviation of step {t}");
        // The control: sums of independent noise have the variance t, which is that of a tree for t = 1 alone.
        control += u32::from(has_variance(&independent, variance));
    }
    assert_eq!(control, 2, "independent noise passes for a tree at the first step of each");
    // Sums of different trees, and disjoint stretches that begin with powers of two, have nothing in common.
    let ends = |from: usize, to: usize| {
        made[from..to].iter().fold(vec![0.0; ELEMENTS], |mut sums, (values, _)| {
            add(&mut sums, values);
            sums
        })
    };
    for (one, other) in [(ends(0, 16), ends(21, 37)), (ends(0, 16), ends(16, 20)), (ends(0, 8), ends(21, 22))] {
        let root = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let product = one.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / (root(&one) * root(&other));
        assert!(product.abs() < 5.5 / (ELEMENTS as f64).sqrt(), "{product}");
    }
    // A mechanism that begins in the middle makes the same releases.
    for first in [5, 20, 21, 30] {
        assert_eq!(releases(3, tree(21, first))[..], made[first as usize..first as usize + 3]);
    }
}

#[test]
fn banded_noise_times_the_matrix_is_independent_noise_of_the_deviation_that_the_column_norm_asks_for() {
    for (of, steps) in [(1, 4), (2, 6), (4, 12), (16, 40)] {
        let made = releases(steps, matrix(of, 0));
        let c = Banded::bands(bands(of));
        let deviation = UNIT * Banded::column_norm(&c);
        for step in 0..steps as usize {
            // Row `step` of C, times the releases.
            let mut product = vec![0.0; ELEMENTS];
            for (k, c) in c.iter().enumerate().take(step + 1) {
                add(&mut product, &made[step - k].0.iter().map(|x| c * x).collect::<Vec<_>>());
            }
            // The ten numbers of the first parameter come first, and those of the second are drawn from the next block on.
            let mut draws = vec![0.0; StandardNormals::BLOCK + ELEMENTS - 10];
            StandardNormals::new(&Key::from_seed(4), step as u32).fill(&mut draws);
            let draws = draws[..10].iter().chain(&draws[StandardNormals::BLOCK..]);
            for (found, draw) in product.iter().zip(draws) {
                assert!((found - deviation * draw).abs() < 1e-12 * deviation, "{of} bands, step {step}");
            }
            let (values, stated) = &made[step];
            assert!(has_variance(values, stated * stated), "{of} bands, the deviation of step {step}");
            // The control: what is released is not itself of that deviation, but with one band.
            assert_eq!(has_variance(values, deviation * deviation), of == 1 || step == 0, "{of} bands, step {step}");
        }
        for first in [2, 3] {
            assert_eq!(releases(1, matrix(of, first))[0], made[first as usize]);
        }
    }
}

#[test]
fn sums_of_banded_releases_have_the_variance_of_the_inverse_and_less_than_independent_noise() {
    let (of, steps) = (8, 24);
    let (made, c) = (releases(steps, matrix(of, 0)), Banded::bands(bands(of)));
    // The inverse by its own recursion, from the power series 1 / C.
    let mut inverse = vec![1.0];
    for t in 1..steps as usize {
        let next = -(1..=t.min(of as usize - 1)).map(|k| c[k] * inverse[t - k]).sum::<f64>();
        inverse.push(next);
    }
    let (mut sums, mut weights) = (vec![0.0; ELEMENTS], vec![0.0; steps as usize]);
    for (t, (values, _)) in made.iter().enumerate() {
        add(&mut sums, values);
        // The sum of x_0 to x_t holds z_s with the weight of the inverse's first t - s + 1 entries together.
        (0..=t).for_each(|s| weights[s] += inverse[t - s]);
        let square = |weights: &[f64]| weights.iter().map(|w| w * w).sum::<f64>();
        let unit = UNIT * Banded::column_norm(&c);
        let variance = square(&weights[..=t]) * unit * unit;
        assert!(has_variance(&sums, variance), "after {t} steps");
        let independent = (t + 1) as f64 * unit * unit;
        assert!(t == 0 || (variance < independent && !has_variance(&sums, independent)), "after {t} steps");
    }
}

#[test]
fn a_record_moves_the_encoded_gradients_by_at_most_the_column_norm_a_turn() {
    // Law: in every pattern a record can have, C times what it adds has at most the norm sqrt(turns) times the column norm, and the
    // rows that one turn moves are moved by no other, so that each turn is a release of its own.
    let steps = 12_usize;
    for of in [1_usize, 2, 3, 5, 12, 20] {
        let c = Banded::bands(bands(of as u32));
        let norm = Banded::column_norm(&c);
        let times = |adds: &[f64]| -> Vec<f64> {
            (0..steps).map(|row| (0..=row).filter(|k| row - k < of).map(|k| c[row - k] * adds[k]).sum()).collect()
        };
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        for group in 0..of.min(steps) {
            let turns: Vec<usize> = (group..steps).step_by(of).collect();
            for pattern in 0_u32..1 << turns.len() {
                let mut adds = vec![0.0; steps];
                let mut moved = vec![0; steps];
                for (i, turn) in turns.iter().enumerate().filter(|(i, _)| pattern >> i & 1 == 1) {
                    adds[*turn] = if i % 2 == 0 { 1.0 } else { -1.0 };
                    let mut alone = vec![0.0; steps];
                    alone[*turn] = 1.0;
                    let alone = times(&alone);
                    assert!(length(&alone) <= norm, "{of} bands, step {turn}");
                    alone.iter().zip(&mut moved).for_each(|(x, moved)| *moved += i32::from(*x != 0.0));
                }
                assert!(length(&times(&adds)) <= norm * f64::from(pattern.count_ones()).sqrt() * (1.0 + 1e-12));
                assert!(moved.iter().all(|turns| *turns <= 1), "{of} bands: {moved:?}");
            }
        }
        // The control: a record in two steps next to each other moves more than two turns may.
        let mut adds = vec![0.0; steps];
        adds[..2].fill(1.0);
        assert_eq!(length(&times(&adds)) > norm * 2.0_f64.sqrt() * (1.0 + 1e-12), of > 1, "{of} bands");
    }
}

#[test]
fn releases_are_frozen_by_seed() {
    let digest = |made: Vec<(Vec<f64>, f64)>| {
        made.iter().flat_map(|(values, _)| values).fold(0_u64, |hash, x| hash.rotate_left(5) ^ x.to_bits())
    };
    assert_eq!([digest(releases(11, tree(8, 0))), digest(releases(11, matrix(4, 0)))], FROZEN);
}

/// As first released; a change would break every resumed run.
const FROZEN: [u64; 2] = [2_619_473_974_849_390_348, 9_862_261_877_809_041_585];

#[test]
fn correlated_noise_on_the_samples_of_another_rule_has_no_cost_and_so_no_run() {
    use dpsgd::sample::{Cyclic, Disjoint, Poisson, Sampling};
    let (key, rate) = (Key::from_seed(1), SamplingRate::new(0.1).unwrap());
    let mut samplers: [Box<dyn Sampling>; 3] = [
        Box::new(Poisson::new(RECORDS, rate, key.clone(), 0)),
        Box::new(Disjoint::new(RECORDS, NonZeroU64::new(8).unwrap(), key.clone(), 0)),
        Box::new(Cyclic::new(RECORDS, rate, bands(4), key, 0)),
    ];
    let kinds = samplers.each_mut().map(|sampler| {
        sampler.next_batch();
        [tree(8, 0).event(), matrix(4, 0).event(), matrix(5, 0).event()].map(|event| sampler.amplify(event).kind())
    });
    let none = "unsupported";
    assert_eq!(kinds, [[none; 3], ["tree-aggregation", none, none], [none, "cyclic-poisson", none]]);
}

#[test]
fn noise_is_the_same_with_any_number_of_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (releases(9, tree(8, 0)), releases(9, matrix(4, 0))))
    };
    let one = with(1);
    assert!([2, 5].into_iter().all(|threads| with(threads) == one));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let schedule = |noise: &str, clip: &str| Schedules {
        noise: Factors::parse("noise", noise).unwrap(),
        clip: Factors::parse("clip", clip).unwrap(),
    };
    for rule in [NoiseRule::Tree, banded(3)] {
        let adaptive = ClipRule::Adaptive(Adaptive::new(0.5, 0.2, 5.0).unwrap());
        for draft in [
            Draft { clipping: adaptive, ..draft(rule, 25) },
            Draft { schedules: schedule("0=1,0.5=2", "0=1"), ..draft(rule, 25) },
            Draft { schedules: schedule("0=1", "0=1,0.5=2"), ..draft(rule, 25) },
        ] {
            let refusal = draft.with_noise(noise(1.0)).unwrap_err().to_string();
            assert!(refusal.contains("needs one clip norm and one noise multiplier"), "{refusal}");
        }
        for relation in Relation::ALL {
            let plan = Draft { relation, ..draft(rule, 25) }.calibrated(Epsilon::new(1.0).unwrap()).unwrap();
            assert!(plan.step_event(0).unwrap_err().to_string().contains("no cost of its own"));
        }
    }
    let refusal = draft(banded(9), 25).with_noise(noise(1.0)).unwrap_err().to_string();
    assert!(refusal.starts_with("bands = 9: allowed is 1 to records / batch size, here 8"), "{refusal}");
    // A sum of another bound would get noise that does not fit that of the steps before.
    let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
    parameters.var_builder().get(3, "w").unwrap();
    let sum = || {
        let clip = Flat::new(ClipNorm::new(3.1).unwrap());
        ClippedSum::new::<Recorded>(&parameters, &clip, std::iter::empty()).unwrap()
    };
    assert!(tree(8, 0).release(sum()).is_err() && matrix(4, 0).release(sum()).is_err());
}

#[test]
fn noise_that_does_not_fit_into_memory_is_refused_before_anything_is_released() {
    // 2^23 bands of 2,500,000 numbers are 168 TB: more than a process can have.
    let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
    parameters.var_builder().get(2_500_000, "w").unwrap();
    let clip = Flat::new(ClipNorm::new(3.0).unwrap());
    let sum = ClippedSum::new::<Recorded>(&parameters, &clip, std::iter::empty()).unwrap();
    let refusal = matrix(1 << 23, 0).release(sum).unwrap_err().to_string();
    assert!(refusal.starts_with("bands = 8388608: allowed is as many as fit into memory"), "{refusal}");
}

#[cfg(feature = "cli")]
mod commands {
    use super::super::command_line::{dpsgd, here, json, ok};

    #[test]
    fn reports_say_what_was_run_and_are_verified() {
        let here = here();
        let train = "train --data small.csv --batch-size 10 --epsilon 3 --quiet --seed 3";
        for (i, (flags, steps, rate, words)) in [
            ("--noise independent", 120, Some(10.0 / 60.0), ["Poisson, rate 0.166667", "Gaussian, noise multiplier"]),
            (
                "--noise tree --optimizer adam",
                120,
                None,
                ["Disjoint batches, every record in one of them at random once a pass (expected", "at each node"],
            ),
            (
                "--noise banded --ema 0.9",
                120,
                Some(4.0 / 6.0),
                ["Cyclic Poisson over 4 groups, rate 0.666667", "banded square root of 4 bands, noise multiplier"],
            ),
            ("--noise banded --bands 6 --steps 31", 31, Some(1.0), ["over 6 groups", "over clip norm and column norm"]),
        ]
        .into_iter()
        .enumerate()
        {
            let report = json(here.path(), &format!("{train} --out run-{i} {flags}"));
            assert_eq!(report["privacy"]["steps"].as_u64(), Some(steps), "{flags}");
            assert_eq!(report["privacy"]["sampling_rate"].as_f64(), rate, "{flags}");
            let upper = |at: &str| report.pointer(at).unwrap()["upper"].as_f64().unwrap();
            let (stated, known) = (upper("/privacy/epsilon"), upper("/privacy/guarantees/1/epsilon"));
            assert!(stated <= 3.0 && stated > 2.99, "{flags}: {stated}");
            // Whoever does not know the places may know as good as nothing, where there are any.
            let lower = |at: &str| report.pointer(at).unwrap()["lower"].as_f64().unwrap();
            assert_eq!(lower("/privacy/epsilon") > 0.0, flags.contains("independent"), "{flags}");
            assert!(lower("/privacy/guarantees/1/epsilon") > 0.0, "{flags}");
            // Without sampling, or at the rate 1, nothing rests on it.
            assert_eq!(known <= stated * (1.0 + 1e-9), rate.is_none_or(|rate| rate == 1.0), "{flags}: {known}");
            let statement = std::fs::read_to_string(here.path().join(format!("run-{i}/statement.txt"))).unwrap();
            assert!(words.iter().all(|words| statement.contains(words)), "{flags}: {statement}");
            ok(here.path(), &format!("verify run-{i}"));
        }
        // A plan whose noise was changed afterwards does not cost what the ledger says.
        let path = here.path().join("run-3/report.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replace("\"bands\": 6", "\"bands\": 5");
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        assert_eq!(dpsgd(here.path(), &["verify", "run-3"]).code, Some(1));
        // 60 records in 8 batches a pass: sums are divided by 7.5, and nothing says 8.
        let tree = "train --data small.csv --batch-size 8 --noise tree --quiet --steps 5";
        let report = json(here.path(), &format!("{tree} --epsilon 3 --out uneven"));
        assert_eq!(report["privacy"]["expected_batch"].as_f64(), Some(7.5));
        let statement = std::fs::read_to_string(here.path().join("uneven/statement.txt")).unwrap();
        assert!(statement.contains("expected batch 7.50000 of 60 records"), "{statement}");
        ok(here.path(), "verify uneven");
        let twin = json(here.path(), &format!("{tree} --no-privacy"));
        assert!(twin["privacy"].is_null());
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        let here = here();
        for (flags, code, words) in [
            ("--bands 4", 2, "--bands = 4: allowed is no value beside --noise independent"),
            ("--noise tree --bands 4", 2, "belongs to --noise banded"),
            ("--noise banded --bands 0", 2, "--bands"),
            ("--noise banded --bands 2", 2, "bands = 2: allowed is 1 to records / batch size, here 1"),
            ("--noise tree --clipping adaptive", 1, "one clip norm and one noise multiplier"),
            ("--noise tree --noise-schedule 2..1/2", 1, "one clip norm and one noise multiplier"),
            ("--noise forest", 2, "--noise"),
        ] {
            let line = format!("train --data small.csv --steps 10 --quiet {flags}");
            let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(ran.code, Some(code), "{flags}: {}", ran.stderr);
            assert!(ran.stderr.contains(words), "{flags}: {}", ran.stderr);
        }
    }
}
