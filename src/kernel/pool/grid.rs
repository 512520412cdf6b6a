//! Images laid out so that the windows of all of them are one run of memory.

use super::Real;
use crate::kernel::patches::Patches;

/// Rows of elements moved at once, where there is room: the next row overwrites what was too much.
const MOVED: usize = 16;

/// Where windows and their elements lie.
///
/// The columns of the images are dealt out to as many phases as windows are pixels apart: in a phase, neighbouring windows are
/// neighbours. Each phase is an image of `grid_width` columns, one image after another. The window that starts in column
/// `step x` of a row has the place x of that row, in every phase, and its elements lie at the same shifts from it as those of
/// all other windows. Elements that have no place in their row have one in the next: of windows that do not exist.
#[derive(Debug)]
pub(super) struct Grid {
    /// Rows and columns of the images.
    height: usize,
    pub(super) width: usize,
    /// Rows and columns of windows; at least one.
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Rows of pixels from a row of windows to the next.
    stride: usize,
    /// How many phases there are.
    pub(super) step: usize,
    /// Columns of a phase.
    pub(super) grid_width: usize,
    /// The elements of a window, row after row; at least one.
    pub(super) elements: Vec<Element>,
    /// The largest shift.
    pub(super) reach: usize,
}

/// An element of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    pub(super) phase: usize,
    /// How far it lies behind the place of its window.
    pub(super) shift: usize,
}

impl Grid {
    /// `None` if no window fits into an image.
    pub(super) fn new(p: &Patches) -> Option<Self> {
        let (rows, cols) = p.output()?;
        let step = if cols == 1 { 1 } else { p.stride };
        let grid_width = p.width.div_ceil(step);
        let element = |ky, kx| Element { phase: kx % step, shift: ky * grid_width + kx / step };
        let elements: Vec<Element> =
            (0..p.kernel.0).flat_map(|ky| (0..p.kernel.1).map(move |kx| element(ky, kx))).collect();
        let reach = elements.iter().map(|at| at.shift).max()?;
        let Patches { height, width, stride, .. } = *p;
        Some(Self { height, width, rows, cols, stride, step, grid_width, elements, reach })
    }

    /// Whether less than a quarter of the places are those of windows, or windows have more elements than a number in f32 tells
    /// apart.
    pub(super) fn is_sparse(&self) -> bool {
        const MOST: usize = 1 << 20;
        self.rows * self.cols * 4 < self.height * self.grid_width || self.elements.len() > MOST
    }

    /// The images, phase after phase.
    #[inline(always)]
    pub(super) fn lay_out<'s, T: Real>(&self, images: &'s [T], scratch: &'s mut Vec<T>) -> &'s [T] {
        let size = images.len() / self.width * self.grid_width;
        if self.step == 1 {
            return images;
        }
        scratch.resize(self.step * size, T::zero());
        if self.step == 2 && self.width.is_multiple_of(2) {
            let (even, odd) = scratch.split_at_mut(size);
            for ((even, odd), pixels) in even.iter_mut().zip(odd).zip(images.as_chunks::<2>().0) {
                (*even, *odd) = (pixels[0], pixels[1]);
            }
            return scratch;
        }
        for (phase, places) in scratch.chunks_exact_mut(size).enumerate() {
            for (places, pixels) in places.chunks_exact_mut(self.grid_width).zip(images.chunks_exact(self.width)) {
                let pixels = pixels.iter().skip(phase).step_by(self.step);
                places.iter_mut().zip(pixels).for_each(|(place, pixel)| *place = *pixel);
            }
        }
        scratch
    }

    /// Undoes [`Self::lay_out`] where there are several phases.
    #[inline(always)]
    pub(super) fn collect<T: Real>(&self, phases: &[T], images: &mut [T]) {
        let size = phases.len() / self.step;
        if self.step == 2 && self.width.is_multiple_of(2) {
            let (even, odd) = phases.split_at(size);
            for ((pixels, even), odd) in images.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                *pixels = [*even, *odd];
            }
            return;
        }
        for (phase, places) in phases.chunks_exact(size).enumerate() {
            for (places, pixels) in places.chunks_exact(self.grid_width).zip(images.chunks_exact_mut(self.width)) {
                let pixels = pixels.iter_mut().skip(phase).step_by(self.step);
                pixels.zip(places).for_each(|(pixel, place)| *pixel = *place);
            }
        }
    }

    /// The places of the rows of windows, in the order of the rows.
    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        let (image, row) = (self.height * self.grid_width, self.stride * self.grid_width);
        (0..).flat_map(move |i| (0..self.rows).map(move |y| i * image + y * row))
    }

    /// The values of the windows out of those of all places.
    #[inline(always)]
    pub(super) fn pick<T: Real>(&self, values: &[T], out: &mut [T]) {
        let rows = (0..out.len()).step_by(self.cols);
        for (row, place) in rows.zip(self.places()) {
            copy(&mut out[row..], &values[place..], self.cols);
        }
    }

    /// The values of the windows in their places, with zeros in all others of `size` and [`Self::reach`] zeros before.
    #[inline(always)]
    pub(super) fn place<'s, T: Real>(&self, values: &[T], scratch: &'s mut Vec<T>, size: usize) -> &'s [T] {
        scratch.resize(self.reach + size, T::zero());
        scratch[..self.reach].fill(T::zero());
        let (places, mut end) = (&mut scratch[self.reach..], 0);
        let rows = (0..values.len()).step_by(self.cols);
        for (row, place) in rows.zip(self.places()) {
            zero(&mut places[end..], place - end);
            copy(&mut places[place..], &values[row..], self.cols);
            end = place + self.cols;
        }
        places[end..].fill(T::zero());
        scratch
    }
}

/// Copies so many elements, and perhaps some of those behind.
#[inline(always)]
fn copy<T: Copy>(to: &mut [T], from: &[T], count: usize) {
    match (to.first_chunk_mut::<MOVED>(), from.first_chunk::<MOVED>()) {
        (Some(to), Some(from)) if count <= MOVED => *to = *from,
        _ => to[..count].copy_from_slice(&from[..count]),
    }
}

/// Zeroes so many elements, and perhaps some of those behind.
#[inline(always)]
fn zero<T: Real>(to: &mut [T], count: usize) {
    match to.first_chunk_mut::<MOVED>() {
        Some(to) if count <= MOVED => *to = [T::zero(); MOVED],
        _ => to[..count].fill(T::zero()),
    }
}
