//! One target, five ways to meet it: noise, steps, sampling rate, batch size, or the scale of another noise.

use dp_accountant::calibrate::{self, Range};
use dp_accountant::{Auto, Batches, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (target, delta) = (Epsilon::new(2.0)?, Delta::new(1e-5)?);
    let accountant = Auto::new(Relation::AddRemove);
    let (noise, rate, steps) = (NoiseMultiplier::new(1.0)?, SamplingRate::new(0.01)?, 2000);

    let answer = calibrate::noise_multiplier(
        &accountant,
        |noise| Event::gaussian(noise).poisson_sampled(rate).repeated(steps),
        target,
        delta,
    )?;
    println!("noise multiplier {:.6}: epsilon <= {:.6}", answer.value, answer.bound.upper());

    let answer = calibrate::steps(
        &accountant,
        |steps| Event::gaussian(noise).poisson_sampled(rate).repeated(steps),
        target,
        delta,
    )?;
    println!("{} steps: epsilon <= {:.6}, {:.1e} below the target", answer.value, answer.bound.upper(), answer.slack);

    let answer = calibrate::sampling_rate(
        &accountant,
        |rate| Event::gaussian(noise).poisson_sampled(rate).repeated(steps),
        target,
        delta,
    )?;
    println!("sampling rate {:.6}: epsilon <= {:.6}", answer.value, answer.bound.upper());

    // Ten epochs over 50,000 records: larger batches make fewer steps at a larger rate.
    let records = 50_000;
    let epochs = |batches: Batches| {
        let steps = (10 * batches.records()).div_ceil(batches.batch());
        Event::gaussian(noise).poisson_sampled(batches.share()).repeated(steps)
    };
    let answer = calibrate::batch_size(&accountant, epochs, records, target, delta)?;
    println!("batches of {}: epsilon <= {:.6}", answer.value, answer.bound.upper());

    // Any parameter in which epsilon is monotone: here the noise of one final evaluation beside a fixed run.
    let run = Event::gaussian(noise).poisson_sampled(rate).repeated(500);
    let plan = |scale: f64| Ok(Event::composed([run.clone(), Event::gaussian(NoiseMultiplier::new(scale)?)]));
    let answer =
        calibrate::parameter(&accountant, "noise of the evaluation", plan, Range::new(1e6, 0.1)?, target, delta)?;
    println!("evaluation noise {:.4}: epsilon <= {:.6}", answer.value, answer.bound.upper());
    Ok(())
}
