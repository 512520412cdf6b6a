//! The Renyi divergence of a composition at every order: a sum over its distinct releases.

use super::moment::Moment;
use super::release::Release;
use crate::accountant::Unaccountable;
use crate::analytic::Mu;
use crate::event::Event;
use crate::relation::Relation;
use crate::terms::Terms;

const E: f64 = f64::EPSILON;

/// With more distinct terms than this, nodes are not kept between orders: they would fill the memory.
const KEPT: usize = 256;

/// Upper bounds on the divergences of a composition, and the probability with which it reveals everything.
#[derive(Debug)]
pub(super) struct Curve {
    /// The divergence of order alpha of the Gaussian and zero-concentrated part is at most this times alpha.
    rho: f64,
    /// mu of the Gaussians, when the composition has no other part.
    gaussian: Option<f64>,
    sampled: Vec<(Moment, u64)>,
    releases: Vec<(Release, u64)>,
    /// ln of the probability that nothing is revealed, rounded down: the sum of ln(1 - delta).
    ln_hidden: f64,
    /// Whether one symmetric pair dominates the composition, see [`Release::symmetric`].
    symmetric: bool,
    /// Whether there is nothing but noise added to sums: then a unit that is taken out costs no more than one replaced.
    additive: bool,
    /// Whether a null unit is as good as none: noise added to sums, sampled or not, and nothing else.
    null_is_absent: bool,
}

impl Curve {
    pub(super) fn new(terms: &Terms, relation: Relation) -> Result<Self, Unaccountable> {
        // Beyond the range of f64 the divergence is infinite: still an upper bound.
        let (mu, error) = Mu::of(terms, relation, super::NAME).map_or((f64::INFINITY, 0.0), |mu| (mu.value, mu.error));
        // Twice the relative error of mu for its square, and the roundings here. A square that underflows is rounded up.
        let rho = 0.5 * mu * mu * (1.0 + 2.0 * error + 4.0 * E);
        let mut curve = Self {
            rho: if mu > 0.0 { rho.max(f64::MIN_POSITIVE) } else { 0.0 },
            gaussian: (terms.sampled.is_empty() && terms.others.is_empty()).then_some(mu * (1.0 + 2.0 * error)),
            sampled: terms.sampled.iter().map(|term| (Moment::new(*term, relation), term.count)).collect(),
            releases: Vec::new(),
            ln_hidden: 0.0,
            symmetric: terms.sampled.is_empty(),
            additive: terms.sampled.is_empty(),
            null_is_absent: true,
        };
        for (event, count) in &terms.others {
            curve.add(event, *count, relation)?;
        }
        // One unit for each product and each sum.
        let rounding = (4 + terms.others.len()) as f64 * E;
        curve.rho *= 1.0 + rounding;
        curve.ln_hidden *= 1.0 + rounding;
        Ok(curve)
    }

    fn add(&mut self, event: &Event, count: u64, relation: Relation) -> Result<(), Unaccountable> {
        let times = count as f64;
        match event {
            // D <= alpha shift^2 / (2 sigma^2), with equality at whole orders (Canonne, Kamath & Steinke 2020,
            // proposition 5).
            Event::DiscreteGaussian { scale, sensitivity } => {
                let ratio = relation.sum_sensitivity() * sensitivity.get() as f64 / scale.get() * (1.0 + 2.0 * E);
                self.rho += times * (0.5 * ratio * ratio * (1.0 + 4.0 * E)).max(f64::MIN_POSITIVE);
            }
            Event::ZeroConcentrated { rho } => {
                self.rho += times * rho.get();
                (self.symmetric, self.additive, self.null_is_absent) = (false, false, false);
            }
            _ => {
                let release = Release::new(event, relation)?;
                self.symmetric &= release.symmetric();
                self.additive &= matches!(release, Release::Laplace(_) | Release::DiscreteLaplace { .. });
                self.null_is_absent &= release.null_is_absent();
                self.ln_hidden += times * release.ln_hidden();
                self.releases.push((release, count));
            }
        }
        Ok(())
    }

    /// An upper bound on (alpha - 1) times the divergence at this order, given that nothing is revealed.
    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        let many = self.sampled.len() > KEPT;
        let start = if self.rho > 0.0 { order * (order - 1.0) * self.rho } else { 0.0 };
        let mut total = self.sampled.iter_mut().fold(start, |total, (moment, count)| {
            let one = moment.log_moment(order);
            if many {
                moment.forget();
            }
            total + *count as f64 * one
        });
        for (release, count) in &mut self.releases {
            // What underflows to zero is a little more.
            total += *count as f64 * (release.log_moment(order) + f64::MIN_POSITIVE);
        }
        // One unit for each product and each sum.
        let rounding = 1.0 + (4 + self.sampled.len() + self.releases.len()) as f64 * E;
        // Infinity less infinity is nothing known.
        if total.is_nan() || total < 0.0 { f64::INFINITY } else { total * rounding }
    }

    /// An upper bound on the largest absolute privacy loss, given that nothing is revealed: the divergence of order
    /// infinity.
    pub(super) fn most(&self) -> f64 {
        if self.rho > 0.0 || !self.sampled.is_empty() {
            return f64::INFINITY;
        }
        let total: f64 = self.releases.iter().map(|(release, count)| *count as f64 * release.most()).sum();
        total * (1.0 + (4 + self.releases.len()) as f64 * E)
    }

    /// An upper bound on the probability that everything is revealed.
    pub(super) fn revealed(&self) -> f64 {
        (-self.ln_hidden.exp_m1() * (1.0 + 4.0 * E)).min(1.0)
    }

    /// ln of the probability that nothing is revealed, rounded down.
    pub(super) fn ln_hidden(&self) -> f64 {
        self.ln_hidden
    }

    pub(super) fn symmetric(&self) -> bool {
        self.symmetric
    }

    pub(super) fn additive(&self) -> bool {
        self.additive
    }

    pub(super) fn null_is_absent(&self) -> bool {
        self.null_is_absent
    }

    /// An upper bound on mu, if the composition consists of Gaussian releases and nothing else.
    pub(super) fn gaussian(&self) -> Option<f64> {
        self.gaussian
    }

    /// Whether every order costs a quadrature.
    pub(super) fn costly(&self) -> bool {
        !self.sampled.is_empty() || self.releases.iter().any(|(release, _)| release.costly())
    }

    /// Whether there is more here than Gaussian releases, sampled or not: then the best order may lie anywhere.
    pub(super) fn mixed(&self) -> bool {
        !self.releases.is_empty()
    }
}
