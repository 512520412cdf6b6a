//! Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019).

use super::super::Layer;
use super::super::pull::Pull;
use super::layer::{LayerNorm, LayerNormConfig, layer_norm};
use crate::grad::Tape;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Root-mean-square normalisation with weight `(size)`: a [`LayerNorm`] that keeps the mean and has no bias.
#[derive(Debug, Clone)]
pub struct RmsNorm(LayerNorm);

/// A root-mean-square normalisation with the parameter `weight` under `vb`, which starts as ones.
///
/// # Errors
/// When `eps` is not positive, or `vb` has the name in another shape.
pub fn rms_norm(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<RmsNorm> {
    Ok(RmsNorm(layer_norm(size, LayerNormConfig { eps, remove_mean: false, affine: false }, vb)?))
}

impl RmsNorm {
    /// From a weight `(size)`.
    ///
    /// # Errors
    /// When the weight is not of rank 1 or is computed from others, or `eps` is not positive.
    pub fn new(weight: Tensor, eps: f64) -> Result<Self> {
        Ok(Self(LayerNorm::rms_norm(weight, eps)?))
    }

    /// The layer normalisation it is.
    pub fn into_inner(self) -> LayerNorm {
        self.0
    }

    /// The weight `(size)`.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// What is added to the mean square.
    pub fn eps(&self) -> f64 {
        self.0.eps()
    }
}

impl Layer for RmsNorm {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.0.forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        self.0.as_pull()
    }
}
