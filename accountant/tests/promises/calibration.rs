//! Calibration never overshoots, and stops only where one more would.

mod ends;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};

use dp_accountant::{
    Accountant, Analytic, Auto, Batches, Bound, Calibrated, Delta, Epsilon, Event, Gdp, Moments, NoiseMultiplier, Rdp,
    Relation, Unaccountable, Uncalibrated, by_name, calibrate,
};

use crate::plans::{delta, dp_sgd, epsilon, gaussian, noise, rate};

#[test]
fn the_smallest_safe_noise_is_found() {
    for (target, q, steps, d) in
        [(3.0, 0.01, 1000, 1e-5), (0.05, 0.001, 50_000, 1e-7), (100.0, 0.2, 20, 1e-5), (1.0, 1.0, 10, 1e-6)]
    {
        let plan = |z| Event::gaussian(z).poisson_sampled(rate(q)).repeated(steps);
        let auto = Auto::default();
        let answer = calibrate::noise_multiplier(&auto, plan, epsilon(target), delta(d)).unwrap();
        let cost = |z: f64| auto.epsilon(&plan(noise(z)), delta(d)).unwrap().upper();
        assert!(answer.bound.upper() <= target && !answer.capped, "{answer:?}");
        assert_eq!(answer.slack, target - answer.bound.upper());
        assert_eq!(cost(answer.value.get()), answer.bound.upper(), "the answer was evaluated");
        assert!(cost(answer.value.get() * (1.0 - 1.1e-6)) > target, "a smaller noise would do: {answer:?}");
    }
}

#[test]
fn the_contour_allows_less_noise_more_steps_and_larger_rates() {
    let (target, d) = (epsilon(1.5), delta(1e-5));
    let (moments, rdp) = (Moments::default(), Rdp::default());
    let by = |accountant: &dyn Accountant| {
        let z = |z| Event::gaussian(z).poisson_sampled(rate(0.01)).repeated(5000);
        let q = |q| gaussian(1.2).poisson_sampled(q).repeated(2000);
        let noise = calibrate::noise_multiplier(accountant, z, target, d).unwrap();
        let steps = calibrate::steps(accountant, |n| dp_sgd(1.2, 0.01, n), target, d).unwrap();
        let rate = calibrate::sampling_rate(accountant, q, target, d).unwrap();
        for bound in [noise.bound, steps.bound, rate.bound] {
            assert!(bound.upper() <= 1.5 && bound.accountant() == accountant.name(), "{bound:?}");
        }
        (noise.value.get(), steps.value, rate.value.get())
    };
    let (fine, coarse) = (by(&moments), by(&rdp));
    assert!(
        fine.0 < 0.97 * coarse.0 && fine.1 as f64 > 1.05 * coarse.1 as f64 && fine.2 > 1.02 * coarse.2,
        "{fine:?} {coarse:?}"
    );
    // One more step, certainly, exceeds the target: the interval is narrow.
    assert!(moments.epsilon(&dp_sgd(1.2, 0.01, fine.1 + 1), d).unwrap().lower() > 1.5);
}

#[test]
fn gaussian_noise_agrees_with_the_closed_form() {
    // delta(1) of mu = 1 is 0.12693673750664394 (40 digits): the noise for (1, that) is 1.
    let answer = calibrate::noise_multiplier(
        &Analytic::default(),
        Event::gaussian,
        epsilon(1.0),
        delta(0.126_936_737_506_643_94),
    )
    .unwrap();
    assert!((answer.value.get() - 1.0).abs() < 2e-6 && answer.value.get() >= 1.0 - 1e-12, "{answer:?}");
}

#[test]
fn the_last_allowed_step_is_allowed_and_the_next_is_not() {
    for (target, z, q, d) in [(3.0, 1.1, 0.01, 1e-5), (2.0, 3.0, 0.1, 1e-6), (0.5, 100.0, 1e-3, 1e-9)] {
        let auto = Auto::default();
        let plan = |n| dp_sgd(z, q, n);
        let answer = calibrate::steps(&auto, plan, epsilon(target), delta(d)).unwrap();
        let cost = |n: u64| auto.epsilon(&plan(n), delta(d)).unwrap().upper();
        assert!(!answer.capped && cost(answer.value) <= target, "{answer:?}");
        assert!(cost(answer.value + 1) > target, "one more step is allowed: {answer:?}");
    }
}

#[test]
fn steps_beyond_a_billion_are_found_and_the_cap_is_named() {
    let far = |z: f64| calibrate::steps(&Auto::default(), |n| dp_sgd(z, 1e-5, n), epsilon(2.0), delta(1e-6)).unwrap();
    let billions: Calibrated<u64> = far(1.2);
    assert!(billions.value > 1_000_000_000 && !billions.capped, "{billions:?}");
    let capped = far(1000.0);
    assert!(capped.capped && capped.value == u64::from(u32::MAX) && capped.bound.upper() <= 2.0, "{capped:?}");
}

#[test]
fn the_largest_safe_rate_is_found() {
    let rdp = Rdp::default();
    let plan = |q| gaussian(1.0).poisson_sampled(q).repeated(1000);
    let answer = calibrate::sampling_rate(&rdp, plan, epsilon(2.0), delta(1e-5)).unwrap();
    let cost = |q: f64| rdp.epsilon(&plan(rate(q)), delta(1e-5)).unwrap().upper();
    assert!(answer.bound.upper() <= 2.0 && cost(answer.value.get() * (1.0 + 1.1e-6)) > 2.0, "{answer:?}");
    // With enough noise every record may take part in every step.
    let plan = |q| gaussian(1000.0).poisson_sampled(q).repeated(10);
    let answer = calibrate::sampling_rate(&rdp, plan, epsilon(2.0), delta(1e-5)).unwrap();
    assert!(answer.capped && answer.value == rate(1.0), "{answer:?}");
}

#[test]
fn a_plan_that_costs_nothing_ends_at_the_least_noise_tried() {
    let answer =
        calibrate::noise_multiplier(&Auto::default(), |_| Event::nothing(), epsilon(1.0), delta(1e-5)).unwrap();
    assert!(answer.capped && answer.value == noise(1e-4) && answer.slack == 1.0, "{answer:?}");
}

#[test]
fn the_unreachable_is_refused_with_what_was_tried() {
    let rdp = by_name("rdp", Default::default()).unwrap();
    let bare = |_: NoiseMultiplier| gaussian(1e-3);
    let error = calibrate::noise_multiplier(rdp.as_ref(), bare, epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(matches!(error, Uncalibrated::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("noise multiplier") && text.contains("1e-4") && text.contains("1e8"), "{text}");
    let error = calibrate::steps(rdp.as_ref(), |n| gaussian(0.1).repeated(n), epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(error.to_string().contains("number of steps"), "{error}");
    let error = calibrate::noise_multiplier(rdp.as_ref(), Event::gaussian, epsilon(0.0), delta(1e-5)).unwrap_err();
    assert_eq!(error.to_string(), "target epsilon = 0: allowed is a number > 0");
    let secret = |_: NoiseMultiplier| Event::non_private("raw gradients");
    let error = calibrate::noise_multiplier(rdp.as_ref(), secret, epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(error.to_string().contains("raw gradients"), "{error}");
}

/// Counts what it is asked.
struct Counting<A> {
    inner: A,
    asked: AtomicU32,
}

impl<A: Accountant> Accountant for Counting<A> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn relation(&self) -> Relation {
        self.inner.relation()
    }
    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.epsilon(event, delta)
    }
    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        self.inner.delta(event, epsilon)
    }
}

/// How often this search asks.
fn asked(accountant: impl Accountant, search: impl Fn(&dyn Accountant)) -> u32 {
    let counting = Counting { inner: accountant, asked: AtomicU32::new(0) };
    search(&counting);
    counting.asked.into_inner()
}

#[test]
fn few_questions_are_asked() {
    let (mut noise_most, mut steps_most, mut rate_most) = (0, 0, 0);
    for (target, q, n, d) in [
        (3.0, 0.01, 1000, 1e-5),
        (0.05, 0.001, 50_000, 1e-7),
        (100.0, 0.2, 20, 1e-5),
        (1.0, 1.0, 10, 1e-6),
        (0.001, 0.01, 100, 1e-10),
        (20.0, 1e-4, 1_000_000, 1e-8),
        (8.0, 0.04, 2250, 1e-5),
        (0.5, 1e-4, 10, 1e-6),
        (1000.0, 0.5, 100_000, 1e-5),
    ] {
        for relation in [Relation::AddRemove, Relation::Replace] {
            let (t, d) = (epsilon(target), delta(d));
            let by_noise = |accountant: &dyn Accountant| {
                let plan = |z| Event::gaussian(z).poisson_sampled(rate(q)).repeated(n);
                let answer = calibrate::noise_multiplier(accountant, plan, t, d).unwrap();
                assert!(answer.bound.upper() <= target, "{answer:?}");
            };
            let noise = asked(Rdp::new(relation), by_noise).max(asked(Auto::new(relation), by_noise));
            let by_steps = |accountant: &dyn Accountant| {
                let plan = |steps| dp_sgd(5.0, q, steps);
                match calibrate::steps(accountant, plan, t, d) {
                    Ok(answer) => assert!(answer.bound.upper() <= target, "{answer:?}"),
                    Err(refusal) => assert!(matches!(refusal, Uncalibrated::Unreachable { .. }), "{refusal}"),
                }
            };
            let steps = asked(Rdp::new(relation), by_steps);
            let by_rate = |accountant: &dyn Accountant| {
                let plan = |q| gaussian(3.0).poisson_sampled(q).repeated(n);
                match calibrate::sampling_rate(accountant, plan, t, d) {
                    Ok(answer) => assert!(answer.bound.upper() <= target, "{answer:?}"),
                    Err(refusal) => assert!(matches!(refusal, Uncalibrated::Unreachable { .. }), "{refusal}"),
                }
            };
            let rate = asked(Rdp::new(relation), by_rate);
            println!("({target}, {q}, {n}) {relation}: noise {noise}, steps {steps}, rate {rate}");
            noise_most = noise_most.max(noise);
            steps_most = steps_most.max(steps);
            rate_most = rate_most.max(rate);
        }
    }
    // A Renyi bound that jumps from 0 leaves nothing but halving: the largest rate of epsilon = 0.001.
    assert!(noise_most <= 15 && steps_most <= 20 && rate_most <= 36, "{noise_most} {steps_most} {rate_most}");
}

#[test]
fn a_search_without_a_guess_asks_little_more() {
    // No limit theorem for Laplace noise: an accountant of its own, basic composition.
    struct Basic;
    impl Accountant for Basic {
        fn name(&self) -> &'static str {
            "basic"
        }
        fn relation(&self) -> Relation {
            Relation::AddRemove
        }
        fn epsilon(&self, event: &Event, _: Delta) -> Result<Bound, Unaccountable> {
            let total: f64 = event
                .parts()?
                .into_iter()
                .map(|(leaf, count)| match leaf {
                    Event::Laplace { noise_multiplier } => count as f64 / noise_multiplier.get(),
                    other => panic!("{other:?}"),
                })
                .sum();
            Ok(Bound::new(0.0, total, total, "basic")?)
        }
        fn delta(&self, _: &Event, _: Epsilon) -> Result<Bound, Unaccountable> {
            Ok(Bound::new(0.0, 1.0, 1.0, "basic")?)
        }
    }
    // Sensitivity 21, target 3, 10 steps: the scale is 10 * 21 / 3 = 70.
    let search = |accountant: &dyn Accountant| {
        let plan = |scale: f64| Ok(Event::laplace(NoiseMultiplier::new(scale / 21.0)?).repeated(10));
        let range = calibrate::Range::new(1e6, 1e-3).unwrap();
        let d = delta(1e-9);
        let answer = calibrate::parameter(accountant, "scale", plan, range, epsilon(3.0), d).unwrap();
        assert!(answer.value >= 70.0 * (1.0 - 1e-15) && answer.value < 70.0001, "{answer:?}");
        assert!(answer.bound.upper() <= 3.0 && answer.slack < 1e-5 && !answer.capped, "{answer:?}");
        let capped = calibrate::parameter(accountant, "scale", plan, range, epsilon(1e9), d).unwrap();
        assert!(capped.capped && capped.value == 1e-3, "{capped:?}");
        let error = calibrate::parameter(accountant, "scale", plan, range, epsilon(1e-5), d).unwrap_err();
        assert!(error.to_string().contains("no scale from 1e-3 to 1e6"), "{error}");
        let steps = |n| Event::laplace(noise(10.0)).repeated(n);
        assert_eq!(calibrate::steps(accountant, steps, epsilon(3.0), d).unwrap().value, 30);
    };
    let count = asked(Basic, search);
    println!("{count} in all four searches");
    assert!(count <= 60, "{count}");
    assert!(calibrate::Range::new(1.0, 1.0).is_err() && calibrate::Range::new(0.0, 1.0).is_err());
    assert!(calibrate::Range::new(1.0, f64::INFINITY).is_err());
}

#[test]
fn the_largest_safe_batch_is_found() {
    let auto = Auto::default();
    let records = 60_000;
    let epochs = 15;
    // So many epochs: larger batches make fewer steps.
    let plan = |batches: Batches| {
        let steps = (epochs * batches.records()).div_ceil(batches.batch());
        gaussian(1.3).poisson_sampled(batches.share()).repeated(steps)
    };
    let cost = |batch| auto.epsilon(&plan(Batches::new(records, batch).unwrap()), delta(1e-5)).unwrap().upper();
    let answer = calibrate::batch_size(&auto, plan, records, epsilon(1.0), delta(1e-5)).unwrap();
    assert!(!answer.capped && cost(answer.value) <= 1.0 && cost(answer.value + 1) > 1.0, "{answer:?}");
    // All of 100 records, ten times, with much noise.
    let plan = |batches: Batches| Event::gaussian(noise(1000.0)).poisson_sampled(batches.share()).repeated(10);
    let answer = calibrate::batch_size(&auto, plan, 100, epsilon(1.0), delta(1e-5)).unwrap();
    assert!(answer.capped && answer.value == 100, "{answer:?}");
    let error = calibrate::batch_size(&auto, plan, 0, epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(error.to_string().contains("batch size = 1"), "{error}");
    let shuffled = |batches: Batches| {
        gaussian(0.1).shuffled(NonZeroU64::new(batches.records() / batches.batch()).unwrap()).repeated(2)
    };
    let error = calibrate::batch_size(&Analytic::default(), shuffled, 100, epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(matches!(error, Uncalibrated::Unaccountable(_)), "{error}");
}

#[test]
fn nothing_is_calibrated_to_an_estimate() {
    let (gdp, d) = (Gdp::default(), delta(1e-5));
    let plan = |z| Event::gaussian(z).poisson_sampled(rate(0.04)).repeated(2249);
    for error in [
        calibrate::noise_multiplier(&gdp, plan, epsilon(8.0), d).unwrap_err(),
        calibrate::steps(&gdp, |n| dp_sgd(1.0, 0.01, n), epsilon(8.0), d).unwrap_err(),
    ] {
        assert!(matches!(error, Uncalibrated::Estimate { accountant: "gdp", .. }), "{error}");
        assert!(error.to_string().contains("estimate"), "{error}");
    }
}
