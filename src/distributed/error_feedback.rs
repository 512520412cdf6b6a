//! Error feedback: what a message left out is added to the next one.

use super::algorithm::{self, State};
use super::uplink::Uplink;
use super::vector::{add, difference, scaled};
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// Distributed compressed gradient descent with error feedback (Beznosikov, Horvath, Richtarik and Safaryan 2023, arXiv
/// 2002.12410), for contractive compressors.
///
/// ```text
/// every node i:  p_i = e_i + step grad f_i(x);  c_i = C(p_i);  e_i = p_i - c_i;  send c_i
/// server:        x -= mean c_i
/// ```
///
/// The step size is inside the message. Where nodes disagree at the minimum it stays at a distance from it whose square is
/// proportional to that of the step size; [`Ef21`](super::Ef21) does not.
#[derive(Debug)]
pub struct ErrorFeedback {
    step: f64,
    uplink: Uplink,
    /// What each hosted node has not sent yet.
    errors: Vec<Vec<f64>>,
    point: Vec<f64>,
}

impl ErrorFeedback {
    /// At `point`, with `nodes` nodes in this process that have sent everything.
    ///
    /// # Errors
    /// When the step size is not finite, or negative, or the compressor is no contraction before it is scaled: `Contractive`
    /// does that.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, uplink: Uplink) -> Result<Self> {
        algorithm::contraction(uplink.compress(), point.len())?;
        let errors = vec![vec![0.0; point.len()]; nodes];
        Ok(Self { step: super::step::step_size(step)?, uplink, errors, point })
    }

    /// What each hosted node has not sent yet.
    pub fn errors(&self) -> &[Vec<f64>] {
        &self.errors
    }
}

impl Algorithm for ErrorFeedback {
    fn name(&self) -> &'static str {
        "error-feedback"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, uplink, step) = (&self.point, &self.uplink, self.step);
        let sent = nodes.each(&mut self.errors, |node, error, oracle| {
            let mut wanted = scaled(step, &uplink.answer(oracle, point)?);
            add(&mut wanted, 1.0, error);
            let sent = uplink.sent(node, &wanted)?;
            // Under noise, an answer that is not finite must not stay in the error for ever.
            if wanted.iter().all(|p| p.is_finite()) {
                *error = difference(&wanted, sent.vector());
            }
            Ok(Some(sent))
        })?;
        let (mean, event) = self.uplink.mean(&sent, self.point.len(), transport)?;
        add(&mut self.point, -1.0, &mean);
        Ok(event)
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.uplink.round())
            .with("error", self.errors.iter().map(Vec::as_slice))
            .with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let dim = self.point.len();
        let (errors, point) = (state.take("error", self.errors.len(), dim)?, state.one("point", dim)?);
        (self.errors, self.point) = (errors, point);
        self.uplink.resume(state.rounds);
        Ok(())
    }
}
