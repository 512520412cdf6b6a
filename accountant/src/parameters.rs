//! Checked values: a number is examined once, where it enters, and cannot be wrong afterwards.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// A number outside the values its parameter may take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} = {value}: allowed is {allowed}")]
pub struct OutOfDomain {
    /// The parameter, in words.
    pub name: &'static str,
    /// What was given.
    pub value: f64,
    /// What may be given, in words.
    pub allowed: &'static str,
}

macro_rules! checked {
    ($(#[$doc:meta])* $type:ident, $name:literal, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $type(f64);

        impl $type {
            /// The value, checked.
            ///
            /// # Errors
            #[doc = concat!("[`OutOfDomain`] unless the value is ", $allowed, ".")]
            pub fn new(value: f64) -> Result<Self, OutOfDomain> {
                let ok: fn(f64) -> bool = $ok;
                if ok(value) {
                    // Adding zero turns a negative zero into the ordinary one, so that equal values have equal bits.
                    Ok(Self(value + 0.0))
                } else {
                    Err(OutOfDomain { name: $name, value, allowed: $allowed })
                }
            }

            /// The number itself.
            #[must_use]
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $type {
            type Error = OutOfDomain;
            fn try_from(value: f64) -> Result<Self, OutOfDomain> {
                Self::new(value)
            }
        }

        impl From<$type> for f64 {
            fn from(value: $type) -> f64 {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        // Never NaN and never -0, so equality of numbers is equality of bits and the order is total.
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        }
        impl Eq for $type {}
        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }
        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.to_bits().hash(state);
            }
        }
    };
}

checked!(
    /// Standard deviation of the noise divided by the clip norm C, whatever the neighbouring relation.
    ///
    /// A relation whose sum sensitivity is 2C (see [`Relation`](crate::Relation)) therefore sees half this ratio.
    NoiseMultiplier,
    "noise multiplier",
    "a finite number > 0",
    |v| v.is_finite() && v > 0.0
);
checked!(
    /// Probability with which Poisson sampling takes each record, independently of all others.
    SamplingRate,
    "sampling rate",
    "0 < q <= 1",
    |v| v > 0.0 && v <= 1.0
);
checked!(
    /// A probability that may be 0 or 1.
    Probability,
    "probability",
    "0 <= p <= 1",
    |v| (0.0..=1.0).contains(&v)
);
checked!(
    /// A scale of noise, in the units of what is released.
    NoiseScale,
    "noise scale",
    "a finite number > 0",
    |v| v.is_finite() && v > 0.0
);
checked!(
    /// By how much one unit can change what is released, in clip norms (or in the units that the event names).
    Sensitivity,
    "sensitivity",
    "a finite number >= 0",
    |v| v.is_finite() && v >= 0.0
);
checked!(
    /// The rho of zero-concentrated differential privacy: the Renyi divergence of order alpha is at most rho alpha.
    Rho,
    "rho",
    "a finite number >= 0",
    |v| v.is_finite() && v >= 0.0
);
checked!(
    /// The delta of (epsilon, delta) differential privacy.
    Delta,
    "delta",
    "0 < delta < 1",
    |v| v > 0.0 && v < 1.0
);
checked!(
    /// The epsilon of (epsilon, delta) differential privacy.
    Epsilon,
    "epsilon",
    "a finite number >= 0",
    |v| v.is_finite() && v >= 0.0
);
checked!(
    /// A Renyi order.
    Order,
    "Renyi order",
    "a finite number > 1",
    |v| v.is_finite() && v > 1.0
);

impl SamplingRate {
    /// `part` of `all`, rounded up, for 1 <= part <= all.
    pub(crate) fn share(part: u64, all: u64) -> Self {
        if part == all {
            return Self(1.0);
        }
        // Both conversions and the division err by half a unit each.
        Self((part as f64 / all as f64 * (1.0 + 2.0 * f64::EPSILON)).clamp(f64::MIN_POSITIVE, 1.0))
    }
}

impl Order {
    /// The order of the collision probability.
    pub(crate) const TWO: Self = Self(2.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_ends_where_it_says() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(NoiseMultiplier::new(bad).is_err(), "noise multiplier {bad}");
            assert!(SamplingRate::new(bad).is_err(), "rate {bad}");
            assert!(Delta::new(bad).is_err(), "delta {bad}");
            assert!(Order::new(bad).is_err(), "order {bad}");
        }
        assert!(SamplingRate::new(1.0).is_ok());
        assert!(SamplingRate::new(1.0 + f64::EPSILON).is_err());
        assert!(Delta::new(1.0).is_err());
        assert!(Delta::new(1.0 - f64::EPSILON).is_ok());
        assert!(Order::new(1.0).is_err());
        assert!(Order::new(1.0 + f64::EPSILON).is_ok());
        assert!(Epsilon::new(0.0).is_ok());
        assert!(Epsilon::new(f64::NAN).is_err());
        assert_eq!(Epsilon::new(-0.0), Epsilon::new(0.0));
    }

    #[test]
    fn the_error_names_the_parameter_the_value_and_the_range() {
        let message = NoiseMultiplier::new(-1.0).err().map(|e| e.to_string());
        assert_eq!(message.as_deref(), Some("noise multiplier = -1: allowed is a finite number > 0"));
        let message = SamplingRate::new(1.5).err().map(|e| e.to_string());
        assert_eq!(message.as_deref(), Some("sampling rate = 1.5: allowed is 0 < q <= 1"));
    }
}
