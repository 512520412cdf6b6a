//! A mixture of normal distributions against another one, where the privacy loss grows along the line.

use crate::exponentials::ln_sum;
use crate::normal::{LN_SQRT_2PI, ln_tail};

/// P = sum of p_i N(u_i, 1) with u_i >= 0, Q = sum of q_j N(-v_j, 1) with v_j >= 0.
///
/// The slope of the loss is E[u | x] + E[v | x] >= 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixtures {
    up: Vec<(f64, f64)>,
    down: Vec<(f64, f64)>,
    widest: f64,
}

/// Beyond this many standard deviations from every centre nothing is left in f64.
pub(super) const FAR: f64 = 40.0;

impl Mixtures {
    /// (shift, probability) of P and of Q; shifts of Q are counted to the left. Probabilities are divided by their sum.
    pub(super) fn new(up: Vec<(f64, f64)>, down: Vec<(f64, f64)>) -> Self {
        let normal = |list: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            let total: f64 = list.iter().map(|(_, weight)| weight).sum();
            list.into_iter().filter(|(_, weight)| *weight > 0.0).map(|(s, weight)| (s, weight / total)).collect()
        };
        let (up, down) = (normal(up), normal(down));
        let widest = |list: &[(f64, f64)]| list.iter().map(|(s, _)| *s).fold(0.0, f64::max);
        let widest = widest(&up).max(widest(&down));
        Self { up, down, widest }
    }

    /// The largest shift.
    pub(super) fn widest(&self) -> f64 {
        self.widest
    }

    /// Where there is anything at all.
    pub(super) fn ends(&self) -> (f64, f64) {
        (-FAR - self.widest, FAR + self.widest)
    }

    /// How fast the densities change at x.
    pub(super) fn reach(&self, x: f64) -> f64 {
        1.0 + x.abs() + self.widest
    }

    /// ln of the densities of P and Q, and the loss.
    pub(super) fn at(&self, x: f64) -> (f64, f64, f64) {
        let (up, down) = (ln_ratio(&self.up, x), ln_ratio(&self.down, -x));
        let centre = -x * x / 2.0 - LN_SQRT_2PI;
        (centre + up, centre + down, up - down)
    }

    /// The x at which the loss is this; infinite where it is never reached.
    pub(super) fn inverse(&self, loss: f64) -> f64 {
        let (mut low, mut high) = self.ends();
        let value = |x: f64| ln_ratio(&self.up, x) - ln_ratio(&self.down, -x) - loss;
        if value(low) >= 0.0 {
            return f64::NEG_INFINITY;
        }
        if value(high) <= 0.0 {
            return f64::INFINITY;
        }
        // The secant through the bracket where it helps, its middle where it does not (Illinois, Dowell & Jarratt 1971).
        let (mut below, mut above) = (value(low), value(high));
        for round in 0..200 {
            let secant = low + (high - low) * (below / (below - above));
            let middle = if round % 3 == 2 || !(secant > low && secant < high) { 0.5 * (low + high) } else { secant };
            if middle <= low || middle >= high {
                break;
            }
            let here = value(middle);
            if here < 0.0 {
                (low, below) = (middle, here);
                above *= 0.5;
            } else if here > 0.0 {
                (high, above) = (middle, here);
                below *= 0.5;
            } else {
                return middle;
            }
            if high - low <= 4.0 * f64::EPSILON * low.abs().max(high.abs()) {
                break;
            }
        }
        0.5 * (low + high)
    }

    /// ln P(X > x) and ln Q(X > x).
    pub(super) fn ln_above(&self, x: f64) -> (f64, f64) {
        let up = self.up.iter().map(|(s, p)| p.ln() + ln_tail(x - s));
        let down = self.down.iter().map(|(s, p)| p.ln() + ln_tail(x + s));
        (ln_sum(up), ln_sum(down))
    }

    /// ln P(X <= x) and ln Q(X <= x).
    pub(super) fn ln_below(&self, x: f64) -> (f64, f64) {
        let up = self.up.iter().map(|(s, p)| p.ln() + ln_tail(s - x));
        let down = self.down.iter().map(|(s, p)| p.ln() + ln_tail(-x - s));
        (ln_sum(up), ln_sum(down))
    }
}

/// ln of the sum of p e^(s x - s^2/2): a mixture's density over that of N(0, 1).
fn ln_ratio(list: &[(f64, f64)], x: f64) -> f64 {
    let exponent = |s: f64| s * (x - 0.5 * s);
    let largest = list.iter().map(|(s, _)| exponent(*s)).fold(f64::NEG_INFINITY, f64::max);
    if largest < 30.0 {
        // The probabilities sum to 1.
        let excess: f64 = list.iter().map(|(s, p)| p * exponent(*s).exp_m1()).sum();
        if excess > -0.9 {
            return excess.ln_1p();
        }
    }
    ln_sum(list.iter().map(|(s, p)| p.ln() + exponent(*s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_is_the_inverse() {
        let pairs = [
            Mixtures::new(vec![(0.0, 0.99), (1.0, 0.01)], vec![(0.0, 0.99), (1.0, 0.01)]),
            Mixtures::new(vec![(0.0, 0.2), (5.0, 0.5), (7.0, 0.3)], vec![(0.0, 1.0)]),
            Mixtures::new(vec![(0.0, 1.0)], vec![(0.0, 0.9), (0.1, 0.1)]),
        ];
        for pair in pairs {
            for x in [-7.5, -0.2, 0.0, 1.3, 6.0] {
                let loss = pair.at(x).2;
                let back = pair.inverse(loss);
                // Where the loss is flat many x have it, out to infinity.
                assert!(
                    back.is_infinite() || (pair.at(back).2 - loss).abs() < 1e-14 * loss.abs().max(1.0),
                    "{pair:?} {x}: {back}"
                );
            }
            assert!(pair.inverse(1e6).is_infinite() && pair.inverse(-1e6).is_infinite());
        }
    }

    #[test]
    fn a_mixture_with_a_heavy_zero_and_a_small_rate_keeps_its_digits() {
        // ln(1 - q + q e^(x - 1/2)) at q = 1e-9, x = 0: q (e^(-1/2) - 1) to 9 digits.
        let pair = Mixtures::new(vec![(0.0, 1.0 - 1e-9), (1.0, 1e-9)], vec![(0.0, 1.0)]);
        let want = 1e-9 * (-0.5_f64).exp_m1();
        assert!((pair.at(0.0).2 / want - 1.0).abs() < 1e-8);
    }
}
