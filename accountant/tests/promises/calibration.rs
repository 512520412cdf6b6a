//! Calibration never overshoots, and stops only where one more would.

use dp_accountant::{
    Accountant, Analytic, Auto, Calibrated, Event, Moments, NoiseMultiplier, Rdp, Uncalibrated, by_name, calibrate,
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
