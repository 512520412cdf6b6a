//! Statistics of clipping: how many gradients were scaled down, and how long they were.

use super::NormHistogram;
use serde::{Deserialize, Serialize};

/// What clipping did to a batch. Computed from private gradients and not privatised.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Clipping {
    /// Examples in the batch.
    pub examples: usize,
    /// Examples whose gradient was scaled down.
    pub clipped: usize,
    /// Examples left out because their gradient was not finite.
    pub dropped: usize,
    /// The sum of all finite gradient norms, before clipping.
    pub norms: f64,
    /// Finite gradient norms over the clip norm, before clipping.
    pub relative_norms: NormHistogram,
}

impl Clipping {
    /// The share of examples whose gradient was scaled down.
    pub fn clipped_fraction(&self) -> f64 {
        self.clipped as f64 / self.examples.max(1) as f64
    }

    /// The mean norm of finite gradients before clipping.
    pub fn mean_norm(&self) -> f64 {
        // Counts that were read from a file may be any.
        self.norms / self.examples.saturating_sub(self.dropped).max(1) as f64
    }

    /// Counts as numbers that add up, with that of the examples within the bound.
    pub(super) fn numbers(&self, within: usize) -> Vec<f64> {
        let counts = [within, self.examples, self.clipped, self.dropped].map(|count| count as f64);
        let norms = self.relative_norms.counts().iter().map(|count| *count as f64);
        counts.into_iter().chain([self.norms]).chain(norms).collect()
    }

    /// The counts back out of their sums, which are exact.
    pub(super) fn of_numbers(numbers: &[f64]) -> (usize, Self) {
        let number = |place: usize| numbers.get(place).copied().unwrap_or_default();
        let count = |place: usize| number(place) as usize;
        let relative_norms = NormHistogram::of_counts(numbers.iter().skip(5).map(|count| *count as u64));
        (count(0), Self { examples: count(1), clipped: count(2), dropped: count(3), norms: number(4), relative_norms })
    }
}

impl std::ops::AddAssign for Clipping {
    fn add_assign(&mut self, more: Self) {
        self.examples += more.examples;
        self.clipped += more.clipped;
        self.dropped += more.dropped;
        self.norms += more.norms;
        self.relative_norms += more.relative_norms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_cannot_be_have_a_mean_all_the_same() {
        let text = r#"{"examples":1,"clipped":0,"dropped":3,"norms":2.0,"relative_norms":[]}"#;
        assert_eq!(serde_json::from_str::<Clipping>(text).unwrap().mean_norm(), 2.0);
    }
}
