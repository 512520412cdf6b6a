//! The rule for biases: a parameter added at every position has, per example, the sum of its cotangents as gradient.

use super::weight::norms_of_rows;
use crate::kernel::rows::sums_of_runs;
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Tensor};

/// What a bias leaves on the tape: where its axis lies in the cotangents.
#[derive(Debug, Clone)]
pub(crate) struct Bias {
    /// The axis of the cotangents that runs over the bias; zero is the batch.
    pub(crate) axis: usize,
}

impl Bias {
    /// Upper bounds on the gradient norms, and the gradients `(batch, size)`.
    pub(crate) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Tensor>)> {
        let gradients = self.instantiate(cotangents)?;
        Ok((norms_of_rows(&gradients)?, Some(gradients)))
    }

    /// Every example's gradient, `(batch, size)`.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        let others: Vec<usize> = (1..cotangents.rank()).filter(|axis| *axis != self.axis).collect();
        if others.is_empty() {
            return Ok(cotangents.clone());
        }
        if cotangents.device().is_cpu() {
            return dispatch!(cotangents.dtype(), sums_on_cpu(self.axis, &cotangents.contiguous()?));
        }
        cotangents.sum(others)
    }
}

/// The sum of the rows of `(batch, size)`.
pub(super) fn sum_of_all(rows: &Tensor) -> Result<Tensor> {
    fn on_cpu<T: Real>(rows: &Tensor) -> Result<Tensor> {
        let size = rows.dim(1)?;
        let sum = read(rows, |rows: &[T]| Ok(sums_of_runs(rows, 1, size, 1)))?;
        Tensor::from_vec(sum, size, rows.device())
    }
    if rows.device().is_cpu() {
        return dispatch!(rows.dtype(), on_cpu(&rows.contiguous()?));
    }
    rows.sum(0)
}

/// The sums over all axes but the batch and `axis`, each example on one thread.
fn sums_on_cpu<T: Real>(axis: usize, cotangents: &Tensor) -> Result<Tensor> {
    let (batch, size) = (cotangents.dim(0)?, cotangents.dim(axis)?);
    let run: usize = cotangents.dims()[axis + 1..].iter().product();
    let sums = read(cotangents, |cotangents: &[T]| Ok(sums_of_runs(cotangents, batch, size, run)))?;
    Tensor::from_vec(sums, (batch, size), cotangents.device())
}
