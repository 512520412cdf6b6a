//! The recipe: what is learnt and how. The guarantee does not depend on it, the model does.

use crate::augment::Augmentation;
use crate::model::Architecture;
use crate::optim::{OptimizerConfig, Rule, SgdConfig};
use serde::{Deserialize, Serialize};

/// Data, architecture, optimiser and augmentation of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name of the data set.
    pub data: String,
    /// The architecture.
    pub model: Architecture,
    /// The optimiser, with its schedule and average.
    pub optimizer: OptimizerConfig,
    /// The random copies of examples that are learnt from, if not from the examples themselves.
    #[serde(default)]
    pub augmentation: Option<Augmentation>,
}

/// Batch size, epochs, clip norm and optimiser for who gave none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Expected records in a batch.
    pub expected_batch: usize,
    /// Expected passes over the data.
    pub epochs: f64,
    /// The clip norm.
    pub clip_norm: f64,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

impl Defaults {
    /// Values that do well over the data sets in `docs/defaults.md`. They depend on the architecture and the public record
    /// count alone, never on the data.
    pub fn new(model: Architecture, records: usize) -> Self {
        // Under noise, few steps on large batches beat many on small ones: the noise on the mean falls as 1 / batch.
        let expected_batch = (records / 4).clamp(records.min(32), 2048);
        let (learning_rate, clip_norm) = match model {
            Architecture::Logistic => (1.0, 1.0),
            Architecture::Mlp | Architecture::Cnn => (0.5, 1.0),
            Architecture::Bag => (2.0, 1.0),
            Architecture::Lstm | Architecture::Transformer => (0.5, 1.0),
        };
        let sgd = SgdConfig { learning_rate, momentum: 0.9, ..SgdConfig::default() };
        Self { expected_batch, epochs: 20.0, clip_norm, optimizer: Rule::Sgd(sgd).into() }
    }
}
