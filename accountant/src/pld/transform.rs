//! The composition of laws on one lattice, by an exponentially tilted Fourier transform.
//!
//! With the tilted laws p~_k = p_k e^{c l_k}/M(c) and their transforms phi at y_m = 2 pi m/(N h), Phi the product of
//! phi^n, the hinge sum over lattice losses above eps has the closed form
//!
//! e^{ln M(c) - c eps} D(eps),   D = (1/N) sum over m of Phi(y_m) K(c + i y_m) e^{-i y_m eps},
//! K(s) = sum over k >= 1 of (1 - e^{-kh}) e^{-skh} = e^{-sh} (1 - e^{-h}) / ((1 - e^{-sh}) (1 - e^{-(s+1)h})),
//!
//! and equals the sum over all integers t of e^{c t N h} delta(eps + t N h): t = 0 is the answer, the others are aliases
//! that are never negative. One inverse transform gives D at every lattice point.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::lattice::Points;

const E: f64 = f64::EPSILON;

/// ln of what hardly counts beside a transform's rounding.
const NOTHING: f64 = -80.0;

/// D on the lattice, and all that is needed to make bounds of it.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) step: f64,
    pub(super) c: f64,
    /// ln M(c) of the composition, and a bound on its error.
    pub(super) ln_moment: f64,
    pub(super) ln_moment_error: f64,
    /// D at the lattice points congruent to `origin` + index.
    values: Vec<f64>,
    origin: usize,
    /// Bound on the absolute error of each value.
    pub(super) error: f64,
    /// The loss of point 0.
    pub(super) offset: f64,
    /// No composed loss exceeds this point.
    pub(super) top: i128,
    /// P-mass at infinity: least and most.
    pub(super) infinite: (f64, f64),
    /// The composed loss may be off by this much.
    pub(super) doubt: f64,
}

/// A sum with a running compensation (Neumaier 1974): its error is a few units of the sum of absolute values.
pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = total + value;
        lost += if total.abs() >= value.abs() { (total - next) + value } else { (value - next) + total };
        total = next;
    }
    total + lost
}

/// ln M(c) of one law, a bound on its error, and the tilted masses.
pub(super) fn tilt(points: &Points, c: f64) -> Option<(f64, f64, Vec<f64>)> {
    let exponents: Vec<f64> = points
        .at
        .iter()
        .zip(&points.mass)
        .map(|(k, mass)| c * (points.step * *k as f64 + points.offset) + mass.ln())
        .collect();
    let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return None;
    }
    let mut masses: Vec<f64> = exponents.iter().map(|exponent| (exponent - largest).exp()).collect();
    let total = sum(masses.iter().copied());
    masses.iter_mut().for_each(|mass| *mass /= total);
    let error = wrong(points, c, &masses, None);
    Some((largest + total.ln(), error + 2.0 * E * largest.abs(), masses))
}

/// Bound on the sum of the errors of tilted masses, one of them left out: each exponent carries the rounding of its own
/// parts.
fn wrong(points: &Points, c: f64, tilted: &[f64], but: Option<usize>) -> f64 {
    let parts = points.at.iter().zip(&points.mass).zip(tilted).enumerate();
    let parts = parts.filter(|(k, (_, tilted))| Some(*k) != but && **tilted > 0.0);
    let size =
        |at: i64, mass: f64| 2.0 * c.abs() * (points.step * at as f64 + points.offset).abs() + mass.ln().abs() + 8.0;
    2.0 * E * parts.map(|(_, ((at, mass), tilted))| tilted * size(*at, *mass)).sum::<f64>()
}

impl Composed {
    /// The composition of laws with counts, at tilt c, on a circle of `size` points.
    pub(super) fn new(terms: &[(Points, u64)], c: f64, size: usize) -> Option<Self> {
        let step = terms.first()?.0.step;
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
        let half = size / 2 + 1;
        // Every output is a sum of all inputs, each times a product of log2(size) twiddles, good to a few units, with as many
        // roundings (Higham 2002, section 24.1), and the extra pass of a real transform: relative to the sum of moduli.
        let transform_error = 8.0 * E * ((size as f64).log2() + 2.0);
        let (mut ln_abs, mut angle, mut doubt) = (vec![0.0; half], vec![0.0; half], vec![0.0; half]);
        let mut ln_moment = (0.0, 0.0);
        let mut origin: i128 = 0;
        let mut top: i128 = 0;
        let (mut ln_finite, mut ln_finite_most) = (0.0, 0.0);
        let (mut loss_doubt, mut offset) = (0.0, 0.0);
        let mut input = forward.make_input_vec();
        let mut output = forward.make_output_vec();
        for (points, count) in terms {
            let n = *count as f64;
            let (moment, error, masses) = tilt(points, c)?;
            ln_moment.0 += n * moment;
            ln_moment.1 += n * (error + E * moment.abs());
            let (heavy, _) =
                masses.iter().enumerate().fold((0, 0.0), |best, (k, m)| if *m > best.1 { (k, *m) } else { best });
            let centre = *points.at.get(heavy)?;
            origin += i128::from(centre) * i128::from(*count);
            top += i128::from(points.top()) * i128::from(*count);
            // phi - 1 is the transform of all but the heaviest atom, less their sum, relative to that atom.
            input.iter_mut().for_each(|x| *x = 0.0);
            for ((k, at), mass) in points.at.iter().enumerate().zip(&masses) {
                if k != heavy {
                    let place = (at - centre).rem_euclid(size as i64) as usize;
                    if let Some(x) = input.get_mut(place) {
                        *x += mass;
                    }
                }
            }
            let rest = sum(input.iter().copied());
            forward.process(&mut input, &mut output).ok()?;
            // The masses' own errors enter twice, in the transform and in their sum.
            let each = (transform_error + 4.0 * E) * rest + 2.0 * wrong(points, c, &masses, Some(heavy));
            for (((ln_abs, angle), doubt), value) in ln_abs.iter_mut().zip(&mut angle).zip(&mut doubt).zip(&output) {
                let (re, im) = (value.re - rest, value.im);
                let square = re * (2.0 + re) + im * im;
                // ln |phi + e| <= (|phi + e|^2 - 1)/2: where this is small already nothing more need be known.
                let most = 0.5 * n * (square + 4.0 * each);
                if *ln_abs + *doubt + most < NOTHING {
                    (*ln_abs, *doubt) = (*ln_abs + *doubt + most, 0.0);
                    continue;
                }
                let ln =
                    if square > -0.5 { 0.5 * square.ln_1p() } else { (1.0 + re).hypot(im).max(f64::MIN_POSITIVE).ln() };
                let turn = im.atan2(1.0 + re);
                *ln_abs += n * ln;
                *angle += n * turn;
                let share = each / ln.exp();
                *doubt += n * (if share < 1e-4 { share } else { share.ln_1p() } + 4.0 * E * (ln.abs() + turn.abs()));
            }
            let infinite = points.infinite.min(1.0);
            ln_finite += n * (-infinite).ln_1p() * (1.0 - 4.0 * E);
            ln_finite_most += n * (-infinite).ln_1p() * (1.0 + 4.0 * E);
            loss_doubt += n * (points.doubt + 2.0 * E * points.offset.abs());
            offset += n * points.offset;
        }
        let mut spectrum = inverse.make_input_vec();
        let mut error = 0.0;
        let turn = 2.0 * std::f64::consts::PI / size as f64;
        // The kernel is largest where it does not turn.
        let largest = kernel(c * step, step, 0.0).norm();
        for (m, value) in spectrum.iter_mut().enumerate() {
            let (ln, wrong) = (ln_abs[m], doubt[m]);
            if ln + wrong < NOTHING {
                *value = Complex::new(0.0, 0.0);
                error += 2.0 * largest * NOTHING.exp();
                continue;
            }
            let kernel = kernel(c * step, step, turn * m as f64);
            let size_here = kernel.norm();
            let modulus = ln.exp();
            // |(phi + e)^n - phi^n| <= |phi|^n ((1 + |e/phi|)^n - 1), in logarithms so that nothing overflows.
            let miss = if wrong < 1.0 { modulus * wrong.exp_m1() } else { (ln + wrong).exp() };
            let weight = if m == 0 || m + 1 == half { 1.0 } else { 2.0 };
            error += weight * size_here * (miss + (40.0 * E + transform_error) * modulus);
            let phase = Complex::from_polar(modulus, angle[m]);
            *value = phase * kernel;
        }
        if let Some(first) = spectrum.first_mut() {
            first.im = 0.0;
        }
        if let Some(last) = spectrum.last_mut() {
            last.im = 0.0;
        }
        let mut values = inverse.make_output_vec();
        inverse.process(&mut spectrum, &mut values).ok()?;
        let scale = 1.0 / size as f64;
        values.iter_mut().for_each(|value| *value *= scale);
        let error = scale * error * (1.0 + 1e-9);
        Some(Self {
            step,
            c,
            ln_moment: ln_moment.0,
            ln_moment_error: ln_moment.1,
            values,
            origin: origin.rem_euclid(size as i128) as usize,
            error,
            offset,
            top,
            infinite: (-f64::exp_m1(ln_finite), -f64::exp_m1(ln_finite_most)),
            doubt: loss_doubt,
        })
    }

    /// D at this lattice point.
    pub(super) fn value(&self, point: i64) -> f64 {
        let size = self.values.len() as i64;
        let place = (point - self.origin as i64).rem_euclid(size) as usize;
        self.values.get(place).copied().unwrap_or(0.0)
    }

    /// The circumference N h.
    pub(super) fn circle(&self) -> f64 {
        self.step * self.values.len() as f64
    }
}

/// K(c - iy), with ch, h and yh given.
fn kernel(ch: f64, h: f64, yh: f64) -> Complex<f64> {
    // 1 - e^{-a + i b} without cancellation.
    let less = |a: f64| {
        let (decay, half) = ((-a).exp(), (0.5 * yh).sin());
        Complex::new(-(-a).exp_m1() + 2.0 * decay * half * half, -decay * yh.sin())
    };
    Complex::from_polar((-ch).exp() * -(-h).exp_m1(), yh) / (less(ch) * less(ch + h))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_the_sum_it_stands_for() {
        for (c, h, y) in [(3.0, 0.01, 0.0), (0.5, 0.2, 1.7), (40.0, 0.05, -3.0)] {
            let direct: Complex<f64> = (1..100_000)
                .map(|k| f64::from(k) * h)
                .map(|x| Complex::from_polar(-(-x).exp_m1() * (-c * x).exp(), y * x / h * h))
                .sum();
            let got = kernel(c * h, h, y * h);
            assert!((got - direct).norm() < 1e-10 * direct.norm(), "{got} {direct}");
        }
    }

    #[test]
    fn two_coins_compose_to_their_convolution() {
        // Loss +-1 with P-masses e/(1+e) and 1/(1+e), twice: delta(0) = p^2 (1 - e^-2).
        let p = 1.0 / (1.0 + (-1.0_f64).exp());
        let coin =
            Points { step: 0.5, offset: 0.0, at: vec![-2, 2], mass: vec![1.0 - p, p], infinite: 0.0, doubt: 0.0 };
        let both = Composed::new(&[(coin, 2)], 1.0, 1024).unwrap();
        let delta = |k: i64| (both.ln_moment - 0.5 * k as f64).exp() * both.value(k);
        assert!((delta(0) - p * p * -(-2.0_f64).exp_m1()).abs() < 1e-14, "{}", delta(0));
        assert!((delta(2) - p * p * -(-1.0_f64).exp_m1()).abs() < 1e-14, "{}", delta(2));
        assert!(delta(4).abs() < 1e-14 && both.top == 4);
        assert!(both.error < 1e-12);
    }
}
