//! Normalisation within an example: layer, root-mean-square, group and instance normalisation.
//!
//! Batch normalisation is not here: its statistics make records influence each other, and then no bound on one record's
//! gradient bounds what the record does to the sum.

mod group;
mod instance;
mod layer;
mod operation;
mod rms;

pub use group::{GroupNorm, group_norm};
pub use instance::{InstanceNorm, InstanceNormConfig, instance_norm};
pub use layer::{LayerNorm, LayerNormConfig, layer_norm, layer_norm_no_bias};
pub use rms::{RmsNorm, rms_norm};
