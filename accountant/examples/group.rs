//! A guarantee for users who hold several records each.

use std::num::NonZeroU64;

use dp_accountant::{Accountant, Auto, Delta, Event, NoiseMultiplier, Rdp, Relation, SamplingRate, group};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (relation, delta) = (Relation::AddRemove, Delta::new(1e-6)?);
    let noise = NoiseMultiplier::new(8.0)?;
    let plan = Event::gaussian(noise).repeated(5);
    let sampled = Event::gaussian(NoiseMultiplier::new(1.0)?).poisson_sampled(SamplingRate::new(0.0064)?).repeated(782);
    let (auto, rdp) = (Auto::new(relation), Rdp::new(relation));

    for records in [1, 2, 3, 4] {
        let size = NonZeroU64::new(records).ok_or("a group has at least one unit")?;
        // Known exactly: the sum changes by so many clip norms.
        let exact = auto.epsilon(&group::event(&plan, relation, size)?, delta)?;
        // Known for every event, and looser.
        let lemma = group::by_lemma(&auto, &plan, size, delta)?;
        println!("{records} records each: epsilon {:.4} exactly, {:.4} by the lemma", exact.upper(), lemma.upper());
        match group::by_lemma(&rdp, &sampled, size, delta) {
            Ok(bound) => println!("  with Poisson samples: {:.4} by the lemma", bound.upper()),
            Err(reason) => println!("  with Poisson samples: {reason}"),
        }
        println!("  its exact event: {:?}", group::event(&sampled, relation, size)?);
    }
    Ok(())
}
