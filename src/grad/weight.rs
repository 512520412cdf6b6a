//! The rule for weights: linear layers, sequences and convolutions are one case.
//!
//! With inputs `A_i` `(positions, d)` and cotangents `G_i` `(p, positions)`, example i's gradient is `G_i A_i`. Its squared
//! norm comes from the Gram matrices of both (ghost: 2 T^2 (p + d) operations and nothing kept) or from the gradient
//! itself (instantiated: 2 T p d, kept for the weighted sum, which then costs 2 p d instead of 2 T p d).

use super::tape::Route;
use crate::kernel::outer::{self, row_norms, weighted_rows};
use crate::kernel::patches::Patches;
use crate::kernel::{Real, dispatch, read, unit_roundoff};
use candle_core::{D, Result, Tensor, bail};

/// The inputs of all examples, without a graph behind them.
#[derive(Debug, Clone)]
pub(crate) enum Inputs {
    /// `(batch, positions, d)`, for the CPU kernels.
    Rows(Tensor),
    /// `(batch, groups * channels, height, width)`, for the CPU kernels, which read patches out of them.
    Images(Tensor, Patches),
    /// `(batch, groups, positions, d)`, for plain tensor operations.
    Portable(Tensor),
}

/// What a weight of shape `(groups * p, d..)` leaves on the tape.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) inputs: Inputs,
    pub(crate) groups: usize,
    pub(crate) positions: usize,
    pub(crate) d: usize,
    pub(crate) p: usize,
    /// Whether cotangents are `(batch, positions.., p)`; otherwise they are `(batch, groups p, positions..)`.
    pub(crate) channels_last: bool,
    pub(crate) route: Route,
}

/// Above this many elements the instantiated gradients of a batch are not kept: 256 MiB in f32.
const KEPT_ELEMENTS: usize = 1 << 26;

impl Weight {
    /// The cheaper route, by counted operations and within the memory bound.
    fn ghost(&self, batch: usize) -> bool {
        let (t, p, d) = (self.positions as f64, self.p as f64, self.d as f64);
        match self.route {
            Route::Ghost => true,
            Route::Instantiate => false,
            Route::Auto => {
                let ghost = 2.0 * t * t * (p + d) + 2.0 * t * p * d;
                let instantiated = 2.0 * t * p * d + 2.0 * p * d;
                self.positions == 1 || ghost < instantiated || batch * self.groups * self.p * self.d > KEPT_ELEMENTS
            }
        }
    }

    /// Upper bounds on the squared gradient norms, and the gradients `(batch, groups p d)` if they were formed.
    pub(crate) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Tensor>)> {
        let batch = cotangents.dim(0)?;
        // The weight's rounding, the weighted cotangent's, the product's and the store's: four roundings, doubled.
        let slack = (1.0 + 8.0 * unit_roundoff(cotangents.dtype())?).powi(2);
        let (norms, kept) = if self.ghost(batch) {
            (self.ghost_norms(cotangents)?, None)
        } else {
            let gradients = self.instantiate(cotangents)?;
            (norms_of_rows(&gradients)?, Some(gradients))
        };
        Ok((norms.into_iter().map(|norm| norm * norm * slack).collect(), kept))
    }

    fn ghost_norms(&self, cotangents: &Tensor) -> Result<Vec<f64>> {
        if let Inputs::Portable(a) = &self.inputs {
            let g = self.portable_cotangents(cotangents)?;
            let gram_a = a.matmul(&a.t()?)?;
            let gram_g = g.t()?.matmul(&g)?;
            // Axis by axis: the rounding of the sum then grows with the positions, not with their square.
            let square = to_f64((gram_a * gram_g)?.sum(D::Minus1)?.sum(D::Minus1)?.sum(D::Minus1)?)?;
            let a2 = to_f64(a.sqr()?.flatten_from(1)?.sum(D::Minus1)?)?;
            let g2 = to_f64(g.sqr()?.flatten_from(1)?.sum(D::Minus1)?)?;
            let t = self.positions;
            // As for the CPU kernel, but here the sums over the Gram elements round in the tensor's own type too.
            let u = unit_roundoff(cotangents.dtype())?;
            let lost = (self.d + self.p + 2 * t + self.groups + 4) as f64 * u;
            let bound = |((square, a2), g2): ((f64, f64), f64)| {
                (square.max(0.0) + 2.0 * lost * a2 * g2).sqrt() + (t + 4) as f64 * u * (a2 * g2).sqrt()
            };
            return Ok(square.into_iter().zip(a2).zip(g2).map(bound).collect());
        }
        dispatch!(cotangents.dtype(), ghost_on_cpu(self, cotangents))
    }

    /// Every example's gradient, `(batch, groups p d)`.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        let shape = (cotangents.dim(0)?, self.groups * self.p * self.d);
        if let Inputs::Portable(a) = &self.inputs {
            return self.portable_cotangents(cotangents)?.matmul(a)?.reshape(shape);
        }
        dispatch!(cotangents.dtype(), instantiate_on_cpu(self, cotangents))
    }

    /// The weighted sum `(groups p, d)` from the records.
    pub(crate) fn weighted_sum(&self, cotangents: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let shape = (self.groups * self.p, self.d);
        if let Inputs::Portable(a) = &self.inputs {
            let g = self.portable_cotangents(cotangents)?;
            let g = g.broadcast_mul(&weights.reshape((weights.elem_count(), 1, 1, 1))?)?;
            let n = g.dim(0)? * self.positions;
            let g = g.permute((1, 2, 0, 3))?.reshape((self.groups, self.p, n))?;
            let a = a.permute((1, 0, 2, 3))?.reshape((self.groups, n, self.d))?;
            return g.matmul(&a)?.reshape(shape);
        }
        dispatch!(cotangents.dtype(), weighted_sum_on_cpu(self, cotangents, weights))
    }

    /// The record of the examples in `rows` alone.
    pub(crate) fn select(&self, rows: &Tensor) -> Result<Self> {
        let inputs = match &self.inputs {
            Inputs::Rows(a) => Inputs::Rows(a.index_select(rows, 0)?),
            Inputs::Images(a, patches) => Inputs::Images(a.index_select(rows, 0)?, *patches),
            Inputs::Portable(a) => Inputs::Portable(a.index_select(rows, 0)?),
        };
        Ok(Self { inputs, ..self.clone() })
    }

    /// The cotangents as `(batch, groups, p, positions)`.
    fn portable_cotangents(&self, cotangents: &Tensor) -> Result<Tensor> {
        let batch = cotangents.dim(0)?;
        let cotangents = if self.channels_last {
            cotangents.reshape((batch, self.positions, self.groups * self.p))?.transpose(1, 2)?
        } else {
            cotangents.clone()
        };
        cotangents.contiguous()?.reshape((batch, self.groups, self.p, self.positions))
    }

    /// Calls `f` with the kernel's view of the records.
    fn on_cpu<T: Real, R>(&self, cotangents: &Tensor, f: impl FnOnce(outer::Outer<'_, T>) -> R) -> Result<R> {
        let (batch, cotangents) = (cotangents.dim(0)?, cotangents.contiguous()?);
        let &Self { groups, positions, d, p, .. } = self;
        read(&cotangents, |cotangents| match &self.inputs {
            Inputs::Rows(a) => read(&a.contiguous()?, |rows| {
                let inputs = outer::Inputs::Rows(rows);
                Ok(f(outer::Outer { inputs, cotangents, batch, groups, positions, d, p }))
            }),
            Inputs::Images(a, patches) => read(&a.contiguous()?, |pixels| {
                let inputs = outer::Inputs::Images { pixels, patches: *patches };
                Ok(f(outer::Outer { inputs, cotangents, batch, groups, positions, d, p }))
            }),
            Inputs::Portable(_) => bail!("records for tensor operations were given to a CPU kernel"),
        })
    }
}

fn ghost_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor) -> Result<Vec<f64>> {
    weight.on_cpu::<T, _>(cotangents, |outer| outer.ghost_norms())
}

fn instantiate_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor) -> Result<Tensor> {
    let gradients = weight.on_cpu::<T, _>(cotangents, |outer| outer.instantiate())?;
    Tensor::from_vec(gradients, (cotangents.dim(0)?, weight.groups * weight.p * weight.d), cotangents.device())
}

fn weighted_sum_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let sum = read(weights, |weights: &[T]| weight.on_cpu::<T, _>(cotangents, |outer| outer.weighted_sum(weights)))?;
    Tensor::from_vec(sum, (weight.groups * weight.p, weight.d), cotangents.device())
}

/// The norm of every row of `(batch, size)`, summed in f64.
pub(crate) fn norms_of_rows(rows: &Tensor) -> Result<Vec<f64>> {
    fn on_cpu<T: Real>(rows: &Tensor) -> Result<Vec<f64>> {
        read(&rows.contiguous()?, |data: &[T]| Ok(row_norms(data, rows.dim(0)?)))
    }
    // The host sums in f64 on every device: the sum's own rounding is then far below the slack taken for the records.
    let rows = rows.to_device(&candle_core::Device::Cpu)?;
    dispatch!(rows.dtype(), on_cpu(&rows))
}

/// The sum of weight times row over `(batch, size)`.
pub(crate) fn sum_of_rows(rows: &Tensor, weights: &Tensor) -> Result<Tensor> {
    fn on_cpu<T: Real>(rows: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let size = rows.dim(1)?;
        let sum =
            read(&rows.contiguous()?, |data: &[T]| read(weights, |weights| Ok(weighted_rows(data, weights, size))))?;
        Tensor::from_vec(sum, size, rows.device())
    }
    if rows.device().is_cpu() {
        dispatch!(rows.dtype(), on_cpu(rows, weights))
    } else {
        weights.unsqueeze(0)?.matmul(rows)?.squeeze(0)
    }
}

fn to_f64(tensor: Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(candle_core::DType::F64)?.to_vec1()
}
