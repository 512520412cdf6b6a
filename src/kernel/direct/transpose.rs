//! Transposed copies, in blocks of 8 x 8 where the processor moves eight elements at once.

use crate::kernel::Real;
use crate::kernel::instructions::Instructions;

/// A matrix of which not every element between the first and the last need belong to it.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Elements from one row to the next, and from one row of the transposed copy to the next.
    pub(super) strides: [usize; 2],
}

impl Matrix {
    /// How many elements the matrix and its copy span.
    fn spans(&self) -> [usize; 2] {
        match (self.rows, self.cols) {
            (0, _) | (_, 0) => [0, 0],
            (rows, cols) => [(rows - 1) * self.strides[0] + cols, (cols - 1) * self.strides[1] + rows],
        }
    }

    /// Copies it from `from` transposed to `to`.
    pub(super) fn transposed<T: Real>(&self, from: &[T], to: &mut [T]) {
        assert!(self.spans()[1] <= to.len(), "a transposed copy past its slice");
        // SAFETY: the copy lies inside the slice, which is the caller's alone.
        unsafe { self.transposed_to(from, to.as_mut_ptr()) }
    }

    /// The same to memory that may hold nothing yet: every element of the copy is written, and nothing between its rows.
    ///
    /// # Safety
    /// The copy, from `to` on, lies in memory that nobody else reads or writes meanwhile.
    pub(super) unsafe fn transposed_to<T: Real>(&self, from: &[T], to: *mut T) {
        assert!(self.spans()[0] <= from.len(), "a transposed matrix past its slice");
        let mut whole = [0, 0];
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == size_of::<f32>() && !matches!(Instructions::widest(), Instructions::Portable) {
            whole = [self.rows / 8 * 8, self.cols / 8 * 8];
            // SAFETY: the processor has AVX2, which every kind of instructions but the portable includes; whole blocks of elements
            // of four bytes lie in both, as asserted above and promised by the caller.
            unsafe { self.blocks(from.as_ptr().cast(), to.cast()) };
        }
        let edge = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
            for row in rows {
                for col in cols.clone() {
                    // SAFETY: as the caller promises; such an element is in the copy.
                    unsafe { to.add(col * self.strides[1] + row).write(from[row * self.strides[0] + col]) };
                }
            }
        };
        edge(0..whole[0], whole[1]..self.cols);
        edge(whole[0]..self.rows, 0..self.cols);
    }

    /// The whole blocks of 8 x 8.
    ///
    /// # Safety
    /// The processor has AVX2; `from` and `to` are as in [`Self::transposed_to`], of elements of any kind of four bytes.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn blocks(&self, from: *const f32, to: *mut f32) {
        use std::arch::x86_64::*;
        let [from_stride, to_stride] = self.strides;
        let (rows, cols) = (self.rows / 8, self.cols / 8);
        // The 8 rows that lie further apart stay while the others go by: they may be in as many pages.
        let by_row = from_stride >= to_stride;
        let (outer, inner) = if by_row { (rows, cols) } else { (cols, rows) };
        for i in 0..outer {
            for j in 0..inner {
                let (row, col) = if by_row { (8 * i, 8 * j) } else { (8 * j, 8 * i) };
                // SAFETY: rows to row + 8 and columns to col + 8 belong to the matrix and its copy.
                unsafe {
                    let from = from.add(row * from_stride + col);
                    // Row i beside row i + 4, their first four elements and their last four.
                    let halves = |i: usize, first: usize| {
                        let low = _mm256_castps128_ps256(_mm_loadu_ps(from.add(i * from_stride + first)));
                        _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(from.add((i + 4) * from_stride + first)))
                    };
                    for first in [0, 4] {
                        let [a, b, c, d] = [halves(0, first), halves(1, first), halves(2, first), halves(3, first)];
                        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                        let to = to.add((col + first) * to_stride + row);
                        _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(ab, cd));
                        _mm256_storeu_ps(to.add(to_stride), _mm256_shuffle_ps::<0xee>(ab, cd));
                        _mm256_storeu_ps(to.add(2 * to_stride), _mm256_shuffle_ps::<0x44>(ab_high, cd_high));
                        _mm256_storeu_ps(to.add(3 * to_stride), _mm256_shuffle_ps::<0xee>(ab_high, cd_high));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_transpose_and_nothing_beside_it_changes() {
        fn check<T: Real>(element: impl Fn(usize) -> T) {
            for (rows, cols) in [(0, 3), (3, 0), (1, 1), (7, 9), (8, 8), (16, 24), (17, 33), (25, 8)] {
                let strides = [cols + 3, rows + 2];
                let from: Vec<T> = (0..rows * strides[0]).map(&element).collect();
                let mut to = vec![-T::one(); cols * strides[1]];
                Matrix { rows, cols, strides }.transposed(&from, &mut to);
                for (i, value) in to.iter().enumerate() {
                    let (col, row) = (i / strides[1], i % strides[1]);
                    let expected = if row < rows { from[row * strides[0] + col] } else { -T::one() };
                    assert!(*value == expected, "{rows}x{cols} at {row}, {col}: {}", value.wide());
                }
            }
        }
        check(|i| i as f32);
        check(|i| i as f64);
    }

    #[test]
    #[should_panic(expected = "past its slice")]
    fn a_copy_past_its_slice_is_refused() {
        Matrix { rows: 8, cols: 8, strides: [8, 8] }.transposed(&[0.0f32; 64], &mut [0.0; 63]);
    }
}
