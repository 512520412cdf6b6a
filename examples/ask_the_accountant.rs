//! Questions to the accountant, without a model or data: what does a plan cost, and what would another one?
//!
//! `cargo run --release --example ask_the_accountant`

use dpsgd::dp_accountant::{
    Accountant, Delta, Epsilon, Event, Moments, NoiseMultiplier, Pld, Rdp, Relation, SamplingRate, calibrate, group,
};
use std::num::NonZeroU64;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let relation = Relation::AddRemove;
    let accountant = dpsgd::dp_accountant::Auto::new(relation);
    let (delta, rate) = (Delta::new(1e-5)?, SamplingRate::new(0.01)?);
    let training = |z: NoiseMultiplier| Event::gaussian(z).poisson_sampled(rate).repeated(1000);
    let noise = NoiseMultiplier::new(1.1)?;

    // What does it cost? The truth lies between both ends, and the upper one is what to state.
    let cost = accountant.epsilon(&training(noise), delta)?;
    println!("1000 steps at rate 0.01, noise 1.1: epsilon {:.6} to {:.6}", cost.lower(), cost.upper());
    assert!(cost.lower() <= cost.upper() && cost.upper() < 1.75);

    // The same the other way round: delta at that epsilon is no more than it was.
    let back = accountant.delta(&training(noise), Epsilon::new(cost.upper())?)?;
    println!("and delta at that epsilon: {:.3e}", back.upper());
    assert!(back.upper() <= 1.001e-5);

    // How much noise does epsilon 1 need, and how many steps does it allow with this noise?
    let target = Epsilon::new(1.0)?;
    let enough = calibrate::noise_multiplier(&accountant, training, target, delta)?;
    let most =
        calibrate::steps(&accountant, |n| Event::gaussian(noise).poisson_sampled(rate).repeated(n), target, delta)?;
    println!("epsilon 1 needs noise {:.4}, or ends noise 1.1 after {} steps", enough.value.get(), most.value);
    assert!(enough.bound.upper() <= 1.0 && enough.value > noise && most.bound.upper() <= 1.0 && most.value < 1000);

    // Accountants may differ in their upper bounds; no lower bound exceeds any of them.
    let moments = Moments::new(relation).epsilon(&training(noise), delta)?;
    let (pld, rdp) = (Pld::new(relation), Rdp::new(relation));
    for bound in [pld.epsilon(&training(noise), delta)?, rdp.epsilon(&training(noise), delta)?] {
        println!(
            "{:>8} says at most {:.6}, moments at least {:.6}",
            bound.accountant(),
            bound.upper(),
            moments.lower()
        );
        assert!(moments.lower() <= bound.upper());
    }

    // Composition: a noisy histogram first, then training. Together they cost less than the sum of both.
    let histogram = Event::gaussian(NoiseMultiplier::new(5.0)?);
    let together = accountant.epsilon(&Event::composed([histogram.clone(), training(noise)]), delta)?.upper();
    let apart = accountant.epsilon(&histogram, delta)?.upper() + cost.upper();
    println!("with a histogram at noise 5: {together:.4}, and not {apart:.4}");
    assert!(together > cost.upper() && together < apart);

    // A person with up to three records: the exact event of a group, which beats the general lemma.
    let three = NonZeroU64::MIN.saturating_add(2);
    let exact = accountant.epsilon(&group::event(&training(noise), relation, three)?, delta)?.upper();
    let lemma = group::by_lemma(&accountant, &training(noise), three, delta)?.upper();
    println!("three records of one person: {exact:.4} (the lemma would say {lemma:.4})");
    assert!(exact > cost.upper() && exact < lemma);
    Ok(())
}
