//! One release that is no Gaussian: what is known of its divergence, or why nothing is.

use super::atoms::{self, Atom};
use super::curve::Curve;
use super::laplace;
use super::mixture::Mixture;
use super::poisson::Poisson;
use super::select::Selection;
use super::without_replacement::WithoutReplacement;
use crate::accountant::Unaccountable;
use crate::event::{Event, RandomizedResponse};
use crate::relation::Relation;
use crate::terms::Terms;

const E: f64 = f64::EPSILON;

/// Every number in here is rounded so that the divergence can only grow.
#[derive(Debug)]
pub(super) enum Release {
    /// (epsilon, delta) differential privacy.
    Pure {
        epsilon: f64,
        delta: f64,
    },
    /// Outcomes of both directions; the larger moment counts.
    Response {
        directions: Vec<[Atom; 2]>,
        symmetric: bool,
    },
    /// Shift over scale.
    Laplace(f64),
    DiscreteLaplace {
        decay: f64,
        shift: f64,
    },
    /// Length of the range of the privacy loss.
    BoundedRange(f64),
    Mixture(Box<Mixture>),
    Poisson(Box<Poisson>),
    WithoutReplacement(Box<WithoutReplacement>),
    Selection(Box<Selection>),
    /// One use of each record, in one of several batches.
    Once(Box<Curve>),
}

impl Release {
    /// What is known of this leaf under this relation.
    pub(super) fn new(event: &Event, relation: Relation) -> Result<Self, Unaccountable> {
        let sensitivity = relation.sum_sensitivity();
        Ok(match event {
            Event::Laplace { noise_multiplier } => Self::Laplace(sensitivity / noise_multiplier.get() * (1.0 + E)),
            Event::DiscreteLaplace { scale, sensitivity: units } => Self::DiscreteLaplace {
                decay: 1.0 / scale.get() * (1.0 + E),
                // Rounded up where f64 cannot count so far.
                shift: sensitivity * units.get() as f64 * (1.0 + if units.get() >> 53 == 0 { 0.0 } else { E }),
            },
            Event::RandomizedResponse(response) => return response_pairs(*response, event, relation),
            Event::EpsilonDelta { epsilon, delta } => Self::Pure { epsilon: epsilon.get(), delta: delta.get() },
            Event::ExponentialMechanism { epsilon } => Self::BoundedRange(epsilon.get()),
            Event::GaussianMixture(mixture) => match relation {
                Relation::Replace => {
                    return Err(refused(
                        event,
                        "under replace both units change the sum by a random amount, and the pair that dominates both \
                         is not known here; ask for add-remove or zero-out",
                    ));
                }
                Relation::AddRemove | Relation::ZeroOut => Self::Mixture(Box::new(Mixture::new(mixture, 1.0))),
            },
            Event::PoissonSampled { sampling_rate, event } => {
                let rate = sampling_rate.get();
                let terms = Terms::of(event, super::NAME)?;
                // A mixture on a sample is a mixture.
                if let ([(Event::GaussianMixture(mixture), 1)], true, true, true) = (
                    terms.others.as_slice(),
                    terms.unsampled.is_empty(),
                    terms.sampled.is_empty(),
                    relation != Relation::Replace,
                ) {
                    return Ok(Self::Mixture(Box::new(Mixture::new(mixture, rate))));
                }
                let curve = Curve::new(&terms, relation)?;
                if relation == Relation::Replace && curve.additive() {
                    return Ok(Self::WithoutReplacement(Box::new(WithoutReplacement::new(curve, rate))));
                }
                Self::Poisson(Box::new(Poisson::new(curve, rate, relation)))
            }
            Event::TruncatedPoisson { .. } => {
                return Err(refused(
                    event,
                    "no bound on its divergence is known here that is better than none; use accountant pld",
                ));
            }
            Event::WithoutReplacement { batches, event: inner } => match relation {
                Relation::Replace => {
                    let curve = Curve::new(&Terms::of(inner, super::NAME)?, relation)?;
                    if curve.ln_hidden() < 0.0 {
                        return Err(refused(event, DELTA_INSIDE));
                    }
                    Self::WithoutReplacement(Box::new(WithoutReplacement::new(curve, batches.share().get())))
                }
                Relation::AddRemove | Relation::ZeroOut => {
                    return Err(refused(
                        event,
                        "batches of fixed size keep the number of records, which is private under add-remove, and \
                         exchange other records for a missing one under zero-out; ask for replace",
                    ));
                }
            },
            Event::Shuffled { event: inner, .. } => match relation {
                Relation::ZeroOut | Relation::Replace => {
                    Self::Once(Box::new(Curve::new(&Terms::of(inner, super::NAME)?, relation)?))
                }
                Relation::AddRemove => {
                    return Err(refused(
                        event,
                        "a record more or less moves the bounds of every batch of a shuffled pass; ask for zero-out or \
                         replace",
                    ));
                }
            },
            Event::RandomAllocation { .. } => {
                return Err(refused(event, "no bound on its divergence is implemented here; use accountant pld"));
            }
            Event::RepeatAndSelect { repetitions, event: inner } => {
                let curve = Curve::new(&Terms::of(inner, super::NAME)?, relation)?;
                if curve.ln_hidden() < 0.0 {
                    return Err(refused(event, DELTA_INSIDE));
                }
                Self::Selection(Box::new(Selection::new(curve, *repetitions)))
            }
            other => return Err(refused(other, "no bound on its divergence is known here; use accountant pld")),
        })
    }

    /// An upper bound on (alpha - 1) times the divergence at this order, given that nothing is revealed.
    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        match self {
            Self::Pure { epsilon, .. } => atoms::pure(*epsilon, order),
            Self::Response { directions, .. } => {
                directions.iter().map(|pair| atoms::log_moment(pair, order)).fold(0.0, f64::max)
            }
            Self::Laplace(shift) => laplace::continuous(*shift, order),
            Self::DiscreteLaplace { decay, shift } => laplace::discrete(*decay, *shift, order),
            Self::BoundedRange(range) => atoms::bounded_range(*range, order),
            Self::Mixture(mixture) => mixture.log_moment(order),
            Self::Poisson(poisson) => poisson.log_moment(order),
            Self::WithoutReplacement(sample) => sample.log_moment(order),
            Self::Selection(selection) => selection.log_moment(order),
            Self::Once(curve) => curve.log_moment(order),
        }
    }

    /// An upper bound on the largest absolute privacy loss, given that nothing is revealed.
    pub(super) fn most(&self) -> f64 {
        match self {
            Self::Pure { epsilon, .. } => *epsilon,
            Self::Response { directions, .. } => {
                let losses = directions.iter().flatten().map(|atom| atom.loss.abs());
                losses.fold(0.0, f64::max) * (1.0 + 16.0 * E)
            }
            Self::Laplace(shift) => *shift,
            Self::DiscreteLaplace { decay, shift } => decay * shift * (1.0 + E),
            Self::BoundedRange(range) => *range,
            Self::Poisson(poisson) => poisson.most(),
            Self::WithoutReplacement(sample) => sample.most(),
            Self::Once(curve) => curve.most(),
            Self::Mixture(_) | Self::Selection(_) => f64::INFINITY,
        }
    }

    /// ln(1 - the probability that everything is revealed), rounded down.
    pub(super) fn ln_hidden(&self) -> f64 {
        match self {
            Self::Pure { delta, .. } => (-delta).ln_1p() * (1.0 + 2.0 * E),
            Self::Poisson(poisson) => poisson.ln_hidden(),
            Self::Once(curve) => curve.ln_hidden(),
            _ => 0.0,
        }
    }

    /// Whether one pair (P, Q) dominates all pairs of neighbours in both directions, and its loss ln P/Q under P has the
    /// law of ln Q/P under Q.
    pub(super) fn symmetric(&self) -> bool {
        match self {
            Self::Pure { .. } | Self::Laplace(_) | Self::DiscreteLaplace { .. } => true,
            Self::Response { symmetric, .. } => *symmetric,
            _ => false,
        }
    }

    /// Whether a null unit is as good as none.
    pub(super) fn null_is_absent(&self) -> bool {
        match self {
            Self::Laplace(_) | Self::DiscreteLaplace { .. } | Self::Mixture(_) => true,
            Self::Poisson(poisson) => poisson.null_is_absent(),
            Self::Selection(selection) => selection.null_is_absent(),
            _ => false,
        }
    }

    pub(super) fn costly(&self) -> bool {
        match self {
            Self::Mixture(_) => true,
            Self::Poisson(poisson) => poisson.costly(),
            Self::WithoutReplacement(sample) => sample.costly(),
            Self::Selection(selection) => selection.costly(),
            Self::Once(curve) => curve.costly(),
            _ => false,
        }
    }
}

const DELTA_INSIDE: &str = "a release inside it has a delta of its own, which does not simply carry over; state the \
                            release without delta, or the whole as one (epsilon, delta) release";

fn refused(event: &Event, reason: &str) -> Unaccountable {
    Unaccountable::Unsupported { accountant: super::NAME, event: event.kind().to_owned(), reason: reason.to_owned() }
}

/// k answers, a random one with probability p: the true one has probability t = 1 - p + p/k, each other f = p/k.
fn response_pairs(response: RandomizedResponse, event: &Event, relation: Relation) -> Result<Release, Unaccountable> {
    let (p, k) = (response.noise().get(), response.buckets() as f64);
    let others = (response.buckets() - 1) as f64;
    // ln(k t) = ln(1 + (k-1)(1-p)) and ln(k f) = ln p.
    let up = ((1.0 - p) * others).ln_1p();
    let down = if p < 0.5 { p.ln() } else { (p - 1.0).ln_1p() };
    // A number without all its digits is rounded up.
    let (high, low) = (1.0 - p + p / k, (p / k).max(f64::MIN_POSITIVE));
    Ok(match relation {
        // Two answers change places; the others say nothing.
        Relation::Replace => Release::Response {
            directions: vec![[Atom { mass: low, loss: up - down }, Atom { mass: high, loss: down - up }]],
            symmetric: true,
        },
        // Against the uniform answer.
        Relation::ZeroOut => Release::Response {
            directions: vec![
                [Atom { mass: 1.0 / k, loss: up }, Atom { mass: others / k, loss: down }],
                [Atom { mass: high, loss: -up }, Atom { mass: (others / k * p).max(f64::MIN_POSITIVE), loss: -down }],
            ],
            symmetric: false,
        },
        Relation::AddRemove => {
            return Err(refused(event, "a missing unit gives no answer at all; ask for zero-out or replace"));
        }
    })
}
