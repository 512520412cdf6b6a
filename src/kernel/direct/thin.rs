//! Sums of a few outputs over rows that lie far apart: every row is read once and where it is.

use super::panels::{aligned, overwritten};
use super::tile::{Product, ROWS, Vectors};

/// Adds up `g^T rows` for some columns of a few rows: `rows` begins with the first of them and has the next row `d` elements on,
/// and `g` is `(rows, p)`.
pub(crate) struct Thin<'a> {
    g: &'a [f32],
    p: usize,
    d: usize,
    vectors: Vectors,
    arch: pulp::Arch,
    /// Of every output and of every row, the offset in `g`.
    fixed: Vec<u32>,
    moving: Vec<u32>,
}

impl<'a> Thin<'a> {
    /// Of rows with `p` outputs and `d` inputs.
    pub(crate) fn new(g: &'a [f32], p: usize, d: usize) -> Self {
        let arch = pulp::Arch::new();
        let (fixed, moving) = ((0..p as u32).collect(), (0..g.len() / p).map(|row| (row * p) as u32).collect());
        Self { g, p, d, vectors: Vectors::of::<f32>(arch), arch, fixed, moving }
    }

    /// Columns that are added up at a time.
    pub(crate) fn panel(&self) -> usize {
        self.vectors.lanes * self.vectors.most
    }

    /// The sums of the first [`Self::panel`] columns, `(p, panel)`, in f32.
    pub(crate) fn sums<'s>(&self, rows: &[f32], memory: &'s mut Vec<f32>) -> &'s [f32] {
        let width = self.panel();
        let sums = aligned(memory, self.p.next_multiple_of(ROWS) * width);
        sums.fill(0.0);
        self.arch.dispatch(Product {
            pixels: self.g,
            fixed: &self.fixed,
            moving: &self.moving,
            factors: rows,
            step: self.d,
            vectors: self.vectors.most,
            initial: None,
            sums: overwritten(sums),
        });
        &sums[..self.p * width]
    }
}
