//! Recurrent layers: LSTM, GRU and the simple recurrent network; one direction, one layer, starting from zeros.
//!
//! Names, shapes and gate orders are PyTorch's and candle-nn's, so that checkpoints of both load by name. Several layers
//! are several of these in a [`Sequential`](super::Sequential), with `layer_idx` counting up.

mod op;
mod portable;

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::{Bias, Cotangent, Inputs, Rule, Tape, Weight, check_parameter};
use crate::kernel::memory::{written, zeroed};
use crate::kernel::recurrent::Cell;
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// How a recurrent layer is initialised and named; the fields are those of candle-nn's `LSTMConfig` and `GRUConfig`.
#[derive(Debug, Clone, Copy)]
pub struct RecurrentConfig {
    /// Initial values of `weight_ih_l{layer_idx}`.
    pub w_ih_init: Init,
    /// Initial values of `weight_hh_l{layer_idx}`.
    pub w_hh_init: Init,
    /// Initial values of `bias_ih_l{layer_idx}`; `None` for a layer without it.
    pub b_ih_init: Option<Init>,
    /// Initial values of `bias_hh_l{layer_idx}`; `None` for a layer without it.
    pub b_hh_init: Option<Init>,
    /// The number in the names of the parameters.
    pub layer_idx: usize,
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        let (weight, bias) = (candle_nn::init::DEFAULT_KAIMING_UNIFORM, Some(Init::Const(0.0)));
        Self { w_ih_init: weight, w_hh_init: weight, b_ih_init: bias, b_hh_init: bias, layer_idx: 0 }
    }
}

impl RecurrentConfig {
    /// The default without biases.
    pub fn default_no_bias() -> Self {
        Self { b_ih_init: None, b_hh_init: None, ..Self::default() }
    }
}

/// What a simple recurrent layer applies to its pre-activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nonlinearity {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000).
///
/// `forward` maps `(batch, time, in)` to the hidden states of all time steps `(batch, time, hidden)`. The rows of the weights
/// are the gates i, f, g, o.
#[derive(Debug, Clone)]
pub struct Lstm(Recurrent);

/// Gated recurrent unit (Cho et al. 2014) with the reset gate after the product, as PyTorch, cuDNN and candle-nn have it:
/// `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`.
///
/// `forward` maps `(batch, time, in)` to the hidden states of all time steps `(batch, time, hidden)`. The rows of the weights
/// are the gates r, z, n.
#[derive(Debug, Clone)]
pub struct Gru(Recurrent);

/// Simple recurrent layer (Elman 1990): `h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, or with `max(.., 0)`.
///
/// `forward` maps `(batch, time, in)` to the hidden states of all time steps `(batch, time, hidden)`.
#[derive(Debug, Clone)]
pub struct Rnn(Recurrent);

/// An LSTM with the parameters `weight_ih_l0` `(4 hidden, in)`, `weight_hh_l0` `(4 hidden, hidden)`, `bias_ih_l0` and
/// `bias_hh_l0` `(4 hidden)` under `vb`, or with another number than 0 by `config`.
///
/// # Errors
/// When a dimension is zero, or `vb` has the names in other shapes.
pub fn lstm(in_dim: usize, hidden_dim: usize, config: RecurrentConfig, vb: VarBuilder<'_>) -> Result<Lstm> {
    Ok(Lstm(Recurrent::build(Cell::Lstm, in_dim, hidden_dim, config, &vb)?))
}

/// A GRU with the parameters `weight_ih_l0` `(3 hidden, in)`, `weight_hh_l0` `(3 hidden, hidden)`, `bias_ih_l0` and
/// `bias_hh_l0` `(3 hidden)` under `vb`, or with another number than 0 by `config`.
///
/// # Errors
/// When a dimension is zero, or `vb` has the names in other shapes.
pub fn gru(in_dim: usize, hidden_dim: usize, config: RecurrentConfig, vb: VarBuilder<'_>) -> Result<Gru> {
    Ok(Gru(Recurrent::build(Cell::Gru, in_dim, hidden_dim, config, &vb)?))
}

/// A simple recurrent layer with the parameters `weight_ih_l0` `(hidden, in)`, `weight_hh_l0` `(hidden, hidden)`, `bias_ih_l0`
/// and `bias_hh_l0` `(hidden)` under `vb`, or with another number than 0 by `config`.
///
/// # Errors
/// When a dimension is zero, or `vb` has the names in other shapes.
pub fn rnn(
    in_dim: usize,
    hidden_dim: usize,
    nonlinearity: Nonlinearity,
    config: RecurrentConfig,
    vb: VarBuilder<'_>,
) -> Result<Rnn> {
    Ok(Rnn(Recurrent::build(nonlinearity.cell(), in_dim, hidden_dim, config, &vb)?))
}

impl Lstm {
    /// From weights `(4 hidden, in)` and `(4 hidden, hidden)` and biases `(4 hidden)`.
    ///
    /// # Errors
    /// When the shapes or types do not fit, or a parameter is computed from others.
    pub fn new(w_ih: Tensor, w_hh: Tensor, b_ih: Option<Tensor>, b_hh: Option<Tensor>) -> Result<Self> {
        Ok(Self(Recurrent::new(Cell::Lstm, w_ih, w_hh, b_ih, b_hh)?))
    }
}

impl Gru {
    /// From weights `(3 hidden, in)` and `(3 hidden, hidden)` and biases `(3 hidden)`.
    ///
    /// # Errors
    /// When the shapes or types do not fit, or a parameter is computed from others.
    pub fn new(w_ih: Tensor, w_hh: Tensor, b_ih: Option<Tensor>, b_hh: Option<Tensor>) -> Result<Self> {
        Ok(Self(Recurrent::new(Cell::Gru, w_ih, w_hh, b_ih, b_hh)?))
    }
}

impl Rnn {
    /// From weights `(hidden, in)` and `(hidden, hidden)` and biases `(hidden)`.
    ///
    /// # Errors
    /// When the shapes or types do not fit, or a parameter is computed from others.
    pub fn new(
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Option<Tensor>,
        b_hh: Option<Tensor>,
        nonlinearity: Nonlinearity,
    ) -> Result<Self> {
        Ok(Self(Recurrent::new(nonlinearity.cell(), w_ih, w_hh, b_ih, b_hh)?))
    }
}

impl Nonlinearity {
    fn cell(self) -> Cell {
        match self {
            Self::Tanh => Cell::Tanh,
            Self::Relu => Cell::Relu,
        }
    }
}

impl Layer for Lstm {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.0.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(&self.0)
    }
}

impl Layer for Gru {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.0.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(&self.0)
    }
}

impl Layer for Rnn {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.0.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(&self.0)
    }
}

/// Takes the last time step: `(batch, time, ..)` to `(batch, ..)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last;

impl Layer for Last {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(xs.device()) {
            return on_graph(self, xs, tape);
        }
        last(xs)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

fn last(xs: &Tensor) -> Result<Tensor> {
    match xs.dims().get(1) {
        Some(&time) if time > 0 => xs.narrow(1, time - 1, 1)?.squeeze(1),
        _ => bail!("last: inputs of shape {:?}, and the layer takes (batch, time, ..) with a time step", xs.dims()),
    }
}

impl Pull for Last {
    fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
        fn padded<T: Real>(last: &Tensor, shape: Shape) -> Result<Tensor> {
            let (example, size) = (shape.dims()[1..].iter().product(), shape.dims()[2..].iter().product::<usize>());
            let all = read(last, |last: &[T]| {
                let (all, _) = written(shape.elem_count(), usize::max(example, 1), |i, all, (): &mut ()| {
                    let all = zeroed(all);
                    all[example - size..].copy_from_slice(&last[i * size..][..size]);
                    (all, ())
                });
                Ok(all)
            })?;
            Tensor::from_vec(all, shape, last.device())
        }
        let (ys, shape) = (last(xs)?.contiguous()?, xs.shape().clone());
        Ok(Pulled::new(ys, xs, wanted, move |g| Ok(Some(dispatch!(g.dtype(), padded(&g, shape))?))))
    }
}

/// A recurrent layer of any cell.
#[derive(Debug, Clone)]
struct Recurrent {
    cell: Cell,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Option<Tensor>,
    b_hh: Option<Tensor>,
}

impl Recurrent {
    fn build(cell: Cell, d: usize, hidden: usize, config: RecurrentConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let (width, n) = (cell.gates() * hidden, config.layer_idx);
        let w_ih = vb.get_with_hints((width, d), &format!("weight_ih_l{n}"), config.w_ih_init)?;
        let w_hh = vb.get_with_hints((width, hidden), &format!("weight_hh_l{n}"), config.w_hh_init)?;
        let bias = |init: Option<Init>, name: &str| {
            init.map(|init| vb.get_with_hints(width, &format!("{name}_l{n}"), init)).transpose()
        };
        let (b_ih, b_hh) = (bias(config.b_ih_init, "bias_ih")?, bias(config.b_hh_init, "bias_hh")?);
        Self::new(cell, w_ih, w_hh, b_ih, b_hh)
    }

    fn new(cell: Cell, w_ih: Tensor, w_hh: Tensor, b_ih: Option<Tensor>, b_hh: Option<Tensor>) -> Result<Self> {
        let (name, gates) = (cell.name(), cell.gates());
        let ((width, d), (_, hidden)) = (w_ih.dims2()?, w_hh.dims2()?);
        if d == 0 || hidden == 0 || width != gates * hidden || w_hh.dim(0)? != width {
            bail!(
                "{name}: weights of shapes {:?} and {:?}, and the layer takes ({gates} hidden, in) and ({gates} hidden, hidden), with at least one input and hidden unit",
                w_ih.dims(),
                w_hh.dims()
            );
        }
        for bias in [&b_ih, &b_hh].into_iter().flatten() {
            if bias.dims() != [width] {
                bail!("{name}: a bias of shape {:?} beside a weight of shape {:?}", bias.dims(), w_ih.dims());
            }
        }
        let layer = Self { cell, w_ih, w_hh, b_ih, b_hh };
        for parameter in layer.parameters() {
            check_parameter(parameter, name)?;
            if parameter.dtype() != layer.w_ih.dtype() {
                bail!("{name}: parameters of types {:?} and {:?}", layer.w_ih.dtype(), parameter.dtype());
            }
        }
        Ok(layer)
    }

    fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        [Some(&self.w_ih), Some(&self.w_hh), self.b_ih.as_ref(), self.b_hh.as_ref()].into_iter().flatten()
    }

    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.check(xs)?;
        if tape.uses_kernels(xs.device()) { on_graph(self, xs, tape) } else { portable::forward(self, xs, tape) }
    }

    fn check(&self, xs: &Tensor) -> Result<()> {
        match *xs.dims() {
            [_, time, d] if time > 0 && d == self.w_ih.dim(1)? => Ok(()),
            _ => bail!(
                "{}: inputs of shape {:?}, and the layer takes (batch, time, {}) with at least one time step",
                self.cell.name(),
                xs.dims(),
                self.w_ih.dim(1)?
            ),
        }
    }

    /// Leaves the records of the parameters that are variables: each with the inputs of its product and the cotangents of
    /// the pre-activations `(batch, time, gates hidden)` it adds to, of the inputs and of the previous hidden states.
    fn record(&self, time: usize, inputs: [Inputs; 2], cotangents: [Cotangent; 2], tape: &Tape) -> Result<()> {
        let weights = [&self.w_ih, &self.w_hh].into_iter().zip([&self.b_ih, &self.b_hh]);
        for (((weight, bias), inputs), cotangent) in weights.zip(inputs).zip(cotangents) {
            if let Some(bias) = bias.as_ref().filter(|bias| bias.is_variable()) {
                tape.record(bias, Rule::Bias(Bias { axis: 2 }), cotangent.clone());
            }
            if weight.is_variable() {
                let ((p, d), route) = (weight.dims2()?, tape.engine().route);
                let rule =
                    Weight { inputs, groups: 1, positions: time, d, p, channels_last: true, route, input_norms: None };
                tape.record(weight, Rule::Weight(rule), cotangent);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
