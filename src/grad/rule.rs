//! Per-example rules, one for each kind of parameter.
//!
//! A rule knows what its layer left behind; with the cotangents of the layer's output it measures every example's gradient,
//! forms it, or adds the gradients up with weights.

use super::bias::sum_of_all;
use super::weight::{Kept, sum_of_rows};
use super::{Bias, Copies, Scale, Table, Weight};
use candle_core::{Result, Tensor};

/// The rule of a record. A new kind of parameter is a new variant; the compiler names what is left to write.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Weight(Weight),
    Bias(Bias),
    Scale(Scale),
    Table(Table),
    Copies(Copies),
}

impl Rule {
    /// Upper bounds on the gradient norms, and the gradients if they were formed.
    pub(crate) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Kept>)> {
        let (norms, gradients) = match self {
            Self::Weight(weight) => return weight.measure(cotangents),
            Self::Bias(bias) => bias.measure(cotangents)?,
            Self::Scale(scale) => scale.measure(cotangents)?,
            Self::Table(table) => (table.norms(cotangents)?, None),
            Self::Copies(copies) => copies.measure(cotangents)?,
        };
        Ok((norms, gradients.map(Kept::of)))
    }

    /// Every example's gradient, `(batch, size)`.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        match self {
            Self::Weight(weight) => weight.instantiate(cotangents),
            Self::Bias(bias) => bias.instantiate(cotangents),
            Self::Scale(scale) => scale.instantiate(cotangents),
            Self::Table(table) => table.instantiate(cotangents),
            Self::Copies(copies) => copies.instantiate(cotangents),
        }
    }

    /// The sum of weight times gradient, in f64, in any shape of the parameter's size.
    pub(crate) fn weighted_sum(&self, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
        match self {
            Self::Weight(weight) => weight.weighted_sum(cotangents, weights),
            Self::Bias(bias) => sum_of_rows(&bias.instantiate(cotangents)?, weights),
            Self::Scale(scale) => sum_of_rows(&scale.instantiate(cotangents)?, weights),
            Self::Table(table) => table.weighted_sum(cotangents, weights),
            Self::Copies(copies) => copies.weighted_sum(cotangents, weights),
        }
    }

    /// The sum of all gradients, in a float type that is enough without privacy, in any shape of the parameter's size.
    pub(crate) fn total(&self, cotangents: &Tensor) -> Result<Tensor> {
        match self {
            Self::Weight(weight) => weight.total(cotangents),
            Self::Bias(bias) => sum_of_all(&bias.instantiate(cotangents)?),
            Self::Scale(scale) => sum_of_all(&scale.instantiate(cotangents)?),
            Self::Table(table) => table.weighted_sum(cotangents, &vec![1.0; cotangents.dim(0)?]),
            Self::Copies(copies) => copies.total(cotangents),
        }
    }

    /// The record of `count` examples from the `first` on.
    pub(crate) fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        Ok(match self {
            Self::Weight(weight) => Self::Weight(weight.narrow(first, count)?),
            Self::Bias(bias) => Self::Bias(bias.clone()),
            Self::Scale(scale) => Self::Scale(scale.narrow(first, count)?),
            Self::Table(table) => Self::Table(table.narrow(first, count)),
            Self::Copies(copies) => Self::Copies(copies.narrow(first, count)?),
        })
    }

    /// Elements that measuring an example leaves behind until it is summed, but for small ones.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Weight(weight) if !weight.ghost() => weight.size(),
            Self::Copies(copies) => copies.kept(),
            _ => 0,
        }
    }

    /// The record with zeros in place of the examples whose `kept` `(batch)` is zero. Examples keep their places: how the others
    /// are summed must not depend on it.
    pub(crate) fn without(&self, kept: &Tensor) -> Result<Self> {
        Ok(match self {
            Self::Weight(weight) => Self::Weight(weight.without(kept)?),
            Self::Bias(bias) => Self::Bias(bias.clone()),
            Self::Scale(scale) => Self::Scale(scale.without(kept)?),
            // Tokens are finite, and cotangents of zero add nothing.
            Self::Table(table) => Self::Table(table.clone()),
            Self::Copies(copies) => Self::Copies(copies.without(kept)?),
        })
    }
}
