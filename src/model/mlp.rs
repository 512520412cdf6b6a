//! A network with one hidden layer.

use crate::nn::{Activation, Flatten, Sequential, linear};
use candle_core::Result;
use candle_nn::VarBuilder;

/// `(batch, ..)` of `width` numbers to logits through `hidden` units.
pub(super) fn network(
    width: usize,
    hidden: usize,
    classes: usize,
    activation: Activation,
    vb: VarBuilder<'_>,
) -> Result<Sequential> {
    let network = Sequential::new().add(Flatten).add(linear(width, hidden, vb.pp("hidden"))?);
    Ok(network.add(activation).add(linear(hidden, classes, vb.pp("output"))?))
}
