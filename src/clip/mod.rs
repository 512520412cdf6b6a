//! Clipping: how much one example can move the sum.
//!
//! A [`Clip`] proposes weights; [`ClippedSum::new`] is the only way into a sum, and checks them. A [`ClipRule`] names the rule of a
//! plan.

mod adaptive;
mod automatic;
mod flat;
mod histogram;
mod per_group;
mod perturb;
mod psac;
mod quotient;
mod rule;
mod stabiliser;
mod statistics;
mod sum;
mod symmetry;
mod unclipped;

pub use adaptive::Adaptive;
pub use automatic::Automatic;
pub use flat::Flat;
pub use histogram::NormHistogram;
pub use per_group::PerGroup;
pub use perturb::{Perturbation, Perturbed};
pub use psac::Psac;
pub use rule::ClipRule;
pub use stabiliser::Stabiliser;
pub use statistics::Clipping;
pub(crate) use sum::BLOCK;
pub use sum::ClippedSum;
pub use symmetry::Symmetry;
pub use unclipped::Unclipped;

use crate::grad::Norms;
use crate::{Error, Result};

/// Proposes the weight with which each example enters the sum.
pub trait Clip: Send + Sync {
    /// The group each of `parameters` (names in order) is clipped with.
    fn groups(&self, parameters: &[String]) -> Vec<usize> {
        vec![0; parameters.len()]
    }

    /// The bound on weight times norm that the rule promises, for each group.
    fn bounds(&self) -> Vec<f64>;

    /// A weight for every example and group, in the order of `norms`; weights are finite and not negative.
    fn weights(&self, norms: &Norms) -> Vec<f64>;
}

/// The largest Euclidean norm an example may contribute: from 1e-20 to 1e20.
///
/// Inside these limits the weight of any f32 gradient is an ordinary f64, and noise at this scale an ordinary f32.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct ClipNorm(f64);

impl ClipNorm {
    /// The smallest there is.
    pub(crate) const LEAST: f64 = 1e-20;
    /// The largest there is.
    pub(crate) const LARGEST: f64 = 1e20;
    /// 1.
    pub(crate) const ONE: Self = Self(1.0);

    /// # Errors
    /// When `value` is outside the limits.
    pub fn new(value: f64) -> Result<Self> {
        if (Self::LEAST..=Self::LARGEST).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::value("clip norm", value, "a finite number above 0, from 1e-20 to 1e20"))
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for ClipNorm {
    type Error = Error;
    fn try_from(value: f64) -> Result<Self> {
        Self::new(value)
    }
}

impl From<ClipNorm> for f64 {
    fn from(norm: ClipNorm) -> f64 {
        norm.0
    }
}
