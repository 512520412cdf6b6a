//! The normal ziggurat: the half-normal density under 1024 layers of one area (Marsaglia and Tsang 2000).
//!
//! Layer `i` is as wide as `x[i]`. A number of 64 bits names a layer (10 bits), a sign (one bit) and one of 2^52 midpoints of
//! equal cells across the layer; 99.6 per cent of the points lie left of `x[i + 1]`, where the whole layer is under the
//! density, and are draws. The others are settled here with more numbers: against the density itself, or, in the bottom
//! layer, by a draw from the tail beyond `x[1]`. The bits of layer, sign and midpoint are distinct, so there is none of the
//! dependence that Doornik (2005) found where they are shared.
//!
//! Only `+ - * /` and comparisons are used, never fused, so a draw has the same bits on every processor.

/// Layers, the bottom one with the tail included.
pub(crate) const LAYERS: usize = 1024;

/// Where the tail begins: the root of "the topmost layer ends at density 1" for [`LAYERS`] layers, solved to 40 digits.
const TAIL: f64 = 4.038_849_846_109_505;

/// The area of a layer: `TAIL f(TAIL)` and the integral of f beyond `TAIL`, f(x) = exp(-x^2 / 2).
const AREA: f64 = 1.226_324_646_353_088e-3;

/// Bit 11 of a number, moved to the place of a float's sign, is the sign of the draw.
pub(crate) const SIGN_SHIFT: u32 = 52;
/// The upper 52 bits of a number, moved to the place of a float's fraction, are the midpoint.
pub(crate) const FRACTION_SHIFT: u32 = 12;
/// With this exponent the fraction is a float in [1, 2).
pub(crate) const ONE: u64 = 1.0_f64.to_bits();
/// Subtracted from it, without rounding, to give a midpoint: an odd multiple of 2^-53 in (0, 1).
pub(crate) const HALF_A_CELL_BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

/// The layers.
pub(crate) static ZIGGURAT: Ziggurat = Ziggurat::new();

/// Widths and densities of the layers, computed by the compiler and thus the same in every build.
pub(crate) struct Ziggurat {
    /// Widths, falling to 0; `x[0]` is that of a bottom layer without a tail.
    pub(crate) x: [f64; LAYERS + 1],
    /// The density at `x[i]`, rising to 1. The bottom layer begins at 0.
    f: [f64; LAYERS + 1],
}

impl Ziggurat {
    const fn new() -> Self {
        let (mut x, mut f) = ([0.0; LAYERS + 1], [0.0; LAYERS + 1]);
        f[1] = density(TAIL);
        x[0] = AREA / f[1];
        x[1] = TAIL;
        let mut i = 1;
        while i + 1 < LAYERS {
            f[i + 1] = f[i] + AREA / x[i];
            // Newton's method for density(x) = f from the width below: each step doubles the digits.
            let (mut root, mut step) = (x[i], 0);
            while step < 6 {
                let here = density(root);
                root += (here - f[i + 1]) / (root * here);
                step += 1;
            }
            x[i + 1] = root;
            i += 1;
        }
        f[LAYERS] = 1.0;
        Self { x, f }
    }

    /// The point a number names, and whether it is a draw as it stands.
    #[inline(always)]
    pub(crate) fn point(&self, number: u64) -> (f64, bool) {
        let layer = number as usize % LAYERS;
        let cell = f64::from_bits(ONE | number >> FRACTION_SHIFT) - HALF_A_CELL_BELOW_ONE;
        let x = cell * self.x[layer];
        (signed(x, number), x < self.x[layer + 1])
    }

    /// The draw that a number leads to, with further numbers from `more`.
    #[cold]
    pub(crate) fn settle(&self, mut number: u64, more: &mut impl FnMut() -> u64) -> f64 {
        loop {
            let (x, inside) = self.point(number);
            if inside {
                return x;
            }
            let layer = number as usize % LAYERS;
            if layer == 0 {
                return signed(tail(more), number);
            }
            let height = self.f[layer] + uniform(more()) * (self.f[layer + 1] - self.f[layer]);
            if height < density(x) {
                return x;
            }
            number = more();
        }
    }
}

/// A draw from beyond `TAIL` (Marsaglia 1964). Numbers of 64 bits lead at most sqrt(2 * 64 ln 2) = 9.4 beyond it.
fn tail(more: &mut impl FnMut() -> u64) -> f64 {
    loop {
        let x = -ln(uniform(more())) / TAIL;
        let y = -ln(uniform(more()));
        if 2.0 * y > x * x {
            return TAIL + x;
        }
    }
}

/// `x` with the sign a number has for it.
#[inline(always)]
fn signed(x: f64, number: u64) -> f64 {
    f64::from_bits(x.to_bits() ^ (number << SIGN_SHIFT & 1 << 63))
}

/// An odd multiple of 2^-64, rounded to a float: in (0, 1].
fn uniform(number: u64) -> f64 {
    (number | 1) as f64 * (1.0 / (1_u128 << 64) as f64)
}

/// `LN_2_HIGH` has 32 bits, so its products with small integers are exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// exp(-x^2 / 2) for |x| < 9, to three units in the last place.
const fn density(x: f64) -> f64 {
    let t = x * x * 0.5;
    // t = halvings ln 2 - r with |r| <= ln 2 / 2, and exp(-t) = 2^-halvings exp(r).
    let halvings = (t * std::f64::consts::LOG2_E + 0.5) as u32;
    let r = (halvings as f64 * LN_2_HIGH - t) + halvings as f64 * LN_2_LOW;
    // Taylor's series; what is left off is below (ln 2 / 2)^15 / 15! = 1e-19.
    let (mut sum, mut n) = (1.0, 14);
    while n > 0 {
        sum = 1.0 + r / n as f64 * sum;
        n -= 1;
    }
    sum * f64::from_bits((1023 - halvings as u64) << 52)
}

/// The natural logarithm of a normal float, to three units in the last place.
fn ln(x: f64) -> f64 {
    // x = 2^doublings m with m in [sqrt(1/2), sqrt(2)).
    let above = x.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let doublings = (above.cast_signed() >> 52) as f64;
    let m = f64::from_bits((above & ((1 << 52) - 1)) + std::f64::consts::FRAC_1_SQRT_2.to_bits());
    // ln m = 2 artanh s with |s| < 0.172; what is left off is below 2 s^25 / 25 = 1e-20.
    let s = (m - 1.0) / (m + 1.0);
    let (square, mut sum) = (s * s, 0.0);
    for odd in (1..=11).rev() {
        sum = square * (1.0 / f64::from(2 * odd + 1) + sum);
    }
    doublings * LN_2_HIGH + (2.0 * s + (2.0 * s * sum + doublings * LN_2_LOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn density_and_logarithm_are_those_of_the_library() {
        for i in 1..100_000 {
            let x = f64::from(i) * 9e-5;
            let (ours, theirs) = (density(x), (-x * x / 2.0).exp());
            assert!(
                (ours / theirs - 1.0).abs() < 6.0 * f64::EPSILON * (1.0 + x * x / 8.0),
                "exp at {x}: {ours} {theirs}"
            );
            let u = uniform(u64::MAX / 100_000 * i as u64);
            let small = uniform(1 << (i % 64));
            for u in [u, small] {
                let (ours, theirs) = (ln(u), u.ln());
                assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs(), "ln of {u}: {ours} {theirs}");
            }
        }
        assert_eq!((density(0.0), ln(1.0)), (1.0, 0.0));
    }

    /// By mpmath, with 40 digits.
    #[test]
    fn layers_are_where_they_should_be_and_close_at_the_top() {
        let z = &ZIGGURAT;
        for (i, x) in [(0, 4.273_445_303_098_994_5), (512, 1.537_312_330_250_695_6), (1023, 0.135_063_558_635_168_85)] {
            assert!((z.x[i] - x).abs() < 1e-13, "width {i}: {} is not {x}", z.x[i]);
        }
        let top = z.f[LAYERS - 1] + AREA / z.x[LAYERS - 1];
        assert!((top - 1.0).abs() < 1e-13, "the layers end at {top}");
        assert!(z.x.is_sorted_by(|a, b| a > b) && z.f.is_sorted_by(|a, b| a < b));
        // Below x[i] the layers add up to f[i]: this is what rounding does to the density of a draw.
        for i in 1..=LAYERS {
            let density = (-z.x[i] * z.x[i] / 2.0).exp();
            assert!((density / z.f[i] - 1.0).abs() < 2e-14, "layer {i} begins at {}, not {density}", z.f[i]);
        }
    }

    #[test]
    fn a_number_is_split_without_overlap() {
        let z = &ZIGGURAT;
        let widest = f64::from_bits(1.0_f64.to_bits() - 1);
        assert_eq!(z.point(0), (z.x[0] * 0.5f64.powi(53), true));
        assert_eq!(z.point(5), (z.x[5] * 0.5f64.powi(53), true));
        assert_eq!(z.point(5 | 1 << 11), (-z.x[5] * 0.5f64.powi(53), true));
        assert_eq!(z.point(5 | 1 << 10), z.point(5));
        assert_eq!(z.point(u64::MAX << 12), (z.x[0] * widest, false));
        // The topmost layer has no room left of x = 0, so all of it is settled against the density.
        assert_eq!(z.point(1023), (z.x[1023] * 0.5f64.powi(53), false));
    }

    /// A source of the given numbers, the last of them for ever.
    fn source(numbers: &[u64]) -> impl FnMut() -> u64 {
        let mut next = 0;
        move || {
            next += 1;
            numbers[(next - 1).min(numbers.len() - 1)]
        }
    }

    #[test]
    fn points_outside_are_settled_by_density_tail_or_another_number() {
        let z = &ZIGGURAT;
        let edge = u64::MAX << 12;
        // In the wedge of layer 700: low numbers are under the density, high ones are not and a new number decides.
        let wedge = edge | 700;
        assert_eq!(z.settle(wedge, &mut source(&[0])), z.point(wedge).0);
        assert_eq!(z.settle(wedge, &mut source(&[u64::MAX, 5])), z.point(5).0);
        // A bottom point is replaced by one from the tail and keeps its sign.
        let (x, y) = (u64::MAX, 1 << 60);
        assert_eq!(z.settle(edge, &mut source(&[x, y])), TAIL);
        assert_eq!(z.settle(edge | 1 << 11, &mut source(&[x, y])), -TAIL);
    }

    #[test]
    fn the_tail_reaches_thirteen_deviations_and_only_as_often_as_it_should() {
        // -ln of 2^-52 over TAIL is 8.92, allowed only where y is above 39.8: the smallest numbers of the second draw.
        let far = tail(&mut source(&[1 << 12, 0]));
        assert!((12.95..12.97).contains(&far), "{far}");
        // The same point with an ordinary second draw is refused, and the next pair is taken.
        assert_eq!(tail(&mut source(&[1 << 12, 1 << 60, u64::MAX, 1 << 60])), TAIL);
        // No numbers lead further than 13.5.
        assert!(TAIL + (2.0 * -ln(uniform(0))).sqrt() < 13.5);
    }
}
