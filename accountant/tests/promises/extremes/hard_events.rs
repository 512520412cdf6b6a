//! Events that ask for more than a bounded amount of work: answered at a coarser grain, or refused, and soon.

use dp_accountant::{
    Accountant, Allocation, Batches, Event, GaussianMixture, NoiseScale, Pld, Probability, Relation, Sensitivity,
    Unaccountable,
};
use std::num::NonZeroU64;

use crate::plans::{delta, gaussian, noise, rate};

fn discrete_gaussian(scale: f64) -> Event {
    Event::DiscreteGaussian { scale: NoiseScale::new(scale).unwrap(), sensitivity: NonZeroU64::MIN }
}

fn users(records: u32) -> Event {
    let shares = (0..=records).map(|_| Probability::new(1.0 / f64::from(records + 1)).unwrap()).collect();
    let sums = (0..=records).map(|sum| Sensitivity::new(f64::from(sum)).unwrap()).collect();
    Event::GaussianMixture(GaussianMixture::new(noise(50.0), sums, shares).unwrap())
}

#[test]
fn what_is_out_of_reach_is_refused() {
    let records = |n: u64| Batches::new(n, n / 2 + 1).unwrap();
    let cut = Event::TruncatedPoisson {
        sampling_rate: rate(0.5),
        batches: records(100_000_000_000_000),
        event: Box::new(gaussian(1.0)),
    };
    for (relation, event) in [
        (Relation::AddRemove, gaussian(1e-7)),
        (Relation::AddRemove, Event::composed([gaussian(1e-7), Event::laplace(noise(1.0))])),
        (Relation::AddRemove, gaussian(1e-6).poisson_sampled(rate(0.5))),
        (Relation::AddRemove, cut),
        (Relation::AddRemove, users(500)),
    ] {
        let answer = Pld::new(relation).epsilon(&event, delta(1e-6));
        assert!(
            matches!(answer, Err(Unaccountable::Unsupported { .. } | Unaccountable::Uncertified { .. })),
            "{answer:?} {event:?}"
        );
    }
}

#[test]
fn many_outcomes_are_seen_from_afar() {
    let many = Event::composed((100..140).map(|scale| discrete_gaussian(f64::from(scale))));
    for (event, widest) in
        [(discrete_gaussian(3000.0), 1e-3), (discrete_gaussian(800.0).repeated(1000), 1e-3), (many, 1e-3)]
    {
        let bound = Pld::default().epsilon(&event, delta(1e-9)).unwrap();
        assert!(bound.upper() - bound.lower() < widest * bound.upper().max(1.0), "{bound:?} {event:?}");
    }
}

#[test]
fn an_order_of_hardly_any_noise_hides_nothing() {
    let pass = gaussian(5e-3).shuffled(NonZeroU64::new(1000).unwrap());
    let bound = Pld::new(Relation::ZeroOut).epsilon(&pass, delta(1e-6)).unwrap();
    assert!(bound.lower() == 0.0 && bound.upper() > 1e4, "{bound:?}");
}

#[test]
fn nothing_is_cut_off_where_delta_leaves_nothing() {
    let event = gaussian(1.0).randomly_allocated(Allocation::new(100_000, 10).unwrap());
    let bound = Pld::default().epsilon(&event, delta(1e-300)).unwrap();
    // As without any allocation: ten releases.
    let plain = Pld::default().epsilon(&gaussian(1.0).repeated(10), delta(1e-300)).unwrap();
    assert!(bound.upper() < plain.upper() * 1.01 && bound.upper() > plain.lower() * 0.99, "{bound:?} {plain:?}");
}

#[test]
fn as_many_steps_as_can_be_counted() {
    // The length of blocks overflowed.
    let event = gaussian(1.0).randomly_allocated(Allocation::new(u64::MAX, 1).unwrap());
    let bound = Pld::default().epsilon(&event, delta(1e-6)).unwrap();
    let plain = Pld::default().epsilon(&gaussian(1.0), delta(1e-6)).unwrap();
    assert!(bound.upper() <= plain.upper() * 1.01, "{bound:?}");
}
