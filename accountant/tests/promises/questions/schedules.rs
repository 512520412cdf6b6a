//! Epsilon after every step of a fixed schedule.

use dp_accountant::{Accountant, Analytic, Bound, Delta, Epsilon, Event, Rdp, Relation, Unaccountable, schedule};

use crate::plans::{delta, dp_sgd, gaussian};

#[test]
fn a_schedule_is_its_prefixes() {
    // Noise that falls in stages, and an evaluation release every tenth step.
    let events: Vec<Event> = (0..60)
        .map(|step| match step {
            step if step % 10 == 9 => gaussian(20.0),
            step if step < 30 => dp_sgd(1.5, 0.02, 1),
            _ => dp_sgd(1.2, 0.02, 1),
        })
        .collect();
    let d = delta(1e-5);
    let rdp = Rdp::default();
    let every = schedule::epsilons(&rdp, events.clone(), d, 0.0).unwrap();
    let some = schedule::epsilons(&rdp, events.clone(), d, 0.05).unwrap();
    let grid = schedule::renyi(Relation::AddRemove, events.clone(), d).unwrap();
    assert!(every.len() == 60 && some.len() == 60 && grid.len() == 60);
    for step in 0..60 {
        let prefix = Event::composed(events[..=step].iter().cloned());
        let alone = rdp.epsilon(&prefix, d).unwrap();
        assert!(
            every[step].upper() <= alone.upper() && every[step].upper() > 0.999_999 * alone.upper(),
            "{step}: {:?} {alone:?}",
            every[step]
        );
        assert!(every[step].lower() >= alone.lower(), "{step}: {:?} {alone:?}", every[step]);
        assert!(
            some[step].upper() >= every[step].upper() && some[step].upper() <= 1.0501 * alone.upper(),
            "{step}: {:?} {alone:?}",
            some[step]
        );
        let (fixed, free) = (grid[step].upper(), alone.upper());
        assert!(fixed >= free * (1.0 - 1e-9) && fixed <= 1.01 * free, "{step}: {fixed} {free}");
        assert!(step < 50 || fixed <= 1.002 * free, "{step}: {fixed} {free}");
    }
    for bounds in [&every, &some, &grid] {
        let rises = |pair: &[Bound]| pair[0].upper() <= pair[1].upper() && pair[0].lower() <= pair[1].lower();
        assert!(bounds.windows(2).all(rises));
    }
    assert_eq!(schedule::epsilons(&rdp, [], d, 0.0).unwrap(), []);
}

#[test]
fn a_long_schedule_asks_seldom() {
    use std::sync::atomic::{AtomicU32, Ordering};
    struct Counting(AtomicU32);
    impl Accountant for Counting {
        fn name(&self) -> &'static str {
            "rdp"
        }
        fn relation(&self) -> Relation {
            Relation::AddRemove
        }
        fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Analytic::default().epsilon(event, delta)
        }
        fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
            Analytic::default().delta(event, epsilon)
        }
    }
    let counting = Counting(AtomicU32::new(0));
    // Two kinds of release in turn.
    let events = (0..20_000).map(|step| gaussian(if step % 2 == 0 { 100.0 } else { 300.0 }));
    let bounds = schedule::epsilons(&counting, events, delta(1e-6), 0.02).unwrap();
    let asked = counting.0.into_inner();
    println!("{asked} questions for {} steps", bounds.len());
    assert!(bounds.len() == 20_000 && asked < 1000, "{asked}");
    assert!(bounds.iter().skip(1).all(|bound| bound.upper() < 1.021 * bound.lower() || bound.upper() == 0.0));
}
