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
    let less = q * l.exp_m1();
    if l >= 30.0 {
        l + (q + (1.0 - q) * (-l).exp()).ln()
    } else if less > -0.5 {
        less.ln_1p()
    } else {
        // Here q > 1/2, so that 1 - q is exact and nothing cancels.
        ((1.0 - q) + q * l.exp()).ln()
    }
}

/// The l at which `dampened` is this; -inf below its range.
pub(super) fn undampened(q: f64, loss: f64) -> f64 {
    if loss >= 1.0 {
        return loss - q.ln() + (-(1.0 - q) * (-loss).exp()).ln_1p();
    }
    let x = loss.exp_m1() / q;
    if x > -0.5 {
        return x.ln_1p();
    }
    // q e^l = e^loss - (1 - q), from how far the loss is above ln(1 - q).
    let rise = loss - (-q).ln_1p();
    if q >= 1.0 {
        loss
    } else if rise <= 0.0 {
        f64::NEG_INFINITY
    } else {
        (rise.exp_m1() * ((1.0 - q) / q)).ln()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_losses_keep_their_digits_at_every_rate() {
        // ln(1 - q + q e^l) with 1 - q = g, mpmath, 40 digits: as q goes to 1 the loss went wrong by 1e-16/(g + e^l).
        for (g, l, want) in [
            (f64::EPSILON, -40.0, -36.024_701_234_506_57),
            (1e-6, -20.0, -13.813_451_527_632_848),
            (1e-6, 5.0, 4.999_999_006_737_454),
            (0.5, -3.0, -0.644_559_828_986_203_3),
            (0.999, -2.0, -8.650_387_549_268_741e-4),
            (1e-6, 40.0, 39.999_998_999_999_5),
        ] {
            let got = dampened(1.0 - g, l);
            assert!((got - want).abs() <= 4.0 * f64::EPSILON * want.abs(), "{g} {l}: {got}, want {want}");
            let back = undampened(1.0 - g, got);
            // Near its least value the loss says little about l.
            let said = 1.0 + g / ((1.0 - g) * l.exp());
            assert!((back - l).abs() <= 8.0 * f64::EPSILON * said * l.abs(), "{g} {l}: {back}");
        }
        assert_eq!(undampened(0.25, -0.3), f64::NEG_INFINITY);
        assert_eq!((undampened(1.0, -50.0), dampened(1.0, -50.0)), (-50.0, -50.0));
    }
}
