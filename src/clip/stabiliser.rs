//! The constant that keeps the weight of a short gradient finite.

use crate::{Error, Result};

/// gamma of [`super::Automatic`] or r of [`super::Psac`], which are added to gradient norms: from 1e-20 to 1e20. A public constant.
///
/// Inside these limits no weight leaves the range of f64: with a [`super::ClipNorm`] it is at most 1e40.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Stabiliser(f64);

impl Stabiliser {
    /// gamma of automatic clipping where none is given: 0.01 (Bu et al. 2022).
    pub const GAMMA: Self = Self(0.01);
    /// r of per-sample adaptive clipping where none is given: 0.1 (Xia et al. 2023).
    pub const R: Self = Self(0.1);

    /// A constant that is called `name` in errors.
    ///
    /// # Errors
    /// When `value` is outside the limits.
    pub fn new(name: &str, value: f64) -> Result<Self> {
        if (1e-20..=1e20).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::value(name, value, "a finite number above 0, from 1e-20 to 1e20"))
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Stabiliser {
    type Error = Error;
    fn try_from(value: f64) -> Result<Self> {
        Self::new("gamma or r of the clipping rule", value)
    }
}

impl From<Stabiliser> for f64 {
    fn from(stabiliser: Stabiliser) -> f64 {
        stabiliser.0
    }
}
