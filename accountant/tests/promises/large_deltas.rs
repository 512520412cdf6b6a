//! Deltas near one, where tilts are small, steps long and cells wide: intervals hold the truth there, too.

use std::num::NonZeroU64;

use dp_accountant::{
    Accountant, Allocation, Analytic, Auto, Bound, Event, NoiseScale, Pld, Probability, RandomizedResponse, Relation,
};

use crate::plans::{delta, epsilon, gaussian, noise, rate};

fn laplace(z: f64) -> Event {
    Event::laplace(noise(z))
}

fn claim(e: f64, d: f64) -> Event {
    Event::EpsilonDelta { epsilon: epsilon(e), delta: Probability::new(d).unwrap() }
}

fn response(noise: f64, buckets: u64) -> Event {
    Event::RandomizedResponse(RandomizedResponse::new(Probability::new(noise).unwrap(), buckets).unwrap())
}

fn discrete_gaussian(scale: f64) -> Event {
    Event::DiscreteGaussian { scale: NoiseScale::new(scale).unwrap(), sensitivity: NonZeroU64::MIN }
}

/// What pld and auto say of delta.
fn answers(event: &Event, relation: Relation, at: f64) -> [Bound; 2] {
    let accountants: [Box<dyn Accountant>; 2] = [Box::new(Pld::new(relation)), Box::new(Auto::new(relation))];
    accountants.map(|accountant| accountant.delta(event, epsilon(at)).unwrap())
}

fn encloses(event: &Event, relation: Relation, at: f64, truth: f64) {
    for bound in answers(event, relation, at) {
        let (low, high) = (truth * (1.0 - 1e-9), truth * (1.0 + 1e-9));
        assert!(bound.lower() <= high && low <= bound.upper(), "{bound:?}, truth {truth}, at {at}: {event:?}");
    }
}

/// delta of n releases of losses l (probability p under P), -l (q) and 0 (the rest), by counting.
fn three_losses(n: u32, (p, q): (f64, f64), epsilon: f64) -> f64 {
    let loss = (p / q).ln();
    let ln_factorial = |n: u32| (1..=n).map(|k| f64::from(k).ln()).sum::<f64>();
    let rest = 1.0 - p - q;
    let mut sum = 0.0;
    for up in 0..=n {
        for down in 0..=n - up {
            let still = n - up - down;
            if still > 0 && rest <= 0.0 {
                continue;
            }
            let ways = ln_factorial(n) - ln_factorial(up) - ln_factorial(down) - ln_factorial(still);
            let ln = ways + f64::from(up) * p.ln() + f64::from(down) * q.ln();
            let ln = ln + if still > 0 { f64::from(still) * rest.ln() } else { 0.0 };
            let total = loss * (f64::from(up) - f64::from(down));
            if total > epsilon {
                sum += ln.exp() * -(epsilon - total).exp_m1();
            }
        }
    }
    sum.min(1.0)
}

#[test]
fn closed_forms_are_enclosed() {
    let add = Relation::AddRemove;
    // Total variation of Laplace noise and its shift by 1/z: 1 - e^(-1/(2z)); more of it is further apart.
    encloses(&laplace(0.05), add, 0.0, -(-10.0_f64).exp_m1());
    encloses(&laplace(0.4), add, 1.0, -(0.5_f64 * (1.0 - 2.5)).exp_m1());
    // Pure claims are dominated by randomized response of the same losses; only the upper end is known.
    for (n, e, at) in [(36, 0.993_435_886_318_923_3, 0.0), (60, 0.5, 5.0), (6, 3.065_799_142_445_85, 0.0)] {
        let p = 1.0 / (1.0 + f64::exp(-e));
        encloses(&claim(e, 0.0).repeated(n), add, at, three_losses(n as u32, (p, 1.0 - p), at));
    }
    for (n, z, k, at) in
        [(30, 0.3, 4, 0.0), (30, 0.3, 4, 20.0), (30, 0.333_510_020_297_277, 6, 0.247), (10, 0.9, 2, 0.0)]
    {
        let (right, wrong) = (1.0 - z + z / k as f64, z / k as f64);
        encloses(&response(z, k).repeated(n), Relation::Replace, at, three_losses(n as u32, (right, wrong), at));
    }
    for (scale, at) in [(0.4, 1.0), (0.1, 20.0), (0.3, 0.0)] {
        let weight = |x: i32| (-0.5 * (f64::from(x) / scale).powi(2)).exp();
        let total: f64 = (-30..30).map(weight).sum();
        let truth = (-30..30).map(|x| (weight(x) - f64::exp(at) * weight(x + 1)).max(0.0)).sum::<f64>() / total;
        encloses(&discrete_gaussian(scale), add, at, truth);
    }
    for (z, n, at) in [(0.18, 1, 0.0), (6.081_247_901_502_922, 1492, 0.0), (0.498_061_86, 30, 1.35), (0.906, 94, 46.6)]
    {
        let event = gaussian(z).repeated(n);
        encloses(&event, add, at, Analytic::new(add).delta(&event, epsilon(at)).unwrap().estimate());
    }
}

#[test]
fn more_releases_are_no_easier_to_hide_in() {
    // A composition leaks at least what one of its releases does.
    let add = Relation::AddRemove;
    for event in [
        laplace(0.05).repeated(2),
        laplace(0.05).repeated(20),
        Event::composed([laplace(0.05), gaussian(1.0)]),
        Event::composed([laplace(0.05), gaussian(100.0), discrete_gaussian(3.0)]),
    ] {
        for bound in answers(&event, add, 0.0) {
            assert!(bound.upper() >= -(-10.0_f64).exp_m1(), "{bound:?} {event:?}");
        }
    }
    let mixed = Event::composed([
        response(0.333_510_020_297_277_3, 6).repeated(30),
        discrete_gaussian(7.564_851_275_809_402).repeated(5),
    ]);
    let (right, wrong) = (1.0 - 0.333_510_020_297_277_3 * 5.0 / 6.0, 0.333_510_020_297_277_3 / 6.0);
    for at in [0.247, 5.0, 20.0] {
        let least = three_losses(30, (right, wrong), at);
        for bound in answers(&mixed, Relation::Replace, at) {
            assert!(bound.upper() >= least * (1.0 - 1e-9), "{bound:?} below {least} at {at}");
        }
    }
}

#[test]
fn random_plans_are_enclosed() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |low: f64, high: f64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        low * (high / low).powf((state >> 11) as f64 / (1_u64 << 53) as f64)
    };
    for k in 0..150 {
        let n = draw(1.0, 60.0) as u64;
        let share = draw(0.01, 1.2) - 0.01;
        if k % 2 == 0 {
            let e = draw(0.05, 6.0);
            let (p, at) = (1.0 / (1.0 + f64::exp(-e)), share * e * n as f64);
            encloses(&claim(e, 0.0).repeated(n), Relation::AddRemove, at, three_losses(n as u32, (p, 1.0 - p), at));
        } else {
            let (z, buckets) = (draw(0.01, 0.9), draw(2.0, 40.0) as u64);
            let (right, wrong) = (1.0 - z + z / buckets as f64, z / buckets as f64);
            let at = share * (right / wrong).ln() * n as f64;
            let truth = three_losses(n as u32, (right, wrong), at);
            encloses(&response(z, buckets).repeated(n), Relation::Replace, at, truth);
        }
    }
}

#[test]
fn random_allocation_of_little_noise() {
    // Fine quadrature over the plane of both steps' noise.
    for (z, at, truth) in [(0.15, 1.0, 0.998_055), (0.160_490_047_047_684_5, 3.654_300_416_736_396, 0.986_891)] {
        let event = gaussian(z).randomly_allocated(Allocation::new(2, 1).unwrap());
        for bound in answers(&event, Relation::AddRemove, at) {
            assert!(bound.lower() <= truth + 1e-6 && truth - 1e-6 <= bound.upper(), "{z} {at}: {bound:?}, {truth}");
        }
    }
}

#[test]
fn epsilon_of_disjoint_releases_is_their_largest_loss() {
    // Integers with hardly any noise: the loss is 1/(2 scale^2) but with a probability of e^-500000.
    for accountant in [&Pld::default() as &dyn Accountant, &Auto::default()] {
        let bound = accountant.epsilon(&discrete_gaussian(1e-3), delta(1e-5)).unwrap();
        let truth = 5e5 + (-1e-5_f64).ln_1p();
        assert!(bound.lower() <= truth * (1.0 + 1e-12) && truth * (1.0 - 1e-12) <= bound.upper(), "{bound:?}");
    }
}

#[test]
fn merging_in_wide_cells_stays_below() {
    // Randomized response alone decides: it gives the truth away but for 2e-40/3, and the other has a loss of 2 at most.
    let event = Event::composed([response(1e-40, 3), laplace(1.0)]);
    for bound in answers(&event, Relation::Replace, 80.0) {
        // 1 - E (1 - e^(80 - L))..: 40-digit quadrature.
        assert!(bound.lower() <= 0.999_998_16, "{bound:?}");
    }
}

#[test]
fn losses_near_zero_are_known_to_the_last_digit() {
    // At a tiny delta epsilon is the largest loss, 12 ln((1 - z/2)/(z/2)).
    let event = response(0.999_998_302_231_687_3, 2).repeated(12);
    let bound = Pld::new(Relation::Replace).epsilon(&event, delta(1e-280)).unwrap();
    assert!(bound.upper() >= 4.074_643_950_517_4e-5, "{bound:?}");
}

#[test]
fn samples_of_nearly_all_records() {
    // A rate within rounding of 1: losses near their cap -ln(1 - q) had lost their digits. Exact enumeration, and 40-digit
    // quadrature with a Gaussian.
    let nearly = |event: Event, g: f64| event.poisson_sampled(rate(1.0 - g));
    let laplace = Event::DiscreteLaplace { scale: NoiseScale::new(1.0 / 15.0).unwrap(), sensitivity: NonZeroU64::MIN };
    let discrete = Event::composed([response(1e-6, 2), nearly(laplace, 1e-6)]);
    let gaussian = |mu: f64, g: f64| Event::composed([response(1e-20, 2), nearly(gaussian(1.0 / mu), g)]);
    for (event, at, truth) in [
        (discrete, 27.363_127_114_973_008, 4.997_499_304_382e-4),
        (gaussian(9.0, f64::EPSILON), 82.085_355_248_998_07, 2.2383e-3),
        (gaussian(9.0, f64::EPSILON), 81.595, 0.12413),
        (gaussian(8.0, 1e-12), 73.682_645_097_774_27, 1.172e-5),
    ] {
        for bound in answers(&event, Relation::ZeroOut, at) {
            let doubt = if truth < 5e-4 && truth > 4e-4 { 1e-12 } else { 1e-3 };
            let (low, high) = (truth * (1.0 - doubt), truth * (1.0 + doubt));
            assert!(bound.lower() <= high && low <= bound.upper(), "{bound:?}, {truth} at {at}: {event:?}");
        }
    }
}
