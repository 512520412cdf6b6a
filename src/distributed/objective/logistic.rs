//! Logistic regression with the nonconvex regulariser.

use super::Objective;
use crate::distributed::vector::{add, dot};
use crate::{Error, Result};

/// `f(w) = mean over j of ln(1 + exp(-y_j <x_j, w>)) + lambda sum over t of w_t^2 / (1 + w_t^2)`, labels y_j = 1 or -1.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// y_j x_j, row by row.
    rows: Vec<f64>,
    dim: usize,
    regularisation: f64,
}

impl Logistic {
    /// Of `features` `(records, dim)`, row by row, and a label 1 or -1 for each.
    ///
    /// # Errors
    /// When there are no records, or features and labels do not belong together.
    pub fn new(features: &[f64], labels: &[f64], regularisation: f64) -> Result<Self> {
        let dim = features.len().checked_div(labels.len()).unwrap_or(0);
        if dim == 0 || features.len() != dim * labels.len() {
            let allowed = format!("the same number for each of the {} labels", labels.len());
            return Err(Error::value("features", features.len(), allowed));
        }
        if let Some(label) = labels.iter().find(|label| label.abs() != 1.0) {
            return Err(Error::value("label", label, "1 or -1"));
        }
        let rows = features.chunks_exact(dim).zip(labels).flat_map(|(row, y)| row.iter().map(move |x| y * x)).collect();
        Ok(Self { rows, dim, regularisation })
    }
}

impl Objective for Logistic {
    fn dim(&self) -> usize {
        self.dim
    }

    fn value(&self, point: &[f64]) -> f64 {
        // ln(1 + exp(-m)) without overflow.
        let loss = |margin: f64| (-margin.abs()).exp().ln_1p() + (-margin).max(0.0);
        let rows = self.rows.chunks_exact(self.dim);
        let (records, losses) = (rows.len() as f64, rows.map(|row| loss(dot(row, point))).sum::<f64>());
        losses / records + self.regularisation * point.iter().map(|w| w * w / (1.0 + w * w)).sum::<f64>()
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let slope = |w: &f64| self.regularisation * 2.0 * w / (1.0 + w * w).powi(2);
        let rows = self.rows.chunks_exact(self.dim);
        let share = 1.0 / rows.len() as f64;
        let mut gradient = vec![0.0; self.dim];
        for row in rows {
            add(&mut gradient, -share / (1.0 + dot(row, point).exp()), row);
        }
        gradient.iter_mut().zip(point).for_each(|(g, w)| *g += slope(w));
        gradient
    }
}
