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

/// Every element of the kernel, row after row.
fn offsets(p: &Patches) -> impl Iterator<Item = (usize, usize)> {
    let (height, width) = p.kernel;
    (0..height).flat_map(move |ky| (0..width).map(move |kx| (ky, kx)))
}

/// The pixels that one row of windows has at one element of the kernel, every `stride`-th of which belongs to a window.
fn pixels<'a, T>(image: &'a [T], p: &Patches, (ky, kx): (usize, usize), row: usize, cols: usize) -> &'a [T] {
    &image[(row * p.stride + ky) * p.width + kx..][..(cols - 1) * p.stride + 1]
}

/// Pools images `(images, height, width)` into `(images, rows, cols)`. `patches` has no padding and no dilation.
pub(crate) fn forward<T: Real>(images: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (area, outputs) = (p.height * p.width, rows * cols);
    let mut out = vec![T::default(); images.len() / area.max(1) * outputs];
    if out.is_empty() {
        return out;
    }
    let share = T::from_f64(1.0 / p.area() as f64);
    out.par_chunks_mut(outputs).zip(images.par_chunks(area)).for_each(|(out, image)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                    for (k, offset) in offsets(p).enumerate() {
                        let pixels = pixels(image, p, offset, row, cols);
                        match (pooling, k) {
                            (_, 0) => each(out, pixels, p.stride, |out, x| *out = x),
                            // The first of the largest, or the first NaN.
                            (Pooling::Max, _) => each(out, pixels, p.stride, |best, x| {
                                let replaced = !(x <= *best) & (*best == *best);
                                *best = if replaced { x } else { *best };
                            }),
                            (Pooling::Average, _) => each(out, pixels, p.stride, |out, x| *out += x),
                        }
                    }
                    if pooling == Pooling::Average {
                        out.iter_mut().for_each(|out| *out = *out * share);
                    }
                }
            },
        );
    });
    out
}

/// Calls `f` with every output of a row and its pixel.
#[inline(always)]
fn each<T: Copy>(out: &mut [T], pixels: &[T], stride: usize, mut f: impl FnMut(&mut T, T)) {
    match stride {
        1 => out.iter_mut().zip(pixels).for_each(|(out, x)| f(out, *x)),
        _ => out.iter_mut().zip(pixels.iter().step_by(stride)).for_each(|(out, x)| f(out, *x)),
    }
}

/// The cotangent of the images, given the pooled images and their cotangent.
pub(crate) fn backward<T: Real>(images: &[T], pooled: &[T], cotangents: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (area, outputs) = (p.height * p.width, rows * cols);
    let mut out = vec![T::default(); images.len()];
    if out.is_empty() || outputs == 0 {
        return out;
    }
    let share = T::from_f64(1.0 / p.area() as f64);
    let inputs = images.par_chunks(area).zip(pooled.par_chunks(outputs).zip(cotangents.par_chunks(outputs)));
    out.par_chunks_mut(area).zip(inputs).for_each_init(Vec::new, |left, (out, (image, (pooled, cotangents)))| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let pairs = pooled.chunks_exact(cols).zip(cotangents.chunks_exact(cols));
                for (row, (pooled, cotangents)) in pairs.enumerate() {
                    // What of each output's cotangent has not yet gone to a pixel.
                    left.clear();
                    left.extend_from_slice(cotangents);
                    for (ky, kx) in offsets(p) {
                        let start = (row * p.stride + ky) * p.width + kx;
                        let end = start + (cols - 1) * p.stride + 1;
                        let (out, image) = (&mut out[start..end], &image[start..end]);
                        match pooling {
                            Pooling::Max => {
                                let taken =
                                    out.iter_mut().zip(image).step_by(p.stride).zip(pooled).zip(left.iter_mut());
                                for (((out, x), y), g) in taken {
                                    // The first pixel equal to the largest, or the first NaN.
                                    let here = (*x == *y) | (*x != *x);
                                    *out += if here { *g } else { T::zero() };
                                    *g = if here { T::zero() } else { *g };
                                }
                            }
                            Pooling::Average => {
                                for (out, g) in out.iter_mut().step_by(p.stride).zip(left.iter()) {
                                    *out += *g * share;
                                }
                            }
                        }
                    }
                }
            },
        );
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
