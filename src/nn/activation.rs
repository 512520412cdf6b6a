//! Element-wise functions without parameters.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::Tape;
use crate::kernel::activation::{Function, backward, forward};
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Tensor};

/// Element-wise functions without parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Hyperbolic tangent: bounded activations keep gradients small, which clipping rewards (Papernot et al. 2021).
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// x times the standard normal distribution function of x (Hendrycks and Gimpel 2016), not its approximation by tanh.
    Gelu,
}

impl Layer for Activation {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if !tape.uses_kernels(xs.device()) {
            return match self {
                Self::Tanh => xs.tanh(),
                Self::Relu => xs.relu(),
                // Not candle's own, whose derivative has six digits.
                Self::Gelu => ((xs / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * (xs / 2.0)?,
            };
        }
        on_graph(self, xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for Activation {
    fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
        fn outputs<T: Real>(xs: &Tensor, function: Function) -> Result<Tensor> {
            Tensor::from_vec(read(xs, |xs: &[T]| Ok(forward(xs, function)))?, xs.shape(), xs.device())
        }
        fn cotangents<T: Real>(values: &Tensor, cotangent: &Tensor, function: Function) -> Result<Tensor> {
            let out = read(values, |values: &[T]| read(cotangent, |g| Ok(backward(values, g, function))))?;
            Tensor::from_vec(out, values.shape(), values.device())
        }
        let function = match self {
            Self::Tanh => Function::Tanh,
            Self::Relu => Function::Relu,
            Self::Gelu => Function::Gelu,
        };
        let ys = dispatch!(xs.dtype(), outputs(xs, function))?;
        let values = if function.looks_at_inputs() { xs.clone() } else { ys.clone() };
        let back = move |g: Tensor| Ok(Some(dispatch!(values.dtype(), cotangents(&values, &g, function))?));
        Ok(Pulled::new(ys, xs, wanted, back))
    }
}
