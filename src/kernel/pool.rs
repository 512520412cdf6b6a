//! Max- and average-pooling of images, with any kernel and stride, forwards and backwards.

use super::memory::{written, zeroed};
use super::patches::Patches;
use super::{Real, once};
use crate::profile::{self, Part};

/// What a pooling takes from a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The largest value; a NaN in the window comes through.
    Max,
    /// The mean.
    Average,
}

/// Pools images `(images, height, width)` into `(images, rows, cols)`. `patches` has no padding and no dilation.
pub(crate) fn forward<T: Real>(images: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let _time = profile::time(Part::Pooling);
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (area, outputs) = (p.height * p.width, rows * cols);
    if outputs == 0 {
        return Vec::new();
    }
    let (out, _) = written(images.len() / area * outputs, outputs, |i, out, (): &mut ()| {
        let (out, image) = (zeroed(out), &images[i * area..][..area]);
        let pooled = &mut *out;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let out = once(pooled);
                match (pooling, p.stride) {
                    (Pooling::Max, 1) => pool::<T, true, true>(out, image, p, cols),
                    (Pooling::Max, _) => pool::<T, true, false>(out, image, p, cols),
                    (Pooling::Average, 1) => pool::<T, false, true>(out, image, p, cols),
                    (Pooling::Average, _) => pool::<T, false, false>(out, image, p, cols),
                }
            },
        );
        (out, ())
    });
    out
}

/// One image, by its largest values or its means; neighbouring windows are a pixel apart where `DENSE`.
#[inline(always)]
fn pool<T: Real, const MAX: bool, const DENSE: bool>(out: &mut [T], image: &[T], p: &Patches, cols: usize) {
    let stride = if DENSE { 1 } else { p.stride };
    let share = T::from_f64(1.0 / p.area() as f64);
    for (row, out) in out.chunks_exact_mut(cols).enumerate() {
        for ky in 0..p.kernel.0 {
            for kx in 0..p.kernel.1 {
                let pixels = &image[(row * stride + ky) * p.width + kx..][..(cols - 1) * stride + 1];
                let first = ky == 0 && kx == 0;
                for (x, out) in out.iter_mut().enumerate() {
                    let pixel = pixels[x * stride];
                    // The first of the largest, or the first NaN.
                    let replaced = first | (((pixel > *out) | pixel.is_nan()) & !out.is_nan());
                    let largest = if replaced { pixel } else { *out };
                    *out = if MAX {
                        largest
                    } else if first {
                        pixel
                    } else {
                        *out + pixel
                    };
                }
            }
        }
        if !MAX {
            out.iter_mut().for_each(|out| *out *= share);
        }
    }
}

/// The cotangent of the images, given the pooled images and their cotangent.
pub(crate) fn backward<T: Real>(images: &[T], pooled: &[T], cotangents: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let _time = profile::time(Part::Pooling);
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (area, outputs) = (p.height * p.width, rows * cols);
    if outputs == 0 {
        return vec![T::default(); images.len()];
    }
    let (out, _) = written(images.len(), area, |i, out, left: &mut Vec<T>| {
        left.resize(cols, T::default());
        let (out, of_windows) = (zeroed(out), i * outputs..(i + 1) * outputs);
        let inputs = (&images[i * area..][..area], &pooled[of_windows.clone()], &cotangents[of_windows]);
        let spread_to = &mut *out;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let out = once(spread_to);
                match (pooling, p.stride) {
                    (Pooling::Max, 1) => spread::<T, true, true>(out, inputs, p, left),
                    (Pooling::Max, _) => spread::<T, true, false>(out, inputs, p, left),
                    (Pooling::Average, 1) => spread::<T, false, true>(out, inputs, p, left),
                    (Pooling::Average, _) => spread::<T, false, false>(out, inputs, p, left),
                }
            },
        );
        (out, ())
    });
    out
}

/// Adds the cotangents of one image's windows to its pixels. `left` has room for a row of windows.
#[inline(always)]
fn spread<T: Real, const MAX: bool, const DENSE: bool>(
    out: &mut [T],
    (image, pooled, cotangents): (&[T], &[T], &[T]),
    p: &Patches,
    left: &mut [T],
) {
    let (stride, cols) = (if DENSE { 1 } else { p.stride }, left.len());
    let share = T::from_f64(1.0 / p.area() as f64);
    for (row, (pooled, cotangents)) in pooled.chunks_exact(cols).zip(cotangents.chunks_exact(cols)).enumerate() {
        // What of each window's cotangent has not yet gone to a pixel.
        left.copy_from_slice(cotangents);
        for ky in 0..p.kernel.0 {
            for kx in 0..p.kernel.1 {
                let start = (row * stride + ky) * p.width + kx;
                let end = start + (cols - 1) * stride + 1;
                let (out, image) = (&mut out[start..end], &image[start..end]);
                for (x, (y, g)) in pooled.iter().zip(left.iter_mut()).enumerate() {
                    let x = x * stride;
                    if MAX {
                        // The first pixel equal to the largest, or the first NaN.
                        let here = (image[x] == *y) | image[x].is_nan();
                        let (mine, rest) = if here { (*g, T::zero()) } else { (T::zero(), *g) };
                        out[x] += mine;
                        *g = rest;
                    } else {
                        out[x] += *g * share;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Patches = Patches { height: 3, width: 3, kernel: (2, 2), stride: 1, padding: [(0, 0); 2], dilation: 1 };

    #[test]
    fn windows_overlap_and_ties_go_to_the_first() {
        let image = [1.0f64, 2.0, 2.0, 0.0, 2.0, 1.0, 5.0, 0.0, 4.0];
        assert_eq!(forward(&image, &P, Pooling::Max), [2.0, 2.0, 5.0, 4.0]);
        assert_eq!(forward(&image, &P, Pooling::Average), [1.25, 1.75, 1.75, 1.75]);
        let pooled = [2.0, 2.0, 5.0, 4.0];
        let max = backward(&image, &pooled, &[1.0, 1.0, 1.0, 1.0], &P, Pooling::Max);
        assert_eq!(max, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        let average = backward(&image, &pooled, &[4.0, 0.0, 0.0, 4.0], &P, Pooling::Average);
        assert_eq!(average, [1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_nan_comes_through_the_maximum() {
        let image = [1.0f32, f32::NAN, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let pooled = forward(&image, &P, Pooling::Max);
        assert!(pooled[0].is_nan() && pooled[1].is_nan() && pooled[2] == 0.0);
    }
}
