//! The journal of a run: what it has to tell besides its plan, from its first step to its last.
//!
//! It is kept in the checkpoint, so that a run that was interrupted reports on all its steps. Most of it comes from private
//! gradients and is not privatised.

use crate::clip::{Clipping, Symmetry};
use crate::recipe::Recipe;
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

    /// Makes an entry after `step`, with the epsilon spent until then.
    pub fn enter(&mut self, step: u32, epsilon: f64) {
        self.entries.push(Entry { step, epsilon, clipping: std::mem::take(&mut self.since) });
    }

    /// Takes note of how symmetric gradients were after `step`.
    pub fn measured(&mut self, step: u32, symmetry: Symmetry) {
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

    /// The entries as CSV with a header. All columns but the first two come from private gradients.
    pub fn to_csv(&self) -> String {
        let mut text = String::from(
            "step,epsilon_upper,examples_not_private,clipped_fraction_not_private,mean_gradient_norm_not_private\n",
        );
        for Entry { step, epsilon, clipping } in &self.entries {
            let (clipped, norm) = (clipping.clipped_fraction(), clipping.mean_norm());
            text += &format!("{step},{epsilon},{},{clipped},{norm}\n", clipping.examples);
        }
        text
    }
}
