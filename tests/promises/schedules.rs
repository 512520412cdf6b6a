//! Runs whose clip norm or noise changes cost what their plan says, and go on as if they had not stopped.

use candle_core::{DType, Device};
use dp_accountant::{
    Accountant, Analytic, Delta, Epsilon, Event, Ledger, Moments, NoiseMultiplier, Pld, Rdp, Relation, SamplingRate,
};
use dpsgd::clip::{Adaptive, ClipNorm, ClipRule};
use dpsgd::data::Dataset;
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Parameters, Sequential};
use dpsgd::optim::{AdamConfig, OptimizerConfig, Rule, SgdConfig};
use dpsgd::plan::{Draft, Factors, Plan, Schedules};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};

fn data() -> Dataset {
    let features = (0..200 * 36).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
    let labels = (0..200).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[6, 6], features, vec!["a".into(), "b".into()], labels).unwrap()
}

fn adaptive(count_noise: f64) -> ClipRule {
    ClipRule::Adaptive(Adaptive::new(0.5, 0.2, count_noise).unwrap())
}

fn schedules(noise: &str, clip: &str) -> Schedules {
    Schedules { noise: Factors::parse("noise", noise).unwrap(), clip: Factors::parse("clip", clip).unwrap() }
}

fn draft(clipping: ClipRule, schedules: Schedules) -> Draft {
    Draft { clipping, schedules, ..Draft::new(200, 100, 20, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap()) }
}

fn noise(z: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(z).unwrap()
}

/// Every way in which a run can change on its way.
fn drafts() -> Vec<Draft> {
    let none = Schedules::default;
    vec![
        draft(adaptive(5.0), none()),
        draft(ClipRule::Flat, schedules("0=1.5,0.5=0.8", "0=1")),
        draft(ClipRule::PerLayer, schedules("0=1", "2..0.5/4")),
        draft(ClipRule::Flat, schedules("1.5..0.7/5", "0=1,0.3=0.5")),
        draft(adaptive(5.0), schedules("0=1.5,0.5=0.8", "0=1")),
    ]
}

fn sgd() -> OptimizerConfig {
    Rule::Sgd(SgdConfig { learning_rate: 0.2, momentum: 0.9, ..SgdConfig::default() }).into()
}

fn built() -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
    let model = Architecture::Logistic.build(&[6, 6], 2, parameters.var_builder()).unwrap();
    (parameters, model)
}

/// What a run ends with: the bits of its parameters, its ledger, and the clip norm before each step and after the last.
#[derive(Debug, PartialEq)]
struct Ended {
    parameters: Vec<u32>,
    ledger: Ledger,
    clip_norms: Vec<f64>,
}

/// Trains; a run that is given a step to stop at goes on from there in another trainer, from a checkpoint written and read.
fn trained(plan: &Plan, optimizer: OptimizerConfig, stop: Option<u32>) -> dpsgd::Result<Ended> {
    let (key, data, run) = (Key::from_seed(9), data(), Run::default());
    let file = tempfile::tempdir().unwrap();
    let mut clip_norms = Vec::new();
    if let Some(stop) = stop {
        let (parameters, model) = built();
        let mut trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, optimizer.build(20)?)?;
        while trainer.step() < stop {
            clip_norms.push(trainer.clip_norm().get());
            trainer.train(|_| Ok(Wish::Stop))?;
        }
        trainer.checkpoint(&())?.write(&file.path().join("checkpoint"))?;
    }
    let (parameters, model) = built();
    let mut trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, optimizer.build(20)?)?;
    if stop.is_some() {
        trainer.resume(&dpsgd::checkpoint::Checkpoint::read(&file.path().join("checkpoint"))?)?;
    }
    while !trainer.is_done() {
        clip_norms.push(trainer.clip_norm().get());
        trainer.train(|_| Ok(Wish::Stop))?;
    }
    clip_norms.push(trainer.clip_norm().get());
    let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let parameters = parameters.iter().flat_map(|(_, var)| values(var.as_tensor())).map(f32::to_bits).collect();
    Ok(Ended { parameters, ledger: trainer.ledger().clone(), clip_norms })
}

#[test]
fn the_plan_costs_before_the_run_what_the_ledger_says_after_it() {
    for draft in drafts() {
        let stopping = Draft { steps: 60, budget: Some(Epsilon::new(5.0).unwrap()), ..draft.clone() };
        for plan in [
            draft.clone().with_noise(noise(1.3)).unwrap(),
            draft.calibrated(Epsilon::new(2.0).unwrap()).unwrap(),
            stopping.with_noise(noise(2.5)).unwrap(),
        ] {
            let before = plan.event().unwrap();
            let ended = trained(&plan, sgd(), None).unwrap();
            let steps = plan.affordable_steps().unwrap();
            assert_eq!(ended.ledger.event(), before, "{:?}", plan.draft());
            assert_eq!(ended.ledger.steps(), u64::from(steps));
            assert_eq!(before, Event::composed((0..steps).map(|step| plan.step_event(step).unwrap())));
            if let Some(budget) = plan.draft().budget {
                let upper = |steps| plan.epsilon(&plan.event_of(steps).unwrap()).unwrap().upper();
                assert!(upper(steps) <= budget.get());
                // A calibrated plan takes all its steps and barely fits; the others stop before the step that would not.
                assert!(if steps == 20 { upper(20) > 0.999 * budget.get() } else { upper(steps + 1) > budget.get() });
            }
        }
    }
}

#[test]
fn a_run_goes_on_from_every_step_to_the_same_bits() {
    let adam = Rule::Adam(AdamConfig::default());
    for (draft, optimizer) in drafts().into_iter().flat_map(|draft| [(draft.clone(), sgd()), (draft, adam.into())]) {
        let plan = draft.with_noise(noise(1.3)).unwrap();
        let whole = trained(&plan, optimizer, None).unwrap();
        for stop in [1, 10, 13, 20] {
            assert_eq!(trained(&plan, optimizer, Some(stop)).unwrap(), whole, "{:?} after {stop}", plan.draft());
        }
    }
}

#[test]
fn a_clip_schedule_sets_the_clip_norm_of_each_step_and_costs_nothing() {
    let constant = draft(ClipRule::Flat, Schedules::default()).with_noise(noise(1.3)).unwrap();
    let plan = draft(ClipRule::Flat, schedules("0=1", "0=2,0.25=1,0.9=0.5")).with_noise(noise(1.3)).unwrap();
    assert_eq!(plan.event().unwrap(), constant.event().unwrap());
    let ended = trained(&plan, sgd(), None).unwrap();
    let expected = [vec![1.4; 5], vec![0.7; 13], vec![0.35; 3]].concat();
    assert_eq!(ended.clip_norms, expected);
}

#[test]
fn a_noise_schedule_is_the_composition_of_its_stretches() {
    let plan = draft(ClipRule::Flat, schedules("0=1.5,0.5=0.8", "0=1")).with_noise(noise(1.2)).unwrap();
    let rate = SamplingRate::new(0.5).unwrap();
    let by_hand = Event::Composed {
        events: [1.2 * 1.5, 1.2 * 0.8].map(|z| Event::gaussian(noise(z)).poisson_sampled(rate).repeated(10)).to_vec(),
    };
    assert_eq!(plan.event().unwrap(), by_hand);
    assert_eq!(plan.step_event(9).unwrap(), Event::gaussian(noise(1.2 * 1.5)).poisson_sampled(rate));
    assert_eq!(plan.step_event(10).unwrap(), Event::gaussian(noise(1.2 * 0.8)).poisson_sampled(rate));
    // Less noise in half of the steps costs more than the same noise in all, and more in all of them less.
    let epsilon = |noise: &str| {
        let plan = draft(ClipRule::Flat, schedules(noise, "0=1")).with_noise(self::noise(1.2)).unwrap();
        plan.epsilon(&plan.event().unwrap()).unwrap()
    };
    assert!(epsilon("0=1.5,0.5=0.8").upper() < epsilon("0=0.8").lower());
    assert!(epsilon("0=1.5,0.5=0.8").lower() > epsilon("0=1.5").upper());
    assert_eq!(epsilon("0=1,0.5=1"), epsilon("0=1"));
}

#[test]
fn sum_and_count_together_cost_what_one_release_costs_in_every_accountant() {
    let delta = Delta::new(1e-5).unwrap();
    for relation in [Relation::AddRemove, Relation::Replace, Relation::ZeroOut] {
        let accountants: [Box<dyn Accountant>; 4] = [
            Box::new(Analytic::new(relation)),
            Box::new(Moments::new(relation)),
            Box::new(Pld::new(relation)),
            Box::new(Rdp::new(relation)),
        ];
        for (rate, steps, z, count_noise) in [(1.0, 7, 5.0, 5.0), (0.05, 50, 1.0, 0.6), (0.1, 30, 0.9, 12.0)] {
            let rate = SamplingRate::new(rate).unwrap();
            let cost = |event: Event| event.poisson_sampled(rate).repeated(steps);
            let pair = cost(Adaptive::new(0.5, 0.2, count_noise).unwrap().event(noise(z)).unwrap());
            let single = cost(Event::gaussian(noise(z)));
            let mut answers = 0;
            for accountant in &accountants {
                let (Ok(pair), Ok(single)) = (accountant.epsilon(&pair, delta), accountant.epsilon(&single, delta))
                else {
                    continue;
                };
                answers += 1;
                let off = (pair.upper() - single.upper()).abs() / single.upper();
                let name = pair.accountant();
                assert!(off <= 1e-6, "{name}, {relation:?}, z = {z}: {} and not {}", pair.upper(), single.upper());
                assert!(pair.lower() <= single.upper() && single.lower() <= pair.upper(), "{name}, {relation:?}");
            }
            assert!(answers >= 1, "{relation:?}, z = {z}: no accountant answers");
        }
    }
}

#[test]
fn a_pair_whose_sum_has_the_noise_of_the_plan_costs_more_than_the_plan() {
    // The control of the test above: without the split, the count comes on top.
    let count_noise = dp_accountant::NoiseScale::new(5.0).unwrap();
    let careless = Event::AdaptiveClip { noise_multiplier: noise(5.0), count_noise };
    let (analytic, delta) = (Analytic::new(Relation::AddRemove), Delta::new(1e-5).unwrap());
    let epsilon = |event: &Event| analytic.epsilon(event, delta).unwrap().upper();
    assert!(epsilon(&careless) > 1.1 * epsilon(&Event::gaussian(noise(5.0))));
}

#[test]
fn the_clip_norm_reaches_the_quantile_through_the_noise() {
    use dpsgd::clip::{ClippedSum, Flat};
    use dpsgd::grad::Written;
    use dpsgd::noise::{AdaptiveGaussian, Mechanism};
    // Norms of the lognormal law (1, 1), whose median is e: 100 fixed quantiles, the middle ones 1 % apart. With sigma_b = 5 and m = 100
    // the clip norm ends about e with a deviation of 0.11; the mean over 200 rounds is off by 0.1 less than once in a thousand.
    let inverse = |p: f64| {
        let (mut low, mut high) = (-8.0, 8.0);
        for _ in 0..60 {
            let x = 0.5 * (low + high);
            if below(x) < p { low = x } else { high = x }
        }
        low
    };
    let norms: Vec<f32> = (0..100).map(|i| (1.0 + inverse((f64::from(i) + 0.5) / 100.0)).exp() as f32).collect();
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    parameters.var_builder().get(1, "w").unwrap();
    let (rule, first) = (Adaptive::new(0.5, 0.2, 5.0).unwrap(), ClipNorm::new(0.1).unwrap());
    let (mut clip_norm, mut late) = (first, Vec::new());
    for step in 0..400 {
        let rows = candle_core::Tensor::from_slice(&norms, (100, 1), &Device::Cpu).unwrap();
        let batch = Written::new(100, vec![rows]);
        let sum = ClippedSum::new(&parameters, &Flat::new(clip_norm), std::iter::once(batch)).unwrap();
        let mut mechanism = AdaptiveGaussian::new(rule, noise(1.0), 100.0, Key::from_seed(2), step).unwrap();
        let within = mechanism.release(sum).unwrap().0.within().unwrap();
        clip_norm = rule.next(first, clip_norm, within).unwrap();
        if step >= 200 {
            late.push(clip_norm.get());
        }
    }
    let mean = late.iter().sum::<f64>() / 200.0;
    let spread = (late.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 200.0).sqrt();
    assert!((mean - std::f64::consts::E).abs() < 0.1, "{mean}");
    assert!((0.05..0.25).contains(&spread), "{spread}");
}

/// The normal distribution function, by its integral.
fn below(x: f64) -> f64 {
    let (n, density) = (400, |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt());
    let h = (x + 9.0) / f64::from(n);
    h * (0..n).map(|i| density(-9.0 + (f64::from(i) + 0.5) * h)).sum::<f64>()
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (none, z) = (Schedules::default, noise(1.0));
    for (draft, words) in [
        (draft(adaptive(5.0), schedules("0=1", "0=1,0.5=2")), "adaptive clipping moves the clip norm itself"),
        (draft(adaptive(0.5), none()), "count noise 0.5"),
        (draft(adaptive(0.6), schedules("0=1,0.5=1.5", "0=1")), "noise multiplier 1.5"),
        (draft(ClipRule::Flat, schedules("2..1/30", "0=1")), "noise schedule"),
        (draft(ClipRule::Flat, schedules("0=1", "2..1/30")), "clip schedule"),
        (
            Draft { clip_norm: ClipNorm::new(1e20).unwrap(), ..draft(ClipRule::Flat, schedules("0=1", "0=2")) },
            "clip norm = 2",
        ),
    ] {
        let refusal = draft.with_noise(z).unwrap_err().to_string();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    // The count alone costs more than this epsilon.
    let refusal = draft(adaptive(0.5), none()).calibrated(Epsilon::new(0.5).unwrap()).unwrap_err().to_string();
    assert!(refusal.contains("--clipping-count-noise") && refusal.contains("epsilon"), "{refusal}");
    // No noise at all reaches this one, and the count has nothing to do with it.
    for clipping in [ClipRule::Flat, adaptive(1e12)] {
        let delta = Delta::new(1e-50).unwrap();
        let draft = Draft { delta, ..draft(clipping, none()) };
        let refusal = draft.calibrated(Epsilon::new(1e-12).unwrap()).unwrap_err().to_string();
        assert!(refusal.contains("epsilon") && !refusal.contains("count"), "{refusal}");
    }
}

#[cfg(feature = "cli")]
mod commands {
    use super::super::command_line::{dpsgd, here, json, ok};

    #[test]
    fn reports_say_how_the_run_changed_and_are_verified() {
        let here = here();
        let train = "train --data small.csv --epochs 10 --noise-multiplier 2 --quiet --seed 3";
        for (i, (flags, words)) in [
            (
                "--clipping adaptive",
                "0.5-quantile of norms at the rate 0.2 with count noise 1.6, clip norm C = 1 at first",
            ),
            (
                "--clipping adaptive --clipping-quantile 0.9 --clipping-rate 0.1 --clipping-count-noise 4",
                "0.9-quantile",
            ),
            ("--noise-schedule 0=1.2,0.5=0.8", "noise schedule        0=1.2,0.5=0.8"),
            ("--clip-schedule 2..1/2", "clip schedule         0=2,0.5=1"),
            (
                "--clipping adaptive --clipping-count-noise 9 --noise-schedule 0=1.2,0.5=0.8",
                "of sum and count together",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let report = json(here.path(), &format!("{train} --out run-{i} {flags}"));
            let statement = std::fs::read_to_string(here.path().join(format!("run-{i}/statement.txt"))).unwrap();
            assert!(statement.contains(words), "{flags}: {statement}");
            let last = &report["privacy"]["last_clip_norm"];
            assert_eq!(last.as_f64().is_some_and(|last| last != 1.0), flags.contains("adaptive"), "{flags}: {last}");
            ok(here.path(), &format!("verify run-{i}"));
        }
        // A plan whose schedule was changed afterwards does not cost what the ledger says.
        let path = here.path().join("run-2/report.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replace("\"factor\": 0.8", "\"factor\": 0.9");
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        assert_eq!(dpsgd(here.path(), &["verify", "run-2"]).code, Some(1));
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        let here = here();
        for (flags, code, words) in [
            ("--clipping-quantile 0.5", 2, "--clipping adaptive"),
            ("--clipping adaptive --clipping-gamma 1", 2, "--clipping automatic"),
            ("--clipping adaptive --clipping-quantile 1.5", 2, "--clipping-quantile = 1.5"),
            ("--clipping adaptive --clip-schedule 2..1/2", 1, "moves the clip norm itself"),
            ("--clipping adaptive --clipping-count-noise 0.5 --noise-multiplier 3", 1, "count noise 0.5"),
            ("--noise-schedule 0.5=1", 2, "--noise-schedule = 0.5=1"),
            ("--clip-schedule x", 2, "--clip-schedule = x"),
            ("--no-privacy --noise-schedule 2..1/2", 2, "--no-privacy"),
        ] {
            let line = format!("train --data small.csv --steps 10 {flags}");
            let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(ran.code, Some(code), "{flags}: {}", ran.stderr);
            assert!(ran.stderr.contains(words), "{flags}: {}", ran.stderr);
        }
    }
}
