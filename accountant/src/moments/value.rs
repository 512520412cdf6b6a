//! What is known of delta at one epsilon.

/// A sum with its errors, everything divided by `e^ln_scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) ln_scale: f64,
    pub(super) scale_error: f64,
    pub(super) sum: f64,
    /// d sum / d eps, scale included: negative.
    pub(super) slope: f64,
    /// Quadrature, rounding and cut: either way.
    pub(super) error: f64,
    /// What the sum may exceed delta by.
    pub(super) alias: f64,
    /// What delta may exceed the sum by.
    pub(super) left_out: f64,
}

impl Value {
    /// All of them together, with what else is known: a value, its derivative and its error, and ln of what is left out.
    pub(super) fn total(values: &[Self], known: (f64, f64, f64), ln_left_out: f64) -> Self {
        let largest = |value: &Self| value.ln_scale + (value.sum.abs() + value.error).ln();
        let ln_scale = values.iter().map(largest).fold(known.0.abs().ln(), f64::max);
        let unit = (-ln_scale).exp();
        let mut total = Self {
            ln_scale,
            scale_error: 0.0,
            sum: known.0 * unit,
            slope: known.1 * unit,
            error: known.2 * unit,
            alias: 0.0,
            left_out: (ln_left_out - ln_scale).exp(),
        };
        for value in values {
            // The difference of the scales is rounded, too.
            let share = (value.ln_scale - ln_scale).exp();
            let doubt = value.scale_error + 4.0 * f64::EPSILON * (1.0 + ln_scale.abs() + value.ln_scale.abs());
            total.sum += share * value.sum;
            total.slope += share * value.slope;
            total.error += share * (value.error * doubt.exp() + value.sum.abs() * doubt.exp_m1()) * (1.0 + 1e-9);
            total.alias += share * value.alias * (1.0 + 1e-9);
        }
        total
    }

    /// ln of S; `None` where S is not above its own error, which means that nothing is known.
    pub(super) fn ln(&self) -> Option<f64> {
        (self.ln_scale.is_finite() && self.sum > 2.0 * self.error).then(|| self.ln_scale + self.sum.ln())
    }

    /// ln of a bound on delta, also where the sum is not above its own error.
    pub(super) fn ln_most(&self) -> f64 {
        self.ln_scale + (self.sum.max(0.0) + self.error + self.left_out).ln() + self.scale_error
    }

    /// d ln S / d eps.
    pub(super) fn ln_slope(&self) -> f64 {
        self.slope / self.sum
    }

    /// ln of an upper bound on delta. Infinite where unknown.
    pub(super) fn ln_upper(&self) -> f64 {
        let most = self.ln_scale + (self.sum + self.error + self.left_out).ln() + self.scale_error;
        if self.ln().is_some() && !most.is_nan() { most } else { f64::INFINITY }
    }

    /// ln of a lower bound on delta, -infinity where unknown.
    pub(super) fn ln_lower(&self) -> f64 {
        let least = self.sum - self.error - self.alias;
        if self.ln().is_some() && least > 0.0 && self.scale_error.is_finite() {
            self.ln_scale + least.ln() - self.scale_error
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Relative uncertainty of delta.
    pub(super) fn doubt(&self) -> f64 {
        (self.error + self.alias + self.left_out) / self.sum + self.scale_error
    }
}
