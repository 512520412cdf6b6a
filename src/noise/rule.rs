//! How the noise of different steps goes together, by name.

use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier, Participation, SamplingRate};
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// How the noise of different steps goes together, and with it how batches are drawn: the cost of one is known for the other.
///
/// As JSON: `"independent"`, `"tree"`, `{"banded":{"bands":4}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NoiseRule {
    /// Fresh noise in every step, on Poisson samples: DP-SGD.
    #[default]
    Independent,
    /// Sums of gradients have the noise of a binary tree, on disjoint batches: DP-FTRL ([`super::Tree`]).
    Tree,
    /// The noise of steps less than `bands` apart is correlated, on cyclic Poisson samples: a banded square root
    /// ([`super::Banded`]).
    Banded {
        /// Bands of the matrix, and groups of the records.
        bands: NonZeroU32,
    },
}

impl NoiseRule {
    /// The bands of `banded` for who names none.
    pub const BANDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

    /// The name, as on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Tree => "tree",
            Self::Banded { .. } => "banded",
        }
    }

    /// What draws the batches, for a statement.
    pub fn sampler(&self) -> String {
        match self {
            Self::Independent => "poisson".into(),
            Self::Tree => "disjoint batches, every record in one of them at random once a pass".into(),
            Self::Banded { bands } => format!("cyclic Poisson over {bands} groups"),
        }
    }

    /// What adds the noise, for a statement.
    pub fn mechanism(&self) -> String {
        match self {
            Self::Independent => "gaussian".into(),
            Self::Tree => "gaussian at the nodes of binary trees, one for each pass (DP-FTRL)".into(),
            Self::Banded { bands } => format!("gaussian correlated by a banded square root of {bands} bands"),
        }
    }

    /// The probability with which a record is in a batch of `expected_batch` of `records`, under `banded` one whose group is in turn;
    /// none under `tree`, where every record takes part once a pass.
    pub fn sampling_rate(&self, records: usize, expected_batch: usize) -> Option<f64> {
        let rate = expected_batch as f64 / records as f64;
        match self {
            Self::Independent => Some(rate),
            Self::Tree => None,
            // Both the sampler and the cost have this number, so its rounding favours neither.
            Self::Banded { bands } => Some((rate * f64::from(bands.get())).min(1.0)),
        }
    }

    /// The mean size of batches: `expected_batch`, under `tree` that of the batches into which a pass of `records` is cut. It is a
    /// function of public constants.
    pub fn mean_batch(&self, records: usize, expected_batch: usize) -> f64 {
        match self {
            Self::Tree => records as f64 / Self::tree_steps(records, expected_batch).get() as f64,
            Self::Independent | Self::Banded { .. } => expected_batch as f64,
        }
    }

    /// The steps of so many passes over the data, not rounded: `records / expected_batch` each, under `tree` the nearest whole number
    /// to it, which is at least 1.
    pub fn steps_of(&self, passes: f64, records: usize, expected_batch: usize) -> f64 {
        match self {
            Self::Tree => passes * Self::tree_steps(records, expected_batch).get() as f64,
            Self::Independent | Self::Banded { .. } => passes * records as f64 / expected_batch.max(1) as f64,
        }
    }

    /// The steps of a tree.
    pub(crate) fn tree_steps(records: usize, expected_batch: usize) -> NonZeroU64 {
        let (records, batch) = (records as u64, (expected_batch as u64).max(1));
        NonZeroU64::new(records / batch + u64::from(records % batch >= batch.div_ceil(2))).unwrap_or(NonZeroU64::MIN)
    }

    /// Whether batches of this size can be drawn.
    ///
    /// # Errors
    /// Under `banded`, when a group has fewer records than a batch.
    pub(crate) fn check(&self, records: usize, expected_batch: usize) -> Result<()> {
        let Self::Banded { bands } = self else { return Ok(()) };
        let most = records / expected_batch.max(1);
        if bands.get() as usize > most {
            let allowed =
                format!("1 to records / batch size, here {most}: each step draws a batch from one of so many groups");
            return Err(Error::value("bands", bands, allowed));
        }
        Ok(())
    }

    /// What the first `steps` steps cost together under correlated noise; none for independent noise, where each step has a cost of
    /// its own.
    ///
    /// # Errors
    /// Never for a rule that [`NoiseRule::check`] let pass.
    pub(crate) fn event(
        &self,
        noise_multiplier: NoiseMultiplier,
        (records, expected_batch): (usize, usize),
        steps: u64,
    ) -> Result<Option<Event>> {
        let Some(all) = NonZeroU64::new(steps) else { return Ok(Some(Event::nothing())) };
        Ok(match self {
            Self::Independent => None,
            Self::Tree => {
                let pass = Self::tree_steps(records, expected_batch).get();
                let whole = tree_event(noise_multiplier, pass).repeated(steps / pass);
                let rest = steps % pass;
                let rest = if rest == 0 { Event::nothing() } else { tree_event(noise_multiplier, rest) };
                Some(Event::composed([whole, rest]))
            }
            Self::Banded { bands } => {
                let rate = self.sampling_rate(records, expected_batch).unwrap_or(1.0);
                Some(cyclic_event(noise_multiplier, SamplingRate::new(rate)?, *bands, all))
            }
        })
    }
}

/// A tree of `steps` steps, in one of which a record takes part.
pub(super) fn tree_event(noise_multiplier: NoiseMultiplier, steps: u64) -> Event {
    match Participation::new(steps, 1, 0) {
        Ok(participation) => Event::TreeAggregation { noise_multiplier, participation },
        // A tree has a step. If this one had none, nobody would be told a cost for it.
        Err(reason) => Event::unsupported(reason.to_string()),
    }
}

/// `steps` steps of banded noise on cyclic Poisson samples.
pub(super) fn cyclic_event(
    noise_multiplier: NoiseMultiplier,
    sampling_rate: SamplingRate,
    bands: NonZeroU32,
    steps: NonZeroU64,
) -> Event {
    Event::CyclicPoisson { sampling_rate, bands: bands.into(), steps, noise_multiplier }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_by_name_and_read_back() {
        let banded = NoiseRule::Banded { bands: NoiseRule::BANDS };
        for (rule, text) in [
            (NoiseRule::Independent, r#""independent""#),
            (NoiseRule::Tree, r#""tree""#),
            (banded, r#"{"banded":{"bands":4}}"#),
        ] {
            assert_eq!(serde_json::to_string(&rule).unwrap(), text);
            assert_eq!(serde_json::from_str::<NoiseRule>(text).unwrap(), rule);
            assert!(text.contains(rule.name()));
        }
        for text in [r#"{"banded":{"bands":0}}"#, r#"{"banded":{}}"#, r#"{"banded":{"bands":2,"b":1}}"#, r#""banded""#]
        {
            assert!(serde_json::from_str::<NoiseRule>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tree_has_the_nearest_number_of_batches() {
        for (records, batch, steps) in
            [(100, 10, 10), (104, 10, 10), (105, 10, 11), (3823, 955, 4), (5, 5, 1), (7, 5, 1)]
        {
            assert_eq!(NoiseRule::tree_steps(records, batch).get(), steps, "{records} / {batch}");
            // The batches of a pass hold every record once.
            let (mean, of_pass) = (NoiseRule::Tree.mean_batch(records, batch), records as f64);
            assert!((mean * steps as f64 - of_pass).abs() <= 1e-12 * of_pass, "{records} / {batch}: {mean}");
            assert_eq!(NoiseRule::Independent.mean_batch(records, batch), batch as f64);
        }
    }

    #[test]
    fn the_rate_of_a_group_is_that_of_a_record_times_the_groups() {
        let banded = |bands| NoiseRule::Banded { bands: NonZeroU32::new(bands).unwrap() };
        assert_eq!(banded(1).sampling_rate(1000, 7), NoiseRule::Independent.sampling_rate(1000, 7));
        assert_eq!(banded(4).sampling_rate(1000, 100), Some(0.4));
        assert_eq!(NoiseRule::Tree.sampling_rate(1000, 100), None);
        assert!(banded(10).check(1000, 100).is_ok());
        assert!(banded(11).check(1000, 100).unwrap_err().to_string().starts_with("bands = 11: allowed is 1 to"));
    }
}
