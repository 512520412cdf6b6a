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
    /// From the odds at both ends.
    pub(super) fn new(first: f64, second: f64, power: f64) -> Self {
        Self { odds: (first.min(second), first.max(second)), power }
    }

    /// q e^u / (1 - q)
    pub(super) fn odds(q: f64, u: f64) -> f64 {
        q / (1.0 - q) * u.exp()
    }

    /// A lower bound on -power ln r in the cell. r^2 = 1 - 4 pi (1 - pi) sin^2(t/2).
    pub(super) fn shrink(self, line: &Line) -> f64 {
        // pi (1 - pi) = odds / (1 + odds)^2, without overflow. It is largest, 1/4, where the odds are 1.
        let product = |odds: f64| {
            if odds > 1.0 { 1.0 / (odds * (1.0 + 1.0 / odds).powi(2)) } else { odds / (1.0 + odds).powi(2) }
        };
        let (first, second) = (product(self.odds.0), product(self.odds.1));
        let product = if self.power > 0.0 {
            first.min(second)
        } else if self.odds.0 <= 1.0 && 1.0 <= self.odds.1 {
            0.25
        } else {
            first.max(second)
        };
        -0.5 * self.power * (-4.0 * product * line.half_sine_square).ln_1p()
    }

    /// The largest slope of the angle at t = 0. The angle is concave in t where the odds are below 1, convex elsewhere.
    pub(super) fn most_slope(self) -> f64 {
        1.0 / (1.0 + 1.0 / self.odds.1)
    }

    /// The angle where the odds are least.
    pub(super) fn least_angle(self, line: &Line) -> f64 {
        line.angle(self.odds.0)
    }

    /// The angle where the odds are most.
    pub(super) fn most_angle(self, line: &Line) -> f64 {
        line.angle(self.odds.1)
    }
}

/// A shift 0 < t < pi of the line in units of s^2, and what all cells need of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) t: f64,
    sine: f64,
    cosine: f64,
    half_sine_square: f64,
}

impl Line {
    pub(super) fn new(t: f64) -> Self {
        let (sine, cosine) = t.sin_cos();
        let half_sine = (0.5 * t).sin();
        Self { t, sine, cosine, half_sine_square: half_sine * half_sine }
    }

    /// The angle of 1 + odds e^{it}.
    fn angle(&self, odds: f64) -> f64 {
        if odds > 1.0 {
            self.sine.atan2(1.0 / odds + self.cosine)
        } else {
            (odds * self.sine).atan2(1.0 + odds * self.cosine)
        }
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
                let arm = Arm::new(Arm::odds(q, low), Arm::odds(q, high), power);
                let line = Line::new(t);
                let (least, most) = (arm.least_angle(&line), arm.most_angle(&line));
                for k in 0..=20 {
                    let odds = q / (1.0 - q) * (low + (high - low) * f64::from(k) / 20.0).exp();
                    // (1 + odds e^{it}) / (1 + odds), divided by odds where that is large.
                    let (one, odds) = if odds > 1.0 { (1.0 / odds, 1.0) } else { (1.0, odds) };
                    let (re, im) = (one + odds * t.cos(), odds * t.sin());
                    let (r, angle) = (re.hypot(im) / (one + odds), im.atan2(re));
                    assert!(least <= angle + 1e-14 && angle <= most + 1e-14, "{low} {high}: {least} {angle} {most}");
                    assert!(
                        arm.shrink(&line) <= -power * r.ln() + 1e-13,
                        "{low} {high} {power}: {} {}",
                        arm.shrink(&line),
                        r.ln()
                    );
                }
            }
        }
    }
}
