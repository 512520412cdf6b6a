//! Clip-GD: every node clips its gradient, and the clipped gradients are averaged. What Clip21 repairs.
//!
//! Nodes that disagree bias it: it stops where the mean of the *clipped* gradients is 0, wherever that is (Chen, Wu
//! and Hong 2020, arXiv 2006.15429, for examples in the place of nodes; Khirirat et al. 2023, arXiv 2305.18929,
//! example 1.1).

use super::algorithm::State;
use super::step::step_size;
use super::uplink::Uplink;
use super::vector::add;
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// Clip-GD, as the uplink clips; with an infinite radius it is gradient descent.
///
/// ```text
/// every node i:  send clip_t(grad f_i(x))
/// server:        x -= step mean
/// ```
///
/// No node remembers anything, so nothing of a record is sent in a round in which it is not asked for.
#[derive(Debug)]
pub struct ClipGd {
    step: f64,
    uplink: Uplink,
    point: Vec<f64>,
}

impl ClipGd {
    /// At `point`.
    ///
    /// # Errors
    /// When the step size is negative or not finite.
    pub fn new(point: Vec<f64>, step: f64, uplink: Uplink) -> Result<Self> {
        Ok(Self { step: step_size(step)?, uplink, point })
    }
}

impl Algorithm for ClipGd {
    fn name(&self) -> &'static str {
        "clip-gd"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, uplink) = (&self.point, &self.uplink);
        let sent = nodes.each(&mut vec![(); nodes.len()], |node, (), oracle| {
            uplink.sent(node, &uplink.answer(oracle, point)?).map(Some)
        })?;
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
