//! CPU kernels: matrix products, patches of images, pooling.
//!
//! Everything here works on slices and is deterministic whatever the number of threads: work is cut into pieces whose
//! size depends on the shapes alone, and each piece is computed by one thread in one order.

pub(crate) mod matmul;
pub(crate) mod outer;
pub(crate) mod patches;
pub(crate) mod pool;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};

/// The element types the kernels are written for.
pub(crate) trait Real: WithDType + num_traits::Float + std::iter::Sum + Default {
    /// Half the distance from one to the next number: the relative error of one rounding.
    const UNIT_ROUNDOFF: f64;
}

impl Real for f32 {
    const UNIT_ROUNDOFF: f64 = 5.960_464_477_539_063e-8;
}

impl Real for f64 {
    const UNIT_ROUNDOFF: f64 = 1.110_223_024_625_156_5e-16;
}

/// Half the distance from one to the next number of `dtype`.
pub(crate) fn unit_roundoff(dtype: DType) -> Result<f64> {
    match dtype {
        DType::F32 => Ok(f32::UNIT_ROUNDOFF),
        DType::F64 => Ok(f64::UNIT_ROUNDOFF),
        other => bail!("per-example gradients are kept in f32 or f64, not {other:?}"),
    }
}

/// Calls a generic kernel with the element type of a tensor.
macro_rules! dispatch {
    ($dtype:expr, $kernel:ident ( $($argument:expr),* $(,)? )) => {
        match $dtype {
            candle_core::DType::F32 => $kernel::<f32>($($argument),*),
            candle_core::DType::F64 => $kernel::<f64>($($argument),*),
            other => candle_core::bail!("the CPU kernels work on f32 and f64, not {other:?}"),
        }
    };
}
pub(crate) use dispatch;

/// The elements of a contiguous piece of storage.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a CPU kernel was given a tensor that is not contiguous"),
    }
}

/// Reads the elements of a contiguous tensor on the CPU.
pub(crate) fn read<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("a CPU kernel was given a tensor on another device"),
    }
}

/// The element as f64: exact for both element types.
pub(crate) fn to_f64<T: Real>(x: T) -> f64 {
    num_traits::ToPrimitive::to_f64(&x).unwrap_or(f64::NAN)
}
