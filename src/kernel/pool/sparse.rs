//! Pooling window by window, where there are few.

use super::{Pooling, Real, is_larger};
use crate::kernel::patches::Patches;

/// Pools the images.
pub(super) fn forward<T: Real>(images: &[T], out: &mut [T], p: &Patches, pooling: Pooling) {
    let share = T::from_f64(1.0 / p.area() as f64);
    for (out, (image, first)) in out.iter_mut().zip(windows(images.len(), p)) {
        let image = &images[image..];
        *out = match pooling {
            Pooling::Max => image[largest(image, first, p)],
            Pooling::Average => elements(first, p).map(|pixel| image[pixel]).sum::<T>() * share,
        };
    }
}

/// Hands the cotangents of the windows to the pixels, which start from zero.
pub(super) fn backward<T: Real>(images: &[T], cotangents: &[T], out: &mut [T], p: &Patches, pooling: Pooling) {
    let share = T::from_f64(1.0 / p.area() as f64);
    for (g, (image, first)) in cotangents.iter().zip(windows(images.len(), p)) {
        let out = &mut out[image..];
        match pooling {
            Pooling::Max => out[largest(&images[image..], first, p)] += *g,
            Pooling::Average => elements(first, p).for_each(|pixel| out[pixel] += *g * share),
        }
    }
}

/// For every window the first pixel of its image, and its own first pixel in that image.
fn windows(pixels: usize, p: &Patches) -> impl Iterator<Item = (usize, usize)> + '_ {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    (0..pixels).step_by(p.height * p.width).flat_map(move |image| {
        (0..rows).flat_map(move |y| (0..cols).map(move |x| (image, (y * p.width + x) * p.stride)))
    })
}

/// The pixels of a window, row after row.
fn elements(first: usize, p: &Patches) -> impl Iterator<Item = usize> + '_ {
    (0..p.kernel.0).flat_map(move |ky| (0..p.kernel.1).map(move |kx| first + ky * p.width + kx))
}

/// The pixel that is the first of the largest, or the first NaN.
fn largest<T: Real>(image: &[T], first: usize, p: &Patches) -> usize {
    elements(first, p)
        .fold(first, |largest, pixel| if is_larger(image[pixel], image[largest]) { pixel } else { largest })
}
