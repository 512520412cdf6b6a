//! A composition in one direction, less the outcomes that do not matter: log moments at real orders, tilted parts.
//!
//! Every outcome of a sampled release is labelled (see [`label`](super::label)) *far* beyond an end that is chosen such
//! that all far outcomes of all steps together have a probability far below delta. Sequences with a far outcome are left
//! out; that is a sub-probability, and its delta is less by at most their probability.
//!
//! Below a second end an outcome may be labelled *small*. Then the sequences of small outcomes alone are left out, too:
//! with A and B the moment generating functions of the small and of the remaining outcomes of a release, what is left is
//!
//! D(s) = prod (A_i + B_i)^{n_i} - prod A_i^{n_i},
//!
//! which decays like B although A may be nearly an atom.

use std::cell::Cell;
use std::f64::consts::LN_2;
use std::rc::Rc;

use super::cut::{self, PartDecay};
use super::direction::Direction;
use super::label::Label;
use super::moment::{Moment, WORTH};
use super::nodes::{Nodes, goal, step};
use super::part::{Part, far_end};
use super::strip::{self, Orders};
use super::tilt::Tilt;
use crate::analytic::Mu;
use crate::exponentials::ln_add;
use crate::terms::{Sampled, Terms};

const E: f64 = f64::EPSILON;

/// More nodes than this in all terms together are not kept for real orders, or for one contour.
const MOST_NODES: (usize, usize) = (300_000, 800_000);

/// A question may cost this many turns of a pointer in each direction, and so many more for each distinct release.
const MOST_TURNS: (f64, f64) = (2e8, 3e5);

/// Turns of a pointer that take as long as to build a node, to use it for a moment, and to bound a decay cell by cell.
const BUILT: f64 = 20.0;
const EVALUATED: f64 = 10.0;
const BOUNDED: f64 = 500.0;

/// Far outcomes together have a probability of e^-27 of delta.
const FAR: f64 = 27.0;

/// Labels are cut off where they are e^-DEEP of what may be left out: a line away from the real axis may grow by that.
const DEEP: f64 = 100.0;

/// Errors relative to the large outcomes: no count multiplies them.
const DEPTH: f64 = 38.0;

/// All unsampled Gaussians as one of parameter mu, and the sampled terms.
#[derive(Debug)]
pub(super) struct Composition {
    pub(super) direction: Direction,
    pub(super) mu: Mu,
    ln_delta: f64,
    pub(super) terms: Vec<Sampled>,
    /// Which outcomes of each term are not far: small ones alone, where there are `bands`.
    bodies: Vec<Label>,
    /// Which are neither small nor far; empty when none is called small.
    bands: Vec<Label>,
    /// For real orders, one for each term, replaced when a larger order asks for more nodes.
    moments: Vec<Moment>,
    band_moments: Vec<Moment>,
    /// What may still be computed for this question, shared with its pieces.
    budget: Rc<Cell<f64>>,
}

/// One term under the measure tilted to order c: its body, and its band.
#[derive(Debug)]
pub(super) struct Tilted {
    pub(super) body: Tilt,
    pub(super) band: Option<Tilt>,
}

impl Composition {
    /// Without the outcomes that do not matter at this delta.
    pub(super) fn new(terms: &Terms, mu: Mu, direction: Direction, ln_delta: f64) -> Self {
        let terms = terms.sampled.clone();
        let bodies = not_far(&terms, direction, ln_delta, |s| 0.5 * s.min(2.0 * s * s));
        let budget = Rc::new(Cell::new(MOST_TURNS.0 + MOST_TURNS.1 * terms.len() as f64));
        let (bands, moments, band_moments) = (Vec::new(), Vec::new(), Vec::new());
        Self { direction, mu, ln_delta, terms, bodies, bands, moments, band_moments, budget }
    }

    /// Where the loss of each term reaches a level, or where its outcomes are too improbable to matter, if that is nearer.
    ///
    /// In the orientation of [`Part::x`]. Not for ADD.
    pub(super) fn places(&self, loss: f64) -> Vec<f64> {
        let finer = not_far(&self.terms, self.direction, self.ln_delta, finer_width);
        let place = |(term, body): (&Sampled, Label)| {
            Part { term: *term, direction: self.direction, label: body }.place(loss).min(body.high)
        };
        self.terms.iter().zip(finer).map(place).collect()
    }

    /// Whether labels can begin and end at these places.
    pub(super) fn apart(&self, low: &[f64], high: &[f64]) -> bool {
        let gaps = self.terms.iter().zip(low).zip(high);
        let mut enough = gaps.map(|((term, low), high)| high - low >= 1.5 * finer_width(term.noise_multiplier));
        enough.all(|enough| enough)
    }

    /// The outcomes below `high`, without the sequences of outcomes below `low` alone, if that is given.
    pub(super) fn piece(&self, low: Option<&[f64]>, high: &[f64]) -> Self {
        let terms = self.terms.clone();
        let finer = not_far(&terms, self.direction, self.ln_delta, finer_width);
        let below = |ends: &[f64]| finer.iter().zip(ends).map(|(body, end)| Label { high: *end, ..*body }).collect();
        let (mut bodies, mut bands): (Vec<Label>, Vec<Label>) = (below(high), Vec::new());
        if let Some(low) = low {
            bands = bodies.iter().zip(low).map(|(whole, low)| whole.above(*low)).collect();
            bodies = below(low);
        }
        let (moments, band_moments) = (Vec::new(), Vec::new());
        Self { terms, bodies, bands, moments, band_moments, budget: Rc::clone(&self.budget), ..*self }
    }

    /// The whole in the ADD direction.
    pub(super) fn opposite(&self) -> Self {
        let terms = Terms { sampled: self.terms.clone(), ..Terms::default() };
        Self { budget: Rc::clone(&self.budget), ..Self::new(&terms, self.mu, Direction::Add, self.ln_delta) }
    }

    /// The terms with the labels of the outcomes that are not far.
    pub(super) fn not_far(&self) -> Vec<Part> {
        self.parts(if self.is_split() { &self.bands } else { &self.bodies }).collect()
    }

    pub(super) fn is_split(&self) -> bool {
        !self.bands.is_empty()
    }

    /// ln of a bound on the probability that any outcome is far, or cut off.
    pub(super) fn ln_far(&self) -> f64 {
        let far = self.not_far().into_iter().map(|part| part.beyond().0.ln() + (part.term.count as f64).ln());
        far.fold(self.ln_cut_off(), ln_add) + 1e-12
    }

    /// ln of a bound on the probability that any outcome is cut off, those of the bodies and bands of up to ten
    /// pieces at both of their ends.
    pub(super) fn ln_cut_off(&self) -> f64 {
        let labels = self.terms.iter().zip(&self.bodies);
        let cut_off = labels.map(|(term, label)| label.ln_cut_off() + 6.0 * LN_2 + (term.count as f64).ln());
        cut_off.fold(f64::NEG_INFINITY, ln_add) + 1e-12
    }

    /// The largest loss of any single release under ADD.
    pub(super) fn largest_single_loss(&self) -> f64 {
        self.terms.iter().map(|term| -(-term.rate).ln_1p()).fold(0.0, f64::max) * (1.0 + 4.0 * E)
    }

    /// ln of a bound on the mass of the measure: 1, or the probability that any outcome is not small.
    pub(super) fn ln_mass(&self) -> f64 {
        if !self.is_split() {
            return 0.0;
        }
        let large = self.terms.iter().zip(&self.bodies).map(|(term, label)| {
            let part = Part { term: *term, direction: self.direction, label: *label };
            part.beyond().0.ln() + (term.count as f64).ln()
        });
        (large.fold(f64::NEG_INFINITY, ln_add) + 1e-12).min(0.0)
    }

    /// The largest loss there is: ADD never exceeds -ln(1 - q) in each step. Rounded up.
    pub(super) fn largest_loss(&self) -> f64 {
        if self.direction != Direction::Add || self.mu.value > 0.0 {
            return f64::INFINITY;
        }
        let total: f64 = self.terms.iter().map(|term| term.count as f64 * -(-term.rate).ln_1p()).sum();
        total * (1.0 + (4.0 + self.terms.len() as f64) * E)
    }

    /// A guess at mu^2 of the whole, to start searches.
    pub(super) fn guess(&self) -> f64 {
        let k = if self.direction == Direction::Replace { 2.0 } else { 1.0 };
        let sampled = self.terms.iter().map(|term| {
            let precision = (k / term.noise_multiplier).powi(2);
            term.count as f64 * term.rate * term.rate * precision.min(30.0).exp_m1()
        });
        self.mu.value * self.mu.value + sampled.sum::<f64>()
    }

    /// Takes this much work from what the question may still cost, in turns of a pointer. `None` when it is used up.
    pub(super) fn spend(&self, turns: f64) -> Option<()> {
        let left = self.budget.get() - turns;
        self.budget.set(left);
        (left >= 0.0).then_some(())
    }

    /// How far below the integral the error of the quadrature of this term lies, as a logarithm: the errors of all
    /// terms times their counts are together below e^-38.
    fn depth(&self, term: &Sampled) -> f64 {
        DEPTH + (term.count as f64).ln() + (self.terms.len() as f64).ln()
    }

    /// ln M(c), or ln D(c), and a bound on its absolute error. `None` where it is out of reach.
    pub(super) fn log_moment(&mut self, c: f64) -> Option<(f64, f64)> {
        self.reach(c)?;
        self.spend(EVALUATED * self.nodes())?;
        let (mut total, mut error) = self.gaussian(c);
        // n ln(1 + B/A), and its error.
        let (mut exponent, mut doubt) = (0.0, 0.0);
        for (index, moment) in self.moments.iter().enumerate() {
            let (one, off) = moment.ln(c);
            let count = moment.nodes.part.term.count as f64;
            total += count * one;
            error += count * off;
            if let Some(moment) = self.band_moments.get(index) {
                let (band, band_off) = moment.ln(c);
                let ratio = (band - one).exp();
                exponent += count * ratio.ln_1p();
                doubt += count * ratio / (1.0 + ratio) * (band_off + off + 4.0 * E * (band.abs() + one.abs()));
            }
        }
        error += (4.0 + self.terms.len() as f64) * E * total.abs();
        if self.is_split() {
            // ln(e^x - 1) has the derivative 1/(1 - e^-x).
            let slope = -1.0 / (-exponent).exp_m1();
            total += exponent + (-(-exponent).exp_m1()).ln();
            error += 1.1 * slope * (doubt + 8.0 * E * exponent) + 4.0 * E * total.abs();
        }
        (total.is_finite() && error.is_finite()).then_some((total, error))
    }

    /// ln of prod A_i(c)^{n_i} with its error, A the whole where nothing is called small.
    pub(super) fn base(&self, tilts: &[Tilted], c: f64) -> (f64, f64) {
        let (mut total, mut error) = self.gaussian(c);
        for Tilted { body, .. } in tilts {
            total += body.count * body.log_moment.0;
            error += body.count * body.log_moment.1;
        }
        (total, error + (4.0 + tilts.len() as f64) * E * total.abs())
    }

    fn parts<'a>(&'a self, labels: &'a [Label]) -> impl Iterator<Item = Part> + 'a {
        let direction = self.direction;
        self.terms.iter().zip(labels).map(move |(term, label)| Part { term: *term, direction, label: *label })
    }

    /// Nodes for real orders in all.
    fn nodes(&self) -> f64 {
        let all = self.moments.iter().chain(&self.band_moments);
        all.map(|moment| moment.nodes.list.len()).sum::<usize>() as f64
    }

    /// Makes the nodes for real orders reach the order c.
    fn reach(&mut self, c: f64) -> Option<()> {
        if self.moments.len() < self.terms.len() || self.moments.first().is_some_and(|moment| moment.nodes.order < c) {
            let order = 1.5 * c;
            // The old ones make room first.
            (self.moments, self.band_moments) = (Vec::new(), Vec::new());
            let up_to = |part: Part, depth: f64| {
                let moment = Moment::up_to(part, order, depth)?;
                let found = strip::work(&part, order, moment.nodes.ends());
                self.spend(found + BUILT * moment.nodes.list.len() as f64)?;
                Some(moment)
            };
            let bodies = self.parts(&self.bodies).map(|part| up_to(part, self.depth(&part.term)));
            let moments = few_enough(bodies, MOST_NODES.0, |moment| moment.nodes.list.len())?;
            let bands = self.parts(&self.bands).map(|part| up_to(part, DEPTH));
            self.band_moments = few_enough(bands, MOST_NODES.0, |moment| moment.nodes.list.len())?;
            self.moments = moments;
        }
        Some(())
    }

    /// ln M(c) of the unsampled part, mu^2 c (c+1)/2, and its error.
    fn gaussian(&self, c: f64) -> (f64, f64) {
        let value = 0.5 * self.mu.value * self.mu.value * c * (c + 1.0);
        (value, value * (2.5 * self.mu.error + 8.0 * E))
    }

    /// Every sampled term under the measure tilted to order c, as that is at height 0.
    pub(super) fn flat(&mut self, c: f64) -> Option<Vec<Tilted>> {
        self.tilts(c, 0.0, f64::INFINITY)
    }

    /// Every sampled term under the measure tilted to order c, with nodes for heights up to `height`, but no more than
    /// `most` for any part.
    pub(super) fn tilts(&mut self, c: f64, height: f64, most: f64) -> Option<Vec<Tilted>> {
        self.reach(c)?;
        let tilts = |moments: &[Moment], parts: &mut dyn Iterator<Item = (Part, f64)>| {
            let fine = parts.zip(moments).map(|((part, depth), moment)| {
                self.spend(EVALUATED * moment.nodes.list.len() as f64)?;
                let (nodes, moment) = (&moment.nodes, moment.ln(c));
                if height == 0.0 {
                    return Some(Tilt::new(nodes, c, moment));
                }
                let plain = step(&part, c, height, depth);
                let (left, right) = part.ends(c, goal(&part, c, depth));
                let dx = if right - left > WORTH * plain {
                    self.spend(strip::work(&part, c, (left, right)))?;
                    plain.max(strip::step(&part, (c, Orders::One), moment.0, height, depth))
                } else {
                    plain
                };
                if right - left > most * dx {
                    return None;
                }
                let nodes = Nodes::with_step(part, c, dx, depth)?;
                self.spend(BUILT * nodes.list.len() as f64)?;
                Some(Tilt::new(&nodes, c, moment))
            });
            few_enough(fine, MOST_NODES.1, |tilt| tilt.nodes.len())
        };
        let bodies = tilts(&self.moments, &mut self.parts(&self.bodies).map(|part| (part, self.depth(&part.term))))?;
        let bands = tilts(&self.band_moments, &mut self.parts(&self.bands).map(|part| (part, DEPTH)))?;
        let bands = bands.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        Some(bodies.into_iter().zip(bands).map(|(body, band)| Tilted { body, band }).collect())
    }

    /// The standard deviation of the composed loss under the measure tilted to order c.
    pub(super) fn deviation(&mut self, tilts: &[Tilted], c: f64) -> Option<f64> {
        if !self.is_split() {
            let square = self.mu.value * self.mu.value;
            return Some(tilts.iter().fold(square, |sum, tilt| sum + tilt.body.count * tilt.body.variance).sqrt());
        }
        // The second derivative of ln D, from differences: a guess that no bound depends on.
        let h = 0.03 * c;
        let at = |composition: &mut Self, c: f64| composition.log_moment(c).map(|(value, _)| value);
        let (left, middle, right) = (at(self, c - h)?, at(self, c)?, at(self, c + h)?);
        Some(((left - 2.0 * middle + right) / (h * h)).max(0.01 / (c * c)).sqrt())
    }

    /// The decay of the measure along the contour at order c.
    pub(super) fn decay(&self, tilts: &[Tilted], c: f64) -> Decay {
        let mu = self.mu.value * (1.0 - self.mu.error);
        let terms = tilts.len();
        // What is used up shows where the next nodes are built.
        let _ = self.spend(BOUNDED * cut::most_cells(terms) * terms as f64);
        let mut decay = Decay { half_square: 0.5 * mu * mu, bodies: Vec::new(), bands: Vec::new() };
        for tilt in tilts {
            let body = &tilt.body;
            decay.bodies.push(PartDecay::new(body, c, body.count, self.depth(&body.part.term), terms));
            if let Some(band) = &tilt.band {
                let ratio = (band.log_moment.0 - body.log_moment.0).exp() * (1.0 + 1e-9);
                decay.bands.push((body.count, ratio, PartDecay::new(band, c, 1.0, DEPTH, terms)));
            }
        }
        decay
    }
}

/// How fast M or D decays along a contour.
#[derive(Debug)]
pub(super) struct Decay {
    half_square: f64,
    bodies: Vec<PartDecay>,
    /// Count, B(c)/A(c) and the decay of B, for each term of a split composition.
    bands: Vec<(f64, f64, PartDecay)>,
}

impl Decay {
    /// N such that |M(c + iy)|, or |D(c + iy)|, is at most e^-N prod A_i(c)^{n_i} for every y >= `height`.
    ///
    /// |D| is at most what its definition gives for upper bounds on |A_i| and |B_i|.
    pub(super) fn exponent(&mut self, height: f64) -> f64 {
        let mut total = self.half_square * height * height * (1.0 - 1e-9);
        if self.bands.is_empty() {
            return total + self.bodies.iter_mut().map(|body| body.exponent(height)).sum::<f64>();
        }
        let mut growth = 0.0;
        for ((count, ratio, band), body) in self.bands.iter_mut().zip(&mut self.bodies) {
            let decayed = body.exponent(height);
            total += decayed;
            growth += *count * (*ratio * (decayed / *count - band.exponent(height)).exp()).ln_1p();
        }
        // e^growth - 1, and nothing at all where that is below all numbers.
        let ln_growth = if growth > 30.0 { growth } else { growth.exp_m1().max(f64::MIN_POSITIVE).ln() };
        total - ln_growth - 1e-9
    }
}

/// Labels that lie between others: the loss changes by a factor e over s^2 at most.
fn finer_width(s: f64) -> f64 {
    (0.125 * s).min(0.25 * s * s)
}

/// Labels of the outcomes that matter at this delta, of widths that depend on the noise multiplier.
fn not_far(terms: &[Sampled], direction: Direction, ln_delta: f64, width: fn(f64) -> f64) -> Vec<Label> {
    let share = ln_delta - FAR - (terms.len() as f64).ln();
    let label = |term: &Sampled| {
        let (width, ln_mass) = (width(term.noise_multiplier), share - (term.count as f64).ln());
        Label::below(far_end(*term, direction, width, ln_mass), width, (2.0 * (DEEP - ln_mass)).sqrt())
    };
    terms.iter().map(label).collect()
}

/// All of them, unless they have too many nodes together.
fn few_enough<T>(all: impl Iterator<Item = Option<T>>, most: usize, nodes: impl Fn(&T) -> usize) -> Option<Vec<T>> {
    let mut total = 0;
    let mut kept = Vec::new();
    for one in all {
        let one = one?;
        total += nodes(&one);
        if total > most {
            return None;
        }
        kept.push(one);
    }
    Some(kept)
}
