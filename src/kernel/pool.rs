//! Max- and average-pooling of images, with any kernel and stride, forwards and backwards.

use super::Real;
use super::patches::Patches;
use rayon::prelude::*;

/// What a pooling takes from a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The largest value; a NaN in the window comes through.
    Max,
    /// The mean.
    Average,
}

/// The window of every output position: its first pixel, and the kernel inside the image.
fn windows(p: &Patches) -> impl Iterator<Item = usize> + '_ {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    (0..rows).flat_map(move |y| (0..cols).map(move |x| y * p.stride * p.width + x * p.stride))
}

/// The pixel a max-pooling takes: the first of the largest, or the first NaN.
fn argmax<T: Real>(image: &[T], p: &Patches, first: usize) -> usize {
    let mut best = first;
    for ky in 0..p.kernel.0 {
        for pixel in first + ky * p.width..first + ky * p.width + p.kernel.1 {
            if image[best].is_nan() {
                return best;
            }
            if image[pixel] > image[best] || image[pixel].is_nan() {
                best = pixel;
            }
        }
    }
    best
}

/// Pools images `(images, height, width)` into `(images, rows, cols)`. `patches` has no padding and no dilation.
pub(crate) fn forward<T: Real>(images: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (pixels, outputs) = (p.height * p.width, rows * cols);
    let mut out = vec![T::default(); images.len() / pixels.max(1) * outputs];
    if out.is_empty() {
        return out;
    }
    let area = T::from_f64(p.area() as f64);
    out.par_chunks_mut(outputs).zip(images.par_chunks(pixels)).for_each(|(out, image)| {
        for (out, first) in out.iter_mut().zip(windows(p)) {
            *out = match pooling {
                Pooling::Max => image[argmax(image, p, first)],
                Pooling::Average => {
                    let rows = (0..p.kernel.0).map(|ky| &image[first + ky * p.width..][..p.kernel.1]);
                    rows.flatten().copied().sum::<T>() / area
                }
            };
        }
    });
    out
}

/// The cotangent of the images, given that of the pooled images.
pub(crate) fn backward<T: Real>(images: &[T], cotangents: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (pixels, outputs) = (p.height * p.width, rows * cols);
    let mut out = vec![T::default(); images.len()];
    if out.is_empty() || outputs == 0 {
        return out;
    }
    let area = T::from_f64(p.area() as f64);
    let images = images.par_chunks(pixels).zip(cotangents.par_chunks(outputs));
    out.par_chunks_mut(pixels).zip(images).for_each(|(out, (image, cotangents))| {
        for (g, first) in cotangents.iter().zip(windows(p)) {
            match pooling {
                Pooling::Max => {
                    let pixel = argmax(image, p, first);
                    out[pixel] += *g;
                }
                Pooling::Average => {
                    for ky in 0..p.kernel.0 {
                        for out in &mut out[first + ky * p.width..][..p.kernel.1] {
                            *out += *g / area;
                        }
                    }
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Patches = Patches { height: 3, width: 3, kernel: (2, 2), stride: 1, padding: 0, dilation: 1 };

    #[test]
    fn windows_overlap_and_ties_go_to_the_first() {
        let image = [1.0f64, 2.0, 2.0, 0.0, 2.0, 1.0, 5.0, 0.0, 4.0];
        assert_eq!(forward(&image, &P, Pooling::Max), [2.0, 2.0, 5.0, 4.0]);
        assert_eq!(forward(&image, &P, Pooling::Average), [1.25, 1.75, 1.75, 1.75]);
        let max = backward(&image, &[1.0, 1.0, 1.0, 1.0], &P, Pooling::Max);
        assert_eq!(max, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        let average = backward(&image, &[4.0, 0.0, 0.0, 4.0], &P, Pooling::Average);
        assert_eq!(average, [1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_nan_comes_through_the_maximum() {
        let image = [1.0f32, f32::NAN, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let pooled = forward(&image, &P, Pooling::Max);
        assert!(pooled[0].is_nan() && pooled[1].is_nan() && pooled[2] == 0.0);
    }
}
