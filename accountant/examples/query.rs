//! What a training plan costs, and how much noise it needs: `cargo run --example query -- 1.1 0.01 10000 1e-5`.

use dp_accountant::{Accountant, Auto, Delta, Epsilon, Event, NoiseMultiplier, Rdp, Relation, SamplingRate, calibrate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [noise, rate, steps, delta] = arguments.as_slice() else {
        return Err("usage: query NOISE_MULTIPLIER SAMPLING_RATE STEPS DELTA".into());
    };
    let noise = NoiseMultiplier::new(noise.parse()?)?;
    let rate = SamplingRate::new(rate.parse()?)?;
    let steps: u64 = steps.parse()?;
    let delta = Delta::new(delta.parse()?)?;

    let plan = |noise| Event::gaussian(noise).poisson_sampled(rate).repeated(steps);
    let event = plan(noise);

    for relation in Relation::ALL {
        let bound = Auto::new(relation).epsilon(&event, delta)?;
        println!(
            "{relation:<12} {:.6} <= epsilon <= {:.6}  at delta = {delta}  ({})",
            bound.lower(),
            bound.upper(),
            bound.accountant()
        );
    }
    println!("best Renyi order: {:.3}", Rdp::new(Relation::AddRemove).best_order(&event, delta)?.get());

    let accountant = Auto::new(Relation::AddRemove);
    let answer = calibrate::noise_multiplier(&accountant, plan, Epsilon::new(1.0)?, delta)?;
    println!("epsilon = 1 needs noise multiplier {:.6} ({:.1e} below the target)", answer.value, answer.slack);
    let more_steps = |n| Event::gaussian(noise).poisson_sampled(rate).repeated(n);
    match calibrate::steps(&accountant, more_steps, Epsilon::new(8.0)?, delta) {
        Ok(answer) => {
            println!("epsilon = 8 allows {} steps{}", answer.value, if answer.capped { " or more" } else { "" })
        }
        Err(reason) => println!("epsilon = 8: {reason}"),
    }
    Ok(())
}
