//! Two-dimensional convolution.

use super::{Layer, trained_or_first};
use crate::grad::{Bias, Cotangent, Inputs, Rule, Tape, Weight, check_parameter};
use crate::kernel::matmul::{View, matmul};
use crate::kernel::patches::Patches;
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

/// How a convolution moves over the image; the fields are candle-nn's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Zeros added on each of the four sides.
    pub padding: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Pixels from one kernel element to the next.
    pub dilation: usize,
    /// Parts into which input and output channels are cut; they do not mix.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { padding: 0, stride: 1, dilation: 1, groups: 1 }
    }
}

/// The largest kernel, padding, stride and dilation: far beyond any image, and their products are ordinary numbers.
const MOST_PIXELS: usize = 1 << 16;

/// A convolution with weight `(out, in / groups, kernel height, kernel width)` and bias `(out)`.
///
/// `forward` maps `(batch, in, height, width)` to `(batch, out, rows, cols)`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

/// A convolution with a square kernel and parameters `weight` and `bias` under `vb`, initialised as candle-nn and PyTorch do.
///
/// # Errors
/// When the configuration does not fit the channels, or `vb` has the names in other shapes.
pub fn conv2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv2dConfig,
    vb: VarBuilder<'_>,
) -> Result<Conv2d> {
    let fan_in = in_channels / config.groups.max(1) * kernel_size * kernel_size;
    let bound = 1.0 / (fan_in as f64).sqrt();
    let bias = vb.get_with_hints(out_channels, "bias", Init::Uniform { lo: -bound, up: bound })?;
    Conv2d::new(weight(in_channels, out_channels, kernel_size, config, vb)?, Some(bias), config)
}

/// A convolution with the parameter `weight` alone.
///
/// # Errors
/// When the configuration does not fit the channels, or `vb` has the name in another shape.
pub fn conv2d_no_bias(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv2dConfig,
    vb: VarBuilder<'_>,
) -> Result<Conv2d> {
    Conv2d::new(weight(in_channels, out_channels, kernel_size, config, vb)?, None, config)
}

fn weight(ins: usize, outs: usize, kernel: usize, config: Conv2dConfig, vb: VarBuilder<'_>) -> Result<Tensor> {
    if config.groups == 0 || !ins.is_multiple_of(config.groups) {
        bail!("conv2d: {ins} input channels cannot be cut into {} groups", config.groups);
    }
    let shape = (outs, ins / config.groups, kernel, kernel);
    vb.get_with_hints(shape, "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)
}

impl Conv2d {
    /// From a weight `(out, in / groups, kernel height, kernel width)` and a bias `(out)`.
    ///
    /// # Errors
    /// When shapes and configuration do not fit, or a parameter is computed from others.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: Conv2dConfig) -> Result<Self> {
        let (out, channels, kh, kw) = weight.dims4()?;
        check_parameter(&weight, "conv2d")?;
        let largest = [kh, kw, config.padding, config.stride, config.dilation].into_iter().max().unwrap_or(0);
        if channels == 0 || largest > MOST_PIXELS {
            bail!(
                "conv2d: {channels} input channels, and sizes up to {largest}; at least 1 channel and sizes up to {MOST_PIXELS}"
            );
        }
        if config.groups == 0 || !out.is_multiple_of(config.groups) {
            bail!("conv2d: {out} output channels cannot be cut into {} groups", config.groups);
        }
        if config.stride == 0 || config.dilation == 0 || kh * kw == 0 {
            bail!(
                "conv2d: kernel, stride and dilation are at least 1, not {kh}x{kw}, {}, {}",
                config.stride,
                config.dilation
            );
        }
        if let Some(bias) = &bias {
            check_parameter(bias, "conv2d")?;
            if bias.dims() != [out] {
                bail!("conv2d: a bias of shape {:?} beside a weight of shape {:?}", bias.dims(), weight.dims());
            }
        }
        Ok(Self { weight, bias, config })
    }

    /// The weight `(out, in / groups, kernel height, kernel width)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `(out)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Where the patches lie in images of the shape of `xs`, and the shape of the output.
    fn geometry(&self, xs: &Tensor) -> Result<(Patches, Shape)> {
        let (out, channels, kh, kw) = self.weight.dims4()?;
        let [batch, ins, height, width] = *xs.dims() else {
            bail!("conv2d: inputs of shape {:?}, and the layer takes (batch, channels, height, width)", xs.dims())
        };
        if ins != channels * self.config.groups {
            bail!("conv2d: {ins} input channels, and the layer takes {}", channels * self.config.groups);
        }
        let Conv2dConfig { padding, stride, dilation, .. } = self.config;
        let patches = Patches { height, width, kernel: (kh, kw), stride, padding, dilation };
        match patches.output() {
            Some((rows, cols)) => Ok((patches, Shape::from((batch, out, rows, cols)))),
            None => bail!(
                "conv2d: a kernel of {kh}x{kw} with dilation {dilation} does not fit into {height}x{width} pixels with padding {padding}"
            ),
        }
    }

    fn record(&self, inputs: Inputs, positions: usize, cotangent: Cotangent, tape: &Tape) -> Result<()> {
        let (out, channels, kh, kw) = self.weight.dims4()?;
        let (groups, d) = (self.config.groups, channels * kh * kw);
        if let Some(bias) = &self.bias {
            tape.record(bias, Rule::Bias(Bias { axis: 1 }), cotangent.clone());
        }
        let route = tape.engine().route;
        let rule = Weight { inputs, groups, positions, d, p: out / groups, channels_last: false, route };
        tape.record(&self.weight, Rule::Weight(rule), cotangent);
        Ok(())
    }

    fn portable(&self, xs: &Tensor, patches: Patches, shape: Shape, tape: &Tape) -> Result<Tensor> {
        let (batch, out, rows, cols) = shape.dims4()?;
        let (groups, padding, positions) = (self.config.groups, self.config.padding, rows * cols);
        let channels = xs.dim(1)? / groups;
        let padded = xs.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
        let pixels = patches.padded_pixels();
        let count = pixels.len();
        let pixels = Tensor::from_vec(pixels, count, xs.device())?;
        let columns = padded.flatten_from(2)?.index_select(&pixels, 2)?;
        let columns = columns.reshape((batch, groups, channels, positions, patches.area()))?;
        let d = channels * patches.area();
        let a = columns.permute((0, 1, 3, 2, 4))?.contiguous()?.reshape((batch, groups, positions, d))?;
        let (weight, bias) = if tape.is_recording() {
            (self.weight.detach(), self.bias.as_ref().map(Tensor::detach))
        } else {
            (self.weight.clone(), self.bias.clone())
        };
        let weight = weight.reshape((1, groups, out / groups, d))?;
        let mut ys =
            weight.broadcast_as((batch, groups, out / groups, d))?.contiguous()?.matmul(&a.t()?.contiguous()?)?;
        ys = ys.reshape((batch, out, rows, cols))?;
        if let Some(bias) = bias {
            ys = ys.broadcast_add(&bias.reshape((1, out, 1, 1))?)?;
        }
        if !tape.is_recording() {
            return Ok(ys);
        }
        let (ys, cotangent) = tape.tap(&ys)?;
        self.record(Inputs::Portable(a.detach()), positions, cotangent, tape)?;
        Ok(ys)
    }
}

impl Layer for Conv2d {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        let (patches, shape) = self.geometry(xs)?;
        if !tape.uses_kernels(xs.device()) {
            return self.portable(xs, patches, shape, tape);
        }
        let op = ConvOp { layer: self.clone(), tape: tape.clone(), patches, shape };
        let xs = xs.contiguous()?;
        let operand = trained_or_first(&self.weight, self.bias.as_ref());
        if tape.is_recording() { xs.apply_op2(operand, op) } else { xs.apply_op2_no_bwd(operand, &op) }
    }
}

/// The layer as an operation over (images, a parameter). The parameter only tells autograd that there is something to come
/// back for; weight and bias ride along.
struct ConvOp {
    layer: Conv2d,
    tape: Tape,
    patches: Patches,
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
    fn sizes(&self) -> Result<Sizes> {
        let (out, channels, kh, kw) = self.layer.weight.dims4()?;
        let (_, _, rows, cols) = self.shape.dims4()?;
        let groups = self.layer.config.groups;
        let image = channels * self.patches.height * self.patches.width;
        Ok(Sizes { groups, d: channels * kh * kw, p: out / groups, positions: rows * cols, image })
    }

    fn output<T: Real>(&self, xs: &[T], weight: &[T]) -> Result<CpuStorage> {
        let s = self.sizes()?;
        let mut ys = vec![T::default(); self.shape.elem_count()];
        if ys.is_empty() {
            return Ok(T::to_cpu_storage_owned(ys));
        }
        let bias: Option<Vec<T>> = match &self.layer.bias {
            Some(bias) => Some(read(&bias.contiguous()?, |bias: &[T]| Ok(bias.to_vec()))?),
            None => None,
        };
        let images = xs.par_chunks(s.groups * s.image);
        ys.par_chunks_mut(s.groups * s.p * s.positions).zip(images).for_each_init(Vec::new, |scratch, (ys, image)| {
            if let Some(bias) = &bias {
                ys.chunks_exact_mut(s.positions).zip(bias).for_each(|(ys, bias)| ys.fill(*bias));
            }
            for group in 0..s.groups {
                let patches = self.patches.gather(&image[group * s.image..][..s.image], scratch);
                let weight = View::row_major(&weight[group * s.p * s.d..][..s.p * s.d], s.p, s.d);
                let ys = &mut ys[group * s.p * s.positions..][..s.p * s.positions];
                matmul(ys, weight, patches, true);
            }
        });
        Ok(T::to_cpu_storage_owned(ys))
    }

    fn images<T: Real>(&self, cotangents: &[T], weight: &[T], batch: usize) -> Result<Vec<T>> {
        let s = self.sizes()?;
        let mut images = vec![T::default(); batch * s.groups * s.image];
        if images.is_empty() {
            return Ok(images);
        }
        let cotangents = cotangents.par_chunks(s.groups * s.p * s.positions);
        images.par_chunks_mut(s.groups * s.image).zip(cotangents).for_each_init(Vec::new, |scratch, (image, g)| {
            for group in 0..s.groups {
                let weight = View::row_major(&weight[group * s.p * s.d..][..s.p * s.d], s.p, s.d);
                let g = View::row_major(&g[group * s.p * s.positions..][..s.p * s.positions], s.p, s.positions);
                let image = &mut image[group * s.image..][..s.image];
                self.patches.scatter(image, scratch, |patches, transposed| {
                    if transposed {
                        matmul(patches, g.t(), weight, false);
                    } else {
                        matmul(patches, weight.t(), g, false);
                    }
                });
            }
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
        "dpsgd-conv2d"
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
        self.layer.record(inputs, self.sizes()?.positions, Cotangent::Given(cotangent.clone()), &self.tape)?;
        if !xs.track_op() {
            return Ok((None, None));
        }
        let weight = &self.layer.weight;
        Ok((Some(dispatch!(weight.dtype(), input_cotangent(self, xs, weight, &cotangent))?), None))
    }
}
