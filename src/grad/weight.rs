//! The rule for weights: linear layers, sequences and convolutions are one case.
//!
//! With inputs `A_i` `(positions, d)` and cotangents `G_i` `(p, positions)`, example i's gradient is `G_i A_i`. Its squared
//! norm comes from the Gram matrices of both (ghost: 2 T^2 (p + d) operations and nothing kept) or from the gradient
//! itself (instantiated: 2 T p d, kept for the weighted sum, which then costs 2 p d instead of 2 T p d).

use super::recorded::LEAST;
use super::tape::Route;
use crate::kernel::blocks;
use crate::kernel::direct::Arrangement;
use crate::kernel::outer;
use crate::kernel::patches::Patches;
use crate::kernel::rows::{row_norms, weighted_rows};
use crate::kernel::{Real, dispatch, product_bound, read};
use candle_core::{D, DType, Device, Result, Tensor, bail};
use std::sync::Arc;

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
    /// Upper bounds on the norms of the inputs of each example, where the forward pass has them.
    pub(crate) input_norms: Option<Arc<Vec<f64>>>,
}

/// Every example's gradient, kept until it is known what it counts for.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// `(batch, size)`.
    rows: Tensor,
    /// The order of the elements, if it is not the parameter's.
    arrangement: Option<Arrangement>,
}

impl Kept {
    /// Gradients `(batch, size)` with their elements in the parameter's order.
    pub(crate) fn of(rows: Tensor) -> Self {
        Self { rows, arrangement: None }
    }

    /// The sum of weight times gradient, in f64 on the CPU, after `select` has taken out what is not to be read.
    pub(crate) fn weighted_sum(&self, select: impl Fn(&Tensor) -> Result<Tensor>, weights: &[f64]) -> Result<Tensor> {
        let sum = sum_of_rows(&select(&self.rows)?, weights)?;
        match self.arrangement {
            Some(arrangement) => {
                let undone = read(&sum, |sum: &[f64]| Ok(arrangement.undone(sum)))?;
                Tensor::from_vec(undone, sum.shape(), &Device::Cpu)
            }
            None => Ok(sum),
        }
    }
}

/// Above this many elements the gradients of a part are not kept: 256 MiB in f32.
const KEPT_ELEMENTS: usize = 1 << 26;

impl Weight {
    /// How many elements the weight has.
    pub(crate) fn size(&self) -> usize {
        self.groups * self.p * self.d
    }

    /// The cheaper route, by counted operations and within the memory bound.
    ///
    /// The batch must not count: the bounds of the two routes differ, so one record more would move the weights of all others.
    pub(super) fn ghost(&self) -> bool {
        let (t, p, d) = (self.positions as f64, self.p as f64, self.d as f64);
        match self.route {
            Route::Ghost => true,
            Route::Instantiate => false,
            Route::Auto => {
                let ghost = 2.0 * t * t * (p + d) + 2.0 * t * p * d;
                let instantiated = 2.0 * t * p * d + 2.0 * p * d;
                self.positions == 1 || ghost < instantiated || LEAST * self.size() > KEPT_ELEMENTS
            }
        }
    }

    /// Whether the weighted sum is taken in f32 over blocks of examples ([`crate::kernel::blocks`]).
    pub(crate) fn sums_in_blocks(&self, dtype: DType) -> bool {
        let rows = matches!(self.inputs, Inputs::Rows(_)) && self.positions == 1;
        rows && dtype == DType::F32 && blocks::pay(self.p, self.d)
    }

    /// Upper bounds on the gradient norms, and the gradients if they were formed.
    pub(crate) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Kept>)> {
        if self.ghost() {
            return Ok((self.ghost_norms(cotangents)?, None));
        }
        if let Inputs::Portable(_) = &self.inputs {
            let gradients = self.instantiate(cotangents)?;
            return Ok((norms_of_rows(&gradients)?, Some(Kept::of(gradients))));
        }
        dispatch!(cotangents.dtype(), measure_on_cpu(self, cotangents))
    }

    pub(super) fn ghost_norms(&self, cotangents: &Tensor) -> Result<Vec<f64>> {
        if let (Some(a), 1) = (&self.input_norms, self.positions) {
            let g = norms_of_rows(&cotangents.reshape((cotangents.dim(0)?, ()))?)?;
            return Ok(a.iter().zip(g).map(|(a, g)| product_bound(*a, g)).collect());
        }
        let Inputs::Portable(a) = &self.inputs else {
            return dispatch!(cotangents.dtype(), ghost_on_cpu(self, cotangents));
        };
        // Everything in f64: no element of a Gram matrix of f32 overflows or vanishes there, and where those of f64 could, the
        // product of the norms is the answer, as it is with t = 1. Otherwise the bound is that of the CPU kernel with u of f64.
        let (a, g) = (exact(a)?, exact(&self.portable_cotangents(cotangents)?)?);
        let (a_norms, g_norms) = (norms_of_rows(&a.flatten_from(1)?)?, norms_of_rows(&g.flatten_from(1)?)?);
        let products = a_norms.iter().zip(&g_norms).map(|(a, g)| product_bound(*a, *g));
        if self.positions == 1 && self.groups == 1 {
            return Ok(products.collect());
        }
        let ordinary = |norm: &f64| f64::FOURTH_POWERS.contains(norm);
        let safe = a_norms.iter().zip(&g_norms).map(|(a, g)| ordinary(a) && ordinary(g));
        let gram_a = a.matmul(&a.t()?)?;
        let gram_g = g.t()?.matmul(&g)?;
        let squares: Vec<f64> = (gram_a * gram_g)?.flatten_from(1)?.sum(D::Minus1)?.to_vec1()?;
        let t = self.positions;
        let lost = (self.d + self.p + t * t * self.groups + 4) as f64 * f64::EPSILON;
        let bound = |((square, product), safe): ((f64, f64), bool)| {
            if !safe || !square.is_finite() {
                return product;
            }
            let bound = (square.max(0.0) + lost * product * product).sqrt() + (t + 8) as f64 * f64::EPSILON * product;
            product.min(bound)
        };
        Ok(squares.into_iter().zip(products).zip(safe).map(bound).collect())
    }

    /// Every example's gradient, `(batch, groups p d)`.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        let shape = (cotangents.dim(0)?, self.size());
        if let Inputs::Portable(a) = &self.inputs {
            return self.portable_cotangents(cotangents)?.matmul(a)?.reshape(shape);
        }
        dispatch!(cotangents.dtype(), instantiate_on_cpu(self, cotangents))
    }

    /// The weighted sum `(groups p, d)` from the records, in f64.
    pub(crate) fn weighted_sum(&self, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
        let Inputs::Portable(a) = &self.inputs else {
            return dispatch!(cotangents.dtype(), weighted_sum_on_cpu(self, cotangents, weights));
        };
        let (a, g) = (exact(a)?, exact(&self.portable_cotangents(cotangents)?)?);
        let n = weights.len() * self.positions;
        let weights = Tensor::from_slice(weights, (weights.len(), 1, 1, 1), g.device())?;
        let g = g.broadcast_mul(&weights)?.permute((1, 2, 0, 3))?.reshape((self.groups, self.p, n))?;
        let a = a.permute((1, 0, 2, 3))?.reshape((self.groups, n, self.d))?;
        g.matmul(&a)?.reshape((self.groups * self.p, self.d))
    }

    /// The sum of all gradients `(groups p, d)`, in the type of the cotangents.
    pub(crate) fn total(&self, cotangents: &Tensor) -> Result<Tensor> {
        let Inputs::Portable(a) = &self.inputs else {
            return dispatch!(cotangents.dtype(), total_on_cpu(self, cotangents));
        };
        let (g, n) = (self.portable_cotangents(cotangents)?, cotangents.dim(0)? * self.positions);
        let g = g.permute((1, 2, 0, 3))?.reshape((self.groups, self.p, n))?;
        let a = a.permute((1, 0, 2, 3))?.reshape((self.groups, n, self.d))?;
        g.matmul(&a)?.reshape((self.groups * self.p, self.d))
    }

    /// The record of `count` examples from the `first` on.
    pub(crate) fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        let some = |inputs: &Tensor| inputs.narrow(0, first, count);
        let inputs = match &self.inputs {
            Inputs::Rows(a) => Inputs::Rows(some(a)?),
            Inputs::Images(a, patches) => Inputs::Images(some(a)?, *patches),
            Inputs::Portable(a) => Inputs::Portable(some(a)?),
        };
        let input_norms = self.input_norms.as_ref().map(|norms| Arc::new(norms[first..][..count].to_vec()));
        Ok(Self { inputs, input_norms, ..self.clone() })
    }

    /// Every `copies` examples as one, at the positions of all of them. None where patches are read out of whole images, which
    /// cannot stand side by side.
    pub(super) fn stacked(&self, cotangents: &Tensor, copies: usize) -> Result<Option<(Self, Tensor)>> {
        let (batch, t, width) = (cotangents.dim(0)? / copies, self.positions, self.groups * self.p);
        let positions = copies * t;
        let inputs = match &self.inputs {
            Inputs::Rows(a) => Inputs::Rows(a.contiguous()?.reshape((batch, positions, self.d))?),
            Inputs::Portable(a) => {
                let a = a.contiguous()?.reshape((batch, copies, self.groups, t, self.d))?.transpose(1, 2)?;
                Inputs::Portable(a.contiguous()?.reshape((batch, self.groups, positions, self.d))?)
            }
            Inputs::Images(..) => return Ok(None),
        };
        let cotangents = if self.channels_last {
            cotangents.contiguous()?.reshape((batch, positions, width))?
        } else {
            let apart = cotangents.contiguous()?.reshape((batch, copies, width, t))?.transpose(1, 2)?;
            apart.contiguous()?.reshape((batch, width, positions))?
        };
        Ok(Some((Self { inputs, positions, input_norms: None, ..self.clone() }, cotangents)))
    }

    /// The record with zeros in place of the examples whose `kept` is zero.
    pub(crate) fn without(&self, kept: &Tensor) -> Result<Self> {
        let inputs = match &self.inputs {
            Inputs::Rows(a) => Inputs::Rows(zero_unless(kept, a)?),
            Inputs::Images(a, patches) => Inputs::Images(zero_unless(kept, a)?, *patches),
            Inputs::Portable(a) => Inputs::Portable(zero_unless(kept, a)?),
        };
        Ok(Self { inputs, input_norms: None, ..self.clone() })
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
        let input_norms = self.input_norms.as_ref().map(|norms| norms.as_slice());
        read(&cotangents, |cotangents| match &self.inputs {
            Inputs::Rows(a) => read(&a.contiguous()?, |rows| {
                let inputs = outer::Inputs::Rows(rows);
                Ok(f(outer::Outer { inputs, cotangents, batch, groups, positions, d, p, input_norms }))
            }),
            Inputs::Images(a, patches) => read(&a.contiguous()?, |pixels| {
                let inputs = outer::Inputs::Images { pixels, patches: *patches };
                Ok(f(outer::Outer { inputs, cotangents, batch, groups, positions, d, p, input_norms }))
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
    Tensor::from_vec(gradients, (cotangents.dim(0)?, weight.size()), cotangents.device())
}

/// Every gradient is measured while it is in cache.
fn measure_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Kept>)> {
    let (gradients, norms, arrangement) = weight.on_cpu::<T, _>(cotangents, |outer| outer.measure())?;
    let shape = (cotangents.dim(0)?, weight.size());
    let rows = Tensor::from_vec(gradients, shape, cotangents.device())?;
    Ok((norms, Some(Kept { rows, arrangement })))
}

fn weighted_sum_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
    let sum = weight.on_cpu::<T, _>(cotangents, |outer| outer.weighted_sum(weights))?;
    Tensor::from_vec(sum, (weight.groups * weight.p, weight.d), &Device::Cpu)
}

fn total_on_cpu<T: Real>(weight: &Weight, cotangents: &Tensor) -> Result<Tensor> {
    let sum = weight.on_cpu::<T, _>(cotangents, |outer| outer.total())?;
    Tensor::from_vec(sum, (weight.groups * weight.p, weight.d), &Device::Cpu)
}

/// Which examples have a weight other than zero, `(batch)` of u8; none if all have.
pub(crate) fn kept_by(weights: &[f64], device: &Device) -> Result<Option<Tensor>> {
    let kept: Vec<u8> = weights.iter().map(|weight| u8::from(*weight != 0.0)).collect();
    kept.contains(&0).then(|| Tensor::from_vec(kept, weights.len(), device)).transpose()
}

/// `(batch, ..)` with zeros in place of the examples whose `kept` `(batch)` is zero, by selection: nothing of them is left, were
/// it NaN.
pub(crate) fn zero_unless(kept: &Tensor, tensor: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; tensor.rank()];
    shape[0] = kept.elem_count();
    let kept = kept.reshape(shape)?.broadcast_as(tensor.shape())?;
    kept.where_cond(tensor, &tensor.zeros_like()?)
}

/// The tensor in f64, on its own device where that has f64.
fn exact(tensor: &Tensor) -> Result<Tensor> {
    let tensor = if tensor.device().is_metal() { tensor.to_device(&Device::Cpu)? } else { tensor.clone() };
    tensor.to_dtype(DType::F64)
}

/// Upper bounds on the norms of the rows of `(batch, size)`, tight to rounding.
pub(crate) fn norms_of_rows(rows: &Tensor) -> Result<Vec<f64>> {
    fn on_cpu<T: Real>(rows: &Tensor) -> Result<Vec<f64>> {
        read(&rows.contiguous()?, |data: &[T]| Ok(row_norms(data, rows.dim(0)?)))
    }
    let rows = rows.to_device(&Device::Cpu)?;
    dispatch!(rows.dtype(), on_cpu(&rows))
}

/// The sum of weight times row over `(batch, size)`, in f64 on the CPU.
pub(crate) fn sum_of_rows(rows: &Tensor, weights: &[f64]) -> Result<Tensor> {
    fn on_cpu<T: Real>(rows: &Tensor, weights: &[f64]) -> Result<Tensor> {
        let size = rows.dim(1)?;
        let sum = read(&rows.contiguous()?, |data: &[T]| Ok(weighted_rows(data, weights, size)))?;
        Tensor::from_vec(sum, size, &Device::Cpu)
    }
    let rows = rows.to_device(&Device::Cpu)?;
    dispatch!(rows.dtype(), on_cpu(&rows, weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghost_bounds_hold_where_the_elements_of_gram_matrices_vanish_or_overflow_in_f64() {
        for (a, g) in [(1e-163, 1e153), (1e-200, 1e190), (1e153, 1e-163), (1e-90, 1e-90), (1e-3, 1e160), (1e20, 1e20)] {
            let tensor = |x: f64, shape: &[usize]| Tensor::full(x, shape, &Device::Cpu).unwrap();
            for portable in [false, true] {
                let inputs = if portable {
                    Inputs::Portable(tensor(a, &[1, 1, 2, 3]))
                } else {
                    Inputs::Rows(tensor(a, &[1, 2, 3]))
                };
                let route = Route::Ghost;
                let weight = Weight {
                    inputs,
                    groups: 1,
                    positions: 2,
                    d: 3,
                    p: 4,
                    channels_last: true,
                    route,
                    input_norms: None,
                };
                let cotangents = tensor(g, &[1, 2, 4]);
                let bound = weight.ghost_norms(&cotangents).unwrap()[0];
                let sum = weight.weighted_sum(&cotangents, &[1.0]).unwrap().flatten_all().unwrap();
                let added = crate::kernel::norm_bound(sum.to_vec1::<f64>().unwrap().into_iter()) / (1.0 + 1e-13);
                assert!(added <= bound && bound <= 2.0 * added, "{a} {g} {portable}: {added} and its bound {bound}");
            }
        }
    }
}
