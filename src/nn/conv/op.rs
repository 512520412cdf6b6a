//! The convolution on the CPU: products of weights and patches, image by image.

use super::convolution::Convolution;
use super::geometry::Geometry;
use crate::grad::{Cotangent, Inputs, Tape};
use crate::kernel::matmul::{View, matmul};
use crate::kernel::memory::{written, zeroed};
use crate::kernel::patches::Patches;
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// The layer as an operation over (images, a parameter). The parameter only tells autograd that there is something to come
/// back for; weight and bias ride along.
pub(super) struct ConvOp {
    pub(super) layer: Convolution,
    pub(super) tape: Tape,
    pub(super) patches: Patches,
    /// Of the output.
    pub(super) shape: Shape,
}

/// The sizes of a convolution's matrix products.
#[derive(Clone, Copy)]
struct Sizes {
    groups: usize,
    /// Patch elements of one group.
    d: usize,
    /// Output channels of one group.
    p: usize,
    positions: usize,
    /// Elements of one group's input image.
    image: usize,
}

impl ConvOp {
    fn sizes(&self) -> Sizes {
        let Geometry { out, channels, groups, .. } = self.layer.geometry;
        let (d, positions) = (self.layer.geometry.d(), self.patches.positions());
        Sizes { groups, d, p: out / groups, positions, image: channels * self.patches.height * self.patches.width }
    }

    fn output<T: Real>(&self, xs: &[T], weight: &[T]) -> Result<CpuStorage> {
        let s = self.sizes();
        let (size, image) = (s.groups * s.p * s.positions, s.groups * s.image);
        let bias: Option<Vec<T>> = match &self.layer.bias {
            Some(bias) => Some(read(&bias.contiguous()?, |bias: &[T]| Ok(bias.to_vec()))?),
            None => None,
        };
        let (ys, _) = written(self.shape.elem_count(), size.max(1), |example, ys, scratch| {
            let (ys, image) = (zeroed(ys), &xs[example * image..][..image]);
            if let Some(bias) = &bias {
                ys.chunks_exact_mut(s.positions).zip(bias).for_each(|(ys, bias)| ys.fill(*bias));
            }
            for group in 0..s.groups {
                let patches = self.patches.gather(&image[group * s.image..][..s.image], scratch);
                let weight = View::row_major(&weight[group * s.p * s.d..][..s.p * s.d], s.p, s.d);
                let ys = &mut ys[group * s.p * s.positions..][..s.p * s.positions];
                matmul(ys, weight, patches, true);
            }
            (ys, ())
        });
        Ok(T::to_cpu_storage_owned(ys))
    }

    fn images<T: Real>(&self, cotangents: &[T], weight: &[T], batch: usize) -> Result<Vec<T>> {
        let s = self.sizes();
        let (size, image) = (s.groups * s.p * s.positions, s.groups * s.image);
        let (images, _) = written(batch * image, image.max(1), |example, images, scratch| {
            let (images, g) = (zeroed(images), &cotangents[example * size..][..size]);
            for group in 0..s.groups {
                let weight = View::row_major(&weight[group * s.p * s.d..][..s.p * s.d], s.p, s.d);
                let g = View::row_major(&g[group * s.p * s.positions..][..s.p * s.positions], s.p, s.positions);
                let image = &mut images[group * s.image..][..s.image];
                self.patches.scatter(image, scratch, |patches, transposed| {
                    if transposed {
                        matmul(patches, g.t(), weight, false);
                    } else {
                        matmul(patches, weight.t(), g, false);
                    }
                });
            }
            (images, ())
        });
        Ok(images)
    }
}

fn input_cotangent<T: Real>(op: &ConvOp, xs: &Tensor, weight: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
    let images = read(cotangent, |g: &[T]| read(&weight.contiguous()?, |weight| op.images(g, weight, xs.dim(0)?)))?;
    Tensor::from_vec(images, xs.shape(), xs.device())
}

impl CustomOp2 for ConvOp {
    fn name(&self) -> &'static str {
        "dpsgd-conv"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, xl: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<T: Real>(op: &ConvOp, xs: &CpuStorage, xl: &Layout) -> Result<CpuStorage> {
            let xs = slice(xs, xl)?;
            read(&op.layer.weight.contiguous()?, |weight: &[T]| op.output(xs, weight))
        }
        let dtype = self.layer.weight.dtype();
        Ok((dispatch!(dtype, run(self, xs, xl))?, self.shape.clone()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        _parameter: &Tensor,
        _ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let cotangent = cotangent.contiguous()?;
        let inputs = Inputs::Images(xs.detach(), self.patches);
        self.layer.record(inputs, self.patches.positions(), Cotangent::Given(cotangent.clone()), &self.tape);
        if !xs.track_op() {
            return Ok((None, None));
        }
        let weight = &self.layer.weight;
        Ok((Some(dispatch!(weight.dtype(), input_cotangent(self, xs, weight, &cotangent))?), None))
    }
}
