//! Rows of recurrent layers, beside loops over time that take every gate by itself.

use super::{Row, Variables, dense};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use dpsgd::nn::{Last, Layer, Nonlinearity, RecurrentConfig, Sequential, gru, linear, lstm, rnn};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "lstm",
            &[5, 3],
            |vb| Ok(Box::new(lstm(3, 4, with_biases(0), vb)?)),
            |var, xs| over_time(xs, var, 0, lstm_step),
        ),
        row(
            "lstm without biases over one step",
            &[1, 3],
            |vb| Ok(Box::new(lstm(3, 2, RecurrentConfig::default_no_bias(), vb)?)),
            |var, xs| over_time(xs, var, 0, lstm_step),
        ),
        row(
            "gru",
            &[5, 3],
            |vb| Ok(Box::new(gru(3, 4, with_biases(0), vb)?)),
            |var, xs| over_time(xs, var, 0, gru_step),
        ),
        row(
            "gru without biases over one step",
            &[1, 3],
            |vb| Ok(Box::new(gru(3, 2, RecurrentConfig::default_no_bias(), vb)?)),
            |var, xs| over_time(xs, var, 0, gru_step),
        ),
        row(
            "simple recurrent layer",
            &[4, 3],
            |vb| Ok(Box::new(rnn(3, 4, Nonlinearity::Tanh, with_biases(0), vb)?)),
            |var, xs| over_time(xs, var, 0, |gate, h, _| Ok((gate(0)?.sum()?.tanh()?, h.clone()))),
        ),
        row(
            "simple recurrent layer with relu",
            &[4, 3],
            |vb| Ok(Box::new(rnn(3, 4, Nonlinearity::Relu, with_biases(0), vb)?)),
            |var, xs| over_time(xs, var, 0, |gate, h, _| Ok((gate(0)?.sum()?.relu()?, h.clone()))),
        ),
        row(
            "recurrent layers one after another",
            &[4, 3],
            |vb| {
                let network = Sequential::new()
                    .add(lstm(3, 4, with_biases(0), vb.clone())?)
                    .add(gru(4, 3, with_biases(1), vb.clone())?)
                    .add(rnn(3, 2, Nonlinearity::Tanh, with_biases(2), vb.clone())?)
                    .add(Last)
                    .add(linear(2, 2, vb.pp("head"))?);
                Ok(Box::new(network))
            },
            |var, xs| {
                let xs = over_time(xs, var, 0, lstm_step)?;
                let xs = over_time(&xs, var, 1, gru_step)?;
                let xs = over_time(&xs, var, 2, |gate, h, _| Ok((gate(0)?.sum()?.tanh()?, h.clone())))?;
                dense(&xs.get_on_dim(1, 3)?, var, "head.")
            },
        ),
        row(
            "lstm used twice",
            &[3, 4],
            |vb| {
                let (once, again) = (lstm(4, 4, with_biases(0), vb.clone())?, lstm(4, 4, with_biases(0), vb)?);
                Ok(Box::new(Sequential::new().add(once).add(again)))
            },
            |var, xs| over_time(&over_time(xs, var, 0, lstm_step)?, var, 0, lstm_step),
        ),
    ]
}

fn row(
    name: &'static str,
    shape: &'static [usize],
    build: fn(VarBuilder<'static>) -> Result<Box<dyn Layer>>,
    oracle: fn(&Variables<'_>, &Tensor) -> Result<Tensor>,
) -> Row {
    Row { name, shape, build, oracle }
}

/// Biases that are not zero.
fn with_biases(layer_idx: usize) -> RecurrentConfig {
    let init = Some(Init::Uniform { lo: -0.5, up: 0.5 });
    RecurrentConfig { b_ih_init: init, b_hh_init: init, layer_idx, ..Default::default() }
}

/// The parts of one gate's pre-activations, from the inputs and from the previous hidden state.
struct Parts {
    x: Tensor,
    h: Tensor,
}

impl Parts {
    fn sum(&self) -> Result<Tensor> {
        &self.x + &self.h
    }
}

/// The hidden and the cell state after a step, from gates by number and the states before.
type Step = fn(&dyn Fn(usize) -> Result<Parts>, &Tensor, &Tensor) -> Result<(Tensor, Tensor)>;

fn over_time(xs: &Tensor, var: &Variables<'_>, layer: usize, step: Step) -> Result<Tensor> {
    let parameter = |name: &str| var(&format!("{name}_l{layer}"));
    let weights = [parameter("weight_ih"), parameter("weight_hh")].map(|weight| weight.expect("a weight"));
    let biases = [parameter("bias_ih"), parameter("bias_hh")];
    let hidden = weights[1].dim(1)?;
    let mut h = Tensor::zeros((xs.dim(0)?, hidden), xs.dtype(), xs.device())?;
    let (mut c, mut states) = (h.clone(), Vec::new());
    for t in 0..xs.dim(1)? {
        let x = xs.get_on_dim(1, t)?;
        let part = |which: usize, number: usize, input: &Tensor| {
            let rows = |parameter: &Tensor| parameter.narrow(0, number * hidden, hidden);
            let product = input.broadcast_matmul(&rows(&weights[which])?.t()?)?;
            biases[which].as_ref().map_or(Ok(product.clone()), |bias| product.broadcast_add(&rows(bias)?))
        };
        let gate = |number: usize| Ok(Parts { x: part(0, number, &x)?, h: part(1, number, &h)? });
        let (next_h, next_c) = step(&gate, &h, &c)?;
        (h, c) = (next_h, next_c);
        states.push(h.clone());
    }
    Tensor::stack(&states, 1)
}

fn sigmoid(xs: &Tensor) -> Result<Tensor> {
    (xs.neg()?.exp()? + 1.0)?.recip()
}

fn lstm_step(gate: &dyn Fn(usize) -> Result<Parts>, _: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
    let written = (sigmoid(&gate(0)?.sum()?)? * gate(2)?.sum()?.tanh()?)?;
    let c = (written + (c * sigmoid(&gate(1)?.sum()?)?)?)?;
    Ok(((c.tanh()? * sigmoid(&gate(3)?.sum()?)?)?, c))
}

fn gru_step(gate: &dyn Fn(usize) -> Result<Parts>, h: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
    let (reset, update, new) = (sigmoid(&gate(0)?.sum()?)?, sigmoid(&gate(1)?.sum()?)?, gate(2)?);
    let new = (new.x + (new.h * reset)?)?.tanh()?;
    Ok(((&new + (update * (h - &new)?)?)?, c.clone()))
}
