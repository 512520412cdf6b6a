//! Where the nodes of a run of rounds stand.

use super::{Checkpoint, FORMAT, Fingerprint, State, hexadecimal};
use crate::Result;
use crate::distributed::algorithm as distributed;
use crate::plan::Plan;
use crate::seed::{Key, Origin};
use candle_core::{Device, Tensor};
use dp_accountant::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Where the nodes of a process stand, apart from the vectors they remember: those are tensors.
#[derive(Serialize, Deserialize)]
pub(super) struct Standing {
    /// Algorithm, partition and whatever else messages depend on: under the same noise others would tell what it hides.
    setting: serde_json::Value,
    /// Which records and peers nodes have: a hash, which follows from private data.
    places: String,
    state: distributed::State,
    answers: Vec<u32>,
    own_key: String,
    own_key_origin: Origin,
}

/// Where the nodes of a process stand.
pub(crate) struct OfNodes {
    /// Whatever messages depend on beside plan, data and keys.
    pub(crate) setting: serde_json::Value,
    /// Which records and peers nodes have.
    pub(crate) places: String,
    /// What the algorithm remembers.
    pub(crate) state: distributed::State,
    /// How many gradients each node was asked for.
    pub(crate) answers: Vec<u32>,
    /// The key of this process.
    pub(crate) own: Key,
}

/// What the names of vectors begin with that nodes remember; a number follows.
const OF_NODES: &str = "nodes.";

impl Checkpoint {
    /// Of a run of rounds, in which all that is remembered is at the nodes.
    pub(crate) fn of_nodes(
        plan: &Plan,
        key: &Key,
        data: &Fingerprint,
        (ledger, round): (&Ledger, u32),
        nodes: OfNodes,
        notes: serde_json::Value,
    ) -> Result<Self> {
        let OfNodes { setting, places, mut state, answers, own } = nodes;
        let mut tensors = HashMap::new();
        for (name, vectors) in std::mem::take(&mut state.vectors) {
            for (place, vector) in vectors.iter().enumerate() {
                tensors.insert(format!("{OF_NODES}{name}.{place}"), Tensor::new(vector.as_slice(), &Device::Cpu)?);
            }
        }
        let nodes = Standing {
            setting,
            places,
            state,
            answers,
            own_key: hexadecimal(own.secret()),
            own_key_origin: own.origin(),
        };
        let state = State {
            format: FORMAT,
            plan: plan.clone(),
            ledger: ledger.clone(),
            step: round,
            clip_norm: None,
            key: hexadecimal(key.secret()),
            key_origin: key.origin(),
            data: data.0.clone(),
            augmentation: None,
            nodes: Some(nodes),
            notes,
        };
        Ok(Self { state, tensors, path: std::path::PathBuf::new() })
    }

    /// Where the nodes stand, if this is of a run of rounds.
    ///
    /// # Errors
    /// When the vectors are not what was written.
    pub(crate) fn nodes(&self) -> Result<Option<OfNodes>> {
        let Some(standing) = &self.state.nodes else { return Ok(None) };
        let mut state = standing.state.clone();
        let places = self.tensors.iter().filter_map(|(name, tensor)| {
            let (name, place) = name.strip_prefix(OF_NODES)?.rsplit_once('.')?;
            Some((name.to_string(), place.parse::<usize>().ok()?, tensor))
        });
        let mut places: Vec<_> = places.collect();
        places.sort_by_key(|(_, place, _)| *place);
        for (name, _, tensor) in places {
            state.vectors.entry(name).or_default().push(tensor.to_vec1::<f64>()?);
        }
        let own = self.key_of(&standing.own_key, standing.own_key_origin)?;
        let (setting, places) = (standing.setting.clone(), standing.places.clone());
        Ok(Some(OfNodes { setting, places, state, answers: standing.answers.clone(), own }))
    }
}
