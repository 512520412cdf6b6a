//! How often, and how densely, one unit may take part in a run of steps.

use serde::{Deserialize, Serialize};

use crate::parameters::OutOfDomain;

/// At most `participations` of `steps` steps, with at least `separation` other steps between any two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Participation {
    steps: u64,
    participations: u64,
    separation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    steps: u64,
    participations: u64,
    separation: u64,
}

impl Participation {
    /// The rule.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `1 <= participations <= steps`.
    pub fn new(steps: u64, participations: u64, separation: u64) -> Result<Self, OutOfDomain> {
        if participations == 0 || participations > steps {
            let allowed = "1 <= participations <= steps";
            return Err(OutOfDomain { name: "participations", value: participations as f64, allowed });
        }
        Ok(Self { steps, participations, separation })
    }

    /// Steps in all.
    #[must_use]
    pub fn steps(self) -> u64 {
        self.steps
    }

    /// The most steps in which one unit takes part.
    #[must_use]
    pub fn participations(self) -> u64 {
        self.participations
    }

    /// Other steps between two participations, at least.
    #[must_use]
    pub fn separation(self) -> u64 {
        self.separation
    }
}

impl TryFrom<Parts> for Participation {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        Self::new(parts.steps, parts.participations, parts.separation)
    }
}

impl From<Participation> for Parts {
    fn from(value: Participation) -> Self {
        Self { steps: value.steps, participations: value.participations, separation: value.separation }
    }
}
