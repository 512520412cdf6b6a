//! Matrix products on strided views, through `gemm`.

use super::memory::{copies, written, zeroed};
use super::team::{Shared, threads};
use super::{Real, norm_bound, norm_of, to_f64};
use crate::profile;
use candle_core::DType;
use gemm::{Parallelism, gemm};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// A matrix that reads its elements from a slice with strides.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// `rows x cols`, row after row.
    pub(crate) fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// Any strides; the last element must lie inside `data`.
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            assert!((rows - 1) * row_stride + (cols - 1) * col_stride < data.len(), "a matrix view past its slice");
        }
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// The transposed matrix; nothing moves.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Some rows.
    fn rows(self, first: usize, count: usize) -> Self {
        Self::strided(
            self.data.get(first * self.row_stride..).unwrap_or_default(),
            count,
            self.cols,
            self.row_stride,
            self.col_stride,
        )
    }

    /// All elements, row after row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + Clone + 'a
    where
        T: Copy,
    {
        let Self { data, rows, cols, row_stride, col_stride } = *self;
        (0..rows).flat_map(move |i| (0..cols).map(move |j| data[i * row_stride + j * col_stride]))
    }

    /// An upper bound on the norm of all elements together, tight to rounding.
    pub(crate) fn norm(&self) -> f64
    where
        T: Real,
    {
        // A matrix without gaps is a slice, whichever way round.
        let Self { data, rows, cols, row_stride, col_stride } = *self;
        if (col_stride == 1 && row_stride == cols) || (row_stride == 1 && col_stride == rows) {
            return norm_of(&data[..rows * cols]);
        }
        norm_bound(self.iter().map(to_f64))
    }
}

/// `dst = lhs rhs`, or `dst += lhs rhs` when `accumulate`, with `dst` row after row, on the calling thread.
pub(crate) fn matmul<T: Real>(dst: &mut [T], lhs: View<'_, T>, rhs: View<'_, T>, accumulate: bool) {
    multiply(dst, lhs, rhs, accumulate, Parallelism::None);
}

/// How threads share out a product: always the elements of the result, never the sum behind one of them, so that their number
/// changes no bit.
enum Sharing {
    /// So many rows at a time.
    Rows(usize),
    /// So many columns at a time.
    Columns(usize),
    /// As `gemm` does.
    Blocks,
}

impl Sharing {
    fn of(m: usize, k: usize, n: usize) -> Self {
        /// A part has at least so many rows or columns: with fewer, what every part has to copy costs more than is won.
        const LEAST: usize = 128;
        let threads = threads();
        if m * k * n < 1 << 18 || threads == 1 {
            return Self::Rows(m.max(1));
        }
        // Kernels take 6 rows and 64 columns at a time.
        match (m.max(n) / threads < LEAST, m >= n) {
            (true, _) => Self::Blocks,
            (false, true) => Self::Rows(m.div_ceil(threads).next_multiple_of(6)),
            (false, false) => Self::Columns(n.div_ceil(threads).next_multiple_of(64)),
        }
    }
}

/// As [`matmul`], on all threads where that is worth it.
pub(crate) fn matmul_parallel<T: Real>(dst: &mut [T], lhs: View<'_, T>, rhs: View<'_, T>, accumulate: bool) {
    let n = rhs.cols;
    match Sharing::of(lhs.rows, lhs.cols, n) {
        Sharing::Blocks => multiply(dst, lhs, rhs, accumulate, Parallelism::Rayon(0)),
        Sharing::Rows(rows) => {
            check(dst.len(), lhs, rhs);
            dst.par_chunks_mut((rows * n).max(1)).enumerate().each(|(i, dst)| {
                multiply(dst, lhs.rows(i * rows, dst.len() / n), rhs, accumulate, Parallelism::None);
            });
        }
        Sharing::Columns(columns) => {
            check(dst.len(), lhs, rhs);
            let start = Start(dst.as_mut_ptr());
            (0..n.div_ceil(columns)).into_par_iter().each(|i| {
                let (first, count) = (i * columns, columns.min(n - i * columns));
                let part = rhs.t().rows(first, count).t();
                // SAFETY: `dst` has rows of n elements, as many as `lhs` (checked), and the parts are disjoint columns of it:
                // nobody else reads or writes those of this one. They are initialised.
                unsafe { product((start.at(first), n), lhs, part, accumulate, Parallelism::None) };
            });
        }
    }
}

/// `lhs rhs` with `bias` added to every row, row after row, on all threads where that is worth it.
pub(crate) fn affine<T: Real>(lhs: View<'_, T>, rhs: View<'_, T>, bias: Option<&[T]>) -> Vec<T> {
    let (m, n) = (lhs.rows, rhs.cols);
    let Sharing::Rows(rows) = Sharing::of(m, lhs.cols, n) else {
        let mut product = repeated(bias, m, n);
        matmul_parallel(&mut product, lhs, rhs, bias.is_some());
        return product;
    };
    let (product, _) = written(m * n, (rows * n).max(1), |i, dst, (): &mut ()| {
        let lhs = lhs.rows(i * rows, dst.len() / n);
        let Some(bias) = bias else { return (matmul_new(dst, lhs, rhs), ()) };
        let dst = copies(dst, bias);
        matmul(dst, lhs, rhs, true);
        (dst, ())
    });
    product
}

/// `bias`, or zeros, `rows` times, with `cols` elements each.
pub(crate) fn repeated<T: Real>(bias: Option<&[T]>, rows: usize, cols: usize) -> Vec<T> {
    const ROWS: usize = 64;
    let (repeated, _) = written(rows * cols, (ROWS * cols).max(1), |_, dst, (): &mut ()| match bias {
        Some(bias) => (copies(dst, bias), ()),
        None => (zeroed(dst), ()),
    });
    repeated
}

/// The start of a matrix whose columns are shared out among threads.
#[derive(Clone, Copy)]
struct Start<T>(*mut T);

impl<T> Start<T> {
    /// The element `offset` further.
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: a pointer to elements that may be sent; who reads or writes them through it says why that is allowed.
unsafe impl<T: Send> Send for Start<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Start<T> {}

/// `lhs rhs`, row after row, in memory that held nothing, on the calling thread.
pub(crate) fn matmul_new<'d, T: Real>(
    dst: &'d mut [MaybeUninit<T>],
    lhs: View<'_, T>,
    rhs: View<'_, T>,
) -> &'d mut [T] {
    check(dst.len(), lhs, rhs);
    if dst.is_empty() || lhs.cols == 0 {
        return zeroed(dst);
    }
    // SAFETY: `dst` has as many elements as the product, and they are not read. Each of them has been written then.
    unsafe {
        product((dst.as_mut_ptr().cast(), rhs.cols), lhs, rhs, false, Parallelism::None);
        &mut *(std::ptr::from_mut(dst) as *mut [T])
    }
}

fn multiply<T: Real>(dst: &mut [T], lhs: View<'_, T>, rhs: View<'_, T>, accumulate: bool, threads: Parallelism) {
    check(dst.len(), lhs, rhs);
    if lhs.cols > 0 && !dst.is_empty() {
        // SAFETY: `dst` has as many elements as the product.
        unsafe { product((dst.as_mut_ptr(), rhs.cols), lhs, rhs, accumulate, threads) };
    } else if !accumulate {
        dst.fill(T::default());
    }
}

fn check<T>(size: usize, lhs: View<'_, T>, rhs: View<'_, T>) {
    assert_eq!(rhs.rows, lhs.cols, "inner dimensions of a matrix product");
    assert_eq!(size, lhs.rows * rhs.cols, "size of the result of a matrix product");
}

/// # Safety
/// `dst` is the start of as many rows and columns of elements as the product has, its second part the distance from row to row;
/// nobody else reads or writes them meanwhile, and they are initialised if the product is accumulated; inner dimensions fit.
unsafe fn product<T: Real>(
    (dst, row_stride): (*mut T, usize),
    lhs: View<'_, T>,
    rhs: View<'_, T>,
    accumulate: bool,
    threads: Parallelism,
) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    let _time = profile::product(2 * m * n * k, T::DTYPE == DType::F64);
    // SAFETY: `dst` holds m x n elements with that stride (the caller's promise), and `View::strided` has asserted that every element
    // of `lhs` (m x k) and `rhs` (k x n) lies inside its slice. Without accumulating, `gemm` does not read `dst`.
    unsafe {
        gemm(
            m,
            n,
            k,
            dst,
            1,
            row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn naive(lhs: View<'_, f64>, rhs: View<'_, f64>) -> Vec<f64> {
        let at = |m: &View<'_, f64>, i: usize, j: usize| m.data[i * m.row_stride + j * m.col_stride];
        let mut out = Vec::new();
        for i in 0..lhs.rows {
            for j in 0..rhs.cols {
                out.push((0..lhs.cols).map(|k| at(&lhs, i, k) * at(&rhs, k, j)).sum());
            }
        }
        out
    }

    #[test]
    fn products_equal_the_triple_loop_for_any_strides() {
        let numbers: Vec<f64> = (0..4000).map(|i| ((i * 37) % 101) as f64 / 10.0 - 5.0).collect();
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (7, 1, 9), (65, 40, 33), (0, 3, 2), (3, 0, 2), (2, 3, 0)] {
            let lhs = View::row_major(&numbers[..m * k], m, k);
            for rhs in [
                View::row_major(&numbers[100..100 + k * n], k, n),
                View::row_major(&numbers[100..100 + k * n], n, k).t(),
            ] {
                let expected = naive(lhs, rhs);
                let mut one = vec![9.0; m * n];
                matmul(&mut one, lhs, rhs, false);
                let mut fresh = vec![MaybeUninit::new(7.0); m * n];
                assert_eq!(matmul_new(&mut fresh, lhs, rhs), &one[..]);
                let mut many = vec![1.0; m * n];
                matmul_parallel(&mut many, lhs, rhs, true);
                let bias = vec![1.0; n];
                assert_eq!((affine(lhs, rhs, Some(&bias)), affine(lhs, rhs, None)), (many.clone(), one.clone()));
                for ((a, b), c) in one.iter().zip(&expected).zip(&many) {
                    assert!((a - b).abs() < 1e-9 && (c - b - 1.0).abs() < 1e-9, "{m}x{k}x{n}: {a} {b} {c}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        fn bits<T: Real>(numbers: &[T], (m, k, n): (usize, usize, usize), threads: usize) -> Vec<T> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut dst = vec![T::one(); m * n];
            let (lhs, rhs) =
                (View::row_major(&numbers[..m * k], k, m).t(), View::row_major(&numbers[7..7 + k * n], k, n));
            pool.install(|| matmul_parallel(&mut dst, lhs, rhs, true));
            dst
        }
        let wide: Vec<f64> = (0..600_000).map(|i| ((i * 37) % 1013) as f64 / 101.0 - 5.0).collect();
        let single: Vec<f32> = wide.iter().map(|x| *x as f32).collect();
        for shape in [
            (64, 64, 65),
            (300, 17, 260),
            (1000, 512, 10),
            (3, 2000, 90),
            (257, 513, 129),
            (130, 300, 700),
            (900, 70, 40),
        ] {
            let (one, one_single) = (bits(&wide, shape, 1), bits(&single, shape, 1));
            for threads in [2, 3, 8] {
                assert!(bits(&wide, shape, threads) == one && bits(&single, shape, threads) == one_single, "{shape:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "past its slice")]
    fn a_view_past_its_slice_is_refused() {
        View::row_major(&[0.0f32; 5], 2, 3);
    }
}
