//! How a convolution moves over its input.

/// Zeros around the input of a convolution over `D` axes. `2.into()` is two on every side, as candle-nn's `padding: 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding<const D: usize> {
    /// As many on every side.
    Each(usize),
    /// As many (before, after) along every axis: `[(left, right)]` of a sequence, `[(top, bottom), (left, right)]` of an image.
    Sides([(usize, usize); D]),
    /// As many as keep the size of the input: `padding='same'` of PyTorch. Along an axis they are `dilation * (kernel - 1)`,
    /// half of them before and half after; the odd one comes after. The stride must be 1.
    Same,
}

impl<const D: usize> Default for Padding<D> {
    fn default() -> Self {
        Self::Each(0)
    }
}

impl<const D: usize> From<usize> for Padding<D> {
    fn from(each: usize) -> Self {
        Self::Each(each)
    }
}

/// How a convolution moves over the `D` axes of its input; the fields are candle-nn's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvConfig<const D: usize> {
    /// Zeros around the input.
    pub padding: Padding<D>,
    /// Elements from one patch to the next, along every axis.
    pub stride: usize,
    /// Elements from one kernel element to the next, along every axis.
    pub dilation: usize,
    /// Parts into which input and output channels are cut; they do not mix.
    pub groups: usize,
}

/// How a convolution moves over sequences.
pub type Conv1dConfig = ConvConfig<1>;

/// How a convolution moves over images.
pub type Conv2dConfig = ConvConfig<2>;

impl<const D: usize> Default for ConvConfig<D> {
    fn default() -> Self {
        Self { padding: Padding::default(), stride: 1, dilation: 1, groups: 1 }
    }
}
