//! Max- and average-pooling with any kernel and stride.

use super::Layer;
use crate::grad::Tape;
use crate::kernel::patches::Patches;
use crate::kernel::pool::{Pooling, backward, forward};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};

/// Takes the largest value of every window; of equal ones, the first gets the cotangent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Height and width of a window.
    pub kernel: (usize, usize),
    /// Pixels from one window to the next; windows may overlap.
    pub stride: usize,
}

/// Takes the mean of every window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Height and width of a window.
    pub kernel: (usize, usize),
    /// Pixels from one window to the next; windows may overlap.
    pub stride: usize,
}

impl Layer for MaxPool2d {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        pool(xs, tape, Pooling::Max, self.kernel, self.stride)
    }
}

impl Layer for AvgPool2d {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        pool(xs, tape, Pooling::Average, self.kernel, self.stride)
    }
}

fn pool(xs: &Tensor, tape: &Tape, pooling: Pooling, kernel: (usize, usize), stride: usize) -> Result<Tensor> {
    let [batch, channels, height, width] = *xs.dims() else {
        bail!("pooling: inputs of shape {:?}, and the layer takes (batch, channels, height, width)", xs.dims())
    };
    if stride == 0 || kernel.0 == 0 || kernel.1 == 0 {
        bail!("pooling: kernel and stride are at least 1, not {}x{} and {stride}", kernel.0, kernel.1);
    }
    let patches = Patches { height, width, kernel, stride, padding: [(0, 0); 2], dilation: 1 };
    let Some((rows, cols)) = patches.output() else {
        bail!("pooling: a window of {}x{} does not fit into {height}x{width} pixels", kernel.0, kernel.1)
    };
    let xs = xs.contiguous()?;
    if tape.uses_kernels(xs.device()) {
        let op = PoolOp { pooling, patches, shape: Shape::from((batch, channels, rows, cols)) };
        return if tape.is_recording() { xs.apply_op1(op) } else { xs.apply_op1_no_bwd(&op) };
    }
    let pixels = patches.padded_pixels();
    let count = pixels.len();
    let windows = xs.flatten_from(2)?.index_select(&Tensor::from_vec(pixels, count, xs.device())?, 2)?;
    let windows = windows.reshape((batch, channels, rows * cols, patches.area()))?;
    let pooled = match pooling {
        Pooling::Max => windows.gather(&windows.detach().argmax_keepdim(D::Minus1)?, D::Minus1)?,
        Pooling::Average => windows.mean_keepdim(D::Minus1)?,
    };
    pooled.reshape((batch, channels, rows, cols))
}

struct PoolOp {
    pooling: Pooling,
    patches: Patches,
    shape: Shape,
}

impl CustomOp1 for PoolOp {
    fn name(&self) -> &'static str {
        "dpsgd-pool2d"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<T: Real>(op: &PoolOp, xs: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
            Ok(T::to_cpu_storage_owned(forward::<T>(slice(xs, layout)?, &op.patches, op.pooling)))
        }
        Ok((dispatch!(xs.dtype(), run(self, xs, layout))?, self.shape.clone()))
    }

    fn bwd(&self, xs: &Tensor, ys: &Tensor, cotangent: &Tensor) -> Result<Option<Tensor>> {
        fn run<T: Real>(op: &PoolOp, xs: &Tensor, ys: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
            let cotangent = cotangent.contiguous()?;
            let images = read(xs, |xs: &[T]| {
                read(ys, |ys| read(&cotangent, |g| Ok(backward(xs, ys, g, &op.patches, op.pooling))))
            })?;
            Tensor::from_vec(images, xs.shape(), xs.device())
        }
        if !xs.track_op() {
            return Ok(None);
        }
        Ok(Some(dispatch!(xs.dtype(), run(self, xs, ys, cotangent))?))
    }
}
