//! A composition seen through a few hundred quadrature nodes: good for choosing tilts, steps and sizes, proves nothing.

use std::f64::consts::LN_2;

use super::law::{Law, Node};
use crate::exponentials::{ln_kappa, ln_sum};
use crate::rdp::minimise;

/// A law's nodes within its range.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) count: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Ascending in the loss.
    nodes: Vec<Node>,
    /// The nodes of each continuous part alone: only then their distances say how dense they are.
    parts: Vec<Vec<Node>>,
}

/// Where a point of a lattice should lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Centre {
    pub(super) loss: f64,
    /// Whether it is the loss of an atom, not about that of a cluster.
    pub(super) exact: bool,
}

impl Centre {
    /// The offset of the lattice of this step with a point there, and the number of that point.
    pub(super) fn offset(self, step: f64) -> (f64, i64) {
        let point = (self.loss / step).round();
        (self.loss - step * point, point as i64)
    }
}

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aim {
    /// Epsilon at this delta.
    Epsilon { ln_delta: f64 },
    /// Delta at this epsilon.
    Delta { epsilon: f64 },
}

/// A composition, its laws cut so that what is cut off hardly counts.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) outlines: Vec<Outline>,
}

/// The best tilt, and what it proves about the sketch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tilted {
    pub(super) c: f64,
    pub(super) epsilon: f64,
    pub(super) ln_delta: f64,
    pub(super) deviation: f64,
}

impl Tilted {
    /// The tilt, or one that sees a deviation: as delta goes to 1 the best one goes to 0, and its circle and steps grow
    /// beyond all measure. Every tilt is valid.
    pub(super) fn firm(self) -> Self {
        let least = if self.deviation > 0.0 { (0.25 / self.deviation).min(1.0) } else { 0.0 };
        Self { c: self.c.max(least), ..self }
    }
}

/// What is cut off above costs this share of delta, and what is cut off below this share of all, in logarithms.
const LN_CUT_ABOVE: f64 = -24.0;
const LN_CUT_BELOW: f64 = -30.0;

/// Atoms of all laws together, more or less; neighbours are joined where there are more.
const ATOMS: usize = 1 << 17;

/// Losses steeper than this need too many nodes.
const STEEPEST: f64 = 1000.0;

/// Most points that are asked for by range.
const FINE: u32 = 20_000;

/// No probability is cut finer than this: f64 ends soon after.
const LN_LEAST: f64 = -700.0;

impl Sketch {
    /// The sketch and its best tilt. `None` when nothing finite can be found.
    pub(super) fn new(terms: &[(Law, u64)], aim: Aim) -> Option<(Self, Tilted)> {
        let mut ln_delta = if let Aim::Epsilon { ln_delta } = aim { ln_delta } else { LN_LEAST };
        let mut best = None;
        // When delta is asked for, how much may be cut off depends on the answer: a few rounds find it.
        for _ in 0..6 {
            let sketch = Self::cut(terms, ln_delta)?;
            let tilted = sketch.tilt(aim)?;
            let settled = tilted.ln_delta - ln_delta;
            best = Some((sketch, tilted));
            if settled.abs() < 3.0 || matches!(aim, Aim::Epsilon { .. }) {
                break;
            }
            ln_delta = tilted.ln_delta.max(LN_LEAST);
        }
        best
    }

    fn cut(terms: &[(Law, u64)], ln_delta: f64) -> Option<Self> {
        let share = -(terms.len() as f64).ln();
        let most = (ATOMS / terms.len().max(1)).clamp(256, 4096);
        let outlines = terms.iter().map(|(law, count)| {
            let n = (*count as f64).ln();
            let above = (ln_delta + LN_CUT_ABOVE + share - n).max(LN_LEAST);
            let (low, high) = law.range(above, LN_CUT_BELOW + share - n);
            if !(low.is_finite() && high.is_finite() && high.max(-low) < 1e15) || law.slope() > STEEPEST {
                return None;
            }
            let parts = law.parts.iter().map(|part| {
                let mut nodes = Vec::new();
                part.nodes(low, high, &mut |node| nodes.push(node));
                nodes.sort_by(|a: &Node, b| a.loss.total_cmp(&b.loss));
                nodes
            });
            let parts: Vec<Vec<Node>> = parts.collect();
            let mut nodes: Vec<Node> = parts.iter().flatten().copied().collect();
            nodes.extend(thinned(law.atoms().filter(|atom| atom.loss >= low && atom.loss <= high).collect(), most));
            nodes.sort_by(|a, b| a.loss.total_cmp(&b.loss));
            (nodes.len() < 2_000_000).then_some(Outline { count: *count as f64, low, high, nodes, parts })
        });
        Some(Self { outlines: outlines.collect::<Option<Vec<_>>>()? })
    }

    /// ln M(c).
    pub(super) fn ln_moment(&self, c: f64) -> f64 {
        self.outlines.iter().map(|outline| outline.count * outline.ln_moment(c)).sum()
    }

    /// The largest loss there is.
    pub(super) fn top(&self) -> f64 {
        self.outlines.iter().map(|outline| outline.count * outline.high).sum()
    }

    fn tilt(&self, aim: Aim) -> Option<Tilted> {
        let value = |ln_c: f64| {
            let c = ln_c.exp();
            let ln = self.ln_moment(c) + ln_kappa(c);
            match aim {
                Aim::Epsilon { ln_delta } => (ln - ln_delta) / c,
                Aim::Delta { epsilon } => ln - c * epsilon,
            }
        };
        let widest = self.outlines.iter().map(|outline| outline.high - outline.low).fold(0.0, f64::max);
        let ends = (-34.0, (2e3 / widest.max(1e-300)).ln().clamp(-30.0, 80.0));
        let variance: f64 = self.outlines.iter().map(|outline| outline.count * outline.moments(0.0).1).sum();
        let start = match aim {
            Aim::Epsilon { ln_delta } => (0.5 * (-2.0 * ln_delta / variance.max(1e-300)).ln()).clamp(ends.0, ends.1),
            Aim::Delta { epsilon } => (epsilon / variance.max(1e-300) - 0.5).max(0.5).ln().clamp(ends.0, ends.1),
        };
        // Far bumps of a law can make several valleys: the deepest of a coarse scan is followed down.
        let scan = (0..40).map(|k| ends.0.max(-12.0) + (ends.1 - ends.0.max(-12.0)) * f64::from(k) / 39.0);
        let start = scan
            .chain([start])
            .map(|at| (at, value(at)))
            .fold((start, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best });
        let (ln_c, found) = minimise(value, start.0, ends, 1e-3);
        let c = ln_c.exp();
        let deviation = self.outlines.iter().map(|outline| outline.count * outline.moments(c).1).sum::<f64>().sqrt();
        let (epsilon, ln_delta) = match aim {
            Aim::Epsilon { ln_delta } => (found, ln_delta),
            Aim::Delta { epsilon } => (epsilon, found.min(0.0)),
        };
        (epsilon.is_finite() && !ln_delta.is_nan()).then_some(Tilted { c, epsilon, ln_delta, deviation })
    }
}

/// About so many of these nodes at most, neighbours joined at the mean of their losses.
fn thinned(mut nodes: Vec<Node>, most: usize) -> Vec<Node> {
    if nodes.len() <= most {
        return nodes;
    }
    nodes.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    let joined = nodes.chunks(nodes.len().div_ceil(most)).map(|some| {
        let ln_p = ln_sum(some.iter().map(|node| node.ln_p));
        let loss = some.iter().map(|node| (node.ln_p - ln_p).exp() * node.loss).sum();
        Node { ln_p, loss }
    });
    joined.collect()
}

impl Outline {
    fn ln_moment(&self, c: f64) -> f64 {
        ln_sum(self.nodes.iter().map(|node| node.ln_p + c * node.loss))
    }

    /// Mean and variance of the loss tilted by c.
    fn moments(&self, c: f64) -> (f64, f64) {
        let moment = self.ln_moment(c);
        let weighted = |f: &dyn Fn(f64) -> f64| -> f64 {
            self.nodes.iter().map(|node| (node.ln_p + c * node.loss - moment).exp() * f(node.loss)).sum()
        };
        let mean = weighted(&|loss| loss);
        (mean, weighted(&|loss| (loss - mean).powi(2)))
    }

    /// The loss that a point of the lattice should have: of the heaviest atom, or where most of a nearly atomic law lies.
    ///
    /// Merged there, a cluster need not be lifted, and rounded it keeps its variance.
    pub(super) fn centre(&self, law: &Law, c: f64, step: f64) -> Option<Centre> {
        if let Some(atom) = law.atoms().filter(|atom| atom.loss <= self.high).max_by(|a, b| a.ln_p.total_cmp(&b.ln_p)) {
            return Some(Centre { loss: atom.loss, exact: true });
        }
        let moment = self.ln_moment(c);
        let mass = |node: &Node| (node.ln_p + c * node.loss - moment).exp();
        let (mut best, mut sum, mut first) = ((0.0, 0, 0), 0.0, 0);
        for (last, node) in self.nodes.iter().enumerate() {
            sum += mass(node);
            while self.nodes[first].loss < node.loss - 0.5 * step {
                sum -= mass(&self.nodes[first]);
                first += 1;
            }
            if sum > best.0 {
                best = (sum, first, last);
            }
        }
        let cluster = self.nodes.get(best.1..=best.2).filter(|_| best.0 > 0.2)?;
        // The ratio of the merged cluster.
        let (p, q) = (cluster.iter().map(|node| node.ln_p), cluster.iter().map(|node| node.ln_p - node.loss));
        Some(Centre { loss: ln_sum(p) - ln_sum(q), exact: false })
    }

    /// The tilted mass more than a standard deviation off the mean.
    pub(super) fn far(&self, c: f64) -> f64 {
        let (mean, variance) = self.moments(c);
        let moment = self.ln_moment(c);
        let far = self.nodes.iter().filter(|node| (node.loss - mean).powi(2) > variance);
        far.map(|node| (node.ln_p + c * node.loss - moment).exp()).sum()
    }

    /// What rounding to this lattice adds to E (loss^2) under the tilted law, one release.
    pub(super) fn spreading(&self, c: f64, (step, offset): (f64, f64)) -> f64 {
        let moment = self.ln_moment(c);
        let nodes = self.nodes.iter().map(|node| {
            let at = (node.loss - offset) / step;
            let above = at - at.floor();
            (node.ln_p + c * node.loss - moment).exp() * above * (1.0 - above)
        });
        nodes.sum::<f64>() * step * step
    }

    /// Points of the lattice between which mass is to be distributed, in units of the step: dense where the tilted law
    /// has its mass, wider apart elsewhere, such that the error grows by no more than a fifth. Cells of width w around
    /// density f err by f w^3, so that w is best proportional to f^(-1/3).
    pub(super) fn points(&self, law: &Law, c: f64, (step, offset): (f64, f64), fine: (f64, f64)) -> Option<Vec<i64>> {
        let first = ((self.low - offset) / step).floor();
        let mut last = ((self.high - offset) / step).ceil().max(first + 1.0);
        // An atom that rounding leaves above the last point would count as infinite.
        if law.atoms().any(|atom| atom.loss <= self.high && atom.loss > step * last + offset) {
            last += 1.0;
        }
        // Products of the step with these are exact enough for the stated errors.
        if !(first.abs() < 1e14 && last.abs() < 1e14) {
            return None;
        }
        let (first, last) = (first as i64, last as i64);
        let mut points = Vec::new();
        if law.is_discrete() {
            points.extend([first, last]);
        } else {
            self.spread(c, (step, offset), (first, last), &mut points);
            // No cell between these losses is wider than a step.
            if fine.1 - fine.0 < FINE as f64 * step {
                let place = |loss: f64| ((loss - offset) / step) as i64;
                points.extend(place(fine.0)..place(fine.1));
            }
        }
        for atom in law.atoms().filter(|atom| atom.loss <= self.high) {
            let at = (atom.loss - offset) / step;
            points.extend([(at - 1e-9).floor() as i64, (at + 1e-9).ceil() as i64]);
            if (at - at.round()).abs() < 1e-6 {
                points.push(at.round() as i64);
            }
        }
        points.retain(|k| (first..=last).contains(k));
        points.sort_unstable();
        points.dedup();
        (points.len() <= 4_000_000).then_some(points)
    }

    fn spread(&self, c: f64, (step, offset): (f64, f64), (first, last): (i64, i64), points: &mut Vec<i64>) {
        let moment = self.ln_moment(c);
        let mass = |node: &Node| (node.ln_p + c * node.loss - moment).exp();
        // For each part: end of the segment, ln of the tilted mass density in it, tilted mass.
        let segment = |pair: &[Node]| match pair {
            [from, to] if to.loss > from.loss => {
                let (mass, width) = (0.5 * (mass(from) + mass(to)), to.loss - from.loss);
                Some((to.loss - offset, (mass / width).max(1e-300).ln(), mass))
            }
            _ => None,
        };
        let parts: Vec<Vec<(f64, f64, f64)>> =
            self.parts.iter().map(|nodes| nodes.windows(2).filter_map(segment).collect()).collect();
        // Widths in steps, powers of two. Across a cell the tilt must not change much.
        let widest = (0.5 / (c * step)).log2().clamp(0.0, 24.0);
        let width = |level: f64, ln_density: f64| ((level - ln_density) / 3.0 / LN_2).clamp(0.0, widest).floor();
        // Only what lies off the middle counts: of nearly atomic laws nothing else moves delta.
        let (mean, variance) = self.moments(c);
        let off = |end: f64| (end + offset - mean).powi(2) > variance;
        let cost = |level: f64| -> f64 {
            let far = parts.iter().flatten().filter(|(end, _, _)| off(*end));
            far.map(|(_, f, mass)| mass * (2.0 * width(level, *f)).exp2()).sum()
        };
        let densest = parts.iter().flatten().map(|(_, f, _)| *f).fold(f64::NEG_INFINITY, f64::max);
        let (mut low, mut high) = (densest - 60.0, densest + 5.0);
        let base: f64 = parts.iter().flatten().filter(|(end, _, _)| off(*end)).map(|(_, _, mass)| mass).sum();
        for _ in 0..24 {
            let middle = 0.5 * (low + high);
            if cost(middle) <= 1.2 * base { low = middle } else { high = middle }
        }
        let level = low;
        let mut at = first;
        let mut here = vec![0; parts.len()];
        points.push(at);
        while at < last {
            // Beyond all nodes there is next to nothing.
            let mut reach = widest.exp2() as i64;
            for (segments, here) in parts.iter().zip(&mut here) {
                while segments.get(*here).is_some_and(|(end, _, _)| *end <= step * at as f64) {
                    *here += 1;
                }
                reach = segments.get(*here).map_or(reach, |(_, f, _)| reach.min(width(level, *f).exp2() as i64));
                // No cell covers a segment that wants narrower ones.
                let mut ahead = *here;
                while let Some((end, _, _)) = segments.get(ahead) {
                    let start = ((end / step).floor() as i64 - at).max(1);
                    if start >= reach {
                        break;
                    }
                    ahead += 1;
                    if let Some((_, f, _)) = segments.get(ahead) {
                        reach = reach.min(start.max(width(level, *f).exp2() as i64));
                    }
                }
            }
            at = (at + reach.max(1)).min(last);
            points.push(at);
        }
    }
}
