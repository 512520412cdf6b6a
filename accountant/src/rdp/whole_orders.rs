//! Bounds that exist at whole orders only, and what they say in between.
//!
//! ln A is convex in the order (it is a cumulant generating function) and 0 at order 1, so a straight line between two
//! bounds at neighbouring whole orders is a bound.

const E: f64 = f64::EPSILON;

/// Beyond this order no sum is formed. With an inner divergence that costs a quadrature, beyond the other.
pub(super) const MOST: u32 = 4096;
pub(super) const MOST_COSTLY: u32 = 96;

/// What was computed at whole orders, kept.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<Option<f64>>);

impl Kept {
    /// The value at this order, computed at most once.
    pub(super) fn get(&mut self, order: u32, compute: impl FnOnce() -> f64) -> f64 {
        let index = order as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        match self.0.get_mut(index) {
            Some(place) => *place.get_or_insert_with(compute),
            None => f64::INFINITY,
        }
    }
}

/// The bound at a real order from bounds at whole ones; nothing beyond `most`. Rounded up.
pub(super) fn interpolated(order: f64, most: u32, mut at: impl FnMut(u32) -> f64) -> Option<f64> {
    if order > f64::from(most) {
        return None;
    }
    let low = order.floor();
    let share = order - low;
    let below = if low <= 1.0 { 0.0 } else { at(low as u32) };
    if share == 0.0 {
        return Some(below);
    }
    let above = at(low as u32 + 1);
    Some((below * (1.0 - share) + above * share) * (1.0 + 4.0 * E))
}

/// ln C(n, j) + j ln_each for j = 0, 1, .. n, rounded up: by ratios, rescaled before they overflow.
pub(super) fn ln_binomial_powers(n: u32, ln_each: f64) -> impl Iterator<Item = (u32, f64)> {
    const STEP: f64 = 1e200;
    let (mut binomial, mut shift) = (1.0_f64, 0.0_f64);
    (0..=n).map(move |j| {
        if j > 0 {
            binomial *= f64::from(n - j + 1) / f64::from(j);
            if binomial > STEP {
                binomial /= STEP;
                shift += STEP.ln();
            } else if binomial < 1.0 && shift > 0.0 {
                binomial *= STEP;
                shift -= STEP.ln();
            }
        }
        // Three roundings for each factor, and a few of the logarithms.
        let (log, power) = (binomial.ln() + shift, f64::from(j) * ln_each);
        (j, log + power + E * (2.0 * f64::from(j) + 4.0 * (log.abs() + shift + power.abs())))
    })
}

/// ln(e^x - 1) for x > 0, rounded up.
pub(super) fn ln_expm1(x: f64) -> f64 {
    if x > 40.0 {
        return x;
    }
    let log = x.exp_m1().ln();
    log + 8.0 * E * (1.0 + log.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomials_survive_their_own_overflow() {
        for n in [5_u32, 60, 4096] {
            let all: Vec<f64> = ln_binomial_powers(n, 0.0).map(|(_, log)| log).collect();
            // They are symmetric and sum to 2^n.
            let peak = all.iter().copied().fold(0.0, f64::max);
            let sum: f64 = all.iter().map(|log| (log - peak).exp()).sum();
            assert!((peak + sum.ln() - f64::from(n) * std::f64::consts::LN_2).abs() < 1e-8, "{n}");
            for (left, right) in all.iter().zip(all.iter().rev()) {
                assert!((left - right).abs() < 1e-8, "{n}: {left} {right}");
            }
        }
        assert!(ln_binomial_powers(4, -1e3).all(|(j, log)| (log + 1e3 * f64::from(j)) < 1.8));
    }

    #[test]
    fn between_whole_orders_a_line() {
        let square = |n: u32| f64::from(n * (n - 1));
        assert_eq!(interpolated(3.0, 9, square), Some(6.0));
        assert!((interpolated(3.25, 9, square).unwrap_or(0.0) - 7.5).abs() < 1e-12);
        assert!((interpolated(1.5, 9, square).unwrap_or(0.0) - 1.0).abs() < 1e-12);
        assert_eq!(interpolated(9.5, 9, square), None);
    }
}
