//! What a node of a run answers with.

use super::{Grounds, Setting};
use crate::distributed::{Network, Oracle, PrivateNetwork, RecordNoise};
use crate::model::Classifier;
use crate::nn::{Parameters, Sequential};
use crate::plan::{Plan, Unit};
use crate::{Error, Result};
use dp_accountant::{Event, SamplingRate};
use std::num::NonZeroUsize;

/// The oracle of a node.
pub(super) fn oracle<'a>(
    plan: &Plan,
    setting: &Setting,
    grounds: Grounds<'a>,
    private: bool,
    node: usize,
) -> Result<Box<dyn Oracle + 'a>> {
    let Grounds { own, data, shards, .. } = grounds;
    let (model, draft) = (setting.model, plan.draft());
    let build = move |parameters: &Parameters| -> Result<Classifier<Sequential>> {
        model.build_for(&data.form(), parameters.var_builder())
    };
    // What is frozen is no part of a point, and initial values are those of the point.
    let network = Network::new(grounds.shared.clone(), build, data, shards[node].clone())?
        .with_physical_batch(grounds.physical_batch);
    if private && draft.unit == Unit::Record {
        let rate = plan.sampling_rate().unwrap_or(1.0);
        let noise = RecordNoise {
            rate: SamplingRate::new(rate)?,
            clip_norm: draft.clip_norm,
            clipping: draft.clipping,
            noise_multiplier: plan.noise_multiplier(),
        };
        let oracle = PrivateNetwork::new(network, noise, own, node)?;
        let (event, planned) = (oracle.event_per_answer(), plan.step_event(0)?);
        if event != planned && event != Event::nothing() {
            let reason = format!("an answer of node {node} costs {event:?}, and the plan says {planned:?}");
            return Err(Error::Refused { reason });
        }
        return Ok(Box::new(oracle));
    }
    let all: usize = shards.iter().map(Vec::len).sum();
    let share = |total: NonZeroUsize| {
        // More than there are is all there are.
        let share = (total.get().min(all) as u128 * shards[node].len() as u128).div_ceil(all.max(1) as u128);
        NonZeroUsize::new(share as usize)
    };
    Ok(match setting.minibatch.and_then(share) {
        Some(size) => Box::new(network.in_minibatches(size, own, node)),
        None => Box::new(network),
    })
}
