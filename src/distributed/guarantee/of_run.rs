//! The terms of a run as its plan and setting have them.

use super::{Clipping, Memories, Neighbour, Noise, Promise, Terms, Unit};
use crate::distributed::Setting;
use crate::distributed::uplink::Trust;
use crate::plan::Plan;
use crate::{Error, Result};
use dp_accountant::{Relation, SamplingRate};

impl Promise {
    /// What a run of an algorithm under this plan and setting promises, if the terms hold together and cost what the plan says: two ways
    /// to the same event.
    ///
    /// # Errors
    /// As [`Terms::promise`]; when the plan's relation is not that of the terms, saying which is; and when the costs differ.
    pub fn of_run(plan: &Plan, setting: &Setting) -> Result<Self> {
        let draft = plan.draft();
        let neighbour = match draft.relation {
            Relation::Replace => Neighbour::Replaced,
            Relation::AddRemove | Relation::ZeroOut => Neighbour::Absent,
        };
        let records = draft.unit == Unit::Record;
        let noise = match (draft.unit, setting.trust) {
            (Unit::Client, Trust::Central) => Noise::Aggregator(plan.noise_multiplier()),
            _ => Noise::Nodes(plan.noise_multiplier()),
        };
        let rate = plan.sampling_rate().map(SamplingRate::new).transpose()?;
        let of_clients = setting.method.participants().is_some() && setting.trust == Trust::Central;
        let terms = Terms {
            unit: draft.unit,
            neighbour,
            clipping: if records { Clipping::Examples } else { Clipping::Messages },
            noise,
            trust: setting.trust,
            memories: Memories::Public,
            record_sampling: rate.filter(|_| records),
            client_sampling: rate.filter(|_| !records && of_clients && draft.expected_batch < draft.records),
            releases: u64::from(draft.steps),
        };
        let promise = terms.promise()?;
        // Where a record's gradient is taken out of a sum it may as well stand there as 0.
        let promise = if records && draft.relation == Relation::ZeroOut {
            Self { relation: Relation::ZeroOut, ..promise }
        } else {
            promise
        };
        if promise.relation != draft.relation {
            let allowed = format!("{} for this unit, whom it trusts and who adds noise; or replace", promise.relation);
            return Err(Error::value("relation", draft.relation, allowed));
        }
        let planned = plan.steps_event(draft.steps)?;
        if promise.event == planned {
            return Ok(promise);
        }
        let reason = format!("the terms of the run cost {:?}, and its plan says {planned:?}", promise.event);
        Err(Error::Refused { reason })
    }
}

/// Why examples that are clipped protect no client.
#[cfg(feature = "cli")]
pub(crate) fn examples_of_clients() -> Error {
    Error::Refused { reason: super::EXAMPLES_OF_CLIENTS.into() }
}

/// Why records are not what is protected where messages are clipped: because nothing amplifies, where they are sampled, and otherwise
/// because a client is protected just as well.
#[cfg(feature = "cli")]
pub(crate) fn records_in_messages(sampled: bool) -> Error {
    let as_clients = "a record that is not clipped by itself counts like a replaced client, however many records the node has; take \
                      --unit client --relation replace, which protects it and all others of its node at the same cost";
    let in_messages = "sampling records amplifies nothing where nodes clip what they send: the memory carries a record into later messages, of \
                       rounds in which it is not sampled; take --clipped examples, with which every node adds noise before anything is sent, \
                       or --unit client";
    Error::Refused { reason: if sampled { in_messages } else { as_clients }.into() }
}
