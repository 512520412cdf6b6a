//! DiceSGD (Zhang, Bu, Wu and Hong 2024, arXiv 2311.14632): error feedback for per-example clipping, as a study.
//!
//! **It gives no privacy here.** What clipping took away is fed back in later steps, so a record acts in steps in
//! which it is not sampled, and once the error is longer than its clip its differences are carried on without limit.
//! The noise rules in print assume bounded gradients, which clipping does not enforce; the bound that needs no
//! assumption is `C1 / B + 2 C2` for a step, without amplification. So no noise is offered.

use super::algorithm::{State, next_round};
use super::compress::Radius;
use super::step::step_size;
use super::vector::{add, difference, scaled};
use super::wire::Width;
use super::{Algorithm, Nodes, Transport, oracle};
use crate::Result;
use dp_accountant::Event;

/// DiceSGD of a single trainer. Every node is an example of the batch, and everybody together is the trainer: nothing
/// is kept from anybody.
///
/// ```text
/// p = mean clip_C1(g_j) + clip_C2(e);  x -= step p;  e += mean g_j - p
/// ```
///
/// The error starts at 0. An optimum x* is a fixed point only if C2 is above `|mean clip_C1(g_j(x*))|`, for which C2
/// >= C1 is enough; otherwise the error grows without bound and x stops elsewhere.
#[derive(Debug)]
pub struct Dice {
    step: f64,
    examples: Radius,
    feedback: Radius,
    width: Width,
    round: u32,
    /// e.
    error: Vec<f64>,
    point: Vec<f64>,
}

impl Dice {
    /// At `point`, with C1 for the gradients of `examples` and C2 for the `feedback` of the error.
    ///
    /// # Errors
    /// When the step size is negative or not finite.
    pub fn new(point: Vec<f64>, step: f64, (examples, feedback): (Radius, Radius), width: Width) -> Result<Self> {
        let error = vec![0.0; point.len()];
        Ok(Self { step: step_size(step)?, examples, feedback, width, round: 0, error, point })
    }

    /// What clipping has taken away and not been given back. It must not be released.
    pub fn error(&self) -> &[f64] {
        &self.error
    }
}

impl Algorithm for Dice {
    fn name(&self) -> &'static str {
        "dice-sgd"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, examples, width, dim) = (&self.point, self.examples, self.width, self.point.len());
        let round = next_round(self.round)?;
        // One message: the clipped gradient, and after it the whole one.
        let pairs = nodes.each(&mut vec![(); nodes.len()], |_, (), oracle| {
            let gradient = oracle::finite_gradient(oracle, point)?;
            Ok([examples.clipped(&gradient, width), gradient].concat())
        })?;
        let mean = scaled(1.0 / transport.nodes() as f64, &transport.all_reduce_sum(&pairs, self.width)?);
        let (clipped, whole) = mean.split_at(dim);
        let mut direction = clipped.to_vec();
        add(&mut direction, 1.0, &self.feedback.clipped(&self.error, Width::F64));
        add(&mut self.error, 1.0, &difference(whole, &direction));
        add(&mut self.point, -self.step, &direction);
        self.round = round;
        Ok(Event::nothing())
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.round).with("error", [self.error.as_slice()]).with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let dim = self.point.len();
        let (error, point) = (state.one("error", dim)?, state.one("point", dim)?);
        (self.error, self.point, self.round) = (error, point, state.rounds);
        Ok(())
    }
}
