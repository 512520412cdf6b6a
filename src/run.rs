//! The run: everything the guarantee does not depend on. Changing it changes no event.

use crate::grad::{Engine, Kernels};
use crate::{Error, Result};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Where and in what pieces the work is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How many records, or copies of them, are in memory at a time. Bounds memory; changes results by float rounding only.
    pub physical_batch: NonZeroUsize,
    /// Where tensors live.
    pub device: DeviceName,
    /// Which implementation of an operation to run.
    pub portable_kernels: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self { physical_batch: NonZeroUsize::MIN.saturating_add(255), device: DeviceName::Cpu, portable_kernels: false }
    }
}

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// The first CUDA device; needs the feature `cuda`.
    Cuda,
    /// The first Metal device; needs the feature `metal`.
    Metal,
}

impl Run {
    /// The device.
    ///
    /// # Errors
    /// When the build has no support for it, naming the feature, or the machine has none.
    pub fn device(&self) -> Result<Device> {
        let without =
            |feature: &str| Error::value("--device", feature, format!("cpu; or a build with --features {feature}"));
        match self.device {
            DeviceName::Cpu => Ok(Device::Cpu),
            DeviceName::Cuda if cfg!(feature = "cuda") => Ok(Device::new_cuda(0)?),
            DeviceName::Metal if cfg!(feature = "metal") => Ok(Device::new_metal(0)?),
            DeviceName::Cuda => Err(without("cuda")),
            DeviceName::Metal => Err(without("metal")),
        }
    }

    /// How the per-example engine does its work.
    pub fn engine(&self) -> Engine {
        let kernels = if self.portable_kernels { Kernels::Portable } else { Kernels::Auto };
        Engine { kernels, ..Engine::default() }
    }
}
