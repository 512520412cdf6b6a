//! What the noise of published experiments is worth.

use crate::{Error, Result};
use dp_accountant::{Accountant, Analytic, Bound, Delta, Epsilon, Event, NoiseMultiplier, Relation};
use std::num::NonZeroU32;

/// The noise that experiments with Clip21-SGD2M (Islamov, Horvath, Lucchi, Richtarik and Gorbunov 2025, arXiv
/// 2502.11682) add for a nominal epsilon, `s = (t / epsilon) sqrt(T ln(1 / delta))` on every message in T rounds, and
/// what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct PapersFormula {
    /// s / t.
    pub noise_multiplier: NoiseMultiplier,
    /// The epsilon of a client that is absent, sensitivity t.
    pub absent: Bound,
    /// The epsilon of a client, or of one of its records, that is replaced, sensitivity 2t. This is what the papers'
    /// unit, a sample, has.
    pub replaced: Bound,
}

/// The epsilon that the papers' noise for `nominal` epsilon gives at `delta` after so many rounds.
///
/// T releases of noise s are one Gaussian with `mu = D sqrt(T) / s` (Dong, Roth and Su 2022), so here `mu = nominal /
/// sqrt(ln(1 / delta))` for D = t and twice that for D = 2t, whatever T is; epsilon follows from delta exactly (Balle
/// and Wang 2018). From about nominal 1 upwards the true epsilon is above the nominal one, and for D = 2t several times
/// that.
///
/// # Errors
/// When the nominal epsilon is 0, or so small or large that the noise is no number.
pub fn true_epsilon_of_papers_formula(nominal: Epsilon, delta: Delta, rounds: NonZeroU32) -> Result<PapersFormula> {
    let noise = (f64::from(rounds.get()) * -delta.get().ln()).sqrt() / nominal.get();
    // Logarithm, product, root and quotient are rounded once each: never more noise than the formula says.
    let noise_multiplier = NoiseMultiplier::new(noise * (1.0 - 4.0 * f64::EPSILON)).map_err(|_| {
        Error::value(
            "nominal epsilon",
            nominal.get(),
            "one that the formula makes a finite noise multiplier above 0 of",
        )
    })?;
    let event = Event::gaussian(noise_multiplier).repeated(u64::from(rounds.get()));
    let worth = |relation| Analytic::new(relation).epsilon(&event, delta);
    Ok(PapersFormula { noise_multiplier, absent: worth(Relation::ZeroOut)?, replaced: worth(Relation::Replace)? })
}
