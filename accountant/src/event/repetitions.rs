//! How often a tuning procedure runs before it keeps the best result: a random number.

use serde::{Deserialize, Serialize};

use crate::parameters::OutOfDomain;

/// The law of the number of runs (Papernot & Steinke 2022). It must not depend on the data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub enum Repetitions {
    /// Truncated negative binomial, at least one run: shape 1 is geometric, shape 0 logarithmic.
    #[non_exhaustive]
    NegativeBinomial {
        /// Shape eta > -1.
        shape: f64,
        /// Parameter gamma in (0, 1): smaller means more runs.
        gamma: f64,
    },
    /// Poisson; with no run at all nothing is released.
    #[non_exhaustive]
    Poisson {
        /// Mean > 0.
        mean: f64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Parts {
    NegativeBinomial { shape: f64, gamma: f64 },
    Poisson { mean: f64 },
}

// Validated never to be NaN, so that equality is an equivalence.
impl Eq for Repetitions {}

impl std::hash::Hash for Repetitions {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::NegativeBinomial { shape, gamma } => (0, (shape + 0.0).to_bits(), gamma.to_bits()).hash(state),
            Self::Poisson { mean } => (1, mean.to_bits()).hash(state),
        }
    }
}

impl Repetitions {
    /// Truncated negative binomial of this shape and parameter.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `shape > -1` (finite) and `0 < gamma < 1`.
    pub fn negative_binomial(shape: f64, gamma: f64) -> Result<Self, OutOfDomain> {
        if !(shape > -1.0 && shape.is_finite()) {
            return Err(OutOfDomain {
                name: "shape of the number of runs",
                value: shape,
                allowed: "a finite number > -1",
            });
        }
        if !(gamma > 0.0 && gamma < 1.0) {
            return Err(OutOfDomain { name: "gamma of the number of runs", value: gamma, allowed: "0 < gamma < 1" });
        }
        Ok(Self::NegativeBinomial { shape, gamma })
    }

    /// Poisson of this mean.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless the mean is finite and > 0.
    pub fn poisson(mean: f64) -> Result<Self, OutOfDomain> {
        if !(mean > 0.0 && mean.is_finite()) {
            return Err(OutOfDomain { name: "mean number of runs", value: mean, allowed: "a finite number > 0" });
        }
        Ok(Self::Poisson { mean })
    }

    /// Mean number of runs.
    #[must_use]
    pub fn mean(self) -> f64 {
        match self {
            Self::NegativeBinomial { shape: 0.0, gamma } => (1.0 / gamma - 1.0) / (1.0 / gamma).ln(),
            Self::NegativeBinomial { shape, gamma } => {
                // shape (1 - gamma) / (gamma (1 - gamma^shape)).
                shape * (1.0 - gamma) / (gamma * -(shape * gamma.ln()).exp_m1())
            }
            Self::Poisson { mean } => mean,
        }
    }
}

impl TryFrom<Parts> for Repetitions {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        match parts {
            Parts::NegativeBinomial { shape, gamma } => Self::negative_binomial(shape, gamma),
            Parts::Poisson { mean } => Self::poisson(mean),
        }
    }
}

impl From<Repetitions> for Parts {
    fn from(value: Repetitions) -> Self {
        match value {
            Repetitions::NegativeBinomial { shape, gamma } => Self::NegativeBinomial { shape, gamma },
            Repetitions::Poisson { mean } => Self::Poisson { mean },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_law() {
        // Geometric: 1/gamma. Logarithmic and shape 2 by their series.
        assert!((Repetitions::negative_binomial(1.0, 0.05).unwrap().mean() - 20.0).abs() < 1e-12);
        for shape in [0.0_f64, 2.0, -0.5] {
            let gamma = 0.3_f64;
            // P(k) proportional to (1 - gamma)^k times the product of (l + shape)/(l + 1), l = 1..k-1 (and 0 if not 0).
            let (mut weight, mut total, mut first) = (1.0 - gamma, 0.0, 0.0);
            for k in 1..2000 {
                total += weight;
                first += weight * f64::from(k);
                weight *= (1.0 - gamma) * (f64::from(k) + shape) / (f64::from(k) + 1.0);
            }
            let mean = Repetitions::negative_binomial(shape, gamma).unwrap().mean();
            assert!((mean / (first / total) - 1.0).abs() < 1e-12, "{shape}: {mean}");
        }
    }

    #[test]
    fn what_is_no_law_is_refused() {
        for (shape, gamma) in [(-1.0, 0.5), (f64::NAN, 0.5), (1.0, 0.0), (1.0, 1.0)] {
            assert!(Repetitions::negative_binomial(shape, gamma).is_err(), "{shape} {gamma}");
        }
        assert!(Repetitions::poisson(0.0).is_err());
    }
}
