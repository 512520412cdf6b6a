//! One factor w = 1 - q + q e^u of the integrand, on a line shifted by t in units of s^2, over a cell.
//!
//! There w has the modulus r times its real value, r^2 = 1 - 4 pi (1 - pi) sin^2(t/2) with pi = q e^u / w(u), and the
//! angle a of 1 + odds e^{it}, which grows with u from 0 to t. r is least, cos(t/2), where the odds are 1.

/// One w in one cell: the odds q e^u / (1 - q) at both ends, the lesser first, and the power.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    odds: (f64, f64),
    power: f64,
}

impl Arm {
    /// u at both ends, the lesser first.
    pub(super) fn new(q: f64, least: f64, most: f64, power: f64) -> Self {
        let odds = |u: f64| q / (1.0 - q) * u.exp();
        Self { odds: (odds(least), odds(most)), power }
    }

    /// A lower bound on -power ln r(t) in the cell. r^2 = 1 - 4 pi (1 - pi) sin^2(t/2).
    pub(super) fn shrink(self, t: f64) -> f64 {
        let sine = (0.5 * t).sin();
        let ln_r = |odds: f64| {
            // pi (1 - pi) = odds / (1 + odds)^2, without overflow.
            let product =
                if odds > 1.0 { 1.0 / (odds * (1.0 + 1.0 / odds).powi(2)) } else { odds / (1.0 + odds).powi(2) };
            0.5 * (-4.0 * product * sine * sine).ln_1p()
        };
        let (first, second) = (ln_r(self.odds.0), ln_r(self.odds.1));
        if self.power > 0.0 {
            self.power * -first.max(second)
        } else {
            let least = if self.odds.0 <= 1.0 && 1.0 <= self.odds.1 { (0.5 * t).cos().ln() } else { first.min(second) };
            // -power ln r with power < 0 is |power| ln r.
            -self.power * least
        }
    }

    /// The largest slope of the angle at t = 0. The angle is concave in t where the odds are below 1, convex elsewhere.
    pub(super) fn most_slope(self) -> f64 {
        1.0 / (1.0 + 1.0 / self.odds.1)
    }

    /// Bounds on the angle in the cell: its values where the odds are least and most.
    pub(super) fn angle(self, t: f64) -> (f64, f64) {
        let (sine, cosine) = t.sin_cos();
        let at = |odds: f64| {
            if odds > 1.0 { sine.atan2(1.0 / odds + cosine) } else { (odds * sine).atan2(1.0 + odds * cosine) }
        };
        (at(self.odds.0), at(self.odds.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_enclose_the_complex_likelihood_ratio() {
        let (q, t) = (0.02_f64, 1.7_f64);
        for (low, high) in [(-3.0_f64, -2.5_f64), (3.0, 4.5), (6.0, 9.0), (700.0, 705.0)] {
            for power in [3.0, -2.0] {
                let arm = Arm::new(q, low, high, power);
                let (least, most) = arm.angle(t);
                for k in 0..=20 {
                    let odds = q / (1.0 - q) * (low + (high - low) * f64::from(k) / 20.0).exp();
                    // (1 + odds e^{it}) / (1 + odds), divided by odds where that is large.
                    let (one, odds) = if odds > 1.0 { (1.0 / odds, 1.0) } else { (1.0, odds) };
                    let (re, im) = (one + odds * t.cos(), odds * t.sin());
                    let (r, angle) = (re.hypot(im) / (one + odds), im.atan2(re));
                    assert!(least <= angle + 1e-14 && angle <= most + 1e-14, "{low} {high}: {least} {angle} {most}");
                    assert!(
                        arm.shrink(t) <= -power * r.ln() + 1e-13,
                        "{low} {high} {power}: {} {}",
                        arm.shrink(t),
                        r.ln()
                    );
                }
            }
        }
    }
}
