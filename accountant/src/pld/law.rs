//! The law of one release's privacy loss: continuous pieces and atoms, seen through the sampling of the records.

use super::mixtures::{FAR, Mixtures};
use super::quadrature;
use super::view::{View, undampened};
use crate::exponentials::ln_sum;
use crate::normal::{LN_SQRT_2PI, ln_tail};

const E: f64 = f64::EPSILON;

/// The law of ln(P/Q) under P, a sum of parts.
#[derive(Debug, Clone)]
pub(super) struct Law {
    pub(super) parts: Vec<Part>,
    /// All losses may be off by this much.
    pub(super) doubt: f64,
}

/// A share of a law.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) ln_weight: f64,
    pub(super) base: Base,
    pub(super) view: View,
}

/// A pair of distributions without sampling.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// N(mu, 1) against N(0, 1), or its mirror image.
    Gaussian { mu: f64 },
    /// Losses in [-end, end] of density e^(ln_density + loss/2) under P, e^(ln_density - loss/2) under Q.
    Exponential { end: f64, ln_density: f64 },
    /// Mixtures of normal distributions.
    Mixtures(Mixtures),
    /// Finitely many losses, ascending.
    Atoms(Vec<Atom>),
}

/// ln of the probabilities of one outcome under P and Q. Either may be -inf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atom {
    pub(super) ln_p: f64,
    pub(super) ln_q: f64,
    pub(super) loss: f64,
}

impl Atom {
    pub(super) fn new(ln_p: f64, ln_q: f64) -> Self {
        Self { ln_p, ln_q, loss: ln_p - ln_q }
    }
}

/// A node or an atom after sampling: ln of its P-mass, and its loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) ln_p: f64,
    pub(super) loss: f64,
}

impl Node {
    /// Bound on the relative error of the mass: rule, exponent and the arithmetic behind it.
    pub(super) fn doubt(self) -> f64 {
        E * (24.0 + 2.0 * self.ln_p.abs())
    }
}

impl Base {
    /// The continuous part between two losses, as nodes with masses.
    fn nodes(&self, from: f64, to: f64, both: bool, f: &mut dyn FnMut(Atom)) {
        match self {
            Self::Gaussian { mu } => {
                let mu = *mu;
                let (from, to) = (from / mu - 0.5 * mu, to / mu - 0.5 * mu);
                let mut window = |low: f64, high: f64| {
                    let reach = |z: f64| 1.0 + z.abs().max((z + mu).abs());
                    quadrature::nodes(from.max(low), to.min(high), reach, |z, weight| {
                        let ln_weight = weight.ln() - LN_SQRT_2PI;
                        let (ln_p, ln_q) = (ln_weight - 0.5 * z * z, ln_weight - 0.5 * (z + mu) * (z + mu));
                        f(Atom { ln_p, ln_q, loss: mu * (z + 0.5 * mu) });
                    });
                };
                if both && mu < 2.0 * FAR {
                    window(-mu - FAR, FAR);
                } else {
                    if both {
                        window(-mu - FAR, -mu + FAR);
                    }
                    window(-FAR, FAR);
                }
            }
            Self::Exponential { end, ln_density } => {
                quadrature::nodes(
                    from.max(-end),
                    to.min(*end),
                    |_| 1.5,
                    |loss, weight| {
                        let centre = weight.ln() + ln_density;
                        f(Atom { ln_p: centre + 0.5 * loss, ln_q: centre - 0.5 * loss, loss });
                    },
                );
            }
            Self::Mixtures(pair) => {
                let (low, high) = pair.ends();
                let (from, to) = (pair.inverse(from).max(low), pair.inverse(to).min(high));
                quadrature::nodes(
                    from,
                    to,
                    |x| pair.reach(x),
                    |x, weight| {
                        let (ln_p, ln_q, loss) = pair.at(x);
                        f(Atom { ln_p: weight.ln() + ln_p, ln_q: weight.ln() + ln_q, loss });
                    },
                );
            }
            Self::Atoms(_) => {}
        }
    }

    /// How fast the loss changes along the line, in losses for a standard deviation.
    fn slope(&self) -> f64 {
        match self {
            Self::Gaussian { mu } => *mu,
            Self::Mixtures(pair) => pair.widest(),
            Self::Exponential { .. } | Self::Atoms(_) => 0.0,
        }
    }

    fn atoms(&self) -> &[Atom] {
        if let Self::Atoms(list) = self { list } else { &[] }
    }

    /// ln of the continuous masses of P and Q above this finite loss.
    fn ln_above(&self, loss: f64) -> (f64, f64) {
        match self {
            Self::Gaussian { mu } => {
                let z = loss / mu - 0.5 * mu;
                (ln_tail(z), ln_tail(z + mu))
            }
            Self::Exponential { end, ln_density } => {
                let loss = loss.clamp(-end, *end);
                // Integrals of e^(+-l/2) over (loss, end).
                let (p, q) = ((end - loss) / 2.0, (loss - end) / 2.0);
                let ln2 = std::f64::consts::LN_2 + ln_density;
                (ln2 + end / 2.0 + (-(-p).exp_m1()).ln(), ln2 - loss / 2.0 + (-q.exp_m1()).ln())
            }
            Self::Mixtures(pair) => pair.ln_above(pair.inverse(loss)),
            Self::Atoms(_) => (f64::NEG_INFINITY, f64::NEG_INFINITY),
        }
    }

    /// ln of the continuous masses of P and Q at or below this finite loss.
    fn ln_below(&self, loss: f64) -> (f64, f64) {
        match self {
            Self::Gaussian { mu } => {
                let z = loss / mu - 0.5 * mu;
                (ln_tail(-z), ln_tail(-z - mu))
            }
            Self::Exponential { .. } => {
                // The mirror image exchanges P and Q.
                let (p, q) = self.ln_above(-loss);
                (q, p)
            }
            Self::Mixtures(pair) => pair.ln_below(pair.inverse(loss)),
            Self::Atoms(_) => (f64::NEG_INFINITY, f64::NEG_INFINITY),
        }
    }
}

impl Part {
    fn plain(base: Base) -> Self {
        Self { ln_weight: 0.0, base, view: View::Plain }
    }

    /// Continuous nodes with losses in (from, to].
    pub(super) fn nodes(&self, from: f64, to: f64, f: &mut dyn FnMut(Node)) {
        let (low, high) = self.view.inverse(from, to);
        if low < high {
            self.base.nodes(low, high, self.view.needs_q(), &mut |atom| {
                if let Some(node) = self.view.apply(atom) {
                    f(Node { ln_p: node.ln_p + self.ln_weight, loss: node.loss.clamp(from, to) });
                }
            });
        }
    }

    /// Atoms, those at infinity included.
    fn atoms(&self) -> impl Iterator<Item = Node> {
        let seen = |atom: &&Atom| !matches!(self.view, View::Positive(_) | View::Negative(_)) || atom.loss > 0.0;
        let kept = self.base.atoms().iter().filter(seen).filter_map(|atom| self.view.apply(*atom));
        kept.map(|node| Node { ln_p: node.ln_p + self.ln_weight, ..node })
    }

    /// ln of a bound on the P-mass above this finite loss, infinity left out.
    fn ln_above(&self, loss: f64) -> f64 {
        if let Base::Atoms(_) = self.base {
            let above = self.atoms().filter(|node| node.loss > loss && node.loss < f64::INFINITY);
            return ln_sum(above.map(|node| node.ln_p).collect::<Vec<_>>().into_iter());
        }
        let mixed = |q: f64, (p, other): (f64, f64)| ln_sum([q.ln() + p, (-q).ln_1p() + other].into_iter());
        let base = match self.view {
            View::Plain => self.base.ln_above(loss).0,
            View::Remove(q) => match undampened(q, loss) {
                f64::NEG_INFINITY => 0.0,
                low => mixed(q, self.base.ln_above(low)),
            },
            View::Add(q) => match -undampened(q, -loss) {
                f64::INFINITY => f64::NEG_INFINITY,
                low => self.base.ln_above(low).0,
            },
            View::Positive(q) => mixed(q, self.base.ln_above(undampened(q, loss.max(0.0)))),
            View::Negative(_) if loss >= 0.0 => f64::NEG_INFINITY,
            View::Negative(_) => self.base.ln_above(0.0).1,
        };
        base + self.ln_weight
    }

    /// ln of a bound on the P-mass at or below this finite loss.
    fn ln_below(&self, loss: f64) -> f64 {
        if let Base::Atoms(_) = self.base {
            let below = self.atoms().filter(|node| node.loss <= loss);
            return ln_sum(below.map(|node| node.ln_p).collect::<Vec<_>>().into_iter());
        }
        let mixed = |q: f64, (p, other): (f64, f64)| ln_sum([q.ln() + p, (-q).ln_1p() + other].into_iter());
        let base = match self.view {
            View::Plain => self.base.ln_below(loss).0,
            View::Remove(q) => match undampened(q, loss) {
                f64::NEG_INFINITY => f64::NEG_INFINITY,
                low => mixed(q, self.base.ln_below(low)),
            },
            View::Add(q) => match -undampened(q, -loss) {
                f64::INFINITY => 0.0,
                low => self.base.ln_below(low).0,
            },
            View::Positive(_) if loss <= 0.0 => f64::NEG_INFINITY,
            View::Positive(q) => mixed(q, self.base.ln_above(0.0)),
            View::Negative(q) => self.base.ln_above(undampened(q, (-loss).max(0.0))).1,
        };
        base + self.ln_weight
    }
}

impl Law {
    /// A law of one part without sampling.
    pub(super) fn of(base: Base) -> Self {
        Self { parts: vec![Part::plain(base)], doubt: 0.0 }
    }

    /// The same pair under another view.
    pub(super) fn seen(&self, view: View) -> Self {
        Self { parts: self.parts.iter().map(|part| Part { view, ..part.clone() }).collect(), ..*self }
    }

    /// Continuous nodes with losses in (from, to].
    pub(super) fn nodes(&self, from: f64, to: f64, f: &mut dyn FnMut(Node)) {
        self.parts.iter().for_each(|part| part.nodes(from, to, f));
    }

    /// Atoms with finite losses.
    pub(super) fn atoms(&self) -> impl Iterator<Item = Node> {
        self.parts.iter().flat_map(Part::atoms).filter(|node| node.loss.is_finite())
    }

    /// The steepest loss of any part; quadrature nodes grow with it.
    pub(super) fn slope(&self) -> f64 {
        self.parts.iter().map(|part| part.base.slope()).fold(0.0, f64::max)
    }

    /// Whether there is nothing but atoms.
    pub(super) fn is_discrete(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.base, Base::Atoms(_)))
    }

    /// P-mass at infinity.
    pub(super) fn infinite(&self) -> f64 {
        let all = self.parts.iter().flat_map(Part::atoms);
        all.filter(|node| node.loss == f64::INFINITY).map(|node| node.ln_p.exp()).sum()
    }

    /// ln of a bound on the P-mass above this loss, infinity left out.
    pub(super) fn ln_above(&self, loss: f64) -> f64 {
        ln_sum(self.parts.iter().map(|part| part.ln_above(loss)))
    }

    /// ln of a bound on the P-mass at or below this loss.
    pub(super) fn ln_below(&self, loss: f64) -> f64 {
        ln_sum(self.parts.iter().map(|part| part.ln_below(loss)))
    }

    /// Losses outside of which there is no more P-mass than these (logarithms), on either side.
    pub(super) fn range(&self, ln_above: f64, ln_below: f64) -> (f64, f64) {
        let edge = |sign: f64, small: &dyn Fn(f64) -> bool| {
            // `small` holds far out in the direction of `sign`.
            let mut out = sign * 1e-9;
            while !small(out) && out.abs() < 1e18 {
                out *= 4.0;
            }
            let mut inside = -sign * 1e-9;
            while small(inside) && inside.abs() < 1e18 {
                (out, inside) = (inside, inside * 4.0);
            }
            for _ in 0..64 {
                let middle = 0.5 * (inside + out);
                if small(middle) { out = middle } else { inside = middle }
            }
            out
        };
        let high = edge(1.0, &|loss| self.ln_above(loss) <= ln_above);
        let low = edge(-1.0, &|loss| self.ln_below(loss) <= ln_below);
        (low.min(high), high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mass(law: &Law, from: f64, to: f64) -> f64 {
        let mut sum = 0.0;
        law.nodes(from, to, &mut |node| sum += node.ln_p.exp());
        sum + law.atoms().filter(|node| node.loss > from && node.loss <= to).map(|node| node.ln_p.exp()).sum::<f64>()
    }

    fn laws() -> Vec<Law> {
        let gaussian = Law::of(Base::Gaussian { mu: 0.7 });
        let wide = Law::of(Base::Gaussian { mu: 90.0 });
        let half = Law::of(Base::Exponential { end: 2.0, ln_density: -1.0 - 4_f64.ln() });
        let atoms = Law::of(Base::Atoms(vec![
            Atom::new(f64::NEG_INFINITY, 0.1_f64.ln()),
            Atom::new(0.2_f64.ln(), 0.5_f64.ln()),
            Atom::new(0.7_f64.ln(), 0.4_f64.ln()),
            Atom::new(0.1_f64.ln(), f64::NEG_INFINITY),
        ]));
        let mixture =
            Law::of(Base::Mixtures(Mixtures::new(vec![(0.0, 0.9), (1.5, 0.1)], vec![(0.0, 0.9), (1.5, 0.1)])));
        let views = [View::Plain, View::Remove(0.03), View::Add(0.03), View::Positive(0.2), View::Negative(0.2)];
        let seen = [gaussian, half, atoms, wide].into_iter().flat_map(|law| views.map(|view| law.seen(view)));
        seen.chain([mixture]).collect()
    }

    #[test]
    fn masses_tails_and_cells_agree() {
        for law in laws() {
            let (low, high) = law.range(-60.0, -60.0);
            let total = mass(&law, f64::MIN, f64::MAX);
            assert!(total <= 1.0 + 1e-13, "{law:?}: {total}");
            for share in [0.1, 0.3, 0.5, 0.8, 0.97] {
                let at = low + share * (high - low);
                // An atom that only one distribution has lies at the very end of the sampled losses.
                let (below, above) = (mass(&law, f64::MIN, at), mass(&law, at, f64::MAX));
                assert!((below + above - total).abs() < 2e-14, "{law:?} at {at}: {below} + {above}, not {total}");
                let one_sided = law.parts.iter().any(|part| matches!(part.view, View::Positive(_) | View::Negative(_)));
                for (got, want) in [(law.ln_above(at).exp(), above), (law.ln_below(at).exp(), below)] {
                    // The tails of one-sided views are bounds on their empty side.
                    assert!(
                        got >= want - 1e-13 && (one_sided || (got - want).abs() < 1e-13),
                        "{law:?} {at}: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_other_distribution_keeps_its_mass_through_sampling() {
        // E_P e^-l = Q(where P > 0) = 1 for a pair that is absolutely continuous.
        for q in [1.0, 0.5, 1e-3, 1e-9] {
            for view in [View::Remove(q), View::Add(q)] {
                let law = Law::of(Base::Gaussian { mu: 1.3 }).seen(view);
                let mut sum = 0.0;
                law.nodes(-50.0, 50.0, &mut |node| sum += (node.ln_p - node.loss).exp());
                assert!((sum - 1.0).abs() < 1e-13, "{view:?}: {sum}");
            }
        }
    }
}
