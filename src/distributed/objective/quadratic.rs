//! Quadratics.

use super::Objective;
use crate::distributed::vector::dot;
use crate::{Error, Result};

/// `f(x) = <x, A x> / 2 - <b, x> + c`, A symmetric.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadratic {
    /// A, row by row.
    matrix: Vec<f64>,
    linear: Vec<f64>,
    constant: f64,
}

impl Quadratic {
    /// With `matrix` `(d, d)` row by row, `linear` `(d)` and the constant.
    ///
    /// # Errors
    /// When the matrix is not d times d, or not symmetric.
    pub fn new(matrix: Vec<f64>, linear: Vec<f64>, constant: f64) -> Result<Self> {
        let d = linear.len();
        if matrix.len() != d * d {
            return Err(Error::value("elements of the matrix", matrix.len(), format!("{d} times {d}")));
        }
        match (0..d * d).find(|i| matrix[*i] != matrix[i % d * d + i / d]) {
            Some(i) => Err(Error::value(
                "matrix",
                format!("{} at row {}, column {}", matrix[i], i / d, i % d),
                "a symmetric one",
            )),
            None => Ok(Self { matrix, linear, constant }),
        }
    }

    /// `curvature |x - centre|^2 / 2`.
    pub fn around(centre: &[f64], curvature: f64) -> Self {
        let d = centre.len();
        let matrix = (0..d * d).map(|i| if i / d == i % d { curvature } else { 0.0 }).collect();
        let linear = centre.iter().map(|c| curvature * c).collect();
        Self { matrix, linear, constant: curvature / 2.0 * dot(centre, centre) }
    }

    fn product(&self, point: &[f64]) -> Vec<f64> {
        self.matrix.chunks_exact(point.len().max(1)).map(|row| dot(row, point)).collect()
    }
}

impl Objective for Quadratic {
    fn dim(&self) -> usize {
        self.linear.len()
    }

    fn value(&self, point: &[f64]) -> f64 {
        dot(point, &self.product(point)) / 2.0 - dot(&self.linear, point) + self.constant
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let mut gradient = self.product(point);
        gradient.iter_mut().zip(&self.linear).for_each(|(g, b)| *g -= b);
        gradient
    }
}
