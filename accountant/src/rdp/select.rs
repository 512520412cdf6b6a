//! The best of a random number of runs (Papernot & Steinke 2022).
//!
//! With f(x) = E x^K for the number of runs K, and any post-processing event of probability q, q' under two neighbours,
//! their lemma 7 gives A(alpha) <= P(K = 0) + M(alpha) sup f'(q)^alpha f'(q')^{1-alpha}, M the moment of one run.
//!
//! * Truncated negative binomial (theorem 2): D(alpha) <= D1(alpha) + (1 + shape)(1 - 1/a) D1(a) + (1 + shape) ln(1/gamma)/a +
//!   ln E K/(alpha - 1), for every a >= 1. The terms in a do not depend on alpha, so a is chosen once.
//! * Poisson (theorem 6): if one run is (ln(alpha/(alpha - 1)), d) differentially private, the supremum is at most E K
//!   e^{E K (alpha - 1) d}. P(K = 0) = e^{-E K} is kept, so that means below 1 are covered too.

use super::conversion;
use super::curve::Curve;
use super::rest::ln_one_plus;
use super::search::minimise;
use crate::event::Repetitions;

const E: f64 = f64::EPSILON;

/// At how many ln(alpha - 1), this far apart, the delta of one run is looked for.
const PLACES: std::ops::RangeInclusive<i32> = -64..=96;
const APART: f64 = 0.125;

#[derive(Debug)]
pub(super) struct Selection {
    run: Curve,
    law: Law,
}

#[derive(Debug)]
enum Law {
    /// What is added to the divergence at every order, and ln E K.
    NegativeBinomial { surcharge: f64, ln_mean: f64 },
    /// E K, and ln of the moment of one run at many orders.
    Poisson { mean: f64, known: Vec<(f64, f64)> },
}

impl Selection {
    pub(super) fn new(mut run: Curve, repetitions: Repetitions) -> Self {
        let law = match repetitions {
            Repetitions::NegativeBinomial { shape, gamma } => {
                let surcharge = (1.0 + shape) * least_surcharge(&mut run, -ln(gamma)) * (1.0 + 4.0 * E);
                Law::NegativeBinomial { surcharge, ln_mean: ln_mean(shape, gamma) }
            }
            Repetitions::Poisson { mean } => {
                let orders = PLACES.map(|place| 1.0 + (APART * f64::from(place)).exp());
                Law::Poisson { mean, known: orders.map(|order| (order, run.log_moment(order))).collect() }
            }
        };
        Self { run, law }
    }

    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        let (one, beta) = (self.run.log_moment(order), order - 1.0);
        match &self.law {
            Law::NegativeBinomial { surcharge, ln_mean } => (one + beta * surcharge + ln_mean) * (1.0 + 4.0 * E),
            Law::Poisson { mean, known } => {
                // ln(alpha/(alpha - 1)), rounded down.
                let epsilon = (1.0 / beta).ln_1p() * (1.0 - 4.0 * E);
                let log = mean.ln() + 2.0 * E * mean.ln().abs();
                let log = log + (one + beta * mean * self.delta_of_one(known, epsilon)) * (1.0 + 4.0 * E);
                // ln(e^{-mean} + e^{log}) = -mean + ln(1 + e^{log + mean}).
                (ln_one_plus(&[log + mean]) - mean).max(log) + 8.0 * E * (log.abs() + mean)
            }
        }
    }

    /// The delta of one run at this epsilon, rounded up.
    fn delta_of_one(&self, known: &[(f64, f64)], epsilon: f64) -> f64 {
        // No loss exceeds this epsilon.
        if self.run.most() <= epsilon {
            return 0.0;
        }
        let logs = known.iter().map(|(order, moment)| conversion::ln_delta(*moment, *order, epsilon));
        let converted = logs.fold(0.0, f64::min).exp() * (1.0 + 4.0 * E);
        let everywhere =
            known.first().map_or(1.0, |(order, moment)| conversion::delta_everywhere(moment / (order - 1.0)));
        converted.min(everywhere)
    }

    pub(super) fn null_is_absent(&self) -> bool {
        self.run.null_is_absent()
    }

    pub(super) fn costly(&self) -> bool {
        self.run.costly()
    }
}

/// The least of (1 - 1/a) D1(a) + l/a over a >= 1, l = ln(1/gamma); rounded up. At a = 1 it is l.
fn least_surcharge(run: &mut Curve, l: f64) -> f64 {
    let at = |ln_beta: f64| {
        let order = 1.0 + ln_beta.exp();
        let value = (run.log_moment(order) + l) / order * (1.0 + 4.0 * E);
        if value.is_nan() { f64::INFINITY } else { value }
    };
    let mut at = at;
    let looked_at = (-4..=9).map(|place| (f64::from(place), at(f64::from(place))));
    let start = looked_at.fold((0.0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best });
    let (_, found) = minimise(at, start.0, (-30.0, 600.0), 1e-4);
    found.min(start.1).min(l * (1.0 + 2.0 * E))
}

/// ln(gamma) for 0 < gamma < 1, accurate near 1 as well.
fn ln(gamma: f64) -> f64 {
    if gamma < 0.5 { gamma.ln() } else { (gamma - 1.0).ln_1p() }
}

/// ln E K, rounded up: shape (1 - gamma) / (gamma (1 - gamma^shape)), with the limit (1 - gamma) / (gamma ln(1/gamma)) at
/// shape 0.
fn ln_mean(shape: f64, gamma: f64) -> f64 {
    let ln_gamma = ln(gamma);
    let x = shape * ln_gamma;
    // (1 - gamma^shape) / shape = ln(1/gamma) (e^x - 1)/x
    let ln_growth = if x == 0.0 {
        0.0
    } else if x > 600.0 {
        x - x.ln()
    } else {
        (x.exp_m1() / x).ln()
    };
    let (start, share) = ((1.0 - gamma).ln() - ln_gamma, (-ln_gamma).ln());
    let value = start - share - ln_growth;
    // K is at least 1.
    value.max(0.0) + 16.0 * E * (1.0 + start.abs() + share.abs() + x.abs())
}
