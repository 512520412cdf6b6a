//! Instance normalisation of channels (Ulyanov, Vedaldi and Lempitsky 2016).

use super::super::Layer;
use super::super::pull::{Pull, Pulled};
use super::operation::{Normalisation, check};
use crate::grad::Tape;
use crate::kernel::norm::Norm;
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// How an instance normalisation works; the defaults are PyTorch's (candle-nn has no such layer).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceNormConfig {
    /// Added to the variance before its root is taken; positive.
    pub eps: f64,
    /// Whether there are a weight and a bias.
    pub affine: bool,
}

impl Default for InstanceNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, affine: false }
    }
}

impl From<f64> for InstanceNormConfig {
    fn from(eps: f64) -> Self {
        Self { eps, ..Self::default() }
    }
}

/// Instance normalisation, with weight `(channels)` and bias `(channels)` or without parameters.
///
/// `forward` maps `(batch, channels, ..)` to the same shape: the values of a channel of an example, of which there must be
/// at least two, are brought to mean 0 and variance 1. It is a group normalisation with one channel in each group, and
/// keeps no running statistics.
#[derive(Debug, Clone)]
pub struct InstanceNorm {
    affine: Option<(Tensor, Tensor)>,
    num_channels: usize,
    eps: f64,
}

/// An instance normalisation; if `config.affine`, with parameters `weight` and `bias` under `vb`, which start as ones and
/// zeros.
///
/// # Errors
/// When `eps` is not positive, there is no channel, or `vb` has the names in other shapes.
pub fn instance_norm(
    num_channels: usize,
    config: impl Into<InstanceNormConfig>,
    vb: VarBuilder<'_>,
) -> Result<InstanceNorm> {
    let config = config.into();
    let get = |name, value| vb.get_with_hints(num_channels, name, Init::Const(value));
    let affine = if config.affine { Some((get("weight", 1.0)?, get("bias", 0.0)?)) } else { None };
    InstanceNorm::new(num_channels, affine, config.eps)
}

impl InstanceNorm {
    /// From a weight `(num_channels)` and a bias `(num_channels)`, or without parameters.
    ///
    /// # Errors
    /// When the shapes do not fit, a parameter is computed from others, or `eps` is not positive.
    pub fn new(num_channels: usize, affine: Option<(Tensor, Tensor)>, eps: f64) -> Result<Self> {
        let (weight, bias) = (affine.as_ref().map(|(weight, _)| weight), affine.as_ref().map(|(_, bias)| bias));
        check("instance norm", num_channels, weight, bias, eps)?;
        Ok(Self { affine, num_channels, eps })
    }

    /// The weight `(channels)`.
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// The bias `(channels)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl InstanceNorm {
    fn over(&self, xs: &Tensor) -> Result<Normalisation<'_>> {
        let channels = self.num_channels;
        let run: usize = match xs.dims() {
            [_, found, positions @ ..] if *found == channels => positions.iter().product(),
            _ => 0,
        };
        if run < 2 {
            // A single value is its own mean: the layer would forget its input.
            let found = xs.dims();
            bail!(
                "instance norm: inputs of shape {found:?}, and the layer takes (batch, {channels}, ..) with at least 2 values a channel"
            );
        }
        let norm = Norm { rows: channels, parameters: 1, run, shared: false, remove_mean: true, eps: self.eps };
        let (weight, bias) = (self.weight(), self.bias());
        Ok(Normalisation { layer: "instance norm", weight, bias, axis: 1, norm })
    }
}

impl Layer for InstanceNorm {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.over(xs)?.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for InstanceNorm {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.over(xs)?.pull(xs, wanted, tape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Parameters;
    use crate::seed::Key;
    use candle_core::{DType, Device};

    #[test]
    fn channels_by_hand() {
        // Means 2 and 10, variances 4 and 0, and sqrt(4 + 5) = 3.
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let affine = Some((tensor(&[3.0, 3.0]), tensor(&[1.0, -1.0])));
        let layer = InstanceNorm::new(2, affine, 5.0).unwrap();
        let xs = tensor(&[0.0, 4.0, 10.0, 10.0]).reshape((1, 2, 2)).unwrap();
        let ys = layer.forward(&xs, &Tape::off()).unwrap();
        assert_eq!(ys.to_vec3::<f32>().unwrap(), [[[-1.0, 3.0], [-1.0, -1.0]]]);
    }

    #[test]
    fn parameters_are_there_when_asked_for() {
        let names = |config| {
            let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
            instance_norm(3, config, parameters.var_builder()).unwrap();
            parameters.iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(names(InstanceNormConfig::default()).is_empty());
        assert_eq!(names(InstanceNormConfig { affine: true, ..1e-3.into() }), ["bias", "weight"]);
    }

    #[test]
    fn a_channel_of_one_value_is_refused() {
        let layer = InstanceNorm::new(2, None, 1e-5).unwrap();
        for shape in [vec![3, 2], vec![3, 2, 1], vec![3, 4, 4]] {
            let xs = Tensor::zeros(shape.as_slice(), DType::F32, &Device::Cpu).unwrap();
            let error = layer.forward(&xs, &Tape::off()).unwrap_err().to_string();
            assert!(error.contains(&format!("{shape:?}")) && error.contains("at least 2 values"), "{error}");
        }
    }
}
