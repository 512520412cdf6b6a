//! CPU kernels: matrix products, convolutions, pooling, activations, normalisation, recurrent cells, attention, lookups,
//! normal draws.
//!
//! Everything here works on slices and is deterministic whatever the number of threads: work is cut into pieces whose
//! size depends on the shapes alone, and each piece is computed by one thread in one order.

pub(crate) mod activation;
pub(crate) mod adam;
pub(crate) mod add;
pub(crate) mod attention;
pub(crate) mod blocks;
pub(crate) mod chacha;
pub(crate) mod cross_entropy;
pub(crate) mod direct;
pub(crate) mod instructions;
pub(crate) mod matmul;
pub(crate) mod memory;
pub(crate) mod norm;
pub(crate) mod normal;
pub(crate) mod outer;
pub(crate) mod patches;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod rows;
pub(crate) mod scatter;
pub(crate) mod team;
pub(crate) mod thin;
pub(crate) mod update;
pub(crate) mod ziggurat;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType, bail};

/// The element types the kernels are written for.
pub(crate) trait Real: direct::Lanes + WithDType + num_traits::Float + std::iter::Sum + Default {
    /// Half the distance from one to the next number: the relative error of one rounding.
    const UNIT_ROUNDOFF: f64;
    /// Norms whose products of four neither overflow nor lose digits to underflow that their roundings would not lose.
    const FOURTH_POWERS: std::ops::Range<f64>;

    /// The hyperbolic tangent; compilers vectorise it in f32.
    fn hyperbolic_tangent(self) -> Self;

    /// The logistic function 1 / (1 + e^-x); compilers vectorise it in f32.
    fn logistic(self) -> Self;

    /// e^x for x of at most 0; compilers vectorise it in f32.
    fn exp_of_at_most_0(self) -> Self;

    /// The standard normal distribution function and density; compilers vectorise it in f32.
    fn normal(self) -> (Self, Self);

    /// The element as f64, exactly; a plain conversion that compilers vectorise.
    fn wide(self) -> f64;

    /// The sum of outer products in blocks ([`blocks::product`], [`blocks::thin_product`]), if this type has less digits than
    /// such sums need. `norms` are upper bounds on those of the rows, where they are known.
    fn summed_in_blocks(rows: &[Self], g: &[f64], size: (usize, usize), norms: Option<&[f64]>) -> Option<Vec<f64>>;

    /// All elements of a storage of this type, to be changed.
    fn elements_of(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

impl Real for f32 {
    const UNIT_ROUNDOFF: f64 = 5.960_464_477_539_063e-8;
    const FOURTH_POWERS: std::ops::Range<f64> = 1e-15..1e15;

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        activation::tanh_f32(self)
    }

    #[inline(always)]
    fn logistic(self) -> Self {
        activation::logistic_f32(self)
    }

    #[inline(always)]
    fn exp_of_at_most_0(self) -> Self {
        activation::exp_f32(self)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        activation::normal_f32(self)
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn summed_in_blocks(rows: &[Self], g: &[f64], (p, d): (usize, usize), norms: Option<&[f64]>) -> Option<Vec<f64>> {
        let thin = p <= thin::MOST_OUTPUTS;
        Some(if thin { blocks::thin_product(rows, g, (p, d), norms) } else { blocks::product(rows, g, p, d) })
    }

    fn elements_of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(elements) => Ok(elements),
            _ => bail!("a tensor of f32 was expected"),
        }
    }
}

impl Real for f64 {
    const UNIT_ROUNDOFF: f64 = 1.110_223_024_625_156_5e-16;
    const FOURTH_POWERS: std::ops::Range<f64> = 1e-70..1e70;

    fn hyperbolic_tangent(self) -> Self {
        self.tanh()
    }

    fn logistic(self) -> Self {
        // Where the exponential overflows the result is zero, as it should be.
        (1.0 + (-self).exp()).recip()
    }

    fn exp_of_at_most_0(self) -> Self {
        self.exp()
    }

    fn normal(self) -> (Self, Self) {
        activation::normal_f64(self)
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    fn summed_in_blocks(_: &[Self], _: &[f64], _: (usize, usize), _: Option<&[f64]>) -> Option<Vec<f64>> {
        None
    }

    fn elements_of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(elements) => Ok(elements),
            _ => bail!("a tensor of f64 was expected"),
        }
    }
}

/// Calls a generic kernel with the element type of a tensor.
macro_rules! dispatch {
    ($dtype:expr, $kernel:ident ( $($argument:expr),* $(,)? )) => {
        match $dtype {
            candle_core::DType::F32 => $kernel::<f32>($($argument),*),
            candle_core::DType::F64 => $kernel::<f64>($($argument),*),
            other => candle_core::bail!("the CPU kernels work on f32 and f64, not {other:?}"),
        }
    };
}
pub(crate) use dispatch;

/// The elements of a contiguous piece of storage.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a CPU kernel was given a tensor that is not contiguous"),
    }
}

/// Reads the elements of a contiguous tensor on the CPU.
pub(crate) fn read<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("a CPU kernel was given a tensor on another device"),
    }
}

/// The element as f64: exact for both element types.
pub(crate) fn to_f64<T: Real>(x: T) -> f64 {
    x.wide()
}

/// The elements as f64, exactly, for slices of one length.
pub(crate) fn widen<T: Real>(from: &[T], to: &mut [f64]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || once(to).iter_mut().zip(from).for_each(|(to, from)| *to = from.wide()),
    );
}

/// [`norm_bound`] of a slice.
pub(crate) fn norm_of<T: Real>(values: &[T]) -> f64 {
    let mut norm = [0.0];
    if !values.is_empty() {
        norms_of(values, &mut norm);
    }
    norm[0]
}

/// [`norm_bound`] of every row of as many rows as there are norms, which are not empty. The bound on the rounding holds whatever the
/// order of the sum, so it is taken in lanes.
pub(crate) fn norms_of<T: Real>(rows: &[T], norms: &mut [f64]) {
    const LANES: usize = 16;
    let size = rows.len() / norms.len();
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (norm, row) in once(norms).iter_mut().zip(rows.chunks_exact(size)) {
                let (chunks, mut lanes) = (row.chunks_exact(LANES), [0.0; LANES]);
                let rest: f64 = chunks.remainder().iter().map(|x| x.wide() * x.wide()).sum();
                for chunk in chunks {
                    for (lane, x) in lanes.iter_mut().zip(chunk) {
                        *lane += x.wide() * x.wide();
                    }
                }
                let square = lanes.iter().sum::<f64>() + rest;
                *norm = if ORDINARY_SQUARES.contains(&square) {
                    square.sqrt() * slack(size as f64)
                } else {
                    norm_bound(row.iter().map(|x| x.wide()))
                };
            }
        },
    );
}

/// Sums of squares without overflow, and in which what vanished is nothing.
const ORDINARY_SQUARES: std::ops::Range<f64> = 1e-280..1e280;

/// The sum of `count` squares in f64 loses at most as many roundings, and this factor on the norm covers twice that.
fn slack(count: f64) -> f64 {
    1.0 + (count + 8.0) * f64::EPSILON
}

/// The same value. A closure that moves one of its references in here can be called once only, and then the compiler inlines
/// it where it is compiled for the machine's best instructions, instead of calling it from there.
#[inline(always)]
pub(crate) fn once<T>(value: T) -> T {
    value
}

/// An upper bound on the Euclidean norm, tight to rounding; not finite if a value is not.
pub(crate) fn norm_bound(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (count, square) = values.clone().fold((0.0, 0.0), |(count, square), x| (count + 1.0, square + x * x));
    if ORDINARY_SQUARES.contains(&square) {
        return square.sqrt() * slack(count);
    }
    // Squares may have overflown or vanished: divide by the largest value first.
    let larger = |largest: f64, x: f64| if x.is_nan() { x } else { largest.max(x.abs()) };
    let largest =
        values.clone().fold(0.0, |largest: f64, x| if largest.is_nan() { largest } else { larger(largest, x) });
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let square: f64 = values.map(|x| (x / largest).powi(2)).sum();
    // Below the normal numbers the two products are each off by half the smallest number, however small that makes them.
    (largest * square.sqrt() * slack(count)).next_up()
}

/// An upper bound on the product of two norms, tight to rounding: zero only if one of them is.
pub(crate) fn product_bound(a: f64, b: f64) -> f64 {
    let product = a * b * (1.0 + 4.0 * f64::EPSILON);
    if product < f64::MIN_POSITIVE && a > 0.0 && b > 0.0 { product.next_up() } else { product }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_are_bounded_from_above_at_every_scale() {
        for scale in [1.0, 1e-300, 5e-324, 1e-160, 1e160, 1e300] {
            let bound = norm_bound([3.0, -4.0].into_iter().map(|x| x * scale));
            let many: Vec<f64> =
                (0..40).map(|i| if i % 8 == 3 { scale * if i < 20 { 3.0 } else { -4.0 } } else { 0.0 }).collect();
            let lanes = norm_of(&many) / norm_bound(many.iter().copied());
            assert!((1.0 - 1e-14..1.0 + 1e-14).contains(&lanes), "{lanes} at {scale}");
            assert!(bound >= 5.0 * scale && bound <= (5.0 * scale * (1.0 + 1e-14)).next_up(), "{bound} at {scale}");
        }
        // Root two times the smallest number, and products that round to it and to zero.
        assert_eq!(norm_bound([5e-324, 5e-324].into_iter()), 1e-323);
        assert_eq!((product_bound(3e-162, 1.25e-162), product_bound(1e-200, 1e-200)), (1e-323, 5e-324));
        assert_eq!((product_bound(0.0, 1e-200), product_bound(0.0, 1e300)), (0.0, 0.0));
        assert!(product_bound(1e200, 1e200).is_infinite() && product_bound(f64::NAN, 0.0).is_nan());
        assert_eq!(norm_bound([0.0, 0.0].into_iter()), 0.0);
        assert!(norm_bound([1.0, f64::NAN, 2.0].into_iter()).is_nan());
        assert!(norm_bound([1.0, f64::INFINITY].into_iter()).is_infinite());
        assert!(norm_bound([1e308, 1e308].into_iter()) > 1e308);
    }
}
