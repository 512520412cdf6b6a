//! Poisson sampling of any mechanism.
//!
//! Let Q0 and P0 be the outputs without and with the unit's record in the sample, r = P0/Q0, and M_j a bound on both
//! E_{Q0} r^j and E_{P0} r^{-j}. Add/remove and zero-out compare Q0 with (1-q) Q0 + q P0. REMOVE, at whole orders n, is
//! a binomial sum (Zhu & Wang 2019), in which C(n,j) (1-q)^{n-j} q^j sum to 1:
//!
//! A <= 1 + sum over j = 2..n of C(n,j) (1-q)^{n-j} q^j (M_j - 1).
//!
//! ADD is no larger when the pair is symmetric (docs/accountant/rdp.md). Otherwise, with p = (1-q) Q0 + q P0,
//! Q0/p = 1 + q (Q0 - P0)/p, and |x - y|^j y'^{1-j} is jointly convex, so E_p |(Q0 - P0)/p|^j <= the larger of
//! E_{Q0} |r - 1|^j and E_{P0} |1/r - 1|^j, each at most M_j - 1 because |r - 1|^j <= r^j - 1 - j (r - 1):
//!
//! A <= 1 + sum over j = 2..n of C(n,j) q^j (M_j - 1);   also A <= (1-q)^{1-n}, as Q0/p <= 1/(1-q).
//!
//! At every order: A <= 1 - q + q M (joint convexity; replace as well, and there nothing else), A^{1/alpha} <= 1 - q +
//! q M^{1/alpha} for REMOVE (Minkowski), and pure privacy epsilon becomes ln(1 + q (e^epsilon - 1)).

use super::atoms;
use super::curve::Curve;
use super::rest::{ln_one_plus, log_mixture};
use super::whole_orders::{Kept, MOST, MOST_COSTLY, interpolated, ln_binomial_powers, ln_expm1};
use crate::relation::Relation;

const E: f64 = f64::EPSILON;

/// One run of the inner mechanism on a fresh sample.
#[derive(Debug)]
pub(super) struct Poisson {
    inner: Curve,
    rate: f64,
    /// Whether the output without the record is one of the two that are compared.
    absent: bool,
    /// ln M_j, and ln A at whole orders.
    moments: Kept,
    sums: Kept,
}

impl Poisson {
    pub(super) fn new(inner: Curve, rate: f64, relation: Relation) -> Self {
        let absent = match relation {
            Relation::AddRemove => true,
            Relation::ZeroOut => inner.null_is_absent(),
            Relation::Replace => false,
        };
        Self { inner, rate, absent, moments: Kept::default(), sums: Kept::default() }
    }

    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        let (q, beta) = (self.rate, order - 1.0);
        let inside = self.inner.log_moment(order);
        let convex = log_mixture(q, inside);
        if !self.absent {
            return convex;
        }
        let remove = order * log_mixture(q, inside / order) * (1.0 + 2.0 * E);
        let every = convex.min(remove.max(self.ln_add_limit(beta)));
        let pure = atoms::pure(self.most(), order);
        let known = every.min(pure);
        let most = if self.inner.costly() { MOST_COSTLY } else { MOST };
        interpolated(order, most, |n| self.whole(n)).map_or(known, |value| value.min(known))
    }

    /// beta times -ln(1 - q), the largest loss of ADD; nothing where ADD is no larger than REMOVE.
    fn ln_add_limit(&self, beta: f64) -> f64 {
        if self.inner.symmetric() { 0.0 } else { -beta * (-self.rate).ln_1p() * (1.0 + 4.0 * E) }
    }

    fn whole(&mut self, n: u32) -> f64 {
        let Self { inner, rate, moments, sums, .. } = self;
        let (symmetric, q) = (inner.symmetric(), *rate);
        let limit = -f64::from(n - 1) * (-q).ln_1p() * (1.0 + 4.0 * E);
        sums.get(n, || {
            let ln_stay = (-q).ln_1p();
            let (mut remove, mut add) = (Vec::new(), Vec::new());
            for (j, log) in ln_binomial_powers(n, q.ln()).skip(2) {
                let moment = moments.get(j, || inner.log_moment(f64::from(j)));
                if moment <= 0.0 {
                    continue;
                }
                let term = log + ln_expm1(moment);
                add.push(term);
                // A rounding to the side of less damping.
                remove.push(term + f64::from(n - j) * ln_stay * (1.0 - 4.0 * E));
            }
            let remove = ln_one_plus(&remove);
            if symmetric { remove } else { remove.max(ln_one_plus(&add).min(limit)) }
        })
    }

    /// An upper bound on the largest absolute privacy loss.
    pub(super) fn most(&self) -> f64 {
        let inner = self.inner.most();
        if self.absent { log_mixture(self.rate, inner) } else { inner }
    }

    /// What the inner mechanism reveals with probability d, the whole reveals with probability q d.
    pub(super) fn ln_hidden(&self) -> f64 {
        (-(self.rate * self.inner.revealed() * (1.0 + E)).min(1.0)).ln_1p() * (1.0 + 2.0 * E)
    }

    pub(super) fn null_is_absent(&self) -> bool {
        self.inner.null_is_absent()
    }

    pub(super) fn costly(&self) -> bool {
        self.inner.costly()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// E_Q (P/Q)^order over outcomes.
    fn moment(p: &[f64], q: &[f64], order: f64) -> f64 {
        p.iter().zip(q).map(|(p, q)| (order * p.ln() + (1.0 - order) * q.ln()).exp()).sum()
    }

    /// A pair in which every outcome has a mirror image: (p, q) stands beside (q, p).
    fn symmetric(halves: &[(f64, f64)]) -> (Vec<f64>, Vec<f64>) {
        let total: f64 = halves.iter().map(|(p, q)| p + q).sum();
        let first = halves.iter().map(|(p, q)| (p / total, q / total));
        let second = halves.iter().map(|(p, q)| (q / total, p / total));
        first.chain(second).unzip()
    }

    proptest! {
        /// The theorem behind the tight bound: for symmetric pairs the direction that removes is the larger one.
        #[test]
        fn symmetry_makes_remove_the_larger_direction(
            halves in prop::collection::vec((1e-4_f64..1.0, 1e-4_f64..1.0), 1..6),
            q in 1e-3_f64..0.999,
            beta in 1e-2_f64..30.0,
        ) {
            let (with, null) = symmetric(&halves);
            let sampled: Vec<f64> = with.iter().zip(&null).map(|(p, n)| q * p + (1.0 - q) * n).collect();
            let (remove, add) = (moment(&sampled, &null, 1.0 + beta), moment(&null, &sampled, 1.0 + beta));
            prop_assert!(add <= remove * (1.0 + 1e-9), "add {add}, remove {remove}");
        }

        /// |r - 1|^j <= r^j - 1 - j (r - 1), which bounds the other direction and fixed batches.
        #[test]
        fn differences_are_below_moments(r in 0.0_f64..50.0, j in 2_u32..40) {
            let (j, r) = (f64::from(j), r);
            let (left, right) = ((r - 1.0).abs().powf(j), r.powf(j) - 1.0 - j * (r - 1.0));
            prop_assert!(left <= right * (1.0 + 1e-12) + 1e-12, "{left} {right}");
        }
    }
}
