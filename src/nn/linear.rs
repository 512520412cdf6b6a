//! Linear layer: `y = x w^T + b` at every position.

use super::{Layer, trained_or_first};
use crate::grad::{Bias, Cotangent, Inputs, Rule, Tape, Weight, check_parameter};
use crate::kernel::matmul::{View, matmul_parallel};
use crate::kernel::thin::{self, MOST_OUTPUTS};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use std::sync::{Arc, OnceLock};

/// A linear layer. Its weight is `(out, in)` and its bias `(out)`, as in candle-nn and PyTorch.
///
/// `forward` maps `(batch, .., in)` to `(batch, .., out)`; what is between batch and inputs are positions of an example.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// A linear layer with parameters `weight` and `bias` under `vb`, initialised as candle-nn and PyTorch do.
///
/// # Errors
/// When `vb` has the names in other shapes.
pub fn linear(in_dim: usize, out_dim: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    let bound = 1.0 / (in_dim as f64).sqrt();
    let weight = vb.get_with_hints((out_dim, in_dim), "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?;
    let bias = vb.get_with_hints(out_dim, "bias", Init::Uniform { lo: -bound, up: bound })?;
    Linear::new(weight, Some(bias))
}

/// A linear layer with the parameter `weight` alone.
///
/// # Errors
/// When `vb` has the name in another shape.
pub fn linear_no_bias(in_dim: usize, out_dim: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    Linear::new(vb.get_with_hints((out_dim, in_dim), "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?, None)
}

impl Linear {
    /// From a weight `(out, in)` and a bias `(out)`.
    ///
    /// # Errors
    /// When the shapes do not fit, or a parameter is computed from others.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (out, _) = weight.dims2()?;
        check_parameter(&weight, "linear")?;
        if let Some(bias) = &bias {
            check_parameter(bias, "linear")?;
            if bias.dims() != [out] {
                bail!("linear: a bias of shape {:?} beside a weight of shape {:?}", bias.dims(), weight.dims());
            }
        }
        Ok(Self { weight, bias })
    }

    /// The weight `(out, in)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `(out)`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    fn rule(&self, inputs: Inputs, positions: usize, tape: &Tape) -> Weight {
        let (p, d) = (self.weight.dims()[0], self.weight.dims()[1]);
        let route = tape.engine().route;
        Weight { inputs, groups: 1, positions, d, p, channels_last: true, route, input_norms: None }
    }

    fn record(&self, rule: Weight, rank: usize, cotangent: Cotangent, tape: &Tape) {
        if let Some(bias) = &self.bias {
            tape.record(bias, Rule::Bias(Bias { axis: rank - 1 }), cotangent.clone());
        }
        tape.record(&self.weight, Rule::Weight(rule), cotangent);
    }

    fn portable(&self, xs: &Tensor, positions: usize, tape: &Tape) -> Result<Tensor> {
        let (out, d) = self.weight.dims2()?;
        let mut shape = xs.dims().to_vec();
        shape.pop();
        let batch = shape.first().copied().unwrap_or(1);
        shape.push(out);
        let rows = xs.contiguous()?.reshape((batch * positions, d))?;
        let (weight, bias) = if tape.is_recording() {
            (self.weight.detach(), self.bias.as_ref().map(Tensor::detach))
        } else {
            (self.weight.clone(), self.bias.clone())
        };
        let mut ys = rows.matmul(&weight.t()?)?;
        if let Some(bias) = bias {
            ys = ys.broadcast_add(&bias)?;
        }
        let ys = ys.reshape(shape)?;
        if !tape.is_recording() {
            return Ok(ys);
        }
        let (ys, cotangent) = tape.tap(&ys)?;
        let inputs = Inputs::Portable(xs.detach().contiguous()?.reshape((batch, 1, positions, d))?);
        self.record(self.rule(inputs, positions, tape), ys.rank(), cotangent, tape);
        Ok(ys)
    }
}

impl Layer for Linear {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        let (rank, d) = (xs.rank(), self.weight.dim(1)?);
        if rank < 2 || xs.dim(rank - 1)? != d {
            bail!("linear: inputs of shape {:?}, and the layer takes (batch, .., {d})", xs.dims());
        }
        let positions = xs.dims()[1..rank - 1].iter().product();
        if !tape.uses_kernels(xs.device()) {
            return self.portable(xs, positions, tape);
        }
        let op = LinearOp { layer: self.clone(), tape: tape.clone(), positions, input_norms: OnceLock::new() };
        let xs = xs.contiguous()?;
        let operand = trained_or_first(&self.weight, self.bias.as_ref());
        if tape.is_recording() { xs.apply_op2(operand, op) } else { xs.apply_op2_no_bwd(operand, &op) }
    }
}

/// From so many inputs on, an example no longer stays in the first cache until it is measured.
const LONG: usize = 1024;

/// The layer as an operation over (inputs, a parameter). The parameter only tells autograd that there is something to come
/// back for; weight and bias ride along.
struct LinearOp {
    layer: Linear,
    tape: Tape,
    positions: usize,
    /// Of few outputs and one position, by the forward pass.
    input_norms: OnceLock<Arc<Vec<f64>>>,
}

impl LinearOp {
    fn output<T: Real>(&self, xs: &[T]) -> Result<CpuStorage> {
        let (p, d) = self.layer.weight.dims2()?;
        let n = xs.len() / d.max(1);
        let mut ys = vec![T::default(); n * p];
        if let Some(bias) = &self.layer.bias {
            read(&bias.contiguous()?, |bias: &[T]| {
                ys.chunks_exact_mut(p.max(1)).for_each(|ys| ys.copy_from_slice(bias));
                Ok(())
            })?;
        }
        read(&self.layer.weight.contiguous()?, |weight: &[T]| {
            if self.positions == 1 && (1..=MOST_OUTPUTS).contains(&p) && d >= LONG {
                // Inputs are most of what is read: read once, they are multiplied and measured.
                let _ = self.input_norms.set(Arc::new(thin::forward(xs, weight, &mut ys, p, d)));
                return Ok(());
            }
            matmul_parallel(&mut ys, View::row_major(xs, n, d), View::row_major(weight, p, d).t(), true);
            Ok(())
        })?;
        Ok(T::to_cpu_storage_owned(ys))
    }
}

fn input_cotangent<T: Real>(cotangent: &Tensor, weight: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (p, d) = weight.dims2()?;
    let xs = read(&cotangent.contiguous()?, |g: &[T]| {
        read(&weight.contiguous()?, |weight| {
            let n = g.len() / p.max(1);
            let mut xs = vec![T::default(); n * d];
            matmul_parallel(&mut xs, View::row_major(g, n, p), View::row_major(weight, p, d), false);
            Ok(xs)
        })
    })?;
    Tensor::from_vec(xs, shape, cotangent.device())
}

impl CustomOp2 for LinearOp {
    fn name(&self) -> &'static str {
        "dpsgd-linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, xl: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<T: Real>(op: &LinearOp, xs: &CpuStorage, xl: &Layout) -> Result<CpuStorage> {
            op.output::<T>(slice(xs, xl)?)
        }
        let mut shape = xl.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.layer.weight.dim(0)?;
        }
        let dtype = self.layer.weight.dtype();
        Ok((dispatch!(dtype, run(self, xs, xl))?, Shape::from(shape)))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        _parameter: &Tensor,
        ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let given = Cotangent::Given(cotangent.contiguous()?);
        let rule = self.layer.rule(Inputs::Rows(xs.detach()), self.positions, &self.tape);
        let rule = Weight { input_norms: self.input_norms.get().cloned(), ..rule };
        self.layer.record(rule, ys.rank(), given, &self.tape);
        if !xs.track_op() {
            return Ok((None, None));
        }
        let weight = &self.layer.weight;
        Ok((Some(dispatch!(weight.dtype(), input_cotangent(cotangent, weight, xs.shape()))?), None))
    }
}
