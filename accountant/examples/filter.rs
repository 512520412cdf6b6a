//! Stopping when the budget is spent, with noise that is chosen on the way.

use dp_accountant::filter::{Decision, Filter, Odometer, RdpFilter};
use dp_accountant::{Auto, Delta, Epsilon, Event, NoiseMultiplier, Rdp, Relation, SamplingRate};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (target, delta) = (Epsilon::new(2.0)?, Delta::new(1e-5)?);
    let rate = SamplingRate::new(0.01)?;
    let step = |noise: f64| -> Result<Event, Box<dyn std::error::Error>> {
        Ok(Event::gaussian(NoiseMultiplier::new(noise)?).poisson_sampled(rate))
    };

    // The order is the best one for what is foreseen; it is fixed before the first release.
    let foreseen = step(1.0)?.repeated(1000);
    let order = Rdp::new(Relation::AddRemove).best_order(&foreseen, delta)?;
    let mut filter = RdpFilter::for_epsilon(Relation::AddRemove, order, target, delta)?;
    let mut odometer = Odometer::with_orders(Relation::AddRemove, delta, vec![order])?;

    let mut noise: f64 = 1.3;
    let mut steps = 0;
    loop {
        let release = step(noise)?;
        // Ask first, release afterwards.
        match filter.ask(&release)? {
            Decision::Granted => odometer.record(&release)?,
            Decision::Refused { cost, left } => {
                println!("stopped after {steps} steps: the next one costs {cost:.2e}, {left:.2e} is left");
                break;
            }
        }
        steps += 1;
        // Something seen in the releases so far asks for less noise.
        if steps % 200 == 0 {
            noise = (0.95 * noise).max(0.8);
        }
    }
    println!("everything released: epsilon <= {:.6} at delta = {delta}", filter.epsilon(delta));
    println!("an odometer, which needs no budget, shows {:.4}", odometer.epsilon());

    // The state goes into a checkpoint and comes back checked.
    let text = serde_json::to_string(&filter)?;
    let resumed: RdpFilter = serde_json::from_str(&text)?;
    println!("resumes as it was: {}", resumed == filter);

    // Accountants that compose privacy profiles have no valid filter, and say so.
    if let Err(reason) = Filter::new(&Auto::new(Relation::AddRemove), &foreseen, target, delta) {
        println!("{reason}");
    }
    Ok(())
}
