//! What a node can be asked about its own objective.

use crate::clip::Clipping;
use crate::{Error, Result};

/// A node's objective: the loss on its own data, seen through its gradients.
///
/// Answers are numbered by the oracle: a stochastic answer is a function of the node's key and the number, so an oracle that is put
/// back to an earlier number gives the same answers again.
pub trait Oracle: Send {
    /// How many numbers a point has.
    fn dim(&self) -> usize;

    /// The gradient at `point`, or an estimate of it from a minibatch: the oracle's next answer.
    ///
    /// # Errors
    /// Whatever the objective refuses.
    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>>;

    /// The objective itself, over all of the node's data. It is not private, and counts as no answer.
    ///
    /// # Errors
    /// Whatever the objective refuses.
    fn loss(&mut self, point: &[f64]) -> Result<f64>;

    /// How many gradients have been asked for.
    fn answers(&self) -> u32;

    /// Puts the oracle back to where it had given so many answers.
    fn resume(&mut self, answers: u32);

    /// How many examples were asked since this was last asked for, and what clipping did to them, where the oracle knows. Not private.
    fn take_clipping(&mut self) -> Clipping {
        Clipping::default()
    }
}

/// An oracle that is lent to the nodes of a run: whoever owns it can ask afterwards what it has done.
impl<O: Oracle + ?Sized> Oracle for &mut O {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        (**self).gradient(point)
    }

    fn loss(&mut self, point: &[f64]) -> Result<f64> {
        (**self).loss(point)
    }

    fn answers(&self) -> u32 {
        (**self).answers()
    }

    fn resume(&mut self, answers: u32) {
        (**self).resume(answers);
    }

    fn take_clipping(&mut self) -> Clipping {
        (**self).take_clipping()
    }
}

/// The oracle's next answer, if it is as long as the point.
///
/// # Errors
/// That of the oracle, and when it is not.
pub(super) fn gradient(oracle: &mut dyn Oracle, point: &[f64]) -> Result<Vec<f64>> {
    let gradient = oracle.gradient(point)?;
    if gradient.len() == point.len() {
        return Ok(gradient);
    }
    Err(Error::value("numbers of a gradient", gradient.len(), format!("{}, as of the point", point.len())))
}

/// The oracle's next answer, if it is as long as the point and finite.
///
/// # Errors
/// That of the oracle, and when it is not.
pub(super) fn finite_gradient(oracle: &mut dyn Oracle, point: &[f64]) -> Result<Vec<f64>> {
    let gradient = gradient(oracle, point)?;
    match gradient.iter().find(|g| !g.is_finite()) {
        None => Ok(gradient),
        Some(g) => Err(Error::value("gradient", g, "finite numbers; a smaller step size may help")),
    }
}
