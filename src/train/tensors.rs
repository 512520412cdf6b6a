//! Records as tensors.

use crate::Result;
use crate::data::{Dataset, Domain, Form, Target};
use crate::nn::Parameters;
use candle_core::{Device, Tensor};

/// The records `rows` as `xs` `(rows, ..record shape)` and `ys` `(rows)`, in the parameters' type and on their device.
///
/// Tokens are u32. Where each token is to be foretold, `ys` `(rows, length)` are the tokens and `xs` those one place before, the
/// filler before the first.
///
/// # Errors
/// When a row is not in the data.
pub fn tensors(data: &Dataset, rows: &[usize], parameters: &Parameters) -> Result<(Tensor, Tensor)> {
    let form = data.form();
    if let Domain::Tokens { .. } = form.domain {
        let (mut tokens, mut labels) = (Vec::new(), Vec::new());
        data.gather_tokens(rows, &mut tokens, &mut labels)?;
        return token_tensors(&form, tokens, labels, parameters);
    }
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(rows, &mut features, &mut labels)?;
    on_device(features, labels, data.shape(), parameters)
}

pub(super) fn on_device(
    features: Vec<f32>,
    labels: Vec<u32>,
    shape: &[usize],
    parameters: &Parameters,
) -> Result<(Tensor, Tensor)> {
    let rows = labels.len();
    let shape: Vec<usize> = std::iter::once(rows).chain(shape.iter().copied()).collect();
    let xs = Tensor::from_vec(features, shape, &Device::Cpu)?.to_dtype(parameters.dtype())?;
    let ys = Tensor::from_vec(labels, rows, parameters.device())?;
    Ok((xs.to_device(parameters.device())?, ys))
}

/// Inputs and targets out of the tokens of some records and their classes.
pub(crate) fn token_tensors(
    form: &Form,
    tokens: Vec<u32>,
    labels: Vec<u32>,
    parameters: &Parameters,
) -> Result<(Tensor, Tensor)> {
    let shape: Vec<usize> = std::iter::once(labels.len()).chain(form.shape.iter().copied()).collect();
    let xs = Tensor::from_vec(form.inputs(&tokens), shape.as_slice(), parameters.device())?;
    let ys = match form.target {
        Target::Class(_) => Tensor::from_vec(labels, shape[0], parameters.device())?,
        Target::NextToken => Tensor::from_vec(tokens, shape, parameters.device())?,
    };
    Ok((xs, ys))
}
