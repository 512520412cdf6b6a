//! The central limit theorem of Gaussian differential privacy: an estimate, and stated as nothing more.

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::Analytic;
use crate::bound::Bound;
use crate::event::Event;
use crate::normal::tail;
use crate::parameters::{Delta, Epsilon, NoiseMultiplier};
use crate::relation::Relation;
use crate::terms::{Terms, root_precision};

const NAME: &str = "gdp";

/// Estimates by the central limit theorem (Dong, Roth & Su 2022; Bu, Dong, Long & Su 2020). **No bound in either
/// direction**: the limit says nothing about a finite number of steps, and it often lies below the truth.
///
/// Every answer says so itself: `estimate` is the limit, `lower` is 0 and `upper` infinite (1 for a delta), the only ends
/// that hold. It cannot be stated as a guarantee, and calibration by it is refused
/// ([`Uncalibrated::Estimate`](crate::Uncalibrated::Estimate)).
///
/// | release | relation | adds to mu^2, per release |
/// |---|---|---|
/// | Gaussian, unsampled | every | (k/z)^2, exact; k the sum sensitivity |
/// | Gaussian, Poisson-sampled | add/remove, zero-out | q^2 (e^{1/z^2} - 1) |
/// | Gaussian, Poisson-sampled | replace | 4 q^2 sinh(1/z^2) |
/// | Gaussian, fixed-size batches | replace | 2 q^2 (e^{1/s^2} Phi(3/2s) + 3 Phi(-1/2s) - 2), s = z/2 |
///
/// The first Poisson line is Bu et al. 2020. The second is the variance of q (e^{u+} - e^{u-}), u+- = (+-2x - 1)/2z^2, to
/// which the loss of one step tends: the same theorem for the other dominating pair. The last one is Dong et al. 2022,
/// whose noise is relative to the sensitivity 2C of replacement. Everything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gdp {
    relation: Relation,
}

impl Gdp {
    /// The estimator for this neighbouring relation.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation }
    }

    /// The mu of the Gaussian to which the composition tends.
    ///
    /// # Errors
    /// [`Unaccountable`] for events without a limit theorem, and for a mu beyond 1e150.
    pub fn mu(&self, event: &Event) -> Result<f64, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        let mut square = (self.relation.sum_sensitivity() * root_precision(&terms.unsampled)).powi(2);
        for term in &terms.sampled {
            let precision = term.noise_multiplier.powi(-2);
            let variance = match self.relation {
                Relation::AddRemove | Relation::ZeroOut => precision.exp_m1(),
                Relation::Replace => 4.0 * precision.sinh(),
            };
            square += term.count as f64 * term.rate * term.rate * variance;
        }
        for (event, count) in &terms.others {
            square += *count as f64 * self.other(event)?;
        }
        if square < 1e300 { Ok(square.sqrt()) } else { Err(overflow()) }
    }

    /// What one release that is no (Poisson-sampled) Gaussian adds to mu^2.
    fn other(&self, event: &Event) -> Result<f64, Unaccountable> {
        let refuse = |reason: &str| {
            Err(Unaccountable::Unsupported {
                accountant: NAME,
                event: event.kind().to_owned(),
                reason: format!("{reason}; use accountant auto"),
            })
        };
        let Event::WithoutReplacement { batches, event: inner } = event else {
            return refuse("no central limit theorem for it is used here");
        };
        if self.relation != Relation::Replace {
            return refuse("the limit of fixed-size batches is known for the relation replace");
        }
        let inner = Terms::of(inner, NAME)?;
        if !inner.sampled.is_empty() || !inner.others.is_empty() {
            return refuse("the limit of fixed-size batches is known for Gaussian releases alone");
        }
        let mu = self.relation.sum_sensitivity() * root_precision(&inner.unsampled);
        Ok(2.0 * batches.share().get().powi(2) * uniform_variance(mu))
    }

    /// The estimate that a Gaussian of the limiting mu gives, between the ends that hold without any computation.
    fn answer(
        self,
        event: &Event,
        most: f64,
        of: impl Fn(&Analytic, &Event) -> Result<Bound, Unaccountable>,
    ) -> Result<Bound, Unaccountable> {
        let mu = self.mu(event)?;
        if event.parts()?.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        // A mu of 1e-100 is nothing; its inverse must be a number.
        let noise = NoiseMultiplier::new(1.0 / mu.max(1e-100)).map_err(|_| overflow())?;
        let limit = Event::gaussian(noise);
        let estimate = of(&Analytic::new(Relation::AddRemove), &limit)?.estimate();
        Ok(Bound::new(0.0, estimate.min(most), most, NAME)?)
    }
}

fn overflow() -> Unaccountable {
    Unaccountable::Overflow { accountant: NAME, quantity: "mu of the central limit theorem" }
}

/// e^{mu^2} Phi(3 mu/2) + 3 Phi(-mu/2) - 2, where it cancels by its series mu^2/2 + ..
fn uniform_variance(mu: f64) -> f64 {
    // e^{x} Phi - 2 + 3 Phi(-mu/2) = expm1(x) Phi(3mu/2) + [Phi(3mu/2) - 1/2] - 3 [Phi(mu/2) - 1/2]
    let centred = |t: f64| 0.5 - tail(t);
    let third_order = if mu < 1e-2 {
        // -(27/8 - 3/8)/6 density(0) mu^3: what remains after the linear terms cancel.
        -0.5 * 0.398_942_280_401_432_7 * mu.powi(3)
    } else {
        centred(1.5 * mu) - 3.0 * centred(0.5 * mu)
    };
    ((mu * mu).exp_m1() * (1.0 - tail(1.5 * mu)) + third_order).max(0.0)
}

impl Accountant for Gdp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        self.answer(event, f64::INFINITY, |analytic, limit| analytic.epsilon(limit, delta))
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        self.answer(event, 1.0, |analytic, limit| analytic.delta(limit, epsilon))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::Batches;
    use crate::moments::Moments;
    use crate::parameters::SamplingRate;

    fn gaussian(z: f64) -> Event {
        Event::gaussian(NoiseMultiplier::new(z).unwrap())
    }

    fn dp_sgd(z: f64, q: f64, steps: u64) -> Event {
        gaussian(z).poisson_sampled(SamplingRate::new(q).unwrap()).repeated(steps)
    }

    #[test]
    fn squares_of_mu_add_up() {
        let gdp = Gdp::default();
        let (a, b, c) = (dp_sgd(1.1, 0.01, 900), dp_sgd(2.0, 0.03, 50), gaussian(4.0));
        let squares: f64 = [&a, &b, &c].iter().map(|event| gdp.mu(event).unwrap().powi(2)).sum();
        assert!((gdp.mu(&Event::composed([a, b, c.clone()])).unwrap().powi(2) / squares - 1.0).abs() < 1e-14);
        assert_eq!(gdp.mu(&c).unwrap(), 0.25);
        assert_eq!(Gdp::new(Relation::Replace).mu(&c).unwrap(), 0.5);
    }

    #[test]
    fn many_small_steps_come_near_the_limit() {
        let (event, delta) = (dp_sgd(2.0, 1e-3, 1_000_000), Delta::new(1e-5).unwrap());
        for relation in [Relation::AddRemove, Relation::Replace] {
            let truth = Moments::new(relation).epsilon(&event, delta).unwrap().estimate();
            let limit = Gdp::new(relation).epsilon(&event, delta).unwrap().estimate();
            assert!((limit / truth - 1.0).abs() < 5e-3, "{relation}: {limit}, truth {truth}");
        }
    }

    #[test]
    fn fixed_size_batches_have_their_own_variance() {
        // e^{1/4} Phi(3/4) + 3 Phi(-1/4) - 2, and mu^2/2 for small mu.
        assert!((uniform_variance(0.5) - 0.196_911_159_070_422_67).abs() < 1e-14, "{}", uniform_variance(0.5));
        assert!((uniform_variance(1e-4) / 0.5e-8 - 1.0).abs() < 1e-3);
        assert!((uniform_variance(0.01 - 1e-12) / uniform_variance(0.01) - 1.0).abs() < 1e-4);
        let event = gaussian(4.0).without_replacement(Batches::new(1000, 10).unwrap()).repeated(100);
        let mu = Gdp::new(Relation::Replace).mu(&event).unwrap();
        assert!((mu - (200.0 * 1e-4 * uniform_variance(0.5)).sqrt()).abs() < 1e-12, "{mu}");
        let refusal = Gdp::default().mu(&event).unwrap_err().to_string();
        assert!(refusal.contains("without-replacement") && refusal.contains("replace"), "{refusal}");
    }
}
