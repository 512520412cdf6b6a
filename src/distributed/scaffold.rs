//! SCAFFOLD (Karimireddy, Kale, Mohri, Reddi, Stich and Suresh 2020, arXiv 1910.06378, algorithm 1): local steps with control
//! variates, all nodes in every round.

use super::algorithm::{State, next_round};
use super::local_steps::{LocalSteps, positive};
use super::start::{Start, gradients};
use super::vector::{add, difference};
use super::{Algorithm, Nodes, Transport, Width};
use crate::Result;
use dp_accountant::Event;

/// A server, in every process the same. In a round the nodes' moves and the changes of their variates are summed in one all-reduce of
/// two vectors.
///
/// ```text
/// start:         c_i = g_i(x_0), or 0;  c = mean c_i
/// every node i:  y = x;  K times: y -= step (g_i(y) - c_i + c)
///                c_i' = g_i(x)                          option I
///                c_i' = c_i - c + (x - y) / (K step)    option II: the mean of the K gradients
/// server:        x += outer mean (y_i - x);  c += mean (c_i' - c_i)
/// ```
#[derive(Debug)]
pub struct Scaffold {
    steps: LocalSteps,
    outer: f64,
    variate: Variate,
    start: Start,
    width: Width,
    rounds: u32,
    point: Vec<f64>,
    /// c.
    mean: Vec<f64>,
    /// c_i of the hosted nodes.
    own: Vec<Vec<f64>>,
}

/// What a node's control variate becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variate {
    /// Option I: its gradient at the server's point, for which it is asked once more.
    Gradient,
    /// Option II: the mean of the gradients of its local steps.
    Steps,
}

impl Scaffold {
    /// At `point`, with `nodes` nodes in this process, `local_steps` of size `step` in a round, and `outer` times their mean move.
    ///
    /// # Errors
    /// When a step is not a positive number, or there are no local steps.
    pub fn new(
        point: Vec<f64>,
        nodes: usize,
        (step, outer): (f64, f64),
        local_steps: u32,
        (variate, start): (Variate, Start),
        width: Width,
    ) -> Result<Self> {
        let (steps, outer) = (LocalSteps::new(step, local_steps)?, positive("outer step size", outer)?);
        let zeros = vec![0.0; point.len()];
        let (mean, own) = (zeros.clone(), vec![zeros; nodes]);
        Ok(Self { steps, outer, variate, start, width, rounds: 0, point, mean, own })
    }
}

impl Algorithm for Scaffold {
    fn name(&self) -> &'static str {
        "scaffold"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let next = next_round(self.rounds)?;
        if self.rounds == 0 && self.start == Start::Mean {
            (self.own, self.mean) = gradients(nodes, transport, &self.point)?;
        }
        let (steps, point, mean, variate, width) = (self.steps, &self.point, &self.mean, self.variate, self.width);
        let said = nodes.each(&mut self.own, |_, own, oracle| {
            let missing = difference(mean, own);
            let (end, direction) = steps.take(point, |y| {
                let mut direction = super::oracle::finite_gradient(oracle, y)?;
                add(&mut direction, 1.0, &missing);
                Ok(direction)
            })?;
            let renewed = match variate {
                Variate::Gradient => super::oracle::finite_gradient(oracle, point)?,
                Variate::Steps => difference(&direction, &missing),
            };
            // The node moves by what the others read, so that c stays the mean of all c_i.
            let change: Vec<f64> = difference(&renewed, own).into_iter().map(|c| width.rounded(c)).collect();
            add(own, 1.0, &change);
            Ok([difference(&end, point), change].concat())
        })?;
        let sum = transport.all_reduce_sum(&said, width)?;
        let (moved, changed) = sum.split_at(self.point.len());
        add(&mut self.point, self.outer / transport.nodes() as f64, moved);
        add(&mut self.mean, 1.0 / transport.nodes() as f64, changed);
        self.rounds = next;
        Ok(Event::nothing())
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.rounds)
            .with("point", [self.point.as_slice()])
            .with("mean", [self.mean.as_slice()])
            .with("variate", self.own.iter().map(Vec::as_slice))
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let dim = self.point.len();
        let own = state.take("variate", self.own.len(), dim)?;
        let (mean, point) = (state.one("mean", dim)?, state.one("point", dim)?);
        (self.own, self.mean, self.point, self.rounds) = (own, mean, point, state.rounds);
        Ok(())
    }
}
