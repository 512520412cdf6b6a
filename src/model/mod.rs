//! Models: what a trainer needs to know of one, and the architectures the command line knows by name.

mod cnn;
mod logistic;
mod mlp;
mod text;

use crate::data::{Domain, Form, Target};
use crate::grad::Tape;
use crate::nn::{Activation, Layer, Sequential, cross_entropy};
use crate::{Error, Result};
use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Anything with a loss for each example.
pub trait Model: Send + Sync {
    /// The losses `(batch)` of `xs` `(batch, ..record shape)` with targets `ys` `(batch)`, u32 for classes. Tokens are u32, and
    /// where each of them is to be foretold, `xs` has the tokens before those in `ys` `(batch, length)`.
    ///
    /// The loss of an example may depend on that example and the parameters, and on nothing else.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn losses(&self, xs: &Tensor, ys: &Tensor, tape: &Tape) -> candle_core::Result<Tensor>;
}

/// A network whose outputs are logits, with softmax cross-entropy as loss; where an example has several targets, its tokens say,
/// the loss of the example is their mean.
pub struct Classifier<L> {
    network: L,
}

impl<L: Layer> Classifier<L> {
    /// From a network that maps `(batch, ..record shape)` to logits `(batch, classes)`, or `(batch, .., classes)` with a target
    /// for each row of them.
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
        mean_losses(&self.network.forward(xs, tape)?, ys, tape)
    }
}

/// The softmax cross-entropy of each example `(batch)`, the mean over its targets where it has several.
pub(crate) fn mean_losses(logits: &Tensor, ys: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
    let losses = cross_entropy(logits, ys, tape)?;
    if losses.rank() > 1 { losses.flatten_from(1)?.mean(1) } else { Ok(losses) }
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
    /// Texts: the mean of 64 numbers for each token, and a linear layer.
    Bag,
    /// Texts: 64 numbers for each token, an LSTM of 128 units.
    Lstm,
    /// Texts: 64 numbers for each token, two blocks of attention with 4 heads.
    Transformer,
}

impl Architecture {
    /// All architectures and their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("logistic", Self::Logistic),
        ("mlp", Self::Mlp),
        ("cnn", Self::Cnn),
        ("bag", Self::Bag),
        ("lstm", Self::Lstm),
        ("transformer", Self::Transformer),
    ];

    /// The architecture for who chose none: `logistic`, for texts `bag`, for language models `lstm`.
    pub fn usual(form: &Form) -> Self {
        match (form.domain, form.target) {
            (Domain::Numbers, _) => Self::Logistic,
            (Domain::Tokens { .. }, Target::Class(_)) => Self::Bag,
            (Domain::Tokens { .. }, Target::NextToken) => Self::Lstm,
        }
    }

    /// Whether it takes tokens, and otherwise numbers.
    pub fn takes_tokens(self) -> bool {
        matches!(self, Self::Bag | Self::Lstm | Self::Transformer)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, architecture)| *architecture == self).map_or("", |(name, _)| name)
    }

    /// The network for records of numbers of a `shape` and `classes` classes, with its parameters under `vb`.
    ///
    /// # Errors
    /// When the architecture does not fit the shape, or takes tokens.
    pub fn build(self, shape: &[usize], classes: usize, vb: VarBuilder<'_>) -> Result<Classifier<Sequential>> {
        self.build_for(&Form::numbers(shape, classes), vb)
    }

    /// The network for records of this form, with its parameters under `vb`.
    ///
    /// # Errors
    /// When the architecture does not fit the records.
    pub fn build_for(self, form: &Form, vb: VarBuilder<'_>) -> Result<Classifier<Sequential>> {
        let shape = form.shape.as_slice();
        let width = shape.iter().product();
        let network = match (form.domain, form.target) {
            (Domain::Numbers, Target::Class(classes)) => match self {
                Self::Logistic => logistic::network(width, classes, vb)?,
                Self::Mlp => mlp::network(width, 128, classes, Activation::Tanh, vb)?,
                Self::Cnn => cnn::network(shape, classes, Activation::Tanh, vb)?,
                Self::Bag | Self::Lstm | Self::Transformer => return Err(self.does_not_take("numbers")),
            },
            (Domain::Numbers, Target::NextToken) => {
                return Err(Error::Model { reason: "a next token is asked of records that are numbers".into() });
            }
            (Domain::Tokens { vocabulary }, target) => {
                let tokens = text::Tokens::new(width, vocabulary, target)?;
                match self {
                    Self::Bag => text::bag(tokens, vb)?,
                    Self::Lstm => text::recurrent(tokens, vb)?,
                    Self::Transformer => text::transformer(tokens, vb)?,
                    Self::Logistic | Self::Mlp | Self::Cnn => return Err(self.does_not_take("texts")),
                }
            }
        };
        Ok(Classifier::new(network))
    }

    fn does_not_take(self, what: &str) -> Error {
        let others = |tokens: bool| {
            let fits = Self::ALL.iter().filter(|(_, architecture)| architecture.takes_tokens() == tokens);
            fits.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        };
        let (mine, theirs) = if self.takes_tokens() { ("texts", others(false)) } else { ("numbers", others(true)) };
        let reason = format!("{} takes {mine}, and the records are {what}; choose --model {theirs}", self.name());
        Error::Model { reason }
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
