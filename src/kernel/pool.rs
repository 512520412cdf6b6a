//! Max- and average-pooling of images, with any kernel and stride, forwards and backwards.
//!
//! A thread takes some images at a time and lays them out as a [`Grid`], on which all windows of all of these images are one
//! run of memory: images may be small, and their rows short. Windows that hang over the end of a row or an image are computed
//! with the others and then left out. Where those were the most, windows are taken [one by one](Grid::is_sparse).

mod grid;
mod sparse;

use super::memory::{written, zeroed};
use super::patches::Patches;
use super::{Real, once};
use crate::profile::{self, Part};
use grid::Grid;

/// What a pooling takes from a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The largest value; a NaN in the window comes through.
    Max,
    /// The mean.
    Average,
}

/// Pixels a thread takes at a time, of whole images.
const PIECE: usize = 1 << 12;

/// Elements of a window that are compared in one pass over the windows.
const GROUP: usize = 4;

/// Buffers of a thread, used again from piece to piece.
#[derive(Default)]
struct Scratch<T> {
    /// Pixels on the grid.
    pixels: Vec<T>,
    /// The largest value or the sum of every window, then the cotangents of the pixels on the grid.
    values: Vec<T>,
    /// Which element of every window is the largest, after [`Grid::reach`] numbers that nobody looks at.
    winners: Vec<T>,
    /// The cotangent of every window, after [`Grid::reach`] zeros.
    cotangents: Vec<T>,
}

/// Pools images `(images, height, width)` into `(images, rows, cols)`. `patches` has no padding and no dilation.
pub(crate) fn forward<T: Real>(images: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let _time = profile::time(Part::Pooling);
    let Some(grid) = Grid::new(p) else { return Vec::new() };
    let (area, outputs, piece) = (p.height * p.width, grid.rows * grid.cols, images_of_piece(p));
    let (out, _) = written(images.len() / area * outputs, piece * outputs, |i, out, scratch: &mut Scratch<T>| {
        let out = zeroed(out);
        let images = &images[i * piece * area..][..out.len() / outputs * area];
        if grid.is_sparse() {
            sparse::forward(images, out, p, pooling);
            return (out, ());
        }
        let pooled = &mut *out;
        let grid = &grid;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let pooled = once(pooled);
                pool(grid, images, pooled, scratch, pooling);
            },
        );
        (out, ())
    });
    out
}

/// The cotangent of the images, given that of the pooled images.
pub(crate) fn backward<T: Real>(images: &[T], cotangents: &[T], p: &Patches, pooling: Pooling) -> Vec<T> {
    let _time = profile::time(Part::Pooling);
    let Some(grid) = Grid::new(p) else { return vec![T::default(); images.len()] };
    let (area, outputs, piece) = (p.height * p.width, grid.rows * grid.cols, images_of_piece(p));
    let (out, _) = written(images.len(), piece * area, |i, out, scratch: &mut Scratch<T>| {
        let out = zeroed(out);
        let images = &images[i * piece * area..][..out.len()];
        let cotangents = &cotangents[i * piece * outputs..][..out.len() / area * outputs];
        if grid.is_sparse() {
            sparse::backward(images, cotangents, out, p, pooling);
            return (out, ());
        }
        let spread_to = &mut *out;
        let grid = &grid;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let spread_to = once(spread_to);
                spread(grid, images, cotangents, spread_to, scratch, pooling);
            },
        );
        (out, ())
    });
    out
}

/// How many images a thread takes at a time.
fn images_of_piece(p: &Patches) -> usize {
    (PIECE / (p.height * p.width)).max(1)
}

/// Pools the images of a piece.
#[inline(always)]
fn pool<T: Real>(grid: &Grid, images: &[T], out: &mut [T], scratch: &mut Scratch<T>, pooling: Pooling) {
    let pixels = grid.lay_out(images, &mut scratch.pixels);
    let size = pixels.len() / grid.step;
    scratch.values.resize(size, T::zero());
    let (windows, values) = (size - grid.reach, &mut scratch.values[..size]);
    let sums = &mut values[..windows];
    sums.copy_from_slice(&pixels[..windows]);
    match pooling {
        Pooling::Max => {
            for elements in grid.elements.chunks(GROUP) {
                largest(sums, group(elements).map(|at| &pixels[at.phase * size + at.shift..][..windows]));
            }
        }
        Pooling::Average => {
            for at in &grid.elements[1..] {
                let pixels = &pixels[at.phase * size + at.shift..][..windows];
                sums.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += *pixel);
            }
            let share = T::from_f64(1.0 / grid.elements.len() as f64);
            sums.iter_mut().for_each(|sum| *sum *= share);
        }
    }
    grid.pick(values, out);
}

/// Hands the cotangents of the windows of a piece to its pixels, which start from zero.
#[inline(always)]
fn spread<T: Real>(
    grid: &Grid,
    images: &[T],
    cotangents: &[T],
    out: &mut [T],
    scratch: &mut Scratch<T>,
    pooling: Pooling,
) {
    let Scratch { pixels, values, winners, cotangents: padded } = scratch;
    let size = images.len() / grid.width * grid.grid_width;
    let (windows, reach) = (size - grid.reach, grid.reach);
    let g = grid.place(cotangents, padded, size);
    if pooling == Pooling::Max {
        let pixels = grid.lay_out(images, pixels);
        values.resize(size, T::zero());
        winners.resize(reach + size, T::zero());
        let (largest, winners) = (&mut values[..windows], &mut winners[reach..][..windows]);
        largest.copy_from_slice(&pixels[..windows]);
        winners.fill(T::zero());
        for (i, at) in grid.elements.iter().enumerate() {
            winner(largest, winners, &pixels[at.phase * size + at.shift..][..windows], T::from_f64(i as f64));
        }
    }
    if grid.step == 1 {
        return add(grid, 0, out, winners, g, pooling);
    }
    // The largest values have served.
    values.clear();
    values.resize(grid.step * size, T::zero());
    for (phase, sums) in values.chunks_exact_mut(size).enumerate() {
        add(grid, phase, sums, winners, g, pooling);
    }
    grid.collect(values, out);
}

/// Adds to the pixels of a phase what they get of the cotangents.
#[inline(always)]
fn add<T: Real>(grid: &Grid, phase: usize, sums: &mut [T], winners: &[T], cotangents: &[T], pooling: Pooling) {
    let share = T::from_f64(1.0 / grid.elements.len() as f64);
    for (i, at) in grid.elements.iter().enumerate() {
        if at.phase != phase {
            continue;
        }
        let windows = grid.reach - at.shift..grid.reach - at.shift + sums.len();
        let cotangents = &cotangents[windows.clone()];
        match pooling {
            Pooling::Max => taken(sums, &winners[windows], cotangents, T::from_f64(i as f64)),
            Pooling::Average => sums.iter_mut().zip(cotangents).for_each(|(sum, g)| *sum += *g * share),
        }
    }
}

/// A full group: the first element again in place of those that there are not, which is not larger than itself.
#[inline(always)]
fn group(elements: &[grid::Element]) -> [grid::Element; GROUP] {
    std::array::from_fn(|i| elements[if i < elements.len() { i } else { 0 }])
}

/// Whether a pixel takes the place of the largest before it: the first of the largest stays, and the first NaN.
#[inline(always)]
fn is_larger<T: Real>(pixel: T, largest: T) -> bool {
    (pixel > largest) | (pixel.is_nan() & !largest.is_nan())
}

/// Takes pixels into the largest values.
#[inline(always)]
fn largest<T: Real>(largest: &mut [T], pixels: [&[T]; GROUP]) {
    let [a, b, c, d] = pixels;
    for ((((largest, a), b), c), d) in largest.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let larger = |largest, pixel| if is_larger(pixel, largest) { pixel } else { largest };
        *largest = [*a, *b, *c, *d].into_iter().fold(*largest, larger);
    }
}

/// The same with one pixel of each window, and notes its number where it is the largest. With more operands in one loop compilers
/// do not vectorise it.
#[inline(always)]
fn winner<T: Real>(largest: &mut [T], winners: &mut [T], pixels: &[T], number: T) {
    for ((largest, winner), pixel) in largest.iter_mut().zip(winners).zip(pixels) {
        let larger = is_larger(*pixel, *largest);
        (*largest, *winner) = if larger { (*pixel, number) } else { (*largest, *winner) };
    }
}

/// Adds the cotangents of windows whose winner has this number.
#[inline(always)]
fn taken<T: Real>(sums: &mut [T], winners: &[T], cotangents: &[T], number: T) {
    for ((sum, winner), g) in sums.iter_mut().zip(winners).zip(cotangents) {
        *sum += if *winner == number { *g } else { T::zero() };
    }
}

#[cfg(test)]
mod tests;
