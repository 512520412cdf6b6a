//! Patches of images: the matrix that turns a convolution into a product, and its transpose.

use super::Real;
use super::matmul::View;
use crate::profile::{self, Part};

/// Where the patches of a convolution or pooling lie in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patches {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: (usize, usize),
    pub(crate) stride: usize,
    /// Zeros (before, after) the rows and the columns of the image.
    pub(crate) padding: [(usize, usize); 2],
    pub(crate) dilation: usize,
}

impl Patches {
    /// How many patches fit along an axis of `size` pixels and `padding` under a kernel of `kernel` pixels; `None` if not one
    /// does.
    fn count(&self, size: usize, (before, after): (usize, usize), kernel: usize) -> Option<usize> {
        let span = self.dilation * (kernel.checked_sub(1)?) + 1;
        Some((before + size + after).checked_sub(span)? / self.stride + 1)
    }

    /// Rows and columns of the output; `None` if the kernel does not fit into the padded image once.
    pub(crate) fn output(&self) -> Option<(usize, usize)> {
        let [rows, cols] = self.padding;
        Some((self.count(self.height, rows, self.kernel.0)?, self.count(self.width, cols, self.kernel.1)?))
    }

    /// How many patches there are.
    pub(crate) fn positions(&self) -> usize {
        self.output().map_or(0, |(rows, cols)| rows * cols)
    }

    /// Pixels of one patch in one channel.
    pub(crate) fn area(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Calls `f(patch element, output row, first output column, pixels, first pixel)` for every run of one kernel
    /// offset that lies inside the image, in a fixed order. `runs` of pixels advance by the stride.
    fn runs(&self, (rows, cols): (usize, usize), mut f: impl FnMut(usize, usize, usize, usize, usize)) {
        let [(top, _), (left, _)] = self.padding;
        for ky in 0..self.kernel.0 {
            for kx in 0..self.kernel.1 {
                let offset = kx * self.dilation;
                // Output columns x with 0 <= x stride + offset - left < width.
                let first = left.saturating_sub(offset).div_ceil(self.stride);
                let end = (self.width + left).saturating_sub(offset).div_ceil(self.stride).min(cols);
                for y in 0..rows {
                    let Some(iy) = (y * self.stride + ky * self.dilation).checked_sub(top) else { continue };
                    if iy < self.height && first < end {
                        let start = iy * self.width + first * self.stride + offset - left;
                        f(ky * self.kernel.1 + kx, y, first, end - first, start);
                    }
                }
            }
        }
    }

    /// Whether patches are stored one after another, each as it lies in the image: cheaper where their elements lie closer
    /// together than neighbouring patches do.
    fn by_position(&self) -> bool {
        self.stride > 1 && self.dilation == 1
    }

    /// The patches of `image` `(channels, height, width)` as a matrix `(channels * area, rows * cols)`, kept in `scratch`.
    pub(crate) fn gather<'s, T: Real>(&self, image: &[T], scratch: &'s mut Vec<T>) -> View<'s, T> {
        let _time = profile::time(Part::Patches);
        let (rows, cols) = self.output().unwrap_or((0, 0));
        let (pixels, positions) = (self.height * self.width, rows * cols);
        let d = image.len() / pixels.max(1) * self.area();
        scratch.resize(d * positions, T::default());
        if self.padding != [(0, 0); 2] {
            scratch.fill(T::default());
        }
        if self.by_position() {
            let patches = (scratch.chunks_exact_mut(d.max(1)), image);
            self.rows(patches.0, |row, start, inside, patch| {
                for (channel, patch) in patches.1.chunks_exact(pixels).zip(patch.chunks_exact_mut(self.area())) {
                    let to = &mut patch[row * self.kernel.1..][..self.kernel.1];
                    copy(&mut to[inside.clone()], &channel[start..]);
                }
            });
            return View::row_major(scratch, positions, d).t();
        }
        for (image, out) in image.chunks_exact(pixels).zip(scratch.chunks_exact_mut(self.area() * positions)) {
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
        View::row_major(scratch, d, positions)
    }

    /// The transpose of [`Self::gather`]: `write` fills the matrix `(channels * area, rows * cols)`, given as the matrix to
    /// write to and whether that is transposed, and every element is added onto the pixel it came from.
    pub(crate) fn scatter<T: Real>(&self, image: &mut [T], scratch: &mut Vec<T>, write: impl FnOnce(&mut [T], bool)) {
        let (rows, cols) = self.output().unwrap_or((0, 0));
        let (pixels, positions) = (self.height * self.width, rows * cols);
        let d = image.len() / pixels.max(1) * self.area();
        scratch.resize(d * positions, T::default());
        write(scratch, self.by_position());
        let _time = profile::time(Part::Patches);
        if self.by_position() {
            self.rows(scratch.chunks_exact_mut(d.max(1)), |row, start, inside, patch| {
                for (channel, patch) in image.chunks_exact_mut(pixels).zip(patch.chunks_exact(self.area())) {
                    let from = &patch[row * self.kernel.1..][..self.kernel.1][inside.clone()];
                    channel[start..][..from.len()].iter_mut().zip(from).for_each(|(pixel, value)| *pixel += *value);
                }
            });
            return;
        }
        for (image, patches) in image.chunks_exact_mut(pixels).zip(scratch.chunks_exact(self.area() * positions)) {
            self.runs((rows, cols), |element, y, x, count, start| {
                let patches = &patches[element * positions + y * cols + x..][..count];
                let pixels = &mut image[start..];
                if self.stride == 1 {
                    pixels[..count].iter_mut().zip(patches).for_each(|(pixel, value)| *pixel += *value);
                } else {
                    pixels.iter_mut().step_by(self.stride).zip(patches).for_each(|(pixel, value)| *pixel += *value);
                }
            });
        }
    }

    /// Calls `f(kernel row, first pixel, elements of that row inside the image, patch)` for every row of every patch.
    fn rows<'p, T: 'p>(
        &self,
        mut patches: impl Iterator<Item = &'p mut [T]>,
        mut f: impl FnMut(usize, usize, std::ops::Range<usize>, &mut [T]),
    ) {
        let (rows, cols) = self.output().unwrap_or((0, 0));
        let [(top, _), (left, _)] = self.padding;
        for y in 0..rows {
            for x in 0..cols {
                let Some(patch) = patches.next() else { return };
                // Elements kx with 0 <= start + kx < width.
                let start = (x * self.stride) as isize - left as isize;
                let first = start.min(0).unsigned_abs().min(self.kernel.1);
                let end = (self.width as isize - start).clamp(0, self.kernel.1 as isize) as usize;
                for ky in 0..self.kernel.0 {
                    let Some(iy) = (y * self.stride + ky).checked_sub(top) else { continue };
                    if iy < self.height && first < end {
                        f(ky, iy * self.width + start.max(0) as usize, first..end, patch);
                    }
                }
            }
        }
    }

    /// For every (output position, patch element): the pixel it reads in an image padded on all sides, row after row.
    pub(crate) fn padded_pixels(&self) -> Vec<u32> {
        let Some((rows, cols)) = self.output() else { return Vec::new() };
        let [_, (left, right)] = self.padding;
        let width = left + self.width + right;
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

/// Copies the first pixels. Lengths of usual kernels are known to the compiler, which then moves them at once.
fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    fn fixed<T: Copy, const N: usize>(to: &mut [T], from: &[T]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
    }
    match to.len() {
        2 => fixed::<T, 2>(to, from),
        3 => fixed::<T, 3>(to, from),
        4 => fixed::<T, 4>(to, from),
        5 => fixed::<T, 5>(to, from),
        6 => fixed::<T, 6>(to, from),
        7 => fixed::<T, 7>(to, from),
        8 => fixed::<T, 8>(to, from),
        n => to.copy_from_slice(&from[..n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Patches> {
        let mut shapes = Vec::new();
        for (height, width) in [(1, 1), (1, 9), (5, 7), (6, 4)] {
            for kernel in [(1, 1), (1, 4), (2, 3), (3, 3), (4, 4)] {
                for stride in [1, 2, 3] {
                    for padding in [[(0, 0); 2], [(1, 1); 2], [(2, 2); 2], [(0, 1), (3, 0)], [(2, 0), (0, 2)]] {
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
            let mut scratch = vec![-1.0; 2 * p.area() * rows * cols];
            let got: Vec<f64> = p.gather(&image, &mut scratch).iter().collect();
            assert_eq!(got.len(), 2 * p.area() * rows * cols);
            for (i, value) in got.iter().enumerate() {
                let (channel, rest) = (i / (p.area() * rows * cols), i % (p.area() * rows * cols));
                let (element, position) = (rest / (rows * cols), rest % (rows * cols));
                let padded = p.padded_pixels()[position * p.area() + element] as usize;
                let [(top, _), (left, right)] = p.padding;
                let width = left + p.width + right;
                let (y, x) = (padded / width, padded % width);
                let inside = (top..top + p.height).contains(&y) && (left..left + p.width).contains(&x);
                let expected =
                    if inside { image[channel * p.height * p.width + (y - top) * p.width + x - left] } else { 0.0 };
                assert_eq!(*value, expected, "{p:?}");
            }
        }
    }

    #[test]
    fn scatter_is_the_transpose_of_gather() {
        for p in shapes() {
            let (rows, cols) = p.output().unwrap();
            let image: Vec<f64> = (0..p.height * p.width).map(|i| ((i * 7) % 5) as f64 - 2.0).collect();
            let (d, positions) = (p.area(), rows * cols);
            let patches: Vec<f64> = (0..d * positions).map(|i| ((i * 3) % 11) as f64 - 5.0).collect();
            let mut scratch = Vec::new();
            let gathered: Vec<f64> = p.gather(&image, &mut scratch).iter().collect();
            let mut scattered = vec![0.0; image.len()];
            p.scatter(&mut scattered, &mut scratch, |matrix, transposed| {
                let patches = View::row_major(&patches, d, positions);
                let patches: Vec<f64> =
                    if transposed { patches.t().iter().collect() } else { patches.iter().collect() };
                matrix.copy_from_slice(&patches);
            });
            let left: f64 = gathered.iter().zip(&patches).map(|(a, b)| a * b).sum();
            let right: f64 = scattered.iter().zip(&image).map(|(a, b)| a * b).sum();
            assert_eq!(left, right, "{p:?}");
        }
    }
}
