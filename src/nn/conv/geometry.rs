//! The sizes of a convolution, checked: whatever the number of axes, it is one over images.

use super::config::{ConvConfig, Padding};
use crate::kernel::patches::Patches;
use candle_core::{Result, Shape, Tensor, bail};

/// The largest kernel, padding, stride and dilation: far beyond any image, and their products are ordinary numbers.
const MOST_PIXELS: usize = 1 << 16;

/// Sizes that fit together. A sequence is an image of height 1, under a kernel of height 1 and without zeros above and below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// 1 for sequences, 2 for images.
    axes: usize,
    pub(super) out: usize,
    /// Input channels of one group.
    pub(super) channels: usize,
    kernel: [usize; 2],
    padding: [(usize, usize); 2],
    stride: usize,
    dilation: usize,
    pub(super) groups: usize,
}

impl Geometry {
    /// Of a weight of this shape: `(out, in / groups, kernel..)`.
    pub(super) fn new<const D: usize>(weight: &[usize], config: &ConvConfig<D>) -> Result<Self> {
        const { assert!(D == 1 || D == 2, "a convolution goes over 1 or 2 axes") };
        let &ConvConfig { padding, stride, dilation, groups } = config;
        let (out, channels, kernel) = match *weight {
            [out, channels, ref kernel @ ..] if kernel.len() == D => (out, channels, kernel),
            _ => {
                bail!("conv{D}d: a weight of shape {weight:?}, and it has {} axes: (out, in / groups, kernel..)", D + 2)
            }
        };
        if groups == 0 || !out.is_multiple_of(groups) {
            bail!("conv{D}d: {out} output channels cannot be cut into {groups} groups");
        }
        if stride == 0 || dilation == 0 || kernel.contains(&0) {
            bail!(
                "conv{D}d: kernel, stride and dilation are at least 1, not {}, {stride} and {dilation}",
                by_axis(kernel)
            );
        }
        let kernel = plane(kernel, 1);
        let padding = match padding {
            Padding::Each(zeros) => plane(&[(zeros, zeros); D], (0, 0)),
            Padding::Sides(sides) => plane(&sides, (0, 0)),
            Padding::Same if stride > 1 => bail!(
                "conv{D}d: padding Same keeps the size of the input, which a stride of {stride} does not; take a stride of 1, or give the zeros of each side"
            ),
            Padding::Same => kernel.map(|kernel| {
                let zeros = dilation.saturating_mul(kernel - 1);
                (zeros / 2, zeros.div_ceil(2))
            }),
        };
        let zeros = padding.into_iter().flat_map(|(before, after)| [before, after]);
        let largest = kernel.into_iter().chain(zeros).chain([stride, dilation]).max().unwrap_or(0);
        if out == 0 || channels == 0 || largest > MOST_PIXELS {
            bail!(
                "conv{D}d: {channels} input and {out} output channels, and sizes up to {largest}; at least 1 channel of each and sizes up to {MOST_PIXELS}"
            );
        }
        Ok(Self { axes: D, out, channels, kernel, padding, stride, dilation, groups })
    }

    /// What errors call the layer.
    pub(super) fn name(&self) -> &'static str {
        if self.axes == 1 { "conv1d" } else { "conv2d" }
    }

    /// Patch elements of one group.
    pub(super) fn d(&self) -> usize {
        self.channels * self.kernel.iter().product::<usize>()
    }

    /// Where the patches lie in inputs of the shape of `xs`, and the shape of the output.
    pub(super) fn over(&self, xs: &Tensor) -> Result<(Patches, Shape)> {
        let (name, axes) = (self.name(), 2 - self.axes);
        let (batch, ins, size) = match *xs.dims() {
            [batch, ins, ref size @ ..] if size.len() == self.axes => (batch, ins, size),
            _ => {
                let sizes = if self.axes == 1 { "length" } else { "height, width" };
                bail!("{name}: inputs of shape {:?}, and the layer takes (batch, channels, {sizes})", xs.dims())
            }
        };
        if ins != self.channels * self.groups {
            bail!("{name}: {ins} input channels, and the layer takes {}", self.channels * self.groups);
        }
        let ([height, width], [kh, kw]) = (plane(size, 1), self.kernel);
        let &Self { padding, stride, dilation, .. } = self;
        let patches = Patches { height, width, kernel: (kh, kw), stride, padding, dilation };
        match patches.output() {
            Some((rows, cols)) if height * width > 0 => {
                let dims: Vec<usize> = [batch, self.out].iter().chain(&[rows, cols][axes..]).copied().collect();
                Ok((patches, Shape::from(dims)))
            }
            Some(_) => bail!(
                "{name}: an input of {} has no element, and zeros around it are nothing to learn from",
                by_axis(size)
            ),
            None => bail!(
                "{name}: a kernel of {} with dilation {dilation} does not fit into an input of {} with padding {:?}",
                by_axis(&self.kernel[axes..]),
                by_axis(size),
                &padding[axes..]
            ),
        }
    }
}

/// What there is along the two axes of an image, where a sequence has only the last.
fn plane<T: Copy>(axes: &[T], missing: T) -> [T; 2] {
    match *axes {
        [.., rows, cols] => [rows, cols],
        [cols] => [missing, cols],
        [] => [missing; 2],
    }
}

/// `3x4`, or `3` along one axis.
fn by_axis(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
