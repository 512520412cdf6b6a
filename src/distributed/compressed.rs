//! Gradient descent on compressed gradients, without memory.

use super::algorithm::{self, State};
use super::compress::Class;
use super::uplink::Uplink;
use super::vector::add;
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// Distributed compressed gradient descent (DCGD), and CGD with one node (Beznosikov, Horvath, Richtarik and Safaryan 2023,
/// arXiv 2002.12410).
///
/// ```text
/// every node i:  send c_i = C(grad f_i(x))
/// server:        x -= step mean c_i
/// ```
///
/// With one node, or an unbiased compressor and no disagreement, it converges. With a biased compressor and several nodes it may
/// diverge at every step size: [`ErrorFeedback`](super::ErrorFeedback) and [`Ef21`](super::Ef21) do not. With clipping it is
/// Clip-GD.
#[derive(Debug)]
pub struct CompressedDescent {
    step: f64,
    uplink: Uplink,
    point: Vec<f64>,
}

impl CompressedDescent {
    /// At `point`.
    ///
    /// # Errors
    /// When the step size is not finite, or negative.
    pub fn new(point: Vec<f64>, step: f64, uplink: Uplink) -> Result<Self> {
        Ok(Self { step: super::step::step_size(step)?, uplink, point })
    }

    /// The step size `1 / (beta L)` that one node converges with on an L-smooth objective.
    ///
    /// # Errors
    /// When L is not finite and positive.
    pub fn step(class: &Class, smoothness: f64) -> Result<f64> {
        Ok(1.0 / (class.beta * algorithm::constant("smoothness", smoothness)?))
    }

    /// By what `E f(x) - f*` shrinks at least in a round of one node, where f is smooth, `|grad f(x)|^2 >= 2 mu (f(x) - f*)`,
    /// and the step size at most [`CompressedDescent::step`]: `1 - max(gamma, alpha / beta) step mu`.
    ///
    /// Smoothness gives `E f(x+) <= f - step <grad, E C> + step^2 L E|C|^2 / 2 <= f - step <grad, E C> / 2`, and `<grad, E C>`
    /// is at least gamma and at least alpha/beta times `|grad|^2`.
    ///
    /// # Errors
    /// When mu is not finite and positive, or the step size not finite or negative.
    pub fn factor(class: &Class, step: f64, mu: f64) -> Result<f64> {
        let kept = class.gamma.max(class.alpha / class.beta);
        Ok(1.0 - kept * super::step::step_size(step)? * algorithm::constant("mu", mu)?)
    }
}

impl Algorithm for CompressedDescent {
    fn name(&self) -> &'static str {
        "dcgd"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, uplink) = (&self.point, &self.uplink);
        let mut none = vec![(); nodes.len()];
        let sent =
            nodes.each(&mut none, |node, (), oracle| uplink.sent(node, &uplink.answer(oracle, point)?).map(Some))?;
        let (mean, event) = self.uplink.mean(&sent, self.point.len(), transport)?;
        add(&mut self.point, -self.step, &mean);
        Ok(event)
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.uplink.round()).with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        self.point = state.one("point", self.point.len())?;
        self.uplink.resume(state.rounds);
        Ok(())
    }
}
