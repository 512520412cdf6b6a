//! Layer normalisation over the last axis (Ba, Kiros and Hinton 2016).

use super::super::Layer;
use super::super::pull::{Pull, Pulled};
use super::operation::{Normalisation, check};
use crate::grad::Tape;
use crate::kernel::norm::Norm;
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// How a layer normalisation works; the fields and defaults are candle-nn's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormConfig {
    /// Added to the variance before its root is taken; positive.
    pub eps: f64,
    /// Whether the mean is subtracted. Without that the layer divides by the root mean square, as [`RmsNorm`] does.
    ///
    /// [`RmsNorm`]: super::RmsNorm
    pub remove_mean: bool,
    /// Whether there is a bias beside the weight.
    pub affine: bool,
}

impl Default for LayerNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, remove_mean: true, affine: true }
    }
}

impl From<f64> for LayerNormConfig {
    fn from(eps: f64) -> Self {
        Self { eps, ..Self::default() }
    }
}

/// Layer normalisation with weight `(size)` and bias `(size)`.
///
/// `forward` maps `(batch, .., size)` to the same shape: the last axis is brought to mean 0 and variance 1 at every
/// position, then multiplied by the weight, and the bias is added.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    eps: f64,
    remove_mean: bool,
}

/// A layer normalisation with parameters `weight` and, if `config.affine`, `bias` under `vb`, which start as ones and zeros.
///
/// Where `vb` has `gamma` or `beta`, names that older checkpoints use, it takes those.
///
/// # Errors
/// When `eps` is not positive, or `vb` has the names in other shapes.
pub fn layer_norm(size: usize, config: impl Into<LayerNormConfig>, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    let config = config.into();
    // The name in use if the builder has it, the older one if it has that, and otherwise a new parameter.
    let get = |name, older, value| {
        let older_alone = !vb.contains_tensor(name) && vb.contains_tensor(older);
        vb.get_with_hints(size, if older_alone { older } else { name }, Init::Const(value))
    };
    let weight = get("weight", "gamma", 1.0)?;
    let bias = if config.affine { Some(get("bias", "beta", 0.0)?) } else { None };
    LayerNorm::with(weight, bias, config.eps, config.remove_mean)
}

/// A layer normalisation with the parameter `weight` alone.
///
/// # Errors
/// When `eps` is not positive, or `vb` has the name in another shape.
pub fn layer_norm_no_bias(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    layer_norm(size, LayerNormConfig { eps, remove_mean: true, affine: false }, vb)
}

impl LayerNorm {
    /// From a weight `(size)` and a bias `(size)`.
    ///
    /// # Errors
    /// When the shapes do not fit, a parameter is computed from others, or `eps` is not positive.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Result<Self> {
        Self::with(weight, Some(bias), eps, true)
    }

    /// From a weight `(size)` alone.
    ///
    /// # Errors
    /// As [`LayerNorm::new`].
    pub fn new_no_bias(weight: Tensor, eps: f64) -> Result<Self> {
        Self::with(weight, None, eps, true)
    }

    /// From a weight `(size)` alone, without subtracting the mean.
    ///
    /// # Errors
    /// As [`LayerNorm::new`].
    pub fn rms_norm(weight: Tensor, eps: f64) -> Result<Self> {
        Self::with(weight, None, eps, false)
    }

    fn with(weight: Tensor, bias: Option<Tensor>, eps: f64, remove_mean: bool) -> Result<Self> {
        check(name(remove_mean), weight.elem_count(), Some(&weight), bias.as_ref(), eps)?;
        Ok(Self { weight, bias, eps, remove_mean })
    }

    /// The weight `(size)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `(size)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Whether the mean is subtracted.
    pub fn remove_mean(&self) -> bool {
        self.remove_mean
    }
}

/// What errors call the layer.
fn name(remove_mean: bool) -> &'static str {
    if remove_mean { "layer norm" } else { "rms norm" }
}

impl LayerNorm {
    fn over(&self, xs: &Tensor) -> Result<Normalisation<'_>> {
        let (layer, size) = (name(self.remove_mean), self.weight.elem_count());
        let positions = match xs.dims() {
            [_, positions @ .., last] if *last == size => positions.iter().product(),
            other => bail!("{layer}: inputs of shape {other:?}, and the layer takes (batch, .., {size})"),
        };
        let norm = Norm {
            rows: positions,
            parameters: size,
            run: 1,
            shared: true,
            remove_mean: self.remove_mean,
            eps: self.eps,
        };
        let (weight, bias) = (Some(&self.weight), self.bias.as_ref());
        Ok(Normalisation { layer, weight, bias, axis: xs.rank() - 1, norm })
    }
}

impl Layer for LayerNorm {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.over(xs)?.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for LayerNorm {
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
    use candle_nn::Module;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_row_by_hand() {
        // Mean 2, variance 5 and sqrt(5 + 4) = 3: normalised -1, -1/3, 1/3, 1.
        let layer = LayerNorm::new(tensor(&[3.0, 3.0, 6.0, -6.0]), tensor(&[1.0, 0.0, 0.0, 10.0]), 4.0).unwrap();
        let ys = layer.forward(&tensor(&[-1.0, 1.0, 3.0, 5.0]).unsqueeze(0).unwrap(), &Tape::off()).unwrap();
        assert_eq!(ys.to_vec2::<f32>().unwrap(), [[-2.0, -1.0, 2.0, 4.0]]);
        // Without the mean: (25 + 1 + 1 + 1) / 4 = 7 and sqrt(7 + 2) = 3.
        let layer = LayerNorm::rms_norm(tensor(&[3.0, 3.0, 6.0, -6.0]), 2.0).unwrap();
        let ys = layer.forward(&tensor(&[5.0, 1.0, -1.0, 1.0]).unsqueeze(0).unwrap(), &Tape::off()).unwrap();
        assert_eq!(ys.to_vec2::<f32>().unwrap(), [[5.0, 1.0, -2.0, -2.0]]);
    }

    #[test]
    fn outputs_are_those_of_candle_nn() {
        let (weight, bias) = (tensor(&[0.5, -1.0, 2.0, 1.5, 3.0]), tensor(&[0.1, 0.2, -0.3, 0.0, 1.0]));
        let xs = Tensor::arange(0f32, 30.0, &Device::Cpu).unwrap().sin().unwrap().reshape((2, 3, 5)).unwrap();
        let ours = LayerNorm::new(weight.clone(), bias.clone(), 1e-3).unwrap().forward(&xs, &Tape::off()).unwrap();
        let theirs = candle_nn::LayerNorm::new(weight.clone(), bias, 1e-3).forward(&xs).unwrap();
        let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 5e-6, "{apart}");
        let ours = LayerNorm::rms_norm(weight.clone(), 1e-3).unwrap().forward(&xs, &Tape::off()).unwrap();
        let theirs = candle_nn::RmsNorm::new(weight, 1e-3).forward(&xs).unwrap();
        let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 5e-6, "{apart}");
    }

    #[test]
    fn parameters_have_the_names_of_candle_nn_and_older_names_are_found() {
        let names = |make: fn(VarBuilder<'_>) -> Result<LayerNorm>| {
            let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
            make(parameters.var_builder()).unwrap();
            parameters.iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(|vb| layer_norm(3, 1e-5, vb.pp("a"))), ["a.bias", "a.weight"]);
        assert_eq!(names(|vb| layer_norm_no_bias(3, 1e-5, vb)), ["weight"]);
        let tensors = [("gamma", tensor(&[2.0, 3.0])), ("beta", tensor(&[4.0, 5.0]))];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let layer = layer_norm(2, LayerNormConfig::default(), vb).unwrap();
        assert_eq!(layer.weight().to_vec1::<f32>().unwrap(), [2.0, 3.0]);
        assert_eq!(layer.bias().unwrap().to_vec1::<f32>().unwrap(), [4.0, 5.0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_it() {
        let message = |result: Result<LayerNorm>| result.unwrap_err().to_string();
        let ones = |size| Tensor::ones(size, DType::F32, &Device::Cpu).unwrap();
        assert!(message(LayerNorm::new(ones(3), ones(2), 1e-5)).contains("a bias of shape [2]"));
        assert!(message(LayerNorm::new_no_bias(ones(0), 1e-5)).contains("at least 1"));
        for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(message(LayerNorm::new_no_bias(ones(3), eps)).contains("positive and finite"));
        }
        let square = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(message(LayerNorm::new_no_bias(square.clone(), 1e-5)).contains("[2, 2]"));
        let layer = LayerNorm::new_no_bias(ones(3), 1e-5).unwrap();
        for xs in [square.clone(), ones(3), Tensor::ones((), DType::F32, &Device::Cpu).unwrap()] {
            let error = layer.forward(&xs, &Tape::off()).unwrap_err().to_string();
            assert!(error.contains("layer norm") && error.contains("(batch, .., 3)"), "{error}");
        }
        let xs = Tensor::ones((2, 3), DType::F64, &Device::Cpu).unwrap();
        assert!(layer.forward(&xs, &Tape::off()).unwrap_err().to_string().contains("F64"));
    }
}
