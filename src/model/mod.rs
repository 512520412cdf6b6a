//! Models: what a trainer needs to know of one, and the architectures the command line knows by name.

mod cnn;
mod logistic;
mod mlp;

use crate::grad::Tape;
use crate::nn::{Activation, Layer, Sequential, cross_entropy};
use crate::{Error, Result};
use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Anything with a loss for each example.
pub trait Model: Send + Sync {
    /// The losses `(batch)` of `xs` `(batch, ..record shape)` with targets `ys` `(batch)`, u32 for classes.
    ///
    /// The loss of an example may depend on that example and the parameters, and on nothing else.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn losses(&self, xs: &Tensor, ys: &Tensor, tape: &Tape) -> candle_core::Result<Tensor>;
}

/// A network whose outputs are logits, with softmax cross-entropy as loss.
pub struct Classifier<L> {
    network: L,
}

impl<L: Layer> Classifier<L> {
    /// From a network that maps `(batch, ..record shape)` to logits `(batch, classes)`.
    pub fn new(network: L) -> Self {
        Self { network }
    }

    /// The logits `(batch, classes)` of `xs` `(batch, ..record shape)`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn logits(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(self.network.forward(xs, &Tape::off())?)
    }

    /// The class of highest logit for each example, `(batch)` of u32.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn predict(&self, xs: &Tensor) -> Result<Vec<u32>> {
        Ok(self.logits(xs)?.argmax(D::Minus1)?.to_vec1()?)
    }
}

impl<L: Layer> Model for Classifier<L> {
    fn losses(&self, xs: &Tensor, ys: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        let logits = self.network.forward(xs, tape)?;
        cross_entropy(&logits, ys, tape)
    }
}

/// An architecture with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// One linear layer: multinomial logistic regression.
    Logistic,
    /// One hidden layer of 128 units.
    Mlp,
    /// Two convolutions with pooling and two linear layers.
    Cnn,
}

impl Architecture {
    /// All architectures and their names.
    pub const ALL: [(&'static str, Self); 3] = [("logistic", Self::Logistic), ("mlp", Self::Mlp), ("cnn", Self::Cnn)];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, architecture)| *architecture == self).map_or("", |(name, _)| name)
    }

    /// The network for records of `shape` and `classes` classes, with its parameters under `vb`.
    ///
    /// # Errors
    /// When the architecture does not fit the shape.
    pub fn build(self, shape: &[usize], classes: usize, vb: VarBuilder<'_>) -> Result<Classifier<Sequential>> {
        let width = shape.iter().product();
        Ok(Classifier::new(match self {
            Self::Logistic => logistic::network(width, classes, vb)?,
            Self::Mlp => mlp::network(width, 128, classes, Activation::Tanh, vb)?,
            Self::Cnn => cnn::network(shape, classes, Activation::Tanh, vb)?,
        }))
    }
}

impl std::str::FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, architecture)| *architecture).ok_or_else(|| Error::value("--model", name, names.join(", ")))
    }
}
