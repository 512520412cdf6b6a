//! Checkpoints: parameters, optimiser, ledger, step and key in one file that is there whole or not at all.
//!
//! The file is safetensors, with everything that is not a tensor as JSON in its header. It holds the key and the realised
//! state of a private run: it is written for its owner alone, and is not part of what may be published.

mod fingerprint;
mod nodes;

pub(crate) use fingerprint::Fingerprint;
pub(crate) use nodes::OfNodes;

use crate::augment::Augmentation;
use crate::clip::ClipNorm;
use crate::nn::Parameters;
use crate::optim::Optimizer;
use crate::plan::Plan;
use crate::seed::{Key, Origin};
use crate::whole_file::{self, Readers};
use crate::{Error, Place, Result};
use candle_core::{Device, Tensor};
use dp_accountant::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Everything needed to go on with a run as if it had not stopped.
pub struct Checkpoint {
    state: State,
    tensors: HashMap<String, Tensor>,
    path: std::path::PathBuf,
}

#[derive(Serialize, Deserialize)]
struct State {
    format: u32,
    plan: Plan,
    ledger: Ledger,
    step: u32,
    /// That of the step to come, where releases move it.
    #[serde(default)]
    clip_norm: Option<ClipNorm>,
    key: String,
    key_origin: Origin,
    /// The [`Fingerprint`] of the records: going on with others under the same key would release two sums under one noise.
    data: String,
    /// The copies that were made of them: so would going on with others.
    augmentation: Option<Augmentation>,
    /// Where the nodes of a distributed run stand, if it is one of rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nodes: Option<nodes::Standing>,
    /// Whatever the caller wants to find again.
    notes: serde_json::Value,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("step", &self.state.step).finish_non_exhaustive()
    }
}

/// The version of the layout and of the batches and noise that a key and a step give; a file of another one is refused, as a run
/// would go on with others than it began with.
const FORMAT: u32 = 4;
/// The header's only entry of ours.
const HEADER: &str = "dpsgd";
/// What the names of parameters begin with that the run trains.
const TRAINED: &str = "parameter.";
/// What the names of parameters begin with that the run leaves alone.
const FROZEN: &str = "frozen.";
/// What the names of tensors begin with that the optimiser remembers.
const REMEMBERED: &str = "optimizer.";

impl Checkpoint {
    pub(crate) fn new(
        plan: &Plan,
        key: &Key,
        (data, augmentation): (&Fingerprint, Option<Augmentation>),
        (ledger, step, clip_norm): (&Ledger, u32, Option<ClipNorm>),
        (parameters, optimizer): (&Parameters, &dyn Optimizer),
        notes: serde_json::Value,
    ) -> Result<Self> {
        let state = State {
            format: FORMAT,
            plan: plan.clone(),
            ledger: ledger.clone(),
            step,
            clip_norm,
            key: hexadecimal(key.secret()),
            key_origin: key.origin(),
            data: data.0.clone(),
            augmentation,
            nodes: None,
            notes,
        };
        let of_model = parameters.tensors().into_iter().map(|(name, tensor)| {
            let kind = if parameters.is_frozen(&name) { FROZEN } else { TRAINED };
            (format!("{kind}{name}"), tensor)
        });
        let of_optimizer = optimizer.state().into_iter().map(|(name, tensor)| (format!("{REMEMBERED}{name}"), tensor));
        let tensors = of_model
            .chain(of_optimizer)
            .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.copy()?)))
            .collect::<Result<_>>()?;
        Ok(Self { state, tensors, path: std::path::PathBuf::new() })
    }

    /// Writes the file, for its owner alone, in place of an older one.
    ///
    /// # Errors
    /// When the system refuses; then the older file still stands.
    pub fn write(&self, path: &Path) -> Result<()> {
        whole_file::write(path, &self.bytes(path)?, Readers::Owner)
    }

    /// The file; `path` is named in errors.
    pub(crate) fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let state = serde_json::to_string(&self.state).map_err(|error| unreadable(path, error))?;
        let header = HashMap::from([(HEADER.to_string(), state)]);
        safetensors::serialize(&self.tensors, Some(header)).map_err(|error| unreadable(path, error))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is cut short, or was not written by this version.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read(path).map_err(Error::io("read", path))?, path)
    }

    /// Checks the bytes of a file; `path` is named in errors.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|error| unreadable(path, error))?;
        let header = metadata.metadata().as_ref().and_then(|header| header.get(HEADER));
        let state = header.ok_or_else(|| unreadable(path, "no state of a run in its header"))?;
        let state: State = serde_json::from_str(state).map_err(|error| unreadable(path, error))?;
        if state.format != FORMAT {
            return Err(unreadable(path, format!("layout {}, and this version reads {FORMAT}", state.format)));
        }
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        Ok(Self { state, tensors, path: path.to_path_buf() })
    }

    /// The plan the run follows.
    pub fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// What the run has spent.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.state.step
    }

    /// The clip norm of the step to come, where releases move it.
    pub fn clip_norm(&self) -> Option<ClipNorm> {
        self.state.clip_norm
    }

    /// The copies of its records that the run learns from, if it does.
    pub fn augmentation(&self) -> Option<Augmentation> {
        self.state.augmentation
    }

    /// The key of the run.
    ///
    /// # Errors
    /// When the file holds something else.
    pub fn key(&self) -> Result<Key> {
        self.key_of(&self.state.key, self.state.key_origin)
    }

    fn key_of(&self, digits: &str, origin: Origin) -> Result<Key> {
        let digits = digits.as_bytes();
        let byte = |i: usize| {
            let pair = digits.get(2 * i..2 * i + 2).and_then(|pair| std::str::from_utf8(pair).ok());
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let mut bytes = [0; 32];
        for (i, target) in bytes.iter_mut().enumerate() {
            *target = byte(i).ok_or_else(|| unreadable(&self.path, "a key that is not 64 hexadecimal digits"))?;
        }
        Ok(Key::from_parts(bytes, origin))
    }

    /// What the caller of [`Trainer::checkpoint`](crate::train::Trainer::checkpoint) wanted to find again.
    ///
    /// # Errors
    /// When it is something else.
    pub fn notes<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.state.notes.clone()).map_err(|error| unreadable(&self.path, error))
    }

    /// Whether the run was started with the records of this fingerprint.
    pub(crate) fn is_of(&self, data: &Fingerprint) -> bool {
        data.0 == self.state.data
    }

    /// Puts the tensors into the parameters and the optimiser. The parameters come last, when nothing is left to be refused.
    pub(crate) fn restore(&self, parameters: &Parameters, optimizer: &mut dyn Optimizer) -> Result<()> {
        let of_model = self.of_model(parameters)?;
        parameters.check(&of_model, &self.path)?;
        self.restore_optimizer(parameters, optimizer)?;
        parameters.load(&of_model, &self.path)
    }

    /// The tensors of the model, if it is this one.
    fn of_model(&self, parameters: &Parameters) -> Result<HashMap<String, Tensor>> {
        let mut of_model = HashMap::new();
        for (name, tensor) in &self.tensors {
            let (name, frozen) = match (name.strip_prefix(TRAINED), name.strip_prefix(FROZEN)) {
                (Some(name), _) => (name, false),
                (None, Some(name)) => (name, true),
                (None, None) => continue,
            };
            // Going on with another set of parameters would release other sums under the noise of the same steps.
            if parameters.is_frozen(name) != frozen {
                let kind = |frozen| if frozen { "frozen" } else { "trained" };
                let (then, now) = (kind(frozen), kind(!frozen));
                let reason = format!("{name} was {then} in the run of the checkpoint and is {now} now");
                return Err(Error::Refused { reason });
            }
            of_model.insert(name.to_string(), tensor.clone());
        }
        // So would a model that has some of the parameters only; one that has others as well is refused when they are loaded.
        let there = parameters.tensors();
        if let Some(name) = of_model.keys().filter(|name| !there.contains_key(*name)).min() {
            let reason =
                format!("the run of the checkpoint had a parameter {name}, and the model has none of that name");
            return Err(Error::Refused { reason });
        }
        Ok(of_model)
    }

    fn restore_optimizer(&self, parameters: &Parameters, optimizer: &mut dyn Optimizer) -> Result<()> {
        // Before the first step there is nothing to remember.
        if self.state.step == 0 {
            return Ok(());
        }
        optimizer.restore(parameters, &|name| {
            let tensor = self.tensors.get(&format!("{REMEMBERED}{name}"));
            let tensor = tensor.ok_or_else(|| unreadable(&self.path, format!("no tensor {REMEMBERED}{name}")))?;
            Ok(tensor.to_device(parameters.device())?)
        })?;
        // What is left over was remembered by an optimiser that is not this one.
        let known: HashSet<String> =
            optimizer.state().into_iter().map(|(name, _)| format!("{REMEMBERED}{name}")).collect();
        let other = |name: &&String| name.starts_with(REMEMBERED) && !known.contains(*name);
        match self.tensors.keys().filter(other).min() {
            None => Ok(()),
            Some(name) => {
                let reason =
                    format!("the optimiser of the checkpoint had {name}, and this one has nothing of that name");
                Err(Error::Refused { reason })
            }
        }
    }
}

/// Two digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(path: &Path, found: impl ToString) -> Error {
    Error::data(Place::file(path), found.to_string(), "a checkpoint written by this version of dpsgd")
}
