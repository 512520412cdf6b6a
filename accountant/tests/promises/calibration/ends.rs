//! Searches between the least numbers, and among more whole numbers than `f64` can tell apart.

use dp_accountant::{Accountant, Auto, Batches, Bound, Delta, Epsilon, Event, NoiseMultiplier, Rdp, Relation};
use dp_accountant::{Unaccountable, calibrate};

use crate::plans::{delta, epsilon, gaussian, rate};

/// Epsilon is a multiple of the noise of the only Laplace release, or the multiple over it.
struct Proportional {
    factor: f64,
    falling: bool,
}

impl Accountant for Proportional {
    fn name(&self) -> &'static str {
        "proportional"
    }
    fn relation(&self) -> Relation {
        Relation::AddRemove
    }
    fn epsilon(&self, event: &Event, _: Delta) -> Result<Bound, Unaccountable> {
        let value = match event {
            Event::Laplace { noise_multiplier } => noise_multiplier.get(),
            other => panic!("{other:?}"),
        };
        // In the order in which nothing overflows.
        let cost = if self.falling { 1e-300 / value * self.factor } else { value / 5e-324 * self.factor };
        Ok(Bound::new(0.0, cost, cost, "proportional")?)
    }
    fn delta(&self, _: &Event, _: Epsilon) -> Result<Bound, Unaccountable> {
        Ok(Bound::new(0.0, 1.0, 1.0, "proportional")?)
    }
}

#[test]
fn ends_of_a_range_below_all_ordinary_numbers() {
    let plan = |value: f64| Ok(Event::laplace(NoiseMultiplier::new(value)?));
    let d = delta(1e-5);
    // The middle of the range, the root of a product, was 0: no value of the range.
    let (least, most) = (5e-324, 1e-320);
    let rising = calibrate::Range::new(least, most).unwrap();
    let accountant = Proportional { factor: 1.0, falling: false };
    for whole in [1_u64, 2, 7, 1000, 2023] {
        let answer = calibrate::parameter(&accountant, "value", plan, rising, epsilon(whole as f64 + 0.5), d).unwrap();
        // The numbers here are the multiples of the least one, and the next one costs 1 more.
        assert!(answer.value == f64::from_bits(whole) && !answer.capped, "{whole}: {answer:?}");
    }
    let answer = calibrate::parameter(&accountant, "value", plan, rising, epsilon(1e6), d).unwrap();
    assert!(answer.capped && answer.value == most, "{answer:?}");
    assert!(calibrate::parameter(&accountant, "value", plan, rising, epsilon(0.5), d).is_err());
    // The same range the other way round.
    let falling = calibrate::Range::new(most, least).unwrap();
    let accountant = Proportional { factor: 1e-20, falling: true };
    for target in [1.5, 10.0, 300.0, 1500.0] {
        let answer = calibrate::parameter(&accountant, "value", plan, falling, epsilon(target), d).unwrap();
        let cost = |value: f64| 1e-300 / value * 1e-20;
        assert!(cost(answer.value) <= target && cost(answer.value.next_down()) > target, "{target}: {answer:?}");
        assert!((least..=most).contains(&answer.value) && answer.slack == target - cost(answer.value), "{answer:?}");
    }
    // An accountant of the crate: a rate of next to nothing costs nothing.
    let sampled = |q: f64| Ok(gaussian(1.0).poisson_sampled(rate(q)));
    let answer = calibrate::parameter(&Auto::default(), "rate", sampled, rising, epsilon(1.0), d).unwrap();
    assert!(answer.capped && answer.value == most, "{answer:?}");
}

#[test]
fn ends_of_batches_beyond_whole_numbers_of_f64() {
    let (rdp, d) = (Rdp::default(), delta(1e-5));
    for records in [1_u64 << 56, (1 << 53) + 1, u64::MAX] {
        // Ten steps of much noise: a part of the records, and all of them.
        let plan = |z: f64| move |batches: Batches| gaussian(z).poisson_sampled(batches.share()).repeated(10);
        let answer = calibrate::batch_size(&rdp, plan(5.0), records, epsilon(1.0), d).unwrap();
        let cost = |batch: u64| {
            let event = plan(5.0)(Batches::new(records, batch).unwrap());
            rdp.epsilon(&event, d).unwrap().upper()
        };
        assert!(!answer.capped && answer.value > records / 100 && answer.value < records, "{answer:?}");
        assert!(cost(answer.value) <= 1.0 && cost(answer.value) == answer.bound.upper(), "{answer:?}");
        assert!(cost(answer.value + answer.value / 1_000_000) > 1.0, "{answer:?}");
        let all = calibrate::batch_size(&rdp, plan(1000.0), records, epsilon(1.0), d).unwrap();
        assert!(all.capped && all.value == records, "{records}: {all:?}");
    }
}
