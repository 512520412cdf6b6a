//! The journal of a run: what it has to tell besides its plan, from its first step to its last.
//!
//! It is kept in the checkpoint, so that a run that was interrupted reports on all its steps. Most of it comes from private
//! gradients and is not privatised.

use crate::clip::{Clipping, Symmetry};
use crate::evaluate::Evaluation;
use crate::recipe::Recipe;
use crate::report::{Metrics, Row};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What was learnt and how, and what happened on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    recipe: Recipe,
    entries: Vec<Entry>,
    /// What clipping did since the last entry.
    since: Clipping,
    total: Clipping,
    seconds: f64,
    symmetry: Vec<Measured>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Measured {
    step: u32,
    #[serde(flatten)]
    symmetry: Symmetry,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    step: u32,
    epsilon: f64,
    clipping: Clipping,
    /// Accuracy and loss on the test records, where they were measured.
    tested: Option<(Option<f64>, Option<f64>)>,
}

impl Entry {
    fn row(&self) -> Row {
        let Self { step, epsilon, clipping, tested } = self;
        let quantile = |percent| clipping.relative_norms.quantile(percent);
        Row {
            step: *step,
            epsilon_upper: *epsilon,
            examples: clipping.examples,
            clipped_fraction: clipping.clipped_fraction(),
            mean_gradient_norm: clipping.mean_norm(),
            test_accuracy: tested.and_then(|(accuracy, _)| accuracy),
            test_loss: tested.and_then(|(_, loss)| loss),
            norm_p10: quantile(10),
            norm_p50: quantile(50),
            norm_p90: quantile(90),
        }
    }
}

/// Entries that a journal of many steps has.
const ENTRIES: u32 = 50;

/// Steps between two entries of a run of `of` steps.
pub(crate) fn between(of: u32) -> u32 {
    of.div_ceil(ENTRIES).max(1)
}

/// Whether the journal of a run of `of` steps has an entry after `step`. It depends on them alone, so that a resumed run has the
/// entries of an uninterrupted one.
pub(crate) fn is_entry(step: u32, of: u32) -> bool {
    step.is_multiple_of(between(of)) || step == of
}

impl Journal {
    /// The journal of a run that is about to start.
    pub fn new(recipe: Recipe) -> Self {
        let (since, total) = (Clipping::default(), Clipping::default());
        Self { recipe, entries: Vec::new(), since, total, seconds: 0.0, symmetry: Vec::new() }
    }

    /// What is learnt and how.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Takes note of what clipping did in a step.
    pub fn step(&mut self, clipping: Clipping) {
        self.since += clipping;
        self.total += clipping;
    }

    /// Makes an entry after `step`, with the epsilon spent until then and how the model does on test records, if that was
    /// measured. The row is what metrics.csv says of it.
    pub fn enter(&mut self, step: u32, epsilon: f64, tested: Option<&Evaluation>) -> Row {
        let tested = tested.map(|evaluation| (evaluation.accuracy(), evaluation.loss()));
        let entry = Entry { step, epsilon, clipping: std::mem::take(&mut self.since), tested };
        let row = entry.row();
        self.entries.push(entry);
        row
    }

    /// Takes note of how symmetric gradients were after `step`. A run that goes on from the checkpoint of that step measures again,
    /// and finds the same.
    pub fn measured(&mut self, step: u32, symmetry: Symmetry) {
        self.symmetry.retain(|measured| measured.step != step);
        self.symmetry.push(Measured { step, symmetry });
    }

    /// How symmetric gradients were, as JSON, if that was measured. All of it comes from private gradients.
    ///
    /// # Errors
    /// Never for finite numbers.
    pub fn symmetry(&self) -> Result<Option<String>> {
        if self.symmetry.is_empty() {
            return Ok(None);
        }
        let warning = "not private: computed from gradients of single records without noise; do not publish";
        let document = serde_json::json!({ "warning": warning, "measured": self.symmetry });
        let text = serde_json::to_string_pretty(&document);
        Ok(Some(text.map_err(|error| Error::value("symmetry", error, "finite numbers"))? + "\n"))
    }

    /// Takes note of time spent in the training loop.
    pub fn add_seconds(&mut self, seconds: f64) {
        self.seconds += seconds;
    }

    /// Seconds spent in the training loop.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// What clipping did over the whole run. Not private.
    pub fn clipping(&self) -> Clipping {
        self.total
    }

    /// The entries so far: the content of metrics.csv.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.entries.iter().map(Entry::row).collect())
    }
}
