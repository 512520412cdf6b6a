//! What convolutions over sequences and over images share: everything.

use super::geometry::Geometry;
use crate::grad::{Bias, Cotangent, Inputs, Rule, Tape, Weight};
use crate::kernel::patches::Patches;
use crate::nn::pull::on_graph;
use candle_core::{Result, Shape, Tensor};

/// A convolution over images, of a weight that may lack the axis of the height.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    /// `(out, in / groups, kernel..)`.
    pub(super) weight: Tensor,
    /// `(out)`.
    pub(super) bias: Option<Tensor>,
    pub(super) geometry: Geometry,
}

impl Convolution {
    /// `(batch, in, size..)` to `(batch, out, size..)`.
    pub(super) fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if !tape.uses_kernels(xs.device()) {
            let (patches, shape) = self.geometry.over(xs)?;
            return self.portable(xs, patches, shape, tape);
        }
        on_graph(self, xs, tape)
    }

    pub(super) fn record(&self, inputs: Inputs, positions: usize, cotangent: Cotangent, tape: &Tape) {
        if let Some(bias) = &self.bias {
            tape.record(bias, Rule::Bias(Bias { axis: 1 }), cotangent.clone());
        }
        let Geometry { out, groups, .. } = self.geometry;
        let (d, p, route) = (self.geometry.d(), out / groups, tape.engine().route);
        let rule = Weight { inputs, groups, positions, d, p, channels_last: false, route, input_norms: None };
        tape.record(&self.weight, Rule::Weight(rule), cotangent);
    }

    fn portable(&self, xs: &Tensor, patches: Patches, shape: Shape, tape: &Tape) -> Result<Tensor> {
        let Geometry { out, channels, groups, .. } = self.geometry;
        let Patches { height, width, padding: [(top, bottom), (left, right)], .. } = patches;
        let (batch, positions, d) = (xs.dim(0)?, patches.positions(), self.geometry.d());
        let images = xs.reshape((batch, groups * channels, height, width))?;
        let padded = images.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
        let pixels = patches.padded_pixels();
        let count = pixels.len();
        let pixels = Tensor::from_vec(pixels, count, xs.device())?;
        let columns = padded.flatten_from(2)?.index_select(&pixels, 2)?;
        let columns = columns.reshape((batch, groups, channels, positions, patches.area()))?;
        let a = columns.permute((0, 1, 3, 2, 4))?.contiguous()?.reshape((batch, groups, positions, d))?;
        let (weight, bias) = if tape.is_recording() {
            (self.weight.detach(), self.bias.as_ref().map(Tensor::detach))
        } else {
            (self.weight.clone(), self.bias.clone())
        };
        let weight = weight.reshape((1, groups, out / groups, d))?;
        let weight = weight.broadcast_as((batch, groups, out / groups, d))?.contiguous()?;
        let mut ys = weight.matmul(&a.t()?.contiguous()?)?.reshape((batch, out, positions))?;
        if let Some(bias) = bias {
            ys = ys.broadcast_add(&bias.reshape((1, out, 1))?)?;
        }
        let ys = ys.reshape(shape)?;
        if !tape.is_recording() {
            return Ok(ys);
        }
        let (ys, cotangent) = tape.tap(&ys)?;
        self.record(Inputs::Portable(a.detach()), positions, cotangent, tape);
        Ok(ys)
    }
}
