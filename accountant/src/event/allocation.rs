//! Balls-in-bins batches: each record takes part in one uniformly random step of each block of steps.

use serde::{Deserialize, Serialize};

use crate::parameters::OutOfDomain;

/// `steps` steps, cut into `participations` blocks of nearly equal length; in each block every record takes part in
/// exactly one step, drawn uniformly and independently of all others.
///
/// One participation is balls-in-bins (Chua et al. 2024). A uniformly random subset of `participations` of all steps costs
/// at most as much (Feldman & Shenfeld 2025).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Allocation {
    steps: u64,
    participations: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    steps: u64,
    participations: u64,
}

impl Allocation {
    /// This many participations in so many steps.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `1 <= participations <= steps`.
    pub fn new(steps: u64, participations: u64) -> Result<Self, OutOfDomain> {
        if participations == 0 || participations > steps {
            let allowed = "1 <= participations <= steps";
            return Err(OutOfDomain { name: "participations", value: participations as f64, allowed });
        }
        Ok(Self { steps, participations })
    }

    /// Steps in all.
    #[must_use]
    pub fn steps(self) -> u64 {
        self.steps
    }

    /// Steps in which one record takes part.
    #[must_use]
    pub fn participations(self) -> u64 {
        self.participations
    }

    /// The blocks as (length, how many of that length), together `steps` long.
    #[must_use]
    pub fn blocks(self) -> [(u64, u64); 2] {
        let (short, longer) = (self.steps / self.participations, self.steps % self.participations);
        [(short, self.participations - longer), (short.saturating_add(1), longer)]
    }
}

impl TryFrom<Parts> for Allocation {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        Self::new(parts.steps, parts.participations)
    }
}

impl From<Allocation> for Parts {
    fn from(value: Allocation) -> Self {
        Self { steps: value.steps, participations: value.participations }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_steps() {
        for (steps, k) in [(100, 10), (7, 3), (5, 5), (1, 1), (101, 10)] {
            let blocks = Allocation::new(steps, k).unwrap().blocks();
            assert_eq!(blocks.iter().map(|(length, count)| length * count).sum::<u64>(), steps);
            assert_eq!(blocks.iter().map(|(_, count)| count).sum::<u64>(), k);
        }
        assert!(Allocation::new(3, 4).is_err() && Allocation::new(3, 0).is_err());
    }
}
