//! The per-example engine: one forward, one backward, and every example's gradient norm.
//!
//! A layer's way back ([`crate::nn::Pull`]) hands what the layer's rule needs to the [`Tape`] and gives
//! autograd nothing for its parameters. So one backward pass through a batch leaves on the tape, for every parameter,
//! the records from which per-example norms and any weighted sum of per-example gradients follow; and a parameter that
//! still has a gradient in autograd's store was not covered by a rule.

mod bias;
mod copies;
mod naive;
mod probe;
mod recorded;
mod rule;
mod scale;
mod table;
mod tape;
mod tied;
mod weight;

pub use naive::one_example_at_a_time;
pub use probe::{probe_isolation, probe_isolation_of};
pub use recorded::{Recorded, Written};
pub use tape::{Engine, Kernels, Route, Tape};

pub(crate) use bias::Bias;
pub(crate) use copies::Copies;
pub(crate) use rule::Rule;
pub(crate) use scale::Scale;
pub(crate) use table::{Table, Tokens};
pub(crate) use tape::{Cotangent, check_parameter};
pub(crate) use weight::{Inputs, Weight, kept_by, norms_of_rows, sum_of_rows, zero_unless};

use crate::kernel::norm_bound;
use crate::{Error, Result};
use candle_core::Tensor;

/// The gradients of a batch of examples, as something that can be measured and then summed once.
///
/// Ghost and instantiated gradients, and gradients somebody wrote down, look alike behind it. The guarantee rests on the bounds
/// of [`PerExample::norms`]: an implementation that reports less than it sums breaks it.
pub trait PerExample {
    /// How many examples.
    fn batch(&self) -> usize;

    /// The same gradients, some examples at a time in their order: parts are measured and summed one after another, so that what
    /// one of them keeps in between is freed before the next.
    ///
    /// # Errors
    /// When the tensors of the records do not fit together.
    fn parts(self) -> Result<Vec<Self>>
    where
        Self: Sized,
    {
        Ok(vec![self])
    }

    /// Upper bounds on the gradient norms, where parameter `j` (in name order) belongs to group `groups[j]`.
    ///
    /// A bound covers the rounding of the norm itself and of the weighted sum that follows, so that weight times bound
    /// is a bound on what the example really adds to the sum.
    ///
    /// # Errors
    /// When the tensors of the records do not fit together.
    fn norms(&mut self, groups: &[usize]) -> Result<Norms>;

    /// The sum over examples of weight times gradient, a tensor for each parameter in name order, in f64 on the CPU.
    ///
    /// It is summed in f64, so that how one example rounds hardly depends on the others.
    ///
    /// `weights[i][k]` is the weight of example `i` in group `k`. An example of weight zero is not read: its gradient may hold NaN.
    ///
    /// # Errors
    /// When the tensors of the records do not fit together.
    fn weighted_sum(self, weights: &Weights) -> Result<Vec<Tensor>>;

    /// The sum over examples of the gradients themselves, a tensor for each parameter in name order, on the CPU, in any float
    /// type: what training without privacy needs.
    ///
    /// # Errors
    /// When the tensors of the records do not fit together.
    fn total(self) -> Result<Vec<Tensor>>;
}

/// Upper bounds on gradient norms, `(batch, groups)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Norms {
    groups: usize,
    values: Vec<f64>,
}

impl Norms {
    /// From bounds for each parameter: `norms[j][i]` of example `i` belongs to `groups[j]`.
    ///
    /// # Errors
    /// When a parameter has no group, or one that is not below the number of parameters, or not one bound for each example.
    pub fn new(batch: usize, groups: &[usize], norms: &[Vec<f64>]) -> Result<Self> {
        let beyond = groups.iter().any(|group| *group >= groups.len());
        if beyond || groups.len() != norms.len() || norms.iter().any(|norms| norms.len() != batch) {
            let examples: Vec<usize> = norms.iter().map(Vec::len).collect();
            let reason = format!("the groups {groups:?} and norms of {examples:?} examples for a batch of {batch}");
            return Err(Error::Model { reason });
        }
        let count = groups.iter().max().map_or(1, |last| last + 1);
        let group_norm = |i: usize, group: usize| {
            let mine = groups.iter().zip(norms).filter(|(other, _)| **other == group);
            norm_bound(mine.map(|(_, norms)| norms[i]))
        };
        let values = (0..batch).flat_map(|i| (0..count).map(move |group| (i, group)));
        Ok(Self { groups: count, values: values.map(|(i, group)| group_norm(i, group)).collect() })
    }

    /// Every bound times `factor`.
    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|norm| *norm *= factor);
        self
    }

    /// How many groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// One row per example, with a bound for each group.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks(self.groups)
    }
}

/// Weights of examples in a sum, `(batch, groups)`, and which parameter belongs to which group.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    parameter_groups: Vec<usize>,
    groups: usize,
    values: Vec<f64>,
}

impl Weights {
    /// One weight per example for all parameters.
    pub fn flat(values: Vec<f64>, parameters: usize) -> Self {
        Self { parameter_groups: vec![0; parameters], groups: 1, values }
    }

    pub(crate) fn grouped(values: Vec<f64>, groups: usize, parameter_groups: Vec<usize>) -> Self {
        Self { parameter_groups, groups, values }
    }

    /// The weights of every example for parameter `j`; of a parameter nobody spoke of, zeros.
    pub fn of_parameter(&self, j: usize) -> Vec<f64> {
        let weight =
            |row: &[f64]| self.parameter_groups.get(j).and_then(|group| row.get(*group)).copied().unwrap_or(0.0);
        self.values.chunks(self.groups).map(weight).collect()
    }
}
