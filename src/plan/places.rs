//! What is known from below of releases whose records were placed in secret.

use crate::{Error, Result};
use dp_accountant::{Bound, Event};

/// What may be stated of `event`, of which an accountant says `bound`: the same, without a lower bound where the places of records in
/// passes or groups are part of it.
///
/// The accountant's lower bound of a tree or of banded noise is of records whose places are known. They are drawn in secret here
/// (decision 17), so that nothing is known from below.
///
/// # Errors
/// Never for a bound of an accountant: its ends are in order, and stay so.
pub(crate) fn stated(event: &Event, bound: Bound) -> Result<Bound> {
    if !has_places(event) {
        return Ok(bound);
    }
    let bound = Bound::new(0.0, bound.estimate(), bound.upper(), bound.accountant());
    bound.map_err(|error| Error::value("epsilon", error, "bounds in order"))
}

/// Whether a part of `event` is a tree, or banded noise over more than one group. One group is every record's.
fn has_places(event: &Event) -> bool {
    match event {
        Event::TreeAggregation { .. } => true,
        Event::CyclicPoisson { bands, .. } => bands.get() > 1,
        Event::PoissonSampled { event, .. }
        | Event::TruncatedPoisson { event, .. }
        | Event::WithoutReplacement { event, .. }
        | Event::Shuffled { event, .. }
        | Event::RandomAllocation { event, .. }
        | Event::RepeatAndSelect { event, .. }
        | Event::Repeated { event, .. } => has_places(event),
        Event::Composed { events } => events.iter().any(has_places),
        Event::Gaussian { .. }
        | Event::Laplace { .. }
        | Event::DiscreteGaussian { .. }
        | Event::DiscreteLaplace { .. }
        | Event::RandomizedResponse(_)
        | Event::EpsilonDelta { .. }
        | Event::ZeroConcentrated { .. }
        | Event::ExponentialMechanism { .. }
        | Event::GaussianMixture(_)
        | Event::AdaptiveClip { .. }
        | Event::CorrelatedNoise { .. }
        | Event::NonPrivate { .. }
        | Event::Unsupported { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_accountant::{NoiseMultiplier, Participation, SamplingRate};
    use std::num::NonZeroU64;

    #[test]
    fn a_part_whose_places_are_secret_leaves_nothing_known_from_below() {
        let z = NoiseMultiplier::new(2.0).unwrap();
        let rate = |rate| SamplingRate::new(rate).unwrap();
        let tree = Event::TreeAggregation { noise_multiplier: z, participation: Participation::new(8, 1, 0).unwrap() };
        let cyclic = |bands, of| Event::CyclicPoisson {
            sampling_rate: rate(of),
            bands: NonZeroU64::new(bands).unwrap(),
            steps: NonZeroU64::new(9).unwrap(),
            noise_multiplier: z,
        };
        let gaussian = Event::gaussian(z).poisson_sampled(rate(0.1)).repeated(20);
        let bound = Bound::new(0.5, 0.7, 1.0, "test").unwrap();
        for (event, lower) in [
            (gaussian.clone(), 0.5),
            (cyclic(1, 0.5), 0.5),
            (Event::composed([gaussian.clone(), cyclic(1, 0.5)]).repeated(3), 0.5),
            (tree.clone(), 0.0),
            (cyclic(2, 0.5), 0.0),
            (cyclic(2, 1.0), 0.0),
            (Event::composed([gaussian.clone(), tree.clone().repeated(3)]), 0.0),
            (Event::composed([cyclic(4, 0.1), gaussian.clone()]).repeated(2), 0.0),
            (tree.poisson_sampled(rate(0.1)), 0.0),
        ] {
            let stated = stated(&event, bound).unwrap();
            assert_eq!((stated.lower(), stated.estimate(), stated.upper()), (lower, 0.7, 1.0), "{event:?}");
        }
    }
}
