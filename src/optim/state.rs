//! What optimisers find again in a checkpoint.

use crate::nn::Parameters;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The tensors `PREFIX.0`, `PREFIX.1` and so on, one for each parameter, with `shape(dims of the parameter)` and in its type. They
/// are copies: what they were restored from is not changed by the steps to come.
pub(super) fn of_parameters(
    parameters: &Parameters,
    prefix: &str,
    state: &dyn Fn(&str) -> Result<Tensor>,
    shape: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<Vec<Tensor>> {
    let restored = |(j, (parameter, variable)): (usize, (String, candle_core::Var))| {
        let (name, shape) = (format!("{prefix}.{j}"), shape(variable.dims()));
        let tensor = state(&name)?;
        if tensor.dims() != shape || tensor.dtype() != variable.dtype() {
            let found = format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
            let allowed = format!("{:?} of shape {shape:?}, for {parameter}", variable.dtype());
            return Err(Error::value(format!("the optimiser's {name}"), found, allowed));
        }
        Ok(tensor.to_device(parameters.device())?.copy()?)
    };
    parameters.iter().enumerate().map(restored).collect()
}

/// The tensors under the names [`of_parameters`] looks for.
pub(super) fn named<'a>(prefix: &'a str, tensors: &'a [Tensor]) -> impl Iterator<Item = (String, Tensor)> + 'a {
    tensors.iter().enumerate().map(move |(j, tensor)| (format!("{prefix}.{j}"), tensor.clone()))
}

/// A count as a tensor.
pub(super) fn counted(name: &str, count: u32) -> Option<(String, Tensor)> {
    // A tensor of one number on the processor can always be made.
    let tensor = Tensor::from_vec(vec![count], 1, &Device::Cpu).ok()?;
    Some((name.to_string(), tensor))
}

/// The count that [`counted`] wrote.
pub(super) fn count(name: &str, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<u32> {
    let tensor = state(name)?;
    if tensor.dtype() != DType::U32 || tensor.dims() != [1] {
        let found = format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
        return Err(Error::value(format!("the optimiser's {name}"), found, "a count: U32 of shape [1]"));
    }
    tensor.to_vec1::<u32>()?.first().copied().ok_or_else(|| Error::value(name, "nothing", "a count"))
}

/// A number as a tensor.
pub(super) fn number(name: &str, number: f64) -> Option<(String, Tensor)> {
    let tensor = Tensor::from_vec(vec![number], 1, &Device::Cpu).ok()?;
    Some((name.to_string(), tensor))
}

/// The number that [`number`] wrote.
pub(super) fn read_number(name: &str, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<f64> {
    let tensor = state(name)?;
    if tensor.dtype() != DType::F64 || tensor.dims() != [1] {
        let found = format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
        return Err(Error::value(format!("the optimiser's {name}"), found, "a number: F64 of shape [1]"));
    }
    tensor.to_vec1::<f64>()?.first().copied().ok_or_else(|| Error::value(name, "nothing", "a number"))
}
