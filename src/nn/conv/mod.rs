//! Convolutions over sequences and over images.

mod config;
mod convolution;
mod geometry;
mod op;
#[cfg(test)]
mod tests;

pub use config::{Conv1dConfig, Conv2dConfig, ConvConfig, Padding};

use super::Layer;
use super::pull::Pull;
use crate::grad::{Tape, check_parameter};
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use convolution::Convolution;
use geometry::Geometry;

/// A convolution over `D` axes, 1 or 2: see [`Conv1d`] and [`Conv2d`].
#[derive(Debug, Clone)]
pub struct Conv<const D: usize>(Convolution);

/// A convolution over sequences, with weight `(out, in / groups, kernel)` and bias `(out)`.
///
/// `forward` maps `(batch, in, length)` to `(batch, out, positions)`.
pub type Conv1d = Conv<1>;

/// A convolution over images, with weight `(out, in / groups, kernel height, kernel width)` and bias `(out)`.
///
/// `forward` maps `(batch, in, height, width)` to `(batch, out, rows, cols)`.
pub type Conv2d = Conv<2>;

/// A convolution over sequences with parameters `weight` and `bias` under `vb`, initialised as candle-nn and PyTorch do.
///
/// # Errors
/// When the configuration does not fit the channels, or `vb` has the names in other shapes.
pub fn conv1d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv1dConfig,
    vb: VarBuilder<'_>,
) -> Result<Conv1d> {
    build((in_channels, out_channels, kernel_size), true, config, vb)
}

/// A convolution over sequences with the parameter `weight` alone.
///
/// # Errors
/// When the configuration does not fit the channels, or `vb` has the name in another shape.
pub fn conv1d_no_bias(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv1dConfig,
    vb: VarBuilder<'_>,
) -> Result<Conv1d> {
    build((in_channels, out_channels, kernel_size), false, config, vb)
}

/// A convolution over images with a square kernel and parameters `weight` and `bias` under `vb`, initialised as candle-nn and
/// PyTorch do.
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
    build((in_channels, out_channels, kernel_size), true, config, vb)
}

/// A convolution over images with the parameter `weight` alone.
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
    build((in_channels, out_channels, kernel_size), false, config, vb)
}

fn build<const D: usize>(
    (ins, outs, kernel): (usize, usize, usize),
    biased: bool,
    config: ConvConfig<D>,
    vb: VarBuilder<'_>,
) -> Result<Conv<D>> {
    if config.groups == 0 || !ins.is_multiple_of(config.groups) {
        bail!("conv{D}d: {ins} input channels cannot be cut into {} groups", config.groups);
    }
    let mut shape = vec![outs, ins / config.groups];
    shape.extend([kernel; D]);
    // Before anything is asked of `vb`: a layer that is refused leaves no parameter there.
    let fan_in = Geometry::new(&shape, &config)?.d();
    let bias = if biased {
        let bound = 1.0 / (fan_in as f64).sqrt();
        Some(vb.get_with_hints(outs, "bias", Init::Uniform { lo: -bound, up: bound })?)
    } else {
        None
    };
    Conv::new(vb.get_with_hints(shape, "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?, bias, config)
}

impl<const D: usize> Conv<D> {
    /// From a weight `(out, in / groups, kernel..)` with `D` axes of the kernel, and a bias `(out)`.
    ///
    /// # Errors
    /// When shapes and configuration do not fit, or a parameter is computed from others.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: ConvConfig<D>) -> Result<Self> {
        let geometry = Geometry::new(weight.dims(), &config)?;
        check_parameter(&weight, geometry.name())?;
        if let Some(bias) = &bias {
            check_parameter(bias, geometry.name())?;
            if bias.dims() != [geometry.out] {
                bail!("conv{D}d: a bias of shape {:?} beside a weight of shape {:?}", bias.dims(), weight.dims());
            }
        }
        Ok(Self(Convolution { weight, bias, geometry }))
    }

    /// The weight `(out, in / groups, kernel..)`.
    pub fn weight(&self) -> &Tensor {
        &self.0.weight
    }

    /// The bias `(out)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.0.bias.as_ref()
    }
}

impl<const D: usize> Layer for Conv<D> {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.0.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(&self.0)
    }
}
