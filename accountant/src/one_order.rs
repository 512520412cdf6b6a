//! What a Renyi divergence at one order says about epsilon, and the divergence that an epsilon admits.
//!
//! Balle et al. 2020 (theorem 21), Canonne, Kamath & Steinke 2020 (proposition 12), with beta = order - 1:
//! epsilon = divergence + [ln(1/delta) - beta ln(1 + 1/beta) - ln(1 + beta)] / beta.

use crate::exponentials::ln_kappa;
use crate::parameters::{Delta, Order};

impl Order {
    /// What delta adds to the divergence, and a bound on its rounding error.
    fn price(self, delta: Delta) -> (f64, f64) {
        let beta = self.get() - 1.0;
        let (a, b) = (-delta.get().ln(), ln_kappa(beta));
        ((a + b) / beta, 8.0 * f64::EPSILON * (a - b) / beta)
    }

    /// The epsilon at this delta that follows from a divergence of this order alone, rounded up; at least 0.
    pub(crate) fn epsilon(self, divergence: f64, delta: Delta) -> f64 {
        let (price, rounding) = self.price(delta);
        (divergence * (1.0 + f64::EPSILON) + price + rounding).max(0.0)
    }

    /// The largest divergence of this order, rounded down, from which this epsilon follows at this delta.
    pub(crate) fn divergence(self, epsilon: f64, delta: Delta) -> f64 {
        let (price, rounding) = self.price(delta);
        (epsilon - price - rounding) * (1.0 - 4.0 * f64::EPSILON) - 4.0 * f64::EPSILON * (epsilon + price.abs())
    }

    /// ln(1/delta)/(order - 1), rounded up: by how much the privacy loss may exceed the divergence with probability delta.
    pub(crate) fn excess(self, ln_delta: f64) -> f64 {
        -ln_delta / (self.get() - 1.0) * (1.0 + 4.0 * f64::EPSILON)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_and_divergence_are_inverse_on_the_safe_side() {
        let delta = Delta::new(1e-5).unwrap();
        for order in [1.001, 1.5, 3.0, 80.0, 1e5].map(|a| Order::new(a).unwrap()) {
            for epsilon in [0.5, 3.0, 1e4] {
                let divergence = order.divergence(epsilon, delta);
                if divergence > 0.0 {
                    let back = order.epsilon(divergence, delta);
                    assert!(back <= epsilon && back > epsilon * (1.0 - 1e-11), "{order}: {back}, want {epsilon}");
                }
            }
        }
        // Order 2, divergence 1: 1 + ln(1/delta) - 2 ln 2.
        let want = 1.0 + 1e5_f64.ln() - 4.0_f64.ln();
        assert!((Order::TWO.epsilon(1.0, delta) - want).abs() < 1e-13);
    }
}
