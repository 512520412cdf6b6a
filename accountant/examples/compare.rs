//! Two plans and all accountants side by side: epsilon, then what an attacker can do.

use dp_accountant::{
    Delta, Event, NAMES, NoiseMultiplier, Probability, Relation, SamplingRate, TradeOff, by_name, trade_off,
};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let delta = Delta::new(1e-5)?;
    let noise = NoiseMultiplier::new(1.0)?;
    let small = Event::gaussian(noise).poisson_sampled(SamplingRate::new(0.005)?).repeated(8000);
    let large = Event::gaussian(noise).poisson_sampled(SamplingRate::new(0.02)?).repeated(2000);
    let plans = [("small batches", small), ("large batches", large)];

    for (name, event) in &plans {
        println!("{name}");
        for accountant in NAMES {
            match by_name(accountant, Relation::AddRemove)?.epsilon(event, delta) {
                // An estimate has no upper end: nobody can state it by mistake.
                Ok(bound) => println!(
                    "  {accountant:<9} {:.6} <= epsilon <= {:.6} (estimate {:.6})",
                    bound.lower(),
                    bound.upper(),
                    bound.estimate()
                ),
                Err(reason) => println!("  {accountant:<9} refuses: {reason}"),
            }
        }
        let moments = by_name("moments", Relation::AddRemove)?;
        let curve = TradeOff::new(moments.as_ref(), event)?;
        let rate = curve.true_positive_rate(Probability::new(0.01)?)?;
        let advantage = trade_off::advantage(moments.as_ref(), event)?;
        println!("  true positives at 1 % false ones: at most {:.4} (at least {:.4})", rate.upper(), rate.lower());
        println!("  advantage at most {:.4}", advantage.upper());
        let mu = curve.mu(Probability::new(1e-6)?)?;
        println!("  but for 1e-6 no attack beats a Gaussian of mu = {:.4}", mu.upper());
    }
    Ok(())
}
