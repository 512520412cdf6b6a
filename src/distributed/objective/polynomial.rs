//! Polynomials in one variable.

use super::Objective;

/// `f(x) = sum over k of c_k x^k`, for one number x.
#[derive(Debug, Clone, PartialEq)]
pub struct Polynomial {
    coefficients: Vec<f64>,
}

impl Polynomial {
    /// From c_0, c_1, c_2, ...
    pub fn new(coefficients: Vec<f64>) -> Self {
        Self { coefficients }
    }
}

impl Objective for Polynomial {
    fn dim(&self) -> usize {
        1
    }

    fn value(&self, point: &[f64]) -> f64 {
        self.coefficients.iter().rev().fold(0.0, |value, c| value * point[0] + c)
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let terms = self.coefficients.iter().enumerate().skip(1).rev();
        vec![terms.fold(0.0, |value, (k, c)| value * point[0] + k as f64 * c)]
    }
}
