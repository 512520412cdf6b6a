//! What a run without privacy has to say: no statement, and what it is compared by.

use super::directory::model_file;
use super::{Cost, OfNodes, Utility};
use crate::journal::Journal;
use crate::nn::Parameters;
use crate::recipe::Recipe;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The findings of a run without clipping and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// Always null: there is no guarantee.
    pub privacy: (),
    /// That, in words.
    pub warning: String,
    /// What was learnt and how.
    pub recipe: Recipe,
    /// The trained numbers of the model.
    pub parameters: usize,
    /// SHA-256 of the safetensors file that would hold it.
    pub sha256: String,
    /// The nodes, if there were any beside this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<OfNodes>,
    /// What the model is good for.
    pub utility: Utility,
    /// What the run took.
    pub cost: Cost,
}

const WARNING: &str =
    "not private: trained without clipping and without noise, so the model may reveal any training record";

impl Twin {
    /// From what happened.
    ///
    /// # Errors
    /// When the parameters cannot be read from their device.
    pub fn new(
        journal: &Journal,
        parameters: &Parameters,
        nodes: Option<OfNodes>,
        utility: Utility,
        cost: Cost,
    ) -> Result<Self> {
        let (_, sha256) = model_file(parameters)?;
        let (recipe, parameters) = (journal.recipe().clone(), parameters.elements());
        Ok(Self { privacy: (), warning: WARNING.into(), recipe, parameters, sha256, nodes, utility, cost })
    }

    /// As JSON.
    ///
    /// # Errors
    /// When a number has no form in JSON.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        Ok(text.map_err(|error| Error::value("report", error, "finite numbers"))? + "\n")
    }
}

impl std::fmt::Display for Twin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "NO PRIVACY\n\nThis run is {WARNING}.\n")?;
        writeln!(f, "  {:<22}{}, {} parameters", "architecture", self.recipe.model.name(), self.parameters)?;
        writeln!(f, "  {:<22}{}", "trained on", self.recipe.data)?;
        for (label, value) in self.nodes.iter().flat_map(OfNodes::rows) {
            writeln!(f, "  {label:<22}{value}")?;
        }
        if let (Some(accuracy), Some(records)) = (self.utility.test_accuracy, self.utility.test_records) {
            writeln!(f, "  {:<22}{:.2} % of {records} records", "test accuracy", 100.0 * accuracy)?;
        }
        if let (Some(perplexity), Some(records)) = (self.utility.test_perplexity, self.utility.test_records) {
            writeln!(f, "  {:<22}{perplexity:.2} on {records} records", "test perplexity")?;
        }
        let Cost { training_seconds, examples_per_second, .. } = self.cost;
        writeln!(f, "  {:<22}{training_seconds:.2} s, {examples_per_second:.0} examples/s", "training")
    }
}
