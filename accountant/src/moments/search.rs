//! From one direction of a composition to certified intervals for epsilon and delta.

use std::f64::consts::PI;

use super::chernoff::Chernoff;
use super::composition::Composition;
use super::contour::{Contour, Value};
use super::place::{Aim, contour};

const E: f64 = f64::EPSILON;

/// A certified interval, and the best number in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) lower: f64,
    pub(super) estimate: f64,
    pub(super) upper: f64,
}

/// The epsilon of this direction, where it can be certified.
pub(super) fn epsilon(composition: &mut Composition, delta: f64, chernoff: Chernoff) -> Option<Interval> {
    let target = delta.ln();
    // The logarithm of delta is itself rounded.
    let slack = 4.0 * E * (1.0 - target);
    if chernoff.value <= 0.0 {
        return Some(Interval { lower: 0.0, estimate: 0.0, upper: 0.0 });
    }
    let c = chernoff.order;
    let (log_moment, _) = composition.log_moment(c)?;
    // The saddle point approximation of the root, to place the contour's grid.
    let flat = composition.tilts(c, 0.0)?;
    let variance = composition.mean_and_variance(&flat, c).1;
    let prefactor = (c * (c + 1.0)).ln() + 0.5 * (2.0 * PI * variance).ln().max(-2.0 * c.ln());
    let guess = ((log_moment - target - prefactor) / c).clamp(0.0, chernoff.value);
    let contour = contour(composition, c, Aim { epsilon: guess, ln_delta: target })?;
    if contour.value(0.0).ln_upper() <= target - slack {
        return Some(Interval { lower: 0.0, estimate: 0.0, upper: 0.0 });
    }
    let (root, value) = newton(&contour, chernoff.value, target)?;
    let slope = value.ln_slope().abs();
    let width = (1.5 * value.doubt() + 2.0 * slack) / slope + 4.0 * E * root;
    // Every point at which the bound holds is a proof: no exact root and no monotonicity is needed.
    let steps = || (0..24).map(|doubling| width * 2.0_f64.powi(doubling));
    let above = |at: &f64| contour.value(*at).ln_upper() <= target - slack;
    let below = |at: &f64| contour.value(*at).ln_lower() >= target + slack;
    let upper = steps().map(|step| root + step).find(above)?.min(chernoff.value);
    let lower = steps().map(|step| root - step).take_while(|at| *at > 0.0).find(below).unwrap_or(0.0);
    (lower <= upper).then(|| Interval { lower, estimate: root.clamp(lower, upper), upper })
}

/// The root of ln S = target at or below `end`: Newton's method, kept inside a bracket.
///
/// Where S is not above its own error it is taken to be too small. That only steers the search: what it finds is no
/// more than a place to look for proofs at.
fn newton(contour: &Contour, end: f64, target: f64) -> Option<(f64, Value)> {
    let (mut low, mut high) = (0.0, end);
    let mut at = end;
    let mut found = None;
    for _ in 0..80 {
        let value = contour.value(at);
        let (distance, slope) = (value.ln().map(|ln| ln - target), value.ln_slope());
        let next = match distance {
            Some(distance) if slope < 0.0 => {
                found = Some((at, value));
                if distance > 0.0 {
                    low = at
                } else {
                    high = at
                }
                if distance.abs() <= 0.01 * value.doubt() {
                    break;
                }
                at - distance / slope
            }
            _ => {
                high = at;
                f64::NAN
            }
        };
        let next = if next > low && next < high { next } else { 0.5 * (low + high) };
        if (next - at).abs() <= 4.0 * E * at {
            break;
        }
        at = next;
    }
    found
}

/// The delta of this direction, where it can be certified.
pub(super) fn delta(composition: &mut Composition, epsilon: f64, chernoff: Chernoff) -> Option<Interval> {
    let c = chernoff.order;
    let flat = composition.tilts(c, 0.0)?;
    let variance = composition.mean_and_variance(&flat, c).1;
    // Chernoff's bound is too large by about sqrt(2 pi variance) c, at least.
    let excess = (0.5 * (2.0 * PI * variance).ln() + c.ln()).max(0.0);
    let contour = contour(composition, c, Aim { epsilon, ln_delta: chernoff.value - excess - 2.0 })?;
    let value = contour.value(epsilon);
    let rounding = 8.0 * E;
    let most = chernoff.value.exp().min(1.0) * (1.0 + rounding);
    // An upper bound never underflows to zero.
    let upper = (value.ln_upper().exp() * (1.0 + rounding)).min(most).clamp(f64::MIN_POSITIVE, 1.0);
    let lower = (value.ln_lower().exp() * (1.0 - rounding)).min(upper);
    // Below the normal numbers a rounding is no longer relative: nothing is claimed there.
    let lower = if lower < f64::MIN_POSITIVE { 0.0 } else { lower };
    let estimate = value.ln()?.exp().clamp(lower, upper);
    Some(Interval { lower, estimate, upper })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::analytic::{Mu, gaussian_delta, gaussian_epsilon};
    use crate::moments::chernoff;
    use crate::moments::direction::Direction;
    use crate::terms::{Sampled, Terms};

    fn ask(direction: Direction, mu: f64, (z, q, n): (f64, f64, u64), delta: f64) -> Interval {
        let sampled =
            if n == 0 { vec![] } else { vec![Sampled { rate: q, noise_multiplier: z, doubt: 0.0, count: n }] };
        let terms = Terms { sampled, ..Terms::default() };
        let mut composition = Composition::new(&terms, Mu { value: mu, error: 4.0 * E }, direction);
        let real = chernoff::epsilon(&mut composition, delta).unwrap();
        epsilon(&mut composition, delta, real).unwrap()
    }

    #[test]
    fn a_gaussian_has_its_closed_form() {
        for (mu, at) in [(1.0, 1e-5), (0.01, 1e-3), (0.3, 1e-100), (30.0, 1e-2), (500.0, 1e-20), (1e-4, 1e-12)] {
            let got = ask(Direction::Remove, mu, (1.0, 0.1, 0), at);
            let (lower, upper) = gaussian_epsilon(Mu { value: mu, error: 4.0 * E }, at);
            assert!(got.lower <= upper && lower <= got.upper, "mu = {mu}: {got:?}, want {lower}..{upper}");
            assert!(got.upper - got.lower < 1e-9 * upper.max(1e-3), "mu = {mu}: {got:?}");
            let terms = Terms::default();
            let mut composition = Composition::new(&terms, Mu { value: mu, error: 4.0 * E }, Direction::Remove);
            let real = chernoff::delta(&mut composition, upper).unwrap();
            let back = delta(&mut composition, upper, real).unwrap();
            let (lower, upper) = gaussian_delta(Mu { value: mu, error: 4.0 * E }, upper);
            assert!(back.lower <= upper && lower <= back.upper, "mu = {mu}: {back:?}, want {lower}..{upper}");
            assert!(back.upper < back.lower * (1.0 + 1e-7), "mu = {mu}: {back:?}");
        }
    }

    #[test]
    fn each_direction_has_its_own_epsilon() {
        // (sigma, q, steps, delta, REMOVE, ADD): fine quadrature and tilted FFT on two grids, good to some 1e-6.
        for (z, q, n, at, remove, add) in [
            (1.3, 0.0025, 6000, 1e-5, 0.640_003_65, 0.604_620_74),
            (0.7, 0.01, 120, 1e-5, 2.461_237_70, 0.579_042_01),
            (1.5, 0.04, 2249, 1e-5, 6.767_044_16, 6.176_877_09),
            (3.0, 0.1, 512, 1e-6, 3.769_683_81, 3.505_377_72),
            (1.0, 0.081_92, 250, 1e-5, 9.019_121_08, 5.935_366_75),
            (50.0, 0.01, 1000, 1e-6, 0.020_549_31, 0.020_504_13),
        ] {
            for (direction, want) in [(Direction::Remove, remove), (Direction::Add, add)] {
                let got = ask(direction, 0.0, (z, q, n), at);
                assert!((got.estimate - want).abs() < 1.3e-5, "{direction:?} ({z}, {q}, {n}): {got:?}, want {want}");
                assert!(got.upper - got.lower < 1e-9, "{direction:?} ({z}, {q}, {n}): {got:?}");
            }
        }
    }

    #[test]
    fn a_certificate_says_when_it_was_cut_too_early() {
        // A contour that stops at half the height it needs: the truth is still inside, and the interval says so.
        let (mut seen, truth) = (0, 1.655_353_471_724_124_7);
        let sampled = vec![Sampled { rate: 0.01, noise_multiplier: 2.0, doubt: 0.0, count: 1500 }];
        let terms = Terms { sampled, ..Terms::default() };
        let mut composition = Composition::new(&terms, Mu { value: 0.0, error: 0.0 }, Direction::Remove);
        for share in [0.2, 0.35, 0.5, 0.7] {
            for coarse in [1.0, 2.5] {
                let contour =
                    crate::moments::place::spoilt(&mut composition, 22.0, truth, 1e-15_f64.ln(), share, coarse);
                let value = contour.value(truth);
                assert!(value.ln_upper() >= 1e-15_f64.ln() - 1e-9, "{share} {coarse}: {value:?}");
                assert!(value.ln_lower() <= 1e-15_f64.ln() + 1e-9, "{share} {coarse}: {value:?}");
                let off = value.ln().map_or(1.0, |ln| (ln - 1e-15_f64.ln()).abs());
                seen += u32::from(off > 1e-6);
            }
        }
        assert!(seen >= 3, "only {seen} contours were bad enough to test anything");
    }
}
