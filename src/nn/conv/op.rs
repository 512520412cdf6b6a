//! The convolution on the CPU: without patches where that is cheaper, otherwise products of weights and patches, image by image.

use super::convolution::Convolution;
use super::geometry::Geometry;
use crate::grad::{Cotangent, Inputs, Tape};
use crate::kernel::direct::Direct;
use crate::kernel::matmul::{View, matmul};
use crate::kernel::memory::{written, zeroed};
use crate::kernel::patches::Patches;
use crate::kernel::{Real, dispatch, read};
use crate::nn::pull::{Pull, Pulled};
use candle_core::{Result, Shape, Tensor};

/// A convolution over images of one size.
struct ConvOp {
    layer: Convolution,
    patches: Patches,
    /// Of the output.
    shape: Shape,
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

    fn output<T: Real>(&self, xs: &[T], weight: &[T]) -> Result<Vec<T>> {
        let s = self.sizes();
        let (size, image) = (s.groups * s.p * s.positions, s.groups * s.image);
        let bias: Option<Vec<T>> = match &self.layer.bias {
            Some(bias) => Some(read(&bias.contiguous()?, |bias: &[T]| Ok(bias.to_vec()))?),
            None => None,
        };
        let Geometry { channels, groups, .. } = self.layer.geometry;
        if let Some(direct) = Direct::to_outputs::<T>(self.patches, groups, channels, s.p) {
            return Ok(direct.outputs(xs, weight, bias.as_deref()));
        }
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
        Ok(ys)
    }

    fn images<T: Real>(&self, cotangents: &[T], weight: &[T], batch: usize) -> Result<Vec<T>> {
        let s = self.sizes();
        let (size, image) = (s.groups * s.p * s.positions, s.groups * s.image);
        let Geometry { channels, groups, .. } = self.layer.geometry;
        if let Some(direct) = Direct::to_inputs::<T>(self.patches, groups, channels, s.p) {
            return Ok(direct.inputs(cotangents, weight));
        }
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

fn outputs<T: Real>(op: &ConvOp, xs: &Tensor) -> Result<Tensor> {
    let ys = read(xs, |xs: &[T]| read(&op.layer.weight.contiguous()?, |weight: &[T]| op.output(xs, weight)))?;
    Tensor::from_vec(ys, &op.shape, xs.device())
}

fn input_cotangent<T: Real>(op: &ConvOp, shape: &Shape, cotangent: &Tensor) -> Result<Tensor> {
    let weight = op.layer.weight.contiguous()?;
    let images = read(cotangent, |g: &[T]| read(&weight, |weight| op.images(g, weight, shape.dims()[0])))?;
    Tensor::from_vec(images, shape, cotangent.device())
}

impl Pull for Convolution {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let (patches, shape) = self.geometry.over(xs)?;
        let op = ConvOp { layer: self.clone(), patches, shape };
        let dtype = self.weight.dtype();
        let ys = dispatch!(dtype, outputs(&op, xs))?;
        let needed = wanted || tape.trains(self.bias.iter().chain([&self.weight]));
        let (tape, images) = (tape.clone(), xs.clone());
        Ok(Pulled::new(ys, xs, needed, move |cotangent| {
            let shape = images.shape().clone();
            let (inputs, given) = (Inputs::Images(images, op.patches), Cotangent::Given(cotangent.clone()));
            op.layer.record(inputs, op.patches.positions(), given, &tape);
            if !wanted {
                return Ok(None);
            }
            Ok(Some(dispatch!(dtype, input_cotangent(&op, &shape, &cotangent))?))
        }))
    }
}
