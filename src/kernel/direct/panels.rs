//! Matrices whose columns are cut into panels of a few vectors, and the products of pixels with them.

use super::tile::{Product, ROWS, Vectors};
use super::transpose::Matrix;
use crate::kernel::Real;
use crate::profile::{self, Part};
use std::mem::MaybeUninit;

/// Bytes of factors that pass by again and again while they are in the fastest cache.
const FACTORS: usize = 24 << 10;

/// Rows of sums that a block of factors is kept for; tiles of any size fill them.
const ROWS_AT_ONCE: usize = 96;

/// Rows of sums that are transposed together, so that they are written one stretch after another: a multiple of
/// [`ROWS_AT_ONCE`], and few enough for the second cache.
const ROWS_AT_MOST: usize = 24 * ROWS_AT_ONCE;

/// How columns are cut. In memory panel comes after panel, each with all rows one after another, each row of whole vectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    pub(super) columns: usize,
    pub(super) vectors: Vectors,
    pub(super) arch: pulp::Arch,
}

/// One panel: its first column, how many of its columns there are, and its vectors.
#[derive(Debug, Clone, Copy)]
struct Panel {
    first: usize,
    columns: usize,
    vectors: usize,
}

impl Panels {
    /// Columns with those that fill the last vector.
    pub(super) fn width(&self) -> usize {
        self.columns.next_multiple_of(self.vectors.lanes)
    }

    /// Whether products in these panels are cheaper than products of patches, as far as measured: with vectors, and half of their
    /// lanes in use.
    pub(super) fn are_filled(&self) -> bool {
        self.vectors.lanes > 1 && 2 * self.columns >= self.width()
    }

    /// Whether so many rows of sums in panels are elements of the matrix and nothing beside them.
    pub(super) fn fit(&self, rows: usize) -> bool {
        rows.is_multiple_of(ROWS) && self.columns == self.width()
    }

    fn each(self) -> impl Iterator<Item = Panel> {
        let Vectors { lanes, most } = self.vectors;
        let vectors = self.columns.div_ceil(lanes);
        let panels = vectors.div_ceil(most).max(1);
        (0..panels).map(move |i| {
            let (first, end) = (i * vectors / panels, (i + 1) * vectors / panels);
            let columns = (end * lanes).min(self.columns) - first * lanes;
            Panel { first: first * lanes, columns, vectors: end - first }
        })
    }

    /// Cuts the transpose of `matrix` `(columns, rows)` into panels.
    pub(super) fn pack<'s, T: Real>(&self, matrix: &[T], rows: usize, packed: &'s mut Vec<T>) -> &'s mut [T] {
        let _time = profile::time(Part::Patches);
        let packed = aligned(packed, rows * self.width());
        for panel in self.each() {
            let width = panel.vectors * self.vectors.lanes;
            let to = &mut packed[rows * panel.first..][..rows * width];
            let cut = Matrix { rows: panel.columns, cols: rows, strides: [rows, width] };
            cut.transposed(&matrix[panel.first * rows..], to);
        }
        packed
    }

    /// Cuts the matrix `(rows, columns)` of these elements into panels.
    pub(super) fn pack_with<'s, T: Real>(
        &self,
        rows: usize,
        packed: &'s mut Vec<T>,
        element: impl Fn(usize, usize) -> T,
    ) -> &'s [T] {
        let _time = profile::time(Part::Patches);
        let packed = aligned(packed, rows * self.width());
        for panel in self.each() {
            let width = panel.vectors * self.vectors.lanes;
            let to = packed[rows * panel.first..][..rows * width].chunks_exact_mut(width);
            for (row, to) in to.enumerate() {
                to.iter_mut().zip(panel.first..self.columns).for_each(|(to, column)| *to = element(row, column));
            }
        }
        packed
    }
}

/// A matrix of rows by columns: `sum over t of pixels[fixed[row] + moving[t]] * factors[t][column]`.
#[derive(Clone, Copy)]
pub(super) struct Correlation<'a, T> {
    pub(super) pixels: &'a [T],
    pub(super) fixed: &'a [u32],
    pub(super) moving: &'a [u32],
    /// `(terms, columns)` in panels.
    pub(super) factors: &'a [T],
    pub(super) panels: Panels,
    /// Pairs of rows and terms that are not of zeros around what is framed, for [`profile`]; all of them if the zeros are padding.
    pub(super) pairs: usize,
}

impl<T: Real> Correlation<'_, T> {
    /// Elements of the matrix.
    pub(super) fn len(&self) -> usize {
        self.panels.columns * self.fixed.len()
    }

    /// Writes its transpose `(columns, rows)`, every column begun with a value of `initial` `(columns up to whole vectors)`.
    pub(super) fn write<'o>(&self, initial: &[T], sums: &mut Vec<T>, out: &'o mut [MaybeUninit<T>]) -> &'o mut [T] {
        let (Panels { columns, vectors, .. }, rows) = (self.panels, self.fixed.len());
        assert_eq!(out.len(), columns * rows, "size of a correlation");
        let start = out.as_mut_ptr().cast::<T>();
        let most = rows.min(ROWS_AT_MOST).next_multiple_of(ROWS) * vectors.lanes * vectors.most;
        let sums = aligned(sums, most);
        for (i, fixed) in self.fixed.chunks(ROWS_AT_MOST).enumerate() {
            for panel in self.panels.each() {
                let width = panel.vectors * vectors.lanes;
                let sums = &mut sums[..fixed.len().next_multiple_of(ROWS) * width];
                self.sum(panel, fixed, Some(&initial[panel.first..][..width]), overwritten(sums));
                let _time = profile::time(Part::Patches);
                let sums_of = Matrix { rows: fixed.len(), cols: panel.columns, strides: [width, rows] };
                // SAFETY: these columns and rows of `out`, which has as many elements as the matrix.
                unsafe { sums_of.transposed_to(sums, start.add(panel.first * rows + i * ROWS_AT_MOST)) };
            }
        }
        // SAFETY: every column is in a panel and every row in a chunk, so every element has been written, and `MaybeUninit<T>` lies
        // in memory as `T` does.
        unsafe { &mut *(std::ptr::from_mut(out) as *mut [T]) }
    }

    /// Writes it in panels, which [fit](Panels::fit) it, every column begun with a value of `initial`.
    pub(super) fn write_in_panels<'o>(&self, initial: &[T], out: &'o mut [MaybeUninit<T>]) -> &'o mut [T] {
        let rows = self.fixed.len();
        assert!(
            self.panels.fit(rows) && !self.moving.is_empty(),
            "panels with more than the elements of a correlation"
        );
        assert_eq!(out.len(), self.len(), "size of a correlation");
        for panel in self.panels.each() {
            let width = panel.vectors * self.panels.vectors.lanes;
            let sums = &mut out[rows * panel.first..][..rows * width];
            self.sum(panel, self.fixed, Some(&initial[panel.first..][..width]), sums);
        }
        // SAFETY: panels are all columns, and every row of each has been written by its first terms, of which there are some;
        // `MaybeUninit<T>` lies in memory as `T` does.
        unsafe { &mut *(std::ptr::from_mut(out) as *mut [T]) }
    }

    /// Adds it onto sums `(rows up to a multiple of` [`ROWS`]`, columns)` in panels.
    pub(super) fn add(&self, sums: &mut [T]) {
        let (lanes, rows) = (self.panels.vectors.lanes, self.fixed.len().next_multiple_of(ROWS));
        for panel in self.panels.each() {
            let width = panel.vectors * lanes;
            self.sum(panel, self.fixed, None, overwritten(&mut sums[rows * panel.first..][..rows * width]));
        }
    }

    /// One panel of some rows; without `initial`, the sums are initialised and added to.
    fn sum(&self, panel: Panel, fixed: &[u32], initial: Option<&[T]>, sums: &mut [MaybeUninit<T>]) {
        let Panel { first, columns, vectors } = panel;
        let (terms, pixels) = (self.moving.len(), self.pixels);
        let operations = 2 * columns * self.pairs * fixed.len() / self.fixed.len().max(1);
        let _time = profile::product(operations, T::DTYPE == candle_core::DType::F64);
        let width = vectors * self.panels.vectors.lanes;
        let factors = &self.factors[terms * first..][..terms * width];
        let at_once = (FACTORS / (width * size_of::<T>())).max(1);
        for (fixed, sums) in fixed.chunks(ROWS_AT_ONCE).zip(sums.chunks_mut(ROWS_AT_ONCE * width)) {
            let factors = factors.chunks(at_once * width);
            for (i, (moving, factors)) in self.moving.chunks(at_once).zip(factors).enumerate() {
                let initial = initial.filter(|_| i == 0);
                self.panels.arch.dispatch(Product {
                    pixels,
                    fixed,
                    moving,
                    factors,
                    step: width,
                    vectors,
                    initial,
                    sums,
                });
            }
        }
    }
}

/// The slice as one into which elements are written.
pub(super) fn overwritten<T>(sums: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: `MaybeUninit<T>` lies in memory as `T` does, and [`Product`] writes elements and takes none away.
    unsafe { &mut *(std::ptr::from_mut(sums) as *mut [MaybeUninit<T>]) }
}

/// How the elements of a weight's gradients lie that are kept as they were summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrangement {
    pub(super) groups: usize,
    /// Of each group.
    pub(super) panels: Panels,
    /// Patch elements.
    pub(super) rows: usize,
}

impl Arrangement {
    /// What is arranged so, as `(groups outs, patch elements)`.
    pub(crate) fn undone<T: Real>(&self, arranged: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); arranged.len()];
        let size = arranged.len() / self.groups;
        for (arranged, out) in arranged.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            unpack(self.panels, arranged, self.rows, out);
        }
        out
    }
}

/// Transposes sums as [`Correlation::add`] leaves them to `(columns, rows)`.
pub(super) fn unpack<T: Real>(panels: Panels, sums: &[T], rows: usize, out: &mut [T]) {
    let padded = rows.next_multiple_of(ROWS);
    for panel in panels.each() {
        let width = panel.vectors * panels.vectors.lanes;
        let cut = Matrix { rows, cols: panel.columns, strides: [width, rows] };
        cut.transposed(&sums[padded * panel.first..][..padded * width], &mut out[panel.first * rows..]);
    }
}

/// As many elements of the vector, from where a line of the cache begins: vectors that straddle two lines cost twice.
pub(super) fn aligned<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    const LINE: usize = 64;
    let slack = LINE / size_of::<T>() - 1;
    if memory.len() < len + slack {
        memory.resize(len + slack, T::default());
    }
    let start = memory.as_ptr().align_offset(LINE).min(slack);
    &mut memory[start..][..len]
}
