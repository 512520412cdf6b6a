//! Even moments of P/Q - 1 for two Gaussians.

use std::f64::consts::{LN_2, PI};

use super::whole_orders::ln_expm1;
use crate::normal::{LN_SQRT_2PI, ln_tail};

const E: f64 = f64::EPSILON;

/// Distance between nodes, small beside both the density and the ratio.
const WIDEST_STEP: f64 = 0.25;
const REACH: f64 = 15.0;
const MOST_NODES: f64 = 65_536.0;

/// ln E_Q |P/Q - 1|^k for Q = N(0, 1), P = N(mu, 1) and even k, rounded up.
///
/// The alternating sum of moments loses all digits where mu is small. Here: the trapezoid rule for the integral of n(x)
/// (e^{mu x - mu^2/2} - 1)^k, never negative and entire. On the lines Im x = +-t, |e^u - 1| <= |e^{Re u} - 1| + 2
/// |sin(mu t/2)| e^{Re u/2}, so by Minkowski's inequality the rule errs by at most
///
/// 2 e^{t^2/2} (x^{1/k} + mu t e^{(k/2 - 1) mu^2/4})^k / (e^{2 pi t/dx} - 1)   for every t > 0,
///
/// where x is the moment itself, at most e^{k (k-1) mu^2/2} - 1.
pub(super) fn ln_even(mu: f64, k: u32) -> f64 {
    let k = f64::from(k);
    let crude = ln_expm1(0.5 * k * (k - 1.0) * mu * mu * (1.0 + 8.0 * E));
    let dx = WIDEST_STEP.min(2.0 / (mu * k).max(1.0));
    let (first, last) = ((-REACH / dx).floor(), ((k * mu + REACH) / dx).ceil());
    // Written so that NaN and infinities are refused too.
    if !(last - first < MOST_NODES && mu > 1e-100) {
        return crude;
    }
    let log = |index: f64| {
        let x = index * dx;
        let u = mu * x - 0.5 * mu * mu;
        // The rounding of u, of expm1 and of its logarithm, on the side of more.
        let ratio = u.exp_m1().abs() * (1.0 + 4.0 * E) + u.exp() * 4.0 * E * (mu * x.abs() + mu * mu);
        k * ratio.ln() - 0.5 * x * x - LN_SQRT_2PI + dx.ln()
    };
    let count = (last - first) as u32;
    let logs: Vec<f64> = (0..=count).map(|i| log(first + f64::from(i))).collect();
    let peak = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - peak).exp()).sum();
    // Rounding of exponents of this size, and of the sum.
    let size = peak.abs() + 0.5 * (k * mu + REACH).powi(2) + k;
    let value = peak + sum.ln() + E * (8.0 * size + f64::from(count));
    // Beyond the ends: |ratio - 1| < 1 on the left, and below e^{k u} on the right.
    let right = 0.5 * k * (k - 1.0) * mu * mu + ln_tail(last * dx - k * mu);
    let ends = ln_tail(-first * dx).max(right) + LN_2;
    let aliased = |trial: i32| {
        let t = PI / dx * 2.0 * f64::from(trial) / 24.0;
        let decay = 2.0 * PI * t / dx;
        let growth = (crude / k).exp() + mu * t * ((0.5 * k - 1.0) * mu * mu / 4.0).exp();
        LN_2 + 0.5 * t * t + k * growth.ln() - decay - (-(-decay).exp_m1()).ln()
    };
    let aliased = (1..=24).map(aliased).filter(|value| !value.is_nan()).fold(f64::INFINITY, f64::min);
    // Three positive parts, and a hundredth of the small ones for the rounding of their logarithms.
    let most = value.max(ends).max(aliased);
    let total = most + [value, ends + 0.01, aliased + 0.01].map(|part| (part - most).exp()).iter().sum::<f64>().ln();
    if total.is_nan() { crude } else { total.min(crude) + 4.0 * E * total.abs() }
}

#[cfg(test)]
#[allow(clippy::excessive_precision)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_alternating_sum_in_sixty_digits() {
        for (mu, k, want) in GOLDEN {
            let got = ln_even(mu, k);
            let allowed = 1e-9 * f64::max(1.0, want.abs());
            assert!(got >= want - 1e-13 * want.abs() && got <= want + allowed, "({mu}, {k}): {got}, want {want}");
        }
    }

    const GOLDEN: [(f64, u32, f64); 9] = [
        (0.01, 2, -9.210290371559516),
        (0.01, 10, -39.188970040249851),
        (0.4, 2, -1.7515150245447762),
        (0.4, 4, -1.6688477910246444),
        (0.4, 30, 69.315698624368788),
        (2.0, 2, 3.9815145531741134),
        (2.0, 6, 59.999999987633082),
        (2.0, 64, 8064.0),
        (20.0, 4, 2400.0),
    ];
}
