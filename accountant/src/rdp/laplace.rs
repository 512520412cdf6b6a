//! Laplace noise, continuous and discrete.

use super::rest::exp_rest;

const E: f64 = f64::EPSILON;

/// ln of the moment of Lap(0, 1) and Lap(shift, 1), rounded up; `shift` may exceed the true one.
///
/// A = (alpha e^{beta shift} + beta e^{-alpha shift}) / (2 alpha - 1) (Mironov 2017, proposition 6), so that A - 1 =
/// (alpha h(beta shift) + beta h(-alpha shift)) / (2 alpha - 1) with h(x) = e^x - 1 - x: the linear terms cancel, and
/// both others are positive.
pub(super) fn continuous(shift: f64, order: f64) -> f64 {
    let (beta, size) = (order - 1.0, order * shift);
    let most = beta * shift * (1.0 + 2.0 * E);
    let theta = order + beta;
    if theta == f64::INFINITY {
        return most;
    }
    let value = if size < 600.0 {
        let excess = (order * exp_rest(beta * shift) + beta * exp_rest(-size)) / theta;
        // h(x) has relative condition x + 2 at most, and its argument one rounding.
        (excess * (1.0 + (32.0 + 4.0 * size) * E)).ln_1p() * (1.0 + 2.0 * E)
    } else {
        let log = beta * shift + (order / theta).ln() + (beta / order * (-theta * shift).exp()).ln_1p();
        log + 8.0 * E * (beta * shift + 1.0)
    };
    value.min(most)
}

/// ln of the moment of the discrete Laplace laws P(x) proportional to e^{-decay |x|} around 0 and around `shift`, a whole
/// number; rounded up. `decay` may exceed the true one.
///
/// The sum over all integers is three geometric series; put together,
///
/// A = (sinh(alpha a) e^{beta a n} + sinh(beta a) e^{-alpha a n}) / (sinh(alpha a) + sinh(beta a)),   a = decay, n = shift.
///
/// With r = sinh(beta a)/sinh(alpha a) and h(x) = e^x - 1 - x, A - 1 = (h(beta a n) + r h(-alpha a n) + a n (beta -
/// alpha r)) / (1 + r), three terms that are never negative.
pub(super) fn discrete(decay: f64, shift: f64, order: f64) -> f64 {
    let (beta, epsilon) = (order - 1.0, decay * shift);
    let (near, far) = (beta * decay, order * decay);
    let most = beta * epsilon * (1.0 + 4.0 * E);
    let ratio = (-decay).exp() * (-2.0 * near).exp_m1() / (-2.0 * far).exp_m1();
    let value = if order * epsilon < 600.0 {
        let (linear, error) = if far < 1.0 {
            (order * beta * decay * decay * sinh_difference(far, near) / far.sinh(), 0.0)
        } else {
            (beta - order * ratio, 8.0 * E * (beta + order * ratio))
        };
        let sum = exp_rest(beta * epsilon) + ratio * exp_rest(-order * epsilon) + epsilon * (linear + error).max(0.0);
        let excess = sum / (1.0 + ratio);
        (excess * (1.0 + (64.0 + 8.0 * order * epsilon) * E)).ln_1p() * (1.0 + 2.0 * E)
    } else {
        let tail = (ratio * (-(order + beta) * epsilon).exp()).ln_1p() - ratio.ln_1p();
        beta * epsilon + tail + 16.0 * E * (beta * epsilon + 1.0)
    };
    if value.is_nan() { most } else { value.min(most) }
}

/// (sinh(x)/x - sinh(y)/y) / (x - y) for 0 <= y < x < 1: the sum over k >= 1 of (x^{2k} - y^{2k})/(2k+1)! over x - y.
fn sinh_difference(x: f64, y: f64) -> f64 {
    // x^{2k} - y^{2k} = (x^2 - y^2) S_k with S_{k+1} = x^2 S_k + y^{2k}, all positive.
    let (x2, y2) = (x * x, y * y);
    let (mut s, mut power, mut factorial, mut sum) = (1.0, 1.0, 1.0, 0.0);
    for k in 1..=12 {
        let k = f64::from(k);
        factorial *= 2.0 * k * (2.0 * k + 1.0);
        sum += s / factorial;
        power *= y2;
        s = x2 * s + power;
    }
    (x + y) * sum
}

#[cfg(test)]
#[allow(clippy::excessive_precision)]
mod tests {
    use super::*;

    /// ln E_Q (P/Q)^order by the sum over all integers, straight from the definition.
    fn brute_force(decay: f64, shift: i32, order: f64) -> f64 {
        let mass = (0.5 * decay).tanh();
        let reach = shift + (45.0 / decay) as i32;
        let terms = (-reach..=reach + shift).map(|x| {
            let (p, q) = (-decay * f64::from((x - shift).abs()), -decay * f64::from(x.abs()));
            mass * (order * p - (order - 1.0) * q).exp()
        });
        terms.sum::<f64>().ln()
    }

    #[test]
    fn the_discrete_closed_form_is_the_sum_over_the_integers() {
        for (decay, shift, order) in [(0.5, 1, 2.0), (0.5, 4, 1.5), (2.0, 3, 7.25), (0.05, 20, 3.0), (1.0, 1, 1.01)] {
            let (got, want) = (discrete(decay, f64::from(shift), order), brute_force(decay, shift, order));
            assert!((got / want - 1.0).abs() < 1e-10, "({decay}, {shift}, {order}): {got}, want {want}");
        }
    }

    #[test]
    fn the_continuous_closed_form_is_the_integral() {
        for (shift, order) in [(1.0, 2.0), (0.3, 1.5), (2.0, 7.25), (0.05, 30.0), (1.0, 1.01)] {
            // Simpson's rule between 0 and the shift; the pieces outside are e^{beta shift}/2 and e^{-alpha shift}/2.
            let beta = order - 1.0;
            let (n, mut inside) = (2000, 0.0);
            for k in 0..=n {
                let x = shift * f64::from(k) / f64::from(n);
                let weight = if k == 0 || k == n { 1.0 } else { 2.0 + 2.0 * f64::from(k % 2) };
                inside += weight * (-order * (shift - x) + beta * x).exp();
            }
            let outside = 0.5 * (beta * shift).exp() + 0.5 * (-order * shift).exp();
            let want = (0.5 * inside * shift / f64::from(3 * n) + outside).ln();
            let got = continuous(shift, order);
            assert!((got / want - 1.0).abs() < 1e-9, "({shift}, {order}): {got}, want {want}");
        }
    }

    #[test]
    fn small_and_large_arguments_join_without_a_step_and_digits_stay() {
        // (decay, shift, order, 40 digits).
        for (decay, shift, order, want) in GOLDEN {
            let got = discrete(decay, shift, order);
            assert!(
                got >= want * (1.0 - 1e-15) && got <= want * (1.0 + 1e-11),
                "{decay} {shift} {order}: {got} {want}"
            );
        }
        for order in [1.5, 10.0] {
            let at = |size: f64| [continuous(size / order, order), discrete(0.1, 10.0 * size / order, order)];
            for (below, above) in at(600.0 * (1.0 - 1e-14)).into_iter().zip(at(600.0 * (1.0 + 1e-14))) {
                assert!((above / below - 1.0).abs() < 1e-11, "{below} {above}");
            }
        }
    }

    #[test]
    fn the_largest_orders_cost_the_whole_shift() {
        // Twice the order overflowed, order/infinity was 0 and its logarithm -infinity: less than nothing was paid.
        for order in [8.98e307, 8.99e307, 1e308, 1.7e308, f64::MAX] {
            for shift in [1e-300, 1e-10, 0.5, 1.0, 3.0, 1e300] {
                for got in [continuous(shift, order), discrete(shift, 1.0, order)] {
                    let want = (order - 1.0) * shift;
                    assert!(got >= want * (1.0 - 1e-7) && got <= want * (1.0 + 1e-15), "{shift} {order}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn many_steps_of_fine_noise_are_continuous_noise() {
        // n steps of decay 1/n are a shift of 1.
        let (coarse, limit) = (discrete(1e-5, 1e5, 4.0), continuous(1.0, 4.0));
        assert!((coarse / limit - 1.0).abs() < 1e-8, "{coarse} {limit}");
    }

    const GOLDEN: [(f64, f64, f64, f64); 7] = [
        (1e-09, 1.0, 2.0, 1.0000000000000001e-18),
        (1e-06, 1000.0, 1.0001, 4.998833584873838e-11),
        (0.3, 7.0, 40.0, 81.345644755544677),
        (0.01, 3.0, 90.0, 1.9884114627499813),
        (0.01, 3.0, 110.0, 2.5844768578360898),
        (5.0, 2.0, 1.5, 4.9933297465826795),
        (5.0, 20.0, 50.0, 4899.9932846515109),
    ];
}
