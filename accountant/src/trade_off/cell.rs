//! The least value that the larger of several lines takes on an interval.

/// A linear function by its values at both ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) left: f64,
    pub(super) right: f64,
}

impl Line {
    /// The sum of two lines on the same interval.
    pub(super) fn plus(self, other: Self) -> Self {
        Self { left: self.left + other.left, right: self.right + other.right }
    }

    /// The lesser end; minus infinity when one is no number.
    fn least(self) -> f64 {
        if self.left.is_nan() || self.right.is_nan() { f64::NEG_INFINITY } else { self.left.min(self.right) }
    }
}

/// A lower bound on the minimum over the interval of the largest of the lines; exact for two lines, but for rounding.
///
/// A mean of two lines is nowhere above the larger of them, and its minimum is at an end. Every weight is valid, so a
/// rounding of the weight cannot make the bound wrong. Values that are no numbers are left out.
pub(super) fn least(lines: &[Line]) -> f64 {
    let mut best = f64::NEG_INFINITY;
    for (k, first) in lines.iter().enumerate() {
        best = best.max(first.least());
        for second in lines.iter().skip(k + 1) {
            // The weight for which both ends are equal.
            let (falls, rises) = (first.left - first.right, second.right - second.left);
            let weight = rises / (falls + rises);
            if (0.0..=1.0).contains(&weight) {
                let mean = |a: f64, b: f64| weight * a + (1.0 - weight) * b;
                let joint = Line { left: mean(first.left, second.left), right: mean(first.right, second.right) };
                best = best.max(joint.least());
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_cross_at_their_least() {
        // max(1 - 2t, 3t - 1) on [0, 1] is least at t = 0.4, where it is 0.2.
        let lines = [Line { left: 1.0, right: -1.0 }, Line { left: -1.0, right: 2.0 }];
        assert!((least(&lines) - 0.2).abs() < 1e-15);
        // A third one that is above lifts it.
        let third = Line { left: 0.5, right: 0.5 };
        assert!((least(&[lines[0], lines[1], third]) - 0.5).abs() < 1e-15);
        assert_eq!(least(&[Line { left: 2.0, right: 3.0 }]), 2.0);
        assert_eq!(least(&[Line { left: f64::NAN, right: 3.0 }, third]), 0.5);
    }
}
