//! The inner loop: a few rows of sums held in registers while the terms go by.

use crate::kernel::Real;
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::mem::MaybeUninit;

/// `sums[row][column] += sum over t of pixels[fixed[row] + moving[t]] * factors[t][column]`, for whole vectors of columns.
pub(super) struct Product<'a, T> {
    pub(super) pixels: &'a [T],
    /// One for every row.
    pub(super) fixed: &'a [u32],
    /// One for every term.
    pub(super) moving: &'a [u32],
    /// `(terms, columns)`.
    pub(super) factors: &'a [T],
    /// From the factors of a term to those of the next, no less than the columns.
    pub(super) step: usize,
    /// Vectors of columns, 1 to [`Vectors::most`].
    pub(super) vectors: usize,
    /// What every row starts from, `(columns)`; its sum if there is none.
    pub(super) initial: Option<&'a [T]>,
    /// `(rows up to a multiple of` [`ROWS`]`, columns)`; rows past the last one hold anything afterwards.
    pub(super) sums: &'a mut [MaybeUninit<T>],
}

/// Rows of sums come in multiples of this.
pub(super) const ROWS: usize = 4;

impl<T: Real> Product<'_, T> {
    /// Runs the rows in tiles of `A`, `B` and at last `C` of them: the rows up to a multiple of `C`, for which there is room.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const A: usize, const B: usize, const C: usize>(mut self, simd: S) {
        const { assert!(A >= B && B >= C && A.is_multiple_of(C) && B.is_multiple_of(C) && ROWS.is_multiple_of(C)) };
        let mut first = 0;
        while first < self.fixed.len() {
            first += match self.fixed.len() - first {
                left if left >= A => self.tile::<S, V, A>(simd, first),
                left if left >= B => self.tile::<S, V, B>(simd, first),
                _ => self.tile::<S, V, C>(simd, first),
            };
        }
    }

    /// Rows `first` to `first + J`, where the last row takes the place of those beyond it.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "loops over registers are unrolled as they stand")]
    fn tile<S: Simd, const V: usize, const J: usize>(&mut self, simd: S, first: usize) -> usize {
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        let (columns, last) = (V * lanes, self.fixed.len() - 1);
        let sums = self.sums[first * columns..][..J * columns].as_mut_ptr().cast::<T>();
        let (initial, stride) = self.initial.map_or((sums.cast_const(), columns), |initial| (initial.as_ptr(), 0));
        // SAFETY: `with_simd` has asserted that every fixed plus every moving offset lies inside the pixels, that there are `columns`
        // factors for every moving offset and `columns` values to start from; the sums of these rows have just been sliced, and
        // nothing else refers to them. Vectors are plain elements, read and written unaligned.
        unsafe {
            let pixels: [*const T; J] = from_fn(
                #[inline(always)]
                |j| self.pixels.as_ptr().add(self.fixed[(first + j).min(last)] as usize),
            );
            let mut tile = [[T::splat(simd, T::default()); V]; J];
            for j in 0..J {
                for v in 0..V {
                    tile[j][v] = initial.add(j * stride + v * lanes).cast::<T::Vector<S>>().read_unaligned();
                }
            }
            let mut factors = self.factors.as_ptr();
            for offset in self.moving {
                let offset = *offset as usize;
                let mut vectors = [tile[0][0]; V];
                for v in 0..V {
                    vectors[v] = factors.add(v * lanes).cast::<T::Vector<S>>().read_unaligned();
                }
                for j in 0..J {
                    let pixel = T::splat(simd, *pixels[j].add(offset));
                    for v in 0..V {
                        tile[j][v] = T::fused(simd, pixel, vectors[v], tile[j][v]);
                    }
                }
                factors = factors.wrapping_add(self.step);
            }
            for j in 0..J {
                for v in 0..V {
                    sums.add(j * columns + v * lanes).cast::<T::Vector<S>>().write_unaligned(tile[j][v]);
                }
            }
        }
        J
    }
}

impl<T: Real> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.vectors * (size_of::<T::Vector<S>>() / size_of::<T>());
        let largest = |offsets: &[u32]| offsets.iter().fold(0, |largest, x| largest.max(*x)) as usize;
        assert!(largest(self.fixed) + largest(self.moving) < self.pixels.len(), "a pixel past the last one");
        let steps = self.moving.len().saturating_sub(1) * self.step;
        assert!(self.moving.is_empty() || steps + columns <= self.factors.len(), "factors of a product");
        assert_eq!(self.sums.len(), self.fixed.len().next_multiple_of(ROWS) * columns, "sums of a product");
        assert!(self.initial.is_none_or(|initial| initial.len() == columns), "what the rows of a product start from");
        // As many sums as registers hold beside the factors and a pixel.
        match (self.vectors, S::REGISTER_COUNT >= 32) {
            (1, _) => self.tiles::<S, 1, 8, 4, 4>(simd),
            (2, true) => self.tiles::<S, 2, 8, 4, 4>(simd),
            (3, true) => self.tiles::<S, 3, 8, 4, 2>(simd),
            (4, true) => self.tiles::<S, 4, 6, 4, 2>(simd),
            (2, false) => self.tiles::<S, 2, 6, 4, 2>(simd),
            (vectors, _) => unreachable!("a product of {vectors} vectors"),
        }
    }
}

/// What a processor's vectors hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vectors {
    /// Elements of one.
    pub(super) lanes: usize,
    /// The most of columns that one product takes.
    pub(super) most: usize,
}

impl Vectors {
    /// Of the instructions that `arch` stands for.
    pub(super) fn of<T: Real>(arch: pulp::Arch) -> Self {
        struct Ask<T>(std::marker::PhantomData<T>);
        impl<T: Real> WithSimd for Ask<T> {
            type Output = Vectors;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Vectors {
                let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
                Vectors { lanes, most: if S::REGISTER_COUNT >= 32 { 4 } else { 2 } }
            }
        }
        arch.dispatch(Ask::<T>(std::marker::PhantomData))
    }
}
