//! Element-wise functions without parameters.

use super::Layer;
use crate::grad::Tape;
use crate::kernel::activation::{Function, backward, forward};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

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
        let op = ActivationOp(match self {
            Self::Tanh => Function::Tanh,
            Self::Relu => Function::Relu,
            Self::Gelu => Function::Gelu,
        });
        let xs = xs.contiguous()?;
        if tape.is_recording() { xs.apply_op1(op) } else { xs.apply_op1_no_bwd(&op) }
    }
}

struct ActivationOp(Function);

impl CustomOp1 for ActivationOp {
    fn name(&self) -> &'static str {
        "dpsgd-activation"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<T: Real>(op: &ActivationOp, xs: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
            Ok(T::to_cpu_storage_owned(forward::<T>(slice(xs, layout)?, op.0)))
        }
        Ok((dispatch!(xs.dtype(), run(self, xs, layout))?, layout.shape().clone()))
    }

    fn bwd(&self, xs: &Tensor, ys: &Tensor, cotangent: &Tensor) -> Result<Option<Tensor>> {
        fn run<T: Real>(op: &ActivationOp, values: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
            let out = read(values, |values: &[T]| read(&cotangent.contiguous()?, |g| Ok(backward(values, g, op.0))))?;
            Tensor::from_vec(out, values.shape(), values.device())
        }
        if !xs.track_op() {
            return Ok(None);
        }
        let values = if self.0.looks_at_inputs() { xs } else { ys };
        Ok(Some(dispatch!(ys.dtype(), run(self, values, cotangent))?))
    }
}
