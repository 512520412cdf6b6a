//! Patches of images: the matrix that turns a convolution into a product, and its transpose.

use super::Real;

/// Where the patches of a convolution or pooling lie in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patches {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: (usize, usize),
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
}

impl Patches {
    /// How many patches fit along an axis of `size` pixels under a kernel of `kernel` pixels; `None` if not one does.
    fn count(&self, size: usize, kernel: usize) -> Option<usize> {
        let span = self.dilation * (kernel.checked_sub(1)?) + 1;
        Some((size + 2 * self.padding).checked_sub(span)? / self.stride + 1)
    }

    /// Rows and columns of the output; `None` if the kernel does not fit into the padded image once.
    pub(crate) fn output(&self) -> Option<(usize, usize)> {
        Some((self.count(self.height, self.kernel.0)?, self.count(self.width, self.kernel.1)?))
    }

    /// Pixels of one patch in one channel.
    pub(crate) fn area(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Calls `f(patch element, output row, first output column, pixels, first pixel)` for every run of one kernel
    /// offset that lies inside the image, in a fixed order. `runs` of pixels advance by the stride.
    fn runs(&self, (rows, cols): (usize, usize), mut f: impl FnMut(usize, usize, usize, usize, usize)) {
        for ky in 0..self.kernel.0 {
            for kx in 0..self.kernel.1 {
                let offset = kx * self.dilation;
                // Output columns x with 0 <= x stride + offset - padding < width.
                let first = self.padding.saturating_sub(offset).div_ceil(self.stride);
                let end = (self.width + self.padding).saturating_sub(offset).div_ceil(self.stride).min(cols);
                for y in 0..rows {
                    let Some(iy) = (y * self.stride + ky * self.dilation).checked_sub(self.padding) else { continue };
                    if iy < self.height && first < end {
                        let start = iy * self.width + first * self.stride + offset - self.padding;
                        f(ky * self.kernel.1 + kx, y, first, end - first, start);
                    }
                }
            }
        }
    }

    /// Writes the patches of `image` `(channels, height, width)` into `out` `(channels * area, rows * cols)`.
    pub(crate) fn gather<T: Real>(&self, image: &[T], out: &mut [T]) {
        let Some((rows, cols)) = self.output() else { return };
        let (pixels, positions) = (self.height * self.width, rows * cols);
        out.fill(T::default());
        for (image, out) in image.chunks_exact(pixels).zip(out.chunks_exact_mut(self.area() * positions)) {
            self.runs((rows, cols), |element, y, x, count, start| {
                let out = &mut out[element * positions + y * cols + x..][..count];
                if self.stride == 1 {
                    out.copy_from_slice(&image[start..start + count]);
                } else {
                    for (out, value) in out.iter_mut().zip(image[start..].iter().step_by(self.stride)) {
                        *out = *value;
                    }
                }
            });
        }
    }

    /// The transpose of [`Self::gather`]: adds every patch element onto the pixel it came from.
    pub(crate) fn scatter<T: Real>(&self, patches: &[T], image: &mut [T]) {
        let Some((rows, cols)) = self.output() else { return };
        let (pixels, positions) = (self.height * self.width, rows * cols);
        for (image, patches) in image.chunks_exact_mut(pixels).zip(patches.chunks_exact(self.area() * positions)) {
            self.runs((rows, cols), |element, y, x, count, start| {
                let patches = &patches[element * positions + y * cols + x..][..count];
                for (value, pixel) in patches.iter().zip(image[start..].iter_mut().step_by(self.stride)) {
                    *pixel += *value;
                }
            });
        }
    }

    /// For every (output position, patch element): the pixel it reads in an image padded on all sides, row after row.
    pub(crate) fn padded_pixels(&self) -> Vec<u32> {
        let Some((rows, cols)) = self.output() else { return Vec::new() };
        let width = self.width + 2 * self.padding;
        let mut pixels = Vec::with_capacity(rows * cols * self.area());
        for y in 0..rows {
            for x in 0..cols {
                for ky in 0..self.kernel.0 {
                    for kx in 0..self.kernel.1 {
                        let (iy, ix) = (y * self.stride + ky * self.dilation, x * self.stride + kx * self.dilation);
                        pixels.push((iy * width + ix) as u32);
                    }
                }
            }
        }
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Patches> {
        let mut shapes = Vec::new();
        for (height, width) in [(1, 1), (5, 7), (6, 4)] {
            for kernel in [(1, 1), (2, 3), (3, 3), (4, 4)] {
                for stride in [1, 2, 3] {
                    for padding in [0, 1, 2] {
                        for dilation in [1, 2] {
                            shapes.push(Patches { height, width, kernel, stride, padding, dilation });
                        }
                    }
                }
            }
        }
        shapes.retain(|p| p.output().is_some());
        assert!(shapes.len() > 60);
        shapes
    }

    #[test]
    fn gathered_patches_are_the_pixels_of_the_padded_image() {
        for p in shapes() {
            let (rows, cols) = p.output().unwrap();
            let image: Vec<f64> = (0..2 * p.height * p.width).map(|i| (i + 1) as f64).collect();
            let mut got = vec![-1.0; 2 * p.area() * rows * cols];
            p.gather(&image, &mut got);
            for (i, value) in got.iter().enumerate() {
                let (channel, rest) = (i / (p.area() * rows * cols), i % (p.area() * rows * cols));
                let (element, position) = (rest / (rows * cols), rest % (rows * cols));
                let padded = p.padded_pixels()[position * p.area() + element] as usize;
                let width = p.width + 2 * p.padding;
                let (y, x) = (padded / width, padded % width);
                let inside =
                    (p.padding..p.padding + p.height).contains(&y) && (p.padding..p.padding + p.width).contains(&x);
                let expected = if inside {
                    image[channel * p.height * p.width + (y - p.padding) * p.width + x - p.padding]
                } else {
                    0.0
                };
                assert_eq!(*value, expected, "{p:?}");
            }
        }
    }

    #[test]
    fn scatter_is_the_transpose_of_gather() {
        for p in shapes() {
            let (rows, cols) = p.output().unwrap();
            let image: Vec<f64> = (0..p.height * p.width).map(|i| ((i * 7) % 5) as f64 - 2.0).collect();
            let patches: Vec<f64> = (0..p.area() * rows * cols).map(|i| ((i * 3) % 11) as f64 - 5.0).collect();
            let mut gathered = vec![0.0; patches.len()];
            p.gather(&image, &mut gathered);
            let mut scattered = vec![0.0; image.len()];
            p.scatter(&patches, &mut scattered);
            let left: f64 = gathered.iter().zip(&patches).map(|(a, b)| a * b).sum();
            let right: f64 = scattered.iter().zip(&image).map(|(a, b)| a * b).sum();
            assert_eq!(left, right, "{p:?}");
        }
    }
}
