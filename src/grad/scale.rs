//! The rule for scales: a parameter multiplied at every position has, per example, the sum of its factors times the
//! cotangents as gradient.
//!
//! The gradients are of the parameter's size, so they are formed and kept: the norm that is measured is that of the very
//! values that are summed.

use super::weight::{norms_of_rows, zero_unless};
use candle_core::{Result, Tensor};

/// What a scale leaves on the tape.
#[derive(Debug, Clone)]
pub(crate) enum Scale {
    /// A kernel has summed over positions already: the cotangents are the gradients `(batch, size)`.
    Summed,
    /// What the scale multiplied, in the shape of the cotangents, and the axis that runs over the scale; zero is the batch.
    Factors { factors: Tensor, axis: usize },
}

impl Scale {
    /// Upper bounds on the gradient norms, and the gradients `(batch, size)`.
    pub(crate) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Tensor>)> {
        let gradients = self.instantiate(cotangents)?;
        Ok((norms_of_rows(&gradients)?, Some(gradients)))
    }

    /// Every example's gradient, `(batch, size)`.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        let Self::Factors { factors, axis } = self else {
            return Ok(cotangents.clone());
        };
        let products = (factors * cotangents)?;
        let others: Vec<usize> = (1..products.rank()).filter(|other| other != axis).collect();
        if others.is_empty() { Ok(products) } else { products.sum(others) }
    }

    /// The record of `count` examples from the `first` on.
    pub(crate) fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        Ok(match self {
            Self::Summed => Self::Summed,
            Self::Factors { factors, axis } => Self::Factors { factors: factors.narrow(0, first, count)?, axis: *axis },
        })
    }

    /// The record with zeros in place of the examples whose `kept` is zero.
    pub(crate) fn without(&self, kept: &Tensor) -> Result<Self> {
        Ok(match self {
            Self::Summed => Self::Summed,
            Self::Factors { factors, axis } => Self::Factors { factors: zero_unless(kept, factors)?, axis: *axis },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn gradients_are_sums_over_positions_of_factor_times_cotangent() {
        let tensor = |values: &[f64]| Tensor::from_slice(values, (1, 2, 2), &Device::Cpu).unwrap();
        let (factors, cotangents) = (tensor(&[1.0, 2.0, 3.0, 4.0]), tensor(&[1.0, 10.0, 100.0, 1000.0]));
        for (axis, expected) in [(2, [301.0, 4020.0]), (1, [21.0, 4300.0])] {
            let scale = Scale::Factors { factors: factors.clone(), axis };
            let (norms, gradients) = scale.measure(&cotangents).unwrap();
            let gradients = gradients.unwrap().to_vec2::<f64>().unwrap();
            assert_eq!(gradients, [expected]);
            let norm = expected[0].hypot(expected[1]);
            assert!(norms[0] >= norm && norms[0] <= norm * (1.0 + 1e-14), "{norms:?} and not {norm}");
        }
    }

    #[test]
    fn gradients_of_a_kernel_are_taken_as_they_are() {
        let gradients = Tensor::from_slice(&[3.0f32, 4.0], (1, 2), &Device::Cpu).unwrap();
        let (norms, kept) = Scale::Summed.measure(&gradients).unwrap();
        assert!((norms[0] - 5.0).abs() < 1e-13 && norms[0] >= 5.0, "{norms:?}");
        assert_eq!(kept.unwrap().to_vec2::<f32>().unwrap(), [[3.0, 4.0]]);
    }
}
