//! What was done, step by step, as JSON, and what it cost after every step.

use dp_accountant::{Accountant, Auto, Delta, Event, Ledger, NoiseMultiplier, Relation, SamplingRate, schedule};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let step = Event::gaussian(NoiseMultiplier::new(1.1)?).poisson_sampled(SamplingRate::new(0.01)?);
    let evaluation = Event::gaussian(NoiseMultiplier::new(25.0)?);

    let mut ledger = Ledger::new();
    let mut events = Vec::new();
    for epoch in 0..5 {
        for _ in 0..100 {
            ledger.record(step.clone());
        }
        ledger.record(evaluation.clone());
        events.extend([step.clone().repeated(100), evaluation.clone()]);
        println!("epoch {epoch}: {} releases recorded", ledger.steps());
    }

    let text = serde_json::to_string_pretty(&ledger)?;
    println!(
        "{} characters of JSON, beginning with\n{}",
        text.len(),
        text.lines().take(8).collect::<Vec<_>>().join("\n")
    );
    let read: Ledger = serde_json::from_str(&text)?;
    println!("reads back as it was: {}", read == ledger);

    let (accountant, delta) = (Auto::new(Relation::AddRemove), Delta::new(1e-5)?);
    let whole = accountant.epsilon(&read.event(), delta)?;
    println!("in all: {:.6} <= epsilon <= {:.6}", whole.lower(), whole.upper());
    for (part, bound) in schedule::epsilons(&accountant, events, delta, 0.0)?.iter().enumerate() {
        println!("after part {part}: epsilon <= {:.6}", bound.upper());
    }
    Ok(())
}
