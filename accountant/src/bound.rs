//! An answer with its two sides.

use serde::{Serialize, Serializer};

/// A quantity (an epsilon or a delta) between two bounds that hold.
///
/// `lower <= estimate <= upper`, none of them NaN; `upper` is the guarantee. As JSON:
/// `{"lower":..,"estimate":..,"upper":..}`, where an infinite number is the string `"inf"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    #[serde(serialize_with = "number_or_inf")]
    lower: f64,
    #[serde(serialize_with = "number_or_inf")]
    estimate: f64,
    #[serde(serialize_with = "number_or_inf")]
    upper: f64,
    #[serde(skip)]
    accountant: &'static str,
}

/// Three numbers that are no bound.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("lower = {lower}, estimate = {estimate}, upper = {upper}: allowed is 0 <= lower <= estimate <= upper")]
pub struct Disordered {
    /// The lower end given.
    pub lower: f64,
    /// The estimate given.
    pub estimate: f64,
    /// The upper end given.
    pub upper: f64,
}

impl Bound {
    /// The three numbers, checked, and who answered.
    ///
    /// # Errors
    /// [`Disordered`] unless `0 <= lower <= estimate <= upper`.
    pub fn new(lower: f64, estimate: f64, upper: f64, accountant: &'static str) -> Result<Self, Disordered> {
        // Every comparison with NaN is false, so NaN is refused too.
        if 0.0 <= lower && lower <= estimate && estimate <= upper {
            Ok(Self { lower, estimate, upper, accountant })
        } else {
            Err(Disordered { lower, estimate, upper })
        }
    }

    /// The quantity of an event that releases nothing: exactly zero.
    #[must_use]
    pub fn zero(accountant: &'static str) -> Self {
        Self { lower: 0.0, estimate: 0.0, upper: 0.0, accountant }
    }

    /// What both bounds say together about one quantity. The accountant is the one whose `upper` stands, this one when
    /// they agree; `estimate` is this one's, moved between the new ends.
    ///
    /// # Errors
    /// [`Disordered`] when the two contradict each other: then one of them is wrong.
    pub fn intersect(&self, other: &Self) -> Result<Self, Disordered> {
        let (lower, upper) = (self.lower.max(other.lower), self.upper.min(other.upper));
        let accountant = if self.upper <= other.upper { self.accountant } else { other.accountant };
        Self::new(lower, self.estimate.max(lower).min(upper), upper, accountant)
    }

    /// The truth is at least this.
    #[must_use]
    pub fn lower(&self) -> f64 {
        self.lower
    }

    /// The best single number; no guarantee.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        self.estimate
    }

    /// The truth is at most this: the number to state. May be infinite.
    #[must_use]
    pub fn upper(&self) -> f64 {
        self.upper
    }

    /// The accountant that answered.
    #[must_use]
    pub fn accountant(&self) -> &'static str {
        self.accountant
    }
}

fn number_or_inf<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_str("inf") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn disorder_and_nan_are_refused() {
        assert!(Bound::new(1.0, 2.0, 3.0, "x").is_ok());
        assert!(Bound::new(2.0, 1.0, 3.0, "x").is_err());
        assert!(Bound::new(1.0, 3.0, 2.0, "x").is_err());
        assert!(Bound::new(-1.0, 0.0, 2.0, "x").is_err());
        assert!(Bound::new(f64::NAN, 0.0, 2.0, "x").is_err());
        assert!(Bound::new(0.0, 0.0, f64::NAN, "x").is_err());
    }

    #[test]
    fn an_intersection_takes_the_better_end_of_each() {
        let (a, b) = (Bound::new(1.0, 2.0, 5.0, "a").unwrap(), Bound::new(0.5, 4.0, 4.0, "b").unwrap());
        assert_eq!(a.intersect(&b), Bound::new(1.0, 2.0, 4.0, "b"));
        assert_eq!(b.intersect(&a), Bound::new(1.0, 4.0, 4.0, "b"));
        assert!(a.intersect(&Bound::new(6.0, 6.0, 6.0, "c").unwrap()).is_err());
    }

    #[test]
    fn infinity_is_written_as_a_word() {
        let bound = Bound::new(0.5, f64::INFINITY, f64::INFINITY, "x").unwrap();
        assert_eq!(serde_json::to_string(&bound).unwrap(), r#"{"lower":0.5,"estimate":"inf","upper":"inf"}"#);
    }
}
