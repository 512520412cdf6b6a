//! `dpsgd account calibrate`: the one number of a plan that is left out, as large or small as an epsilon allows.

use super::answer::Answer;
use super::plan::{PlanArgs, Sampling};
use super::question::Missing;
use crate::{Error, Result};
use dp_accountant::{Accountant, Batches, Bound, Delta, Epsilon, Event, calibrate};
use serde_json::{Value, json};

/// The value found: its flag's name, itself, its cost, and whether the search ended at the edge of its range.
type Found = (&'static str, Value, Bound, bool);

pub(super) fn calibrated(args: &PlanArgs, accountant: &str, epsilon: f64, delta: f64) -> Result<Answer> {
    if args.event.is_some() {
        return Err(Error::value("--event", "given", "not with calibrate: an event has its noise already"));
    }
    let accountant = args.accountant(accountant)?;
    let (target, delta) = (Epsilon::new(epsilon)?, Delta::new(delta)?);
    let (name, value, bound, capped) = search(args, accountant.as_ref(), target, delta)?;
    let head = [
        (name, value),
        ("epsilon", json!(bound)),
        ("delta", json!(delta)),
        ("slack", json!(target.get() - bound.upper())),
    ];
    let mut answer = super::answer::of(head, args, accountant.as_ref(), Some(&bound))?;
    if capped {
        answer.insert("note".into(), json!("the search ended at the edge of its range: the true value lies beyond"));
    }
    Ok(answer)
}

fn search(args: &PlanArgs, accountant: &dyn Accountant, target: Epsilon, delta: Delta) -> Result<Found> {
    Ok(match args.missing()? {
        Missing::Noise { sampling, steps } => {
            let found = calibrate::noise_multiplier(accountant, |z| sampling.plan(z, steps), target, delta)?;
            ("noise_multiplier", json!(found.value), found.bound, found.capped)
        }
        Missing::Steps { sampling, noise_multiplier } => {
            let found = calibrate::steps(accountant, |n| sampling.plan(noise_multiplier, n), target, delta)?;
            ("steps", json!(found.value), found.bound, found.capped)
        }
        Missing::Rate { noise_multiplier, steps } => {
            let plan = |rate| Sampling::Poisson(rate).plan(noise_multiplier, steps);
            let found = calibrate::sampling_rate(accountant, plan, target, delta)?;
            ("sampling_rate", json!(found.value), found.bound, found.capped)
        }
        Missing::Batch { noise_multiplier, steps, records, fixed } => {
            let plan = |batches: Batches| -> Event {
                let sampling =
                    if fixed { Sampling::WithoutReplacement(batches) } else { Sampling::Poisson(batches.share()) };
                sampling.plan(noise_multiplier, steps)
            };
            let found = calibrate::batch_size(accountant, plan, records, target, delta)?;
            ("batch", json!(found.value), found.bound, found.capped)
        }
    })
}
