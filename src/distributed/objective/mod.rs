//! Objectives that are formulas: nothing about them is estimated, so what an algorithm does can be checked to the last digit.

mod logistic;
mod polynomial;
mod quadratic;

pub use logistic::Logistic;
pub use polynomial::Polynomial;
pub use quadratic::Quadratic;

use super::Oracle;
use crate::Result;

/// An objective that can be evaluated anywhere.
pub trait Objective: Send {
    /// How many numbers a point has.
    fn dim(&self) -> usize;
    /// f(point).
    fn value(&self, point: &[f64]) -> f64;
    /// The gradient of f at `point`.
    fn gradient(&self, point: &[f64]) -> Vec<f64>;
}

/// An objective as a node's oracle: every answer is the whole gradient.
#[derive(Debug)]
pub struct Exact<F> {
    objective: F,
    answers: u32,
}

impl<F: Objective> Exact<F> {
    /// Asked nothing yet.
    pub fn new(objective: F) -> Self {
        Self { objective, answers: 0 }
    }
}

impl<F: Objective> Oracle for Exact<F> {
    fn dim(&self) -> usize {
        self.objective.dim()
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        self.answers += 1;
        Ok(self.objective.gradient(point))
    }

    fn loss(&mut self, point: &[f64]) -> Result<f64> {
        Ok(self.objective.value(point))
    }

    fn answers(&self) -> u32 {
        self.answers
    }

    fn resume(&mut self, answers: u32) {
        self.answers = answers;
    }
}
