//! The oracle: one example at a time through a model of plain candle operations.

use super::recorded::Written;
use crate::Result;
use candle_core::{Tensor, Var};

/// Runs `loss` on every example alone and keeps autograd's gradient of each: slow, and obviously right.
///
/// `loss(x, y)` sees one record with a batch dimension of one and returns its loss, through operations that autograd
/// differentiates itself. `variables` are in the order in which the gradients are wanted.
///
/// # Errors
/// Whatever `loss` and autograd refuse.
pub fn one_example_at_a_time(
    variables: &[Var],
    xs: &Tensor,
    ys: &Tensor,
    loss: impl Fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
) -> Result<Written> {
    let batch = xs.dim(0)?;
    let mut rows: Vec<Vec<Tensor>> = vec![Vec::new(); variables.len()];
    for i in 0..batch {
        let store = loss(&xs.narrow(0, i, 1)?, &ys.narrow(0, i, 1)?)?.sum_all()?.backward()?;
        for (rows, variable) in rows.iter_mut().zip(variables) {
            rows.push(match store.get(variable.as_tensor()) {
                Some(gradient) => gradient.clone(),
                None => variable.zeros_like()?,
            });
        }
    }
    let stack = |(rows, variable): (Vec<Tensor>, &Var)| -> Result<Tensor> {
        if rows.is_empty() {
            let shape: Vec<usize> = std::iter::once(0).chain(variable.dims().iter().copied()).collect();
            return Ok(Tensor::zeros(shape, variable.dtype(), variable.device())?);
        }
        Ok(Tensor::stack(&rows, 0)?)
    };
    Written::new(batch, rows.into_iter().zip(variables).map(stack).collect::<Result<_>>()?)
}
