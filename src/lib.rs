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
//! | [`clip`] | the one door into a sum |
//! | [`noise`] | the one door out of it |
//! | [`optim`] | optimisers, which see releases only |
//! | [`plan`], [`run`] | what the guarantee depends on, and what it does not |
//! | [`train`] | the loop |
//! | [`checkpoint`], [`report`] | what a run leaves behind |
//! | [`seed`] | one key, and a stream for every role and step |
//!
//! The accountant is a crate of its own, [`dp_accountant`].

pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clip;
pub mod data;
mod error;
pub mod evaluate;
pub mod grad;
mod kernel;
pub mod model;
pub mod nn;
pub mod noise;
pub mod optim;
pub mod plan;
pub mod recipe;
pub mod report;
pub mod run;
pub mod sample;
pub mod seed;
pub mod train;
mod whole_file;

pub use error::{Error, Place, Result};
