//! The mean over positions.

use super::Layer;
use crate::grad::Tape;
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// The mean over positions: `(batch, positions, ..)` to `(batch, ..)`, with at least one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mean;

impl Layer for Mean {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        match xs.dims() {
            [_, positions, ..] if *positions > 0 => {}
            other => {
                bail!("mean: inputs of shape {other:?}, and the layer takes (batch, positions, ..) with a position")
            }
        }
        if !tape.uses_kernels(xs.device()) {
            return xs.mean(1);
        }
        let xs = xs.contiguous()?;
        if tape.is_recording() { xs.apply_op1(MeanOp) } else { xs.apply_op1_no_bwd(&MeanOp) }
    }
}

struct MeanOp;

fn means<T: Real>(xs: &CpuStorage, layout: &Layout, positions: usize, size: usize) -> Result<CpuStorage> {
    let xs = slice::<T>(xs, layout)?;
    let mut ys = vec![T::default(); xs.len() / positions];
    let part = T::from_f64(1.0 / positions as f64);
    ys.par_chunks_mut(size.max(1)).zip(xs.par_chunks((positions * size).max(1))).for_each(|(ys, xs)| {
        for xs in xs.chunks_exact(ys.len()) {
            ys.iter_mut().zip(xs).for_each(|(y, x)| *y += *x);
        }
        ys.iter_mut().for_each(|y| *y *= part);
    });
    Ok(T::to_cpu_storage_owned(ys))
}

fn spread<T: Real>(cotangent: &Tensor, shape: &Shape, positions: usize, size: usize) -> Result<Tensor> {
    let mut out = vec![T::default(); shape.elem_count()];
    let part = T::from_f64(1.0 / positions as f64);
    read(cotangent, |g: &[T]| {
        out.par_chunks_mut((positions * size).max(1)).zip(g.par_chunks(size.max(1))).for_each(|(out, g)| {
            for out in out.chunks_exact_mut(g.len()) {
                out.iter_mut().zip(g).for_each(|(out, g)| *out = *g * part);
            }
        });
        Ok(())
    })?;
    Tensor::from_vec(out, shape, cotangent.device())
}

/// Positions, and elements of one.
fn sizes(dims: &[usize]) -> (usize, usize) {
    (dims[1], dims[2..].iter().product())
}

impl CustomOp1 for MeanOp {
    fn name(&self) -> &'static str {
        "dpsgd-mean"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (positions, size) = sizes(layout.dims());
        let mut shape = layout.dims().to_vec();
        shape.remove(1);
        Ok((dispatch!(xs.dtype(), means(xs, layout, positions, size))?, Shape::from(shape)))
    }

    fn bwd(&self, xs: &Tensor, _ys: &Tensor, cotangent: &Tensor) -> Result<Option<Tensor>> {
        if !xs.track_op() {
            return Ok(None);
        }
        let (positions, size) = sizes(xs.dims());
        Ok(Some(dispatch!(xs.dtype(), spread(&cotangent.contiguous()?, xs.shape(), positions, size))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn positions_are_averaged_and_there_must_be_one() {
        let xs = Tensor::new(&[[[1f32, 2.0], [3.0, 6.0]]], &Device::Cpu).unwrap();
        assert_eq!(Mean.forward(&xs, &Tape::off()).unwrap().to_vec2::<f32>().unwrap(), [[2.0, 4.0]]);
        assert_eq!(Mean.forward(&xs.flatten_from(1).unwrap(), &Tape::off()).unwrap().to_vec1::<f32>().unwrap(), [3.0]);
        for shape in [&[2, 0, 3][..], &[2]] {
            let xs = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            assert!(Mean.forward(&xs, &Tape::off()).unwrap_err().to_string().contains(&format!("{shape:?}")));
        }
    }
}
