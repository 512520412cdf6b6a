//! How long gradients were before clipping, relative to the clip norm: counts in fixed buckets.

use serde::{Deserialize, Serialize};

/// Buckets for each doubling of the norm.
const PER_DOUBLING: usize = 8;
/// Doublings below the clip norm, and as many above it.
const DOUBLINGS: usize = 16;
/// One for everything below, those between, and one for everything above.
const BUCKETS: usize = 2 * DOUBLINGS * PER_DOUBLING + 2;

/// Counts of norms over the clip norm, on a logarithmic scale.
///
/// Bucket i from 1 to 256 holds quotients above `2^((i-1)/8 - 16)` and up to `2^(i/8 - 16)`, bucket 0 what is below them and
/// bucket 257 what is above. The buckets are fixed, so that counts of several batches add up. Computed from private gradients
/// and not privatised. As JSON: `[[bucket, count], ..]`, empty buckets left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(usize, u64)>", into = "Vec<(usize, u64)>")]
pub struct NormHistogram {
    counts: [u64; BUCKETS],
}

impl Default for NormHistogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl NormHistogram {
    /// Counts a norm, given as a multiple of the clip norm.
    pub(crate) fn add(&mut self, quotient: f64) {
        // A cast saturates: what is below the first edge, zero included, goes to the first bucket.
        let edge = (PER_DOUBLING as f64 * (quotient.log2() + DOUBLINGS as f64)).ceil().max(0.0);
        self.counts[(edge as usize).min(BUCKETS - 1)] += 1;
    }

    /// The count of every bucket.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// With these counts, of which none is missing.
    pub(super) fn of_counts(counts: impl Iterator<Item = u64>) -> Self {
        let mut histogram = Self::default();
        histogram.counts.iter_mut().zip(counts).for_each(|(own, count)| *own = count);
        histogram
    }

    /// How many norms were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The upper edge of the bucket that holds the smallest norm not exceeded by `percent` per cent of them, as a multiple of
    /// the clip norm: at most 9 % above that norm, from 2^-16 on. Infinite for a norm above 2^16; none without norms.
    pub fn quantile(&self, percent: u8) -> Option<f64> {
        let total = u128::from(self.total());
        let rank = (total * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += u128::from(*count);
            below >= rank
        })?;
        Some(if bucket == BUCKETS - 1 {
            f64::INFINITY
        } else {
            (bucket as f64 / PER_DOUBLING as f64 - DOUBLINGS as f64).exp2()
        })
    }
}

impl std::ops::AddAssign for NormHistogram {
    fn add_assign(&mut self, more: Self) {
        self.counts.iter_mut().zip(more.counts).for_each(|(count, more)| *count = count.saturating_add(more));
    }
}

impl From<NormHistogram> for Vec<(usize, u64)> {
    fn from(histogram: NormHistogram) -> Self {
        histogram.counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
    }
}

impl TryFrom<Vec<(usize, u64)>> for NormHistogram {
    type Error = String;

    fn try_from(counts: Vec<(usize, u64)>) -> Result<Self, String> {
        let mut histogram = Self::default();
        for (bucket, count) in counts {
            let place = histogram.counts.get_mut(bucket);
            let place = place.ok_or_else(|| format!("bucket {bucket}: allowed is 0 to {}", BUCKETS - 1))?;
            if std::mem::replace(place, count) != 0 {
                return Err(format!("bucket {bucket} twice: allowed is each bucket once"));
            }
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(quotients: &[f64]) -> NormHistogram {
        let mut histogram = NormHistogram::default();
        quotients.iter().for_each(|quotient| histogram.add(*quotient));
        histogram
    }

    #[test]
    fn a_quantile_is_the_upper_edge_of_its_bucket() {
        // 0.9 is in (2^(-2/8), 2^(-1/8)], 1 is an edge, 3 is in (2^(12/8), 2^(13/8)].
        let histogram = of(&[0.9, 1.0, 3.0]);
        let at = |percent| histogram.quantile(percent).unwrap();
        assert_eq!((at(0), at(33)), (2_f64.powf(-0.125), 2_f64.powf(-0.125)));
        assert_eq!((at(34), at(66)), (1.0, 1.0));
        assert_eq!((at(67), at(100)), (2_f64.powf(1.625), 2_f64.powf(1.625)));
        assert_eq!(NormHistogram::default().quantile(50), None);
    }

    #[test]
    fn a_quantile_is_at_most_a_bucket_above_the_norm() {
        for i in 0..2000 {
            let norm = 2_f64.powf(-15.9 + 31.8 * f64::from(i) / 2000.0);
            let edge = of(&[norm]).quantile(50).unwrap();
            assert!(edge >= norm * (1.0 - 1e-12) && edge <= norm * 1.0906, "{norm} {edge}");
        }
    }

    #[test]
    fn norms_beyond_the_scale_are_counted_at_its_ends() {
        assert_eq!(of(&[0.0, 1e-300]).quantile(100), Some(2_f64.powi(-16)));
        assert_eq!(of(&[1e300]).quantile(50), Some(f64::INFINITY));
        assert_eq!(of(&[0.0, 1e300]).total(), 2);
    }

    #[test]
    fn counts_add_up_and_survive_json() {
        let mut sum = of(&[0.1, 1.0]);
        sum += of(&[7.0, 1e9]);
        assert_eq!(sum, of(&[1e9, 0.1, 7.0, 1.0]));
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<NormHistogram>(&text).unwrap(), sum);
        assert!(serde_json::from_str::<NormHistogram>("[[258,1]]").is_err());
        let twice = serde_json::from_str::<NormHistogram>("[[3,1],[4,1],[3,2]]").unwrap_err().to_string();
        assert!(twice.contains("bucket 3 twice"), "{twice}");
    }
}
