//! Train machine-learning models under differential privacy, and state exactly what privacy they have.
//!
//! Nouns move one way, and each is moved, never copied back:
//!
//! ```text
//! Dataset -> Batch -> PerExample -> ClippedSum -> Release -> parameters
//!              |                        |            |
//!           Sampling                  Clip       Mechanism          Event -> Ledger -> Bound -> Report
//!              '------------ amplify ------------------'-------------^
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`data`] | data sets and the formats they are read from |
//! | [`sample`] | which records take part in a step |
//! | [`nn`], [`model`] | layers with per-example gradients, and networks of them |
//! | [`grad`] | the per-example engine: tape, rules, isolation probe, naive oracle |
//! | [`clip`] | the one door into a sum, and the clipping rules |
//! | [`augment`] | random copies of examples, averaged before the clip |
//! | [`noise`] | the one door out of it |
//! | [`optim`] | optimisers, which see releases only |
//! | [`plan`], [`run`], [`recipe`] | what the guarantee depends on, what it does not, what is learnt |
//! | [`train`], [`evaluate`] | the loop, and what the model is good for |
//! | [`checkpoint`], [`journal`], [`report`] | what a run leaves behind |
//! | [`distributed`] | many nodes: transports, compressors, algorithms |
//! | [`ledger_file`] | what several runs on the same data have spent together |
//! | [`seed`] | one key, and a stream for every role and step |
//!
//! The accountant is a crate of its own, [`dp_accountant`].
//!
//! # Example
//!
//! A network of one's own, trained to epsilon 2 on the embedded digits:
//!
//! ```
//! use candle_core::{DType, Device};
//! use dpsgd::clip::ClipNorm;
//! use dpsgd::dp_accountant::{Delta, Epsilon};
//! use dpsgd::model::Classifier;
//! use dpsgd::nn::{Activation, Flatten, Parameters, Sequential, linear};
//! use dpsgd::optim::{Sgd, SgdConfig};
//! use dpsgd::plan::Draft;
//! use dpsgd::train::{Trainer, Wish};
//! use dpsgd::{data::embedded::optdigits, evaluate::accuracy, run::Run, seed::Key};
//!
//! # fn main() -> dpsgd::Result<()> {
//! let (train, test) = optdigits()?;
//! let key = Key::from_os()?;
//! let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
//! let vb = parameters.var_builder();
//! let network = Sequential::new()
//!     .add(Flatten)
//!     .add(linear(64, 32, vb.pp("hidden"))?)
//!     .add(Activation::Tanh)
//!     .add(linear(32, 10, vb.pp("output"))?);
//! let model = Classifier::new(network);
//!
//! let draft = Draft::new(train.len(), 512, 60, ClipNorm::new(1.0)?, Delta::new(1e-5)?);
//! let plan = draft.calibrated(Epsilon::new(2.0)?)?;
//!
//! let sgd = Sgd::new(SgdConfig { learning_rate: 0.5, momentum: 0.9, ..SgdConfig::default() })?;
//! let run = Run::default();
//! let mut trainer = Trainer::new(&plan, &run, &key, &train, &model, &parameters, Box::new(sgd))?;
//! trainer.train(|_| Ok(Wish::Continue))?;
//!
//! let spent = plan.epsilon(&trainer.ledger().event())?;
//! assert!(spent.upper() <= 2.0);
//! assert!(accuracy(&model, &test, &parameters, run.physical_batch)? > 0.8);
//! # Ok(()) }
//! ```

pub mod augment;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clip;
pub mod data;
pub mod distributed;
mod error;
pub mod evaluate;
pub mod grad;
pub mod journal;
mod kernel;
pub mod ledger_file;
pub mod model;
pub mod nn;
pub mod noise;
pub mod optim;
pub mod plan;
pub mod profile;
pub mod recipe;
pub mod report;
pub mod run;
pub mod sample;
pub mod seed;
pub mod train;
mod whole_file;

pub use dp_accountant;
pub use error::{Error, Place, Result};
pub use kernel::memory::keep_freed_memory;
pub use kernel::team::awake;
