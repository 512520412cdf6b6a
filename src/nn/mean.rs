//! The mean over positions.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::Tape;
use crate::kernel::memory::{written, zeroed};
use crate::kernel::team::Shared;
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// The mean over positions: `(batch, positions, ..)` to `(batch, ..)`, with at least one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mean;

impl Layer for Mean {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        sizes(xs)?;
        if tape.uses_kernels(xs.device()) { on_graph(self, xs, tape) } else { xs.mean(1) }
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

/// Positions, and elements of one.
fn sizes(xs: &Tensor) -> Result<(usize, usize)> {
    match xs.dims() {
        [_, positions, rest @ ..] if *positions > 0 => Ok((*positions, rest.iter().product())),
        other => bail!("mean: inputs of shape {other:?}, and the layer takes (batch, positions, ..) with a position"),
    }
}

impl Pull for Mean {
    fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
        let sizes = sizes(xs)?;
        let ys = dispatch!(xs.dtype(), means(xs, sizes))?;
        let shape = xs.shape().clone();
        Ok(Pulled::new(ys, xs, wanted, move |g| Ok(Some(dispatch!(g.dtype(), spread(&g, shape, sizes))?))))
    }
}

fn means<T: Real>(xs: &Tensor, (positions, size): (usize, usize)) -> Result<Tensor> {
    let mut ys = vec![T::default(); xs.elem_count() / positions];
    let part = T::from_f64(1.0 / positions as f64);
    read(xs, |xs: &[T]| {
        ys.par_chunks_mut(size.max(1)).zip(xs.par_chunks((positions * size).max(1))).each(|(ys, xs)| {
            for xs in xs.chunks_exact(ys.len()) {
                ys.iter_mut().zip(xs).for_each(|(y, x)| *y += *x);
            }
            ys.iter_mut().for_each(|y| *y *= part);
        });
        Ok(())
    })?;
    let shape: Vec<usize> =
        xs.dims().iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, size)| *size).collect();
    Tensor::from_vec(ys, shape, xs.device())
}

fn spread<T: Real>(cotangent: &Tensor, shape: Shape, (positions, size): (usize, usize)) -> Result<Tensor> {
    let part = T::from_f64(1.0 / positions as f64);
    let out = read(cotangent, |g: &[T]| {
        let chunk = positions * size;
        let (out, _) = written(shape.elem_count(), chunk.max(1), |example, out, (): &mut ()| {
            let (out, g) = (zeroed(out), &g[example * size..][..size]);
            for out in out.chunks_exact_mut(size) {
                out.iter_mut().zip(g).for_each(|(out, g)| *out = *g * part);
            }
            (out, ())
        });
        Ok(out)
    })?;
    Tensor::from_vec(out, shape, cotangent.device())
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
