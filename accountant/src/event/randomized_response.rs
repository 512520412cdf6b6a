//! Randomized response over a finite set of answers.

use serde::{Deserialize, Serialize};

use crate::parameters::{OutOfDomain, Probability};

/// The true answer, or with probability `noise` an answer drawn uniformly from all `buckets` (the true one included).
///
/// Under zero-out the null unit answers uniformly. Add/remove does not apply: a missing unit gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct RandomizedResponse {
    noise: Probability,
    buckets: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    noise: Probability,
    buckets: u64,
}

impl RandomizedResponse {
    /// The response with this probability of a random answer among this many.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `noise > 0` (without noise there is no privacy) and `buckets >= 2`.
    pub fn new(noise: Probability, buckets: u64) -> Result<Self, OutOfDomain> {
        if noise.get() == 0.0 {
            return Err(OutOfDomain { name: "noise of randomized response", value: 0.0, allowed: "0 < p <= 1" });
        }
        if buckets < 2 {
            let value = buckets as f64;
            return Err(OutOfDomain { name: "buckets of randomized response", value, allowed: "a whole number >= 2" });
        }
        Ok(Self { noise, buckets })
    }

    /// Probability of a random answer.
    #[must_use]
    pub fn noise(self) -> Probability {
        self.noise
    }

    /// How many answers there are.
    #[must_use]
    pub fn buckets(self) -> u64 {
        self.buckets
    }
}

impl TryFrom<Parts> for RandomizedResponse {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        Self::new(parts.noise, parts.buckets)
    }
}

impl From<RandomizedResponse> for Parts {
    fn from(value: RandomizedResponse) -> Self {
        Self { noise: value.noise, buckets: value.buckets }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_randomized_response_is_refused() {
        let half = Probability::new(0.5).unwrap();
        assert!(RandomizedResponse::new(half, 2).is_ok());
        assert!(RandomizedResponse::new(half, 1).is_err());
        assert!(RandomizedResponse::new(Probability::new(0.0).unwrap(), 2).is_err());
        assert!(serde_json::from_str::<RandomizedResponse>(r#"{"noise":0.5,"buckets":1}"#).is_err());
    }
}
