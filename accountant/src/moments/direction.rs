//! The ordered pairs of output distributions behind a neighbouring relation.

use crate::relation::Relation;

/// P against Q, each a Poisson-sampled Gaussian or its centre. With w+- = 1 - q + q exp((+-2x - 1)/(2 s^2)) and the
/// density n of N(0, s^2), every integrand here is n w+^A w-^B; the powers A and B depend on the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// P = n w+, Q = n: the unit is there under P.
    Remove,
    /// P = n, Q = n w+.
    Add,
    /// P = n w+, Q = n w-. The opposite direction is its mirror image.
    Replace,
}

impl Direction {
    /// The directions whose maximum is the answer, composed each on its own (Zhu, Dong & Wang 2022).
    pub(super) fn of(relation: Relation) -> &'static [Self] {
        match relation {
            Relation::AddRemove | Relation::ZeroOut => &[Self::Remove, Self::Add],
            Relation::Replace => &[Self::Replace],
        }
    }

    /// The powers (A, B) at which n w+^A w-^B = P e^{c L}.
    pub(super) fn powers(self, c: f64) -> (f64, f64) {
        match self {
            Self::Remove => (c + 1.0, 0.0),
            Self::Add => (-c, 0.0),
            Self::Replace => (c + 1.0, -c),
        }
    }

    /// How many factors carry an imaginary power.
    pub(super) fn turns(self) -> f64 {
        match self {
            Self::Remove | Self::Add => 1.0,
            Self::Replace => 2.0,
        }
    }

    /// The centre of the Gaussian of variance s^2 that lies to the left of P and Q, in the orientation of
    /// [`Part`](super::part::Part): both are mixtures of it and of others to its right.
    pub(super) fn left(self) -> f64 {
        match self {
            Self::Remove => 0.0,
            Self::Add | Self::Replace => -1.0,
        }
    }

    /// Minus the sum of the negative powers at order c.
    pub(super) fn negative_powers(self, c: f64) -> f64 {
        match self {
            Self::Remove => 0.0,
            Self::Add | Self::Replace => c,
        }
    }
}
