//! Samples under replace: uniformly random batches of fixed size (Wang, Balle & Kasiviswanathan 2019), and Poisson samples
//! of additive noise.
//!
//! With share g = batch/records the outputs are (1-g) A + g B and (1-g) A + g B', where A, B and B' are outputs on
//! mutually neighbouring batches. Their theorem 27 expands the moment at whole orders n:
//!
//! E <= 1 + sum over j = 2..n of C(n,j) g^j z_j,   z_j = sup of E_A |B/A - B'/A|^j.
//!
//! z_j <= 2 M_j, because |x - y|^j <= x^j + y^j for x, y >= 0. And z_j <= 4 x_j with x_j = sup of E_Q |P/Q - 1|^j over
//! neighbours: where A >= min(B, B'), |B - B'|^j/A^{j-1} is at most the same over B or over B'; where A is less than both,
//! at most |B - A|^j/A^{j-1} or |B' - A|^j/A^{j-1}. In turn x_j <= M_j - 1, and for Gaussians x_j is at most the root of
//! x_{j-1} x_{j+1} for odd j, where the even ones are known ([`difference`](super::difference)).
//!
//! The same holds for a Poisson sample of rate g under replace, A the output without the record, where a record taken out
//! costs no more than one replaced: for noise added to sums.
//!
//! At every order: E <= 1 - g + g M (joint convexity), and pure privacy epsilon becomes ln(1 + g (e^epsilon - 1)) (Balle,
//! Barthe & Gaboardi 2018).

use std::f64::consts::LN_2;

use super::atoms;
use super::curve::Curve;
use super::difference;
use super::rest::{ln_one_plus, log_mixture};
use super::whole_orders::{Kept, MOST, MOST_COSTLY, interpolated, ln_binomial_powers, ln_expm1};

const E: f64 = f64::EPSILON;

/// Up to this power the even x_j of Gaussians are computed.
const MOST_DIFFERENCE: u32 = 64;

/// One run of the inner mechanism on a fresh batch.
#[derive(Debug)]
pub(super) struct WithoutReplacement {
    inner: Curve,
    share: f64,
    /// ln M_j, ln x_j of Gaussians for even j, and ln of the moment at whole orders.
    moments: Kept,
    differences: Kept,
    sums: Kept,
}

impl WithoutReplacement {
    pub(super) fn new(inner: Curve, share: f64) -> Self {
        Self { inner, share, moments: Kept::default(), differences: Kept::default(), sums: Kept::default() }
    }

    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        let convex = log_mixture(self.share, self.inner.log_moment(order));
        let known = convex.min(atoms::pure(self.most(), order));
        let most = if self.inner.costly() { MOST_COSTLY } else { MOST };
        interpolated(order, most, |n| self.whole(n)).map_or(known, |value| value.min(known))
    }

    fn whole(&mut self, n: u32) -> f64 {
        let Self { inner, share, moments, differences, sums } = self;
        let gaussian = inner.gaussian();
        sums.get(n, || {
            let mut logs = Vec::new();
            for (j, log) in ln_binomial_powers(n, share.ln()).skip(2) {
                let moment = moments.get(j, || inner.log_moment(f64::from(j)));
                if moment <= 0.0 {
                    continue;
                }
                let mut ln_x = ln_expm1(moment);
                if let Some(mu) = gaussian
                    && (3..MOST_DIFFERENCE).contains(&j)
                {
                    let mut even = |k: u32| differences.get(k, || difference::ln_even(mu, k));
                    ln_x = ln_x.min(0.5 * (even(j & !1) + even((j + 1) & !1)));
                }
                let ln_z = (2.0 * LN_2 + ln_x).min(LN_2 + moment);
                logs.push(log + ln_z + 8.0 * E * (1.0 + ln_z.abs()));
            }
            ln_one_plus(&logs)
        })
    }

    /// An upper bound on the largest absolute privacy loss.
    pub(super) fn most(&self) -> f64 {
        log_mixture(self.share, self.inner.most())
    }

    pub(super) fn costly(&self) -> bool {
        self.inner.costly()
    }
}
