//! Geometric perturbation: noise on every example's gradient before it is clipped, against clipping bias.
//!
//! Clipping moves the mean of an asymmetric law of gradients. Chen, Wu and Hong (2020, arXiv 2006.15429) add k N(0, I) to every
//! example's gradient, fresh for each example and step, and clip then: the law of what is clipped is closer to a symmetric one,
//! whose mean clipping leaves in place. With K = k sqrt(d) against the spread of the gradients, the bias falls as 1/K^2 and the drift
//! as C/K, so that learning rates grow with K.
//!
//! The cost is that of clipping without it. The noise does not depend on the data, and clipping comes after it: whatever the noise
//! is, one example has at most the clip norm in the sum, and a mixture over noise that both neighbours share cannot be told apart
//! better than its worst part. Nothing is gained either that is counted: the noise of the release is what protects.

use crate::grad::{Norms, PerExample, Recorded, Weights, kept_by, norms_of_rows, sum_of_rows, zero_unless};
use crate::kernel::team::Shared;
use crate::kernel::{Real, dispatch, read};
use crate::noise::StandardNormals;
use crate::profile::{self, Part};
use crate::seed::{Key, Role};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// The standard deviation k of the noise on every coordinate of every example's gradient: from 1e-20 to 1e20.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Perturbation(f64);

impl Perturbation {
    /// # Errors
    /// When `value` is outside the limits.
    pub fn new(value: f64) -> Result<Self> {
        if (1e-20..=1e20).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::value("perturbation", value, "a finite number above 0, from 1e-20 to 1e20"))
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The gradients with noise: those of the examples from the `first` on of the batch of `step`. The noise of an example is a function
    /// of key, step and its place in the batch, in whatever micro-batches the batch comes.
    pub fn of(self, gradients: Recorded, key: &Key, step: u32, first: usize) -> Perturbed {
        let normals = Arc::new(StandardNormals::of(key, Role::Perturbation, step));
        Perturbed { gradients, size: self, normals, first, rows: Vec::new() }
    }
}

impl TryFrom<f64> for Perturbation {
    type Error = Error;
    fn try_from(value: f64) -> Result<Self> {
        Self::new(value)
    }
}

impl From<Perturbation> for f64 {
    fn from(size: Perturbation) -> f64 {
        size.0
    }
}

/// Per-example gradients with noise before the clip.
#[derive(Debug)]
pub struct Perturbed {
    gradients: Recorded,
    size: Perturbation,
    normals: Arc<StandardNormals>,
    /// The place of the first example in its batch.
    first: usize,
    /// For each parameter `(batch, size)`, once formed: what is measured and what is summed.
    rows: Vec<Tensor>,
}

impl Perturbed {
    /// Every gradient in full, with its noise.
    fn form(&mut self) -> Result<()> {
        if self.batch() == 0 || !self.rows.is_empty() {
            return Ok(());
        }
        let _time = profile::time(Part::Sums);
        let sizes: Vec<usize> = self.gradients.shapes().iter().map(candle_core::Shape::elem_count).collect();
        let blocks = |size: usize| size.div_ceil(StandardNormals::BLOCK);
        let per_example: usize = sizes.iter().map(|size| blocks(*size)).sum();
        let mut offset = self.first * per_example;
        let mut rows = Vec::with_capacity(sizes.len());
        for (gradients, size) in self.gradients.instantiated()?.into_iter().zip(sizes) {
            let gradients = gradients.to_device(&Device::Cpu)?.contiguous()?;
            rows.push(with_noise(&gradients, self, offset, per_example)?);
            offset += blocks(size);
        }
        self.rows = rows;
        Ok(())
    }
}

fn with_noise(rows: &Tensor, noise: &Perturbed, offset: usize, step: usize) -> candle_core::Result<Tensor> {
    dispatch!(rows.dtype(), noisy(rows, noise, offset, step))
}

/// The rows with noise, each rounded once; the noise of the first begins at block `offset`, and that of each other `step` blocks on.
fn noisy<T: Real>(rows: &Tensor, noise: &Perturbed, offset: usize, step: usize) -> candle_core::Result<Tensor> {
    let k = noise.size.get();
    let mut values: Vec<T> = read(rows, |rows: &[T]| Ok(rows.to_vec()))?;
    let size = rows.dim(1)?;
    values.par_chunks_mut(size.max(1)).enumerate().each_with(Vec::new, |wide, (example, row)| {
        for (i, values) in row.chunks_mut(StandardNormals::BLOCK).enumerate() {
            wide.clear();
            wide.extend(values.iter().map(|value| value.wide()));
            noise.normals.combine(wide, offset + example * step + i, |value, draw| value + k * draw);
            values.iter_mut().zip(wide.iter()).for_each(|(value, wide)| *value = T::from_f64(*wide));
        }
    });
    Tensor::from_vec(values, rows.shape(), &Device::Cpu)
}

impl PerExample for Perturbed {
    fn batch(&self) -> usize {
        self.gradients.batch()
    }

    /// Every gradient is formed, so there are fewer of them at a time.
    fn parts(self) -> Result<Vec<Self>> {
        let parts = self.gradients.formed_in_parts()?;
        let mut first = self.first;
        let part = |gradients: Recorded| {
            let from = first;
            first += gradients.batch();
            Self { gradients, size: self.size, normals: self.normals.clone(), first: from, rows: Vec::new() }
        };
        Ok(parts.into_iter().map(part).collect())
    }

    /// The norms of the very values that are summed.
    fn norms(&mut self, groups: &[usize]) -> Result<Norms> {
        self.form()?;
        let norms = match self.batch() {
            0 => vec![Vec::new(); groups.len()],
            _ => self.rows.iter().map(norms_of_rows).collect::<candle_core::Result<_>>()?,
        };
        Norms::new(self.batch(), groups, &norms)
    }

    fn weighted_sum(mut self, weights: &Weights) -> Result<Vec<Tensor>> {
        self.form()?;
        let sum = |(j, shape): (usize, candle_core::Shape)| {
            let weights = weights.of_parameter(j);
            let Some(rows) = self.rows.get(j).filter(|_| weights.iter().any(|weight| *weight != 0.0)) else {
                return Ok(Tensor::zeros(shape, DType::F64, &Device::Cpu)?);
            };
            // Selection, not multiplication: zero times NaN is NaN.
            let rows =
                kept_by(&weights, &Device::Cpu)?.map_or_else(|| Ok(rows.clone()), |kept| zero_unless(&kept, rows))?;
            Ok(sum_of_rows(&rows, &weights)?.reshape(shape)?)
        };
        self.gradients.shapes().into_iter().enumerate().map(sum).collect()
    }

    fn total(self) -> Result<Vec<Tensor>> {
        let (batch, parameters) = (self.batch(), self.gradients.shapes().len());
        self.weighted_sum(&Weights::flat(vec![1.0; batch], parameters))
    }
}
