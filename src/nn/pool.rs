//! Max- and average-pooling with any kernel and stride.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::Tape;
use crate::kernel::patches::Patches;
use crate::kernel::pool::{Pooling, backward, forward};
use crate::kernel::{Real, dispatch, read};
use candle_core::{D, Result, Tensor, bail};

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

impl MaxPool2d {
    fn windows(&self) -> Windows {
        Windows { pooling: Pooling::Max, kernel: self.kernel, stride: self.stride }
    }
}

impl AvgPool2d {
    fn windows(&self) -> Windows {
        Windows { pooling: Pooling::Average, kernel: self.kernel, stride: self.stride }
    }
}

impl Layer for MaxPool2d {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.windows().forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Layer for AvgPool2d {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.windows().forward(xs, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for MaxPool2d {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.windows().pull(xs, wanted, tape)
    }
}

impl Pull for AvgPool2d {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.windows().pull(xs, wanted, tape)
    }
}

/// Either pooling.
#[derive(Debug, Clone, Copy)]
struct Windows {
    pooling: Pooling,
    kernel: (usize, usize),
    stride: usize,
}

impl Windows {
    /// Where the windows lie in `xs`, and the shape of the output.
    fn over(&self, xs: &Tensor) -> Result<(Patches, [usize; 4])> {
        let [batch, channels, height, width] = *xs.dims() else {
            bail!("pooling: inputs of shape {:?}, and the layer takes (batch, channels, height, width)", xs.dims())
        };
        let (kernel, stride) = (self.kernel, self.stride);
        if stride == 0 || kernel.0 == 0 || kernel.1 == 0 {
            bail!("pooling: kernel and stride are at least 1, not {}x{} and {stride}", kernel.0, kernel.1);
        }
        let patches = Patches { height, width, kernel, stride, padding: [(0, 0); 2], dilation: 1 };
        let Some((rows, cols)) = patches.output() else {
            bail!("pooling: a window of {}x{} does not fit into {height}x{width} pixels", kernel.0, kernel.1)
        };
        Ok((patches, [batch, channels, rows, cols]))
    }

    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(xs.device()) {
            return on_graph(self, xs, tape);
        }
        let (patches, [batch, channels, rows, cols]) = self.over(xs)?;
        let pixels = patches.padded_pixels();
        let count = pixels.len();
        let pixels = Tensor::from_vec(pixels, count, xs.device())?;
        let windows = xs.contiguous()?.flatten_from(2)?.index_select(&pixels, 2)?;
        let windows = windows.reshape((batch, channels, rows * cols, patches.area()))?;
        let pooled = match self.pooling {
            Pooling::Max => windows.gather(&windows.detach().argmax_keepdim(D::Minus1)?, D::Minus1)?,
            Pooling::Average => windows.mean_keepdim(D::Minus1)?,
        };
        pooled.reshape((batch, channels, rows, cols))
    }
}

impl Pull for Windows {
    fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
        fn pooled<T: Real>(xs: &Tensor, patches: &Patches, pooling: Pooling, shape: [usize; 4]) -> Result<Tensor> {
            let pooled = read(xs, |xs: &[T]| Ok(forward(xs, patches, pooling)))?;
            Tensor::from_vec(pooled, &shape, xs.device())
        }
        fn spread<T: Real>(xs: &Tensor, g: &Tensor, patches: &Patches, pooling: Pooling) -> Result<Tensor> {
            let images = read(xs, |xs: &[T]| read(g, |g| Ok(backward(xs, g, patches, pooling))))?;
            Tensor::from_vec(images, xs.shape(), xs.device())
        }
        let ((patches, shape), pooling) = (self.over(xs)?, self.pooling);
        let ys = dispatch!(xs.dtype(), pooled(xs, &patches, pooling, shape))?;
        let images = xs.clone();
        let back = move |g: Tensor| Ok(Some(dispatch!(images.dtype(), spread(&images, &g, &patches, pooling))?));
        Ok(Pulled::new(ys, xs, wanted, back))
    }
}
