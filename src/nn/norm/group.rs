//! Group normalisation of channels (Wu and He 2018).

use super::super::Layer;
use super::super::pull::{Pull, Pulled};
use super::operation::{Normalisation, check};
use crate::grad::Tape;
use crate::kernel::norm::Norm;
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// Group normalisation with weight `(channels)` and bias `(channels)`.
///
/// `forward` maps `(batch, channels, ..)` to the same shape: neighbouring channels form groups of equal size, and all values
/// of an example in a group are brought to mean 0 and variance 1. Then each channel has its scale and shift.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    num_channels: usize,
    num_groups: usize,
    eps: f64,
}

/// A group normalisation with parameters `weight` and `bias` under `vb`, which start as ones and zeros.
///
/// # Errors
/// When the groups do not divide the channels, `eps` is not positive, or `vb` has the names in other shapes.
pub fn group_norm(num_groups: usize, num_channels: usize, eps: f64, vb: VarBuilder<'_>) -> Result<GroupNorm> {
    let weight = vb.get_with_hints(num_channels, "weight", Init::Const(1.0))?;
    let bias = vb.get_with_hints(num_channels, "bias", Init::Const(0.0))?;
    GroupNorm::new(weight, bias, num_channels, num_groups, eps)
}

impl GroupNorm {
    /// From a weight `(num_channels)` and a bias `(num_channels)`.
    ///
    /// # Errors
    /// When the groups do not divide the channels, the shapes do not fit, a parameter is computed from others, or `eps` is
    /// not positive.
    pub fn new(weight: Tensor, bias: Tensor, num_channels: usize, num_groups: usize, eps: f64) -> Result<Self> {
        check("group norm", num_channels, Some(&weight), Some(&bias), eps)?;
        if num_groups == 0 || !num_channels.is_multiple_of(num_groups) {
            bail!("group norm: {num_channels} channels cannot be cut into {num_groups} groups");
        }
        Ok(Self { weight, bias, num_channels, num_groups, eps })
    }

    /// The weight `(channels)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `(channels)`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// How many groups the channels are cut into.
    pub fn num_groups(&self) -> usize {
        self.num_groups
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl GroupNorm {
    fn over(&self, xs: &Tensor) -> Result<Normalisation<'_>> {
        let channels = self.num_channels;
        let run = match xs.dims() {
            [_, found, positions @ ..] if *found == channels => positions.iter().product(),
            _ => 0,
        };
        if run == 0 {
            let found = xs.dims();
            bail!(
                "group norm: inputs of shape {found:?}, and the layer takes (batch, {channels}, ..) with at least 1 value"
            );
        }
        let norm = Norm {
            rows: self.num_groups,
            parameters: channels / self.num_groups,
            run,
            shared: false,
            remove_mean: true,
            eps: self.eps,
        };
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(Normalisation { layer: "group norm", weight, bias, axis: 1, norm })
    }
}

impl Layer for GroupNorm {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.over(xs)?.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for GroupNorm {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.over(xs)?.pull(xs, wanted, tape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::Module;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn groups_by_hand() {
        // The first group has mean 2 and variance 5, and sqrt(5 + 4) = 3. The second is constant: its channels are their bias.
        let (weight, bias) = (tensor(&[3.0, 6.0, 5.0, 5.0]), tensor(&[0.0, 1.0, 2.0, 3.0]));
        let layer = GroupNorm::new(weight, bias, 4, 2, 4.0).unwrap();
        let xs = tensor(&[-1.0, 1.0, 3.0, 5.0, 7.0, 7.0, 7.0, 7.0]).reshape((1, 4, 2)).unwrap();
        let ys = layer.forward(&xs, &Tape::off()).unwrap();
        assert_eq!(ys.to_vec3::<f32>().unwrap(), [[[-3.0, -1.0], [3.0, 7.0], [2.0, 2.0], [3.0, 3.0]]]);
    }

    #[test]
    fn outputs_are_those_of_candle_nn() {
        let (weight, bias) = (tensor(&[0.5, -1.0, 2.0, 1.5, 3.0, 0.7]), tensor(&[0.1, 0.2, -0.3, 0.0, 1.0, -2.0]));
        let xs = Tensor::arange(0f32, 144.0, &Device::Cpu).unwrap().sin().unwrap().reshape((2, 6, 3, 4)).unwrap();
        for groups in [1, 2, 3, 6] {
            let ours = GroupNorm::new(weight.clone(), bias.clone(), 6, groups, 1e-3).unwrap();
            let theirs = candle_nn::GroupNorm::new(weight.clone(), bias.clone(), 6, groups, 1e-3).unwrap();
            let apart = (ours.forward(&xs, &Tape::off()).unwrap() - theirs.forward(&xs).unwrap()).unwrap();
            let apart = apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(apart < 5e-6, "{groups} groups: {apart}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_it() {
        let ones = |size| Tensor::ones(size, DType::F32, &Device::Cpu).unwrap();
        for groups in [0, 3] {
            let error = GroupNorm::new(ones(4), ones(4), 4, groups, 1e-5).unwrap_err().to_string();
            assert!(error.contains("4 channels") && error.contains(&format!("{groups} groups")), "{error}");
        }
        assert!(
            GroupNorm::new(ones(3), ones(4), 4, 2, 1e-5).unwrap_err().to_string().contains("a weight of shape [3]")
        );
        let layer = GroupNorm::new(ones(4), ones(4), 4, 2, 1e-5).unwrap();
        for shape in [vec![4], vec![2, 3, 5], vec![2, 4, 0]] {
            let xs = Tensor::zeros(shape.as_slice(), DType::F32, &Device::Cpu).unwrap();
            let error = layer.forward(&xs, &Tape::off()).unwrap_err().to_string();
            assert!(error.contains(&format!("{shape:?}")) && error.contains("(batch, 4, ..)"), "{error}");
        }
    }
}
