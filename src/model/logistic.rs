//! Multinomial logistic regression.

use crate::nn::{Flatten, Linear, Sequential};
use candle_core::Result;
use candle_nn::VarBuilder;

/// `(batch, ..)` of `width` numbers to logits, starting from zero: the objective is convex, and a random start would only
/// have to be unlearnt.
pub(super) fn network(width: usize, classes: usize, vb: VarBuilder<'_>) -> Result<Sequential> {
    let vb = vb.pp("linear");
    let weight = vb.get_with_hints((classes, width), "weight", candle_nn::init::ZERO)?;
    let bias = vb.get_with_hints(classes, "bias", candle_nn::init::ZERO)?;
    Ok(Sequential::new().add(Flatten).add(Linear::new(weight, Some(bias))?))
}
