//! Linear layer: `y = x w^T + b` at every position.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::{Bias, Cotangent, Inputs, Rule, Tape, Weight, check_parameter};
use crate::kernel::matmul::{View, affine, repeated};
use crate::kernel::thin::{self, LONG, MOST_OUTPUTS};
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use std::sync::Arc;

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

    /// How many positions an example has in `xs`.
    fn positions(&self, xs: &Tensor) -> Result<usize> {
        match (xs.dims(), self.weight.dim(1)?) {
            ([_, positions @ .., last], d) if *last == d => Ok(positions.iter().product()),
            (other, d) => bail!("linear: inputs of shape {other:?}, and the layer takes (batch, .., {d})"),
        }
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
        let positions = self.positions(xs)?;
        if tape.uses_kernels(xs.device()) { on_graph(self, xs, tape) } else { self.portable(xs, positions, tape) }
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for Linear {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let positions = self.positions(xs)?;
        let (ys, input_norms) = dispatch!(self.weight.dtype(), outputs(self, xs, positions))?;
        let needed = wanted || tape.trains(self.bias.iter().chain([&self.weight]));
        let (layer, tape, inputs) = (self.clone(), tape.clone(), xs.clone());
        Ok(Pulled::new(ys, xs, needed, move |cotangent| {
            let rule = Weight { input_norms, ..layer.rule(Inputs::Rows(inputs.clone()), positions, &tape) };
            layer.record(rule, inputs.rank(), Cotangent::Given(cotangent.clone()), &tape);
            if !wanted {
                return Ok(None);
            }
            let weight = &layer.weight;
            Ok(Some(dispatch!(weight.dtype(), input_cotangent(&cotangent, weight, inputs.shape()))?))
        }))
    }
}

/// Upper bounds on the norms of the inputs of every example.
type InputNorms = Option<Arc<Vec<f64>>>;

/// The output, and the norms of the inputs where they cost nothing more.
fn outputs<T: Real>(layer: &Linear, xs: &Tensor, positions: usize) -> Result<(Tensor, InputNorms)> {
    let (p, d) = layer.weight.dims2()?;
    let mut shape = xs.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = p;
    }
    let bias = layer.bias.as_ref().map(Tensor::to_vec1::<T>).transpose()?;
    let weight = layer.weight.contiguous()?;
    let (ys, norms) = read(xs, |xs: &[T]| {
        read(&weight, |weight| {
            let n = shape[..shape.len() - 1].iter().product();
            if positions == 1 && (1..=MOST_OUTPUTS).contains(&p) && d >= LONG {
                // Inputs are most of what is read: read once, they are multiplied and measured.
                let mut ys = repeated(bias.as_deref(), n, p);
                let norms = thin::forward(xs, weight, &mut ys, p, d);
                return Ok((ys, Some(Arc::new(norms))));
            }
            Ok((affine(View::row_major(xs, n, d), View::row_major(weight, p, d).t(), bias.as_deref()), None))
        })
    })?;
    Ok((Tensor::from_vec(ys, shape, xs.device())?, norms))
}

fn input_cotangent<T: Real>(cotangent: &Tensor, weight: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (p, d) = weight.dims2()?;
    let xs = read(cotangent, |g: &[T]| {
        read(&weight.contiguous()?, |weight| {
            let n = g.len() / p.max(1);
            Ok(affine(View::row_major(g, n, p), View::row_major(weight, p, d), None))
        })
    })?;
    Tensor::from_vec(xs, shape, cotangent.device())
}
