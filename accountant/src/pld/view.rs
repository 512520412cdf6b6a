//! What Poisson sampling makes of a pair, outcome by outcome.

use super::law::{Atom, Node};

/// What the sampling of records makes of a pair (P, Q).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum View {
    /// No sampling.
    Plain,
    /// ((1-q) Q + q P, Q): the loss is ln(1 + q (e^l - 1)).
    Remove(f64),
    /// (P, (1-q) P + q Q): the loss is -ln(1 + q (e^-l - 1)).
    Add(f64),
    /// The positive losses of `Remove`.
    Positive(f64),
    /// The mirror image of the positive losses of `Remove`: losses negated, P and Q exchanged.
    Negative(f64),
}

/// ln(1 + q (e^l - 1)), without overflow.
pub(super) fn dampened(q: f64, l: f64) -> f64 {
    if l < 30.0 { (q * l.exp_m1()).ln_1p() } else { l + (q + (1.0 - q) * (-l).exp()).ln() }
}

/// The l at which `dampened` is this; -inf below its range.
pub(super) fn undampened(q: f64, loss: f64) -> f64 {
    if loss < 1.0 {
        let x = loss.exp_m1() / q;
        if x <= -1.0 { f64::NEG_INFINITY } else { x.ln_1p() }
    } else {
        loss - q.ln() + (-(1.0 - q) * (-loss).exp()).ln_1p()
    }
}

impl View {
    /// The unsampled losses between which the sampled ones lie in (from, to].
    pub(super) fn inverse(self, from: f64, to: f64) -> (f64, f64) {
        match self {
            Self::Plain => (from, to),
            Self::Remove(q) => (undampened(q, from), undampened(q, to)),
            Self::Add(q) => (-undampened(q, -from), -undampened(q, -to)),
            Self::Positive(q) => (undampened(q, from.max(0.0)), undampened(q, to.max(0.0))),
            Self::Negative(q) => (undampened(q, (-to).max(0.0)), undampened(q, (-from).max(0.0))),
        }
    }

    /// What an outcome becomes; `None` where it has no P-mass.
    pub(super) fn apply(self, at: Atom) -> Option<Node> {
        let node = match self {
            Self::Plain => Node { ln_p: at.ln_p, loss: at.loss },
            Self::Remove(q) | Self::Positive(q) if at.ln_q == f64::NEG_INFINITY => {
                Node { ln_p: q.ln() + at.ln_p, loss: f64::INFINITY }
            }
            Self::Remove(q) | Self::Positive(q) => {
                let loss = dampened(q, at.loss);
                Node { ln_p: at.ln_q + loss, loss }
            }
            Self::Add(q) => Node { ln_p: at.ln_p, loss: -dampened(q, -at.loss) },
            Self::Negative(q) => Node { ln_p: at.ln_q, loss: -dampened(q, at.loss) },
        };
        (node.ln_p > f64::NEG_INFINITY).then_some(node)
    }

    /// Whether outcomes that only Q produces matter.
    pub(super) fn needs_q(self) -> bool {
        matches!(self, Self::Remove(_))
    }
}
