//! The step size for which Clip21-GD's rate is proved.
//!
//! The proof is our own. A descent lemma gives `f(x+) <= f(x) - (g/2) |grad f|^2 + (g/2) |v - grad f|^2` for steps g
//! <= 1/L, and `|grad f| <= sqrt(2 L (f - inf f))`; so |v| is bounded, gradients move by at most t/2 in a round, and
//! the clip takes t off their distance to the memories: t/2 of it is gained in every round. The rule is cautious:
//! steps a hundred times as long work on the problems that it was tried on.

use crate::{Error, Result};

/// What is known of a problem before Clip21-GD starts on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// L: how fast the mean gradient can change.
    pub smoothness: f64,
    /// The largest of the nodes' own.
    pub largest_smoothness: f64,
    /// `f(x_0) - inf f`, or more.
    pub gap: f64,
    /// The largest distance of a node's first gradient from its memory, or more.
    pub distance: f64,
    /// t.
    pub radius: f64,
}

/// A step size, and what is proved for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proved {
    start: Start,
    step: f64,
}

impl Start {
    /// The longest step for which the proof holds: g <= 1/L and
    /// `g L_max (sqrt(2 L (F0 + g S / 2)) + (B0 - t)_+) <= t / 2`.
    ///
    /// # Errors
    /// When smoothness or radius are not above 0, the gap or the distance negative, or any of them not finite.
    pub fn proved(self) -> Result<Proved> {
        for (name, value) in [
            ("smoothness", self.smoothness),
            ("largest smoothness of a node", self.largest_smoothness),
            ("radius", self.radius),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(name, value, "a finite number above 0"));
            }
        }
        for (name, value) in [("gap to the infimum", self.gap), ("distance from the memories", self.distance)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::value(name, value, "a finite number, at least 0"));
            }
        }
        let holds = |step: f64| {
            let speed = (2.0 * self.smoothness * (self.gap + step * self.squares() / 2.0)).sqrt() + self.excess();
            step * self.largest_smoothness * speed <= self.radius / 2.0
        };
        let (mut step, mut beyond) = (0.0, 1.0 / self.smoothness);
        if holds(beyond) {
            return Ok(Proved { start: self, step: beyond });
        }
        // The condition is monotone; the end at which it holds is kept.
        loop {
            let middle = step + (beyond - step) / 2.0;
            if middle <= step || middle >= beyond {
                return Ok(Proved { start: self, step });
            }
            if holds(middle) { step = middle } else { beyond = middle }
        }
    }

    /// `(B0 - t)_+`: what the first clip leaves.
    fn excess(&self) -> f64 {
        (self.distance - self.radius).max(0.0)
    }

    /// The first round in which nothing is clipped: `ceil(2 (B0 - t)_+ / t)`.
    fn rounds(&self) -> f64 {
        (2.0 * self.excess() / self.radius).ceil()
    }

    /// S, the sum over rounds of the squares of what the clip leaves, at most.
    fn squares(&self) -> f64 {
        let (most, less, n) = (self.excess(), self.radius / 2.0, self.rounds());
        n * most * most - most * less * n * (n - 1.0) + less * less * (n - 1.0) * n * (2.0 * n - 1.0) / 6.0
    }
}

impl Proved {
    /// g.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The largest distance of a node's gradient from its memory after the update of a round, at most.
    pub fn residual(&self, round: u32) -> f64 {
        (self.start.excess() - f64::from(round) * self.start.radius / 2.0).max(0.0)
    }

    /// The first round from which on nothing is clipped; Clip21-GD is gradient descent then.
    pub fn settled(&self) -> f64 {
        self.start.rounds()
    }

    /// The sum over all rounds of `|grad f(x_k)|^2`, at most: `2 F0 / g + S`. Divided by K, it bounds the least of K
    /// of them.
    pub fn squared_slopes(&self) -> f64 {
        2.0 * self.start.gap / self.step + self.start.squares()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Start = Start { smoothness: 2.0, largest_smoothness: 5.0, gap: 3.0, distance: 4.0, radius: 1.0 };

    #[test]
    fn the_longest_step_that_is_proved_is_found() {
        let proved = START.proved().unwrap();
        // J = 6, S = 3^2 + 2.5^2 + 2^2 + 1.5^2 + 1 + 0.5^2.
        assert_eq!(
            (proved.settled(), proved.residual(0), proved.residual(5), proved.residual(6)),
            (6.0, 3.0, 0.5, 0.0)
        );
        let condition = |g: f64| g * 5.0 * ((4.0 * (3.0 + g * 22.75 / 2.0)).sqrt() + 3.0);
        assert!(condition(proved.step()) <= 0.5 && condition(proved.step() * (1.0 + 1e-14)) > 0.5);
        assert!((proved.squared_slopes() - (6.0 / proved.step() + 22.75)).abs() < 1e-10);
    }

    #[test]
    fn nothing_to_clip_leaves_the_step_of_gradient_descent() {
        let start = Start { radius: 1e6, ..START };
        let proved = start.proved().unwrap();
        assert_eq!((proved.step(), proved.settled(), proved.squared_slopes()), (0.5, 0.0, 12.0));
    }

    #[test]
    fn what_no_problem_has_is_refused() {
        for start in [
            Start { smoothness: 0.0, ..START },
            Start { largest_smoothness: f64::NAN, ..START },
            Start { gap: -1.0, ..START },
            Start { distance: f64::INFINITY, ..START },
            Start { radius: 0.0, ..START },
        ] {
            assert!(start.proved().is_err(), "{start:?}");
        }
    }
}
