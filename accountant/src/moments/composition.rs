//! A composition in one direction: log M at real orders is a sum over its distinct releases.

use super::direction::Direction;
use super::nodes::{Nodes, range, step};
use super::strip;
use super::tilt::{Tilt, log_moment};
use crate::analytic::Mu;
use crate::terms::{Sampled, Terms};

const E: f64 = f64::EPSILON;

/// More nodes than this in all terms together are not kept.
const MOST_NODES: usize = 300_000;

/// From this many nodes on a finer bound on the step is tried.
const WORTH: f64 = 250.0;

/// All unsampled Gaussians as one of parameter mu, and the sampled terms.
#[derive(Debug)]
pub(super) struct Composition {
    pub(super) direction: Direction,
    pub(super) mu: Mu,
    pub(super) terms: Vec<Sampled>,
    /// Nodes for real orders, one list for each term, replaced when a larger order asks for more.
    nodes: Vec<Nodes>,
}

impl Composition {
    pub(super) fn new(terms: &Terms, mu: Mu, direction: Direction) -> Self {
        Self { direction, mu, terms: terms.sampled.clone(), nodes: Vec::new() }
    }

    /// The largest loss there is: ADD never exceeds -ln(1 - q) in each step. Rounded up.
    pub(super) fn largest_loss(&self) -> f64 {
        if self.direction != Direction::Add || self.mu.value > 0.0 {
            return f64::INFINITY;
        }
        let total: f64 = self.terms.iter().map(|term| term.count as f64 * -(-term.rate).ln_1p()).sum();
        total * (1.0 + (4.0 + self.terms.len() as f64) * E)
    }

    /// A guess at mu^2 of the whole, to start searches.
    pub(super) fn guess(&self) -> f64 {
        let k = if self.direction == Direction::Replace { 2.0 } else { 1.0 };
        let sampled = self.terms.iter().map(|term| {
            let precision = (k / term.noise_multiplier).powi(2);
            term.count as f64 * term.rate * term.rate * precision.min(30.0).exp_m1()
        });
        self.mu.value * self.mu.value + sampled.sum::<f64>()
    }

    /// How far below the integral the error of the quadrature of this term lies, as a logarithm: the errors of all
    /// terms times their counts are together below e^-38.
    pub(super) fn depth(&self, term: &Sampled) -> f64 {
        38.0 + (term.count as f64).ln() + (self.terms.len() as f64).ln()
    }

    /// ln M(c) and a bound on its absolute error. `None` where it is out of reach.
    pub(super) fn log_moment(&mut self, c: f64) -> Option<(f64, f64)> {
        self.reach(c)?;
        let (mut total, mut error) = self.gaussian(c);
        for nodes in &self.nodes {
            let (one, doubt) = log_moment(nodes, c);
            let count = nodes.term.count as f64;
            total += count * one;
            error += count * doubt;
        }
        error += (4.0 + self.terms.len() as f64) * E * total;
        (total.is_finite() && error.is_finite()).then_some((total, error))
    }

    /// Makes the nodes for real orders reach the order c.
    fn reach(&mut self, c: f64) -> Option<()> {
        if self.nodes.len() < self.terms.len() || self.nodes.first().is_some_and(|nodes| nodes.order < c) {
            let order = 1.5 * c;
            let nodes = self.terms.iter().map(|term| Nodes::new(*term, self.direction, order, 0.0, self.depth(term)));
            self.nodes = few_enough(nodes)?;
        }
        Some(())
    }

    /// ln M(c) of the unsampled part, mu^2 c (c+1)/2, and its error.
    fn gaussian(&self, c: f64) -> (f64, f64) {
        let value = 0.5 * self.mu.value * self.mu.value * c * (c + 1.0);
        (value, value * (2.5 * self.mu.error + 8.0 * E))
    }

    /// Every sampled term under the measure tilted to order c, with nodes for heights up to `height`.
    pub(super) fn tilts(&mut self, c: f64, height: f64) -> Option<Vec<Tilt>> {
        self.reach(c)?;
        let moments: Vec<(f64, f64)> = self.nodes.iter().map(|nodes| log_moment(nodes, c)).collect();
        let nodes = self.terms.iter().zip(&moments).map(|(term, (moment, _))| {
            let (depth, direction) = (self.depth(term), self.direction);
            let plain = step(term.noise_multiplier, direction, c, height, depth);
            let (low, high) = range(term.noise_multiplier, direction, c, depth);
            // The finer bound costs about as much as a few hundred nodes.
            let dx = if height > 0.0 && high - low > WORTH * plain {
                plain.max(strip::step(*term, direction, c, *moment, height, depth))
            } else {
                plain
            };
            Nodes::with_step(*term, direction, c, dx, depth)
        });
        let nodes = few_enough(nodes)?;
        Some(nodes.iter().zip(moments).map(|(nodes, moment)| Tilt::new(nodes, c, moment)).collect())
    }

    /// Mean and variance of the composed loss under the measure tilted to order c.
    pub(super) fn mean_and_variance(&self, tilts: &[Tilt], c: f64) -> (f64, f64) {
        let square = self.mu.value * self.mu.value;
        let start = (square * (c + 0.5), square);
        tilts.iter().fold(start, |(mean, variance), tilt| {
            (mean + tilt.count * tilt.mean, variance + tilt.count * tilt.variance)
        })
    }
}

/// All the nodes, unless they are too many together.
fn few_enough(all: impl Iterator<Item = Option<Nodes>>) -> Option<Vec<Nodes>> {
    let mut total = 0;
    let mut kept = Vec::new();
    for nodes in all {
        let nodes = nodes?;
        total += nodes.list.len();
        if total > MOST_NODES {
            return None;
        }
        kept.push(nodes);
    }
    Some(kept)
}
