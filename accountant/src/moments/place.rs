//! Where the contour stands, how finely and how far it is sampled: the cheapest layout whose errors are small enough.

use std::f64::consts::PI;

use super::aliasing::Aliasing;
use super::composition::{Composition, Decay, Tilted};
use super::contour::{Contour, Layout};
use super::turns::work;

/// Hardly ever are more than so many turns spared for each that is made: a layout with more nodes is not looked at.
const SPARED: f64 = 8.0;

/// At most this many samples.
const MOST_SAMPLES: f64 = 65_536.0;

/// Aliasing is asked to be e^-30 of delta.
const ALIASING: f64 = 30.0;

/// The cut is asked to be e^-29 of delta; where that costs too much, less.
const CUTS: [f64; 3] = [29.0, 20.0, 13.0];

/// A question to a contour: epsilons near this one, where delta is about e^`ln_delta`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim {
    pub(super) epsilon: f64,
    pub(super) ln_delta: f64,
}

/// A real part for the contour, with the step that its aliasing allows.
struct Place {
    order: f64,
    flat: Vec<Tilted>,
    deviation: f64,
    log_moment: f64,
    step: f64,
    aliasing: Aliasing,
}

impl Place {
    fn at(composition: &mut Composition, order: f64, aim: Aim) -> Option<Self> {
        let log_moment = composition.log_moment(order)?.0;
        let flat = composition.flat(order)?;
        let deviation = composition.deviation(&flat, order)?;
        let allowed = aim.ln_delta - ALIASING;
        let (step, aliasing) = Aliasing::choose(composition, order, deviation, aim.epsilon, allowed)?;
        Some(Self { order, flat, deviation, log_moment, step, aliasing })
    }

    /// How many samples a loss that is nearly Gaussian would need.
    fn samples(&self) -> f64 {
        6.0 / (self.deviation * self.step)
    }

    /// ln of M(c) e^{-c eps}, the size of the integrand on the real axis.
    fn size(&self, aim: Aim) -> f64 {
        self.log_moment - self.order * aim.epsilon
    }

    /// The best order, or less where that scores better; the least score wins, and one of at most `enough` is taken.
    ///
    /// With a small rate the saddle stands where ln M begins to explode: the tilted loss then has a bump far out, which
    /// makes it wide, although all that matters happens in the main bump. A little below, the far bump is gone, and the
    /// integrand is larger only by a factor that rounding can bear.
    fn best(composition: &mut Composition, order: f64, aim: Aim, enough: f64, score: fn(&Self) -> f64) -> Option<Self> {
        const BEARABLE: f64 = 7.0;
        let saddle = Self::at(composition, order, aim);
        let least = saddle.as_ref().map_or(f64::INFINITY, |place| place.size(aim));
        let mut best = saddle;
        for factor in [0.98, 0.95, 0.9, 0.8, 0.65, 0.5] {
            if best.as_ref().is_some_and(|best| score(best) <= enough) {
                break;
            }
            let Some(next) = Self::at(composition, factor * order, aim) else { continue };
            if next.size(aim) > least + BEARABLE {
                break;
            }
            if best.as_ref().is_none_or(|best| score(&next) < score(best)) {
                best = Some(next);
            }
        }
        best
    }
}

/// Turns of pointers, and samples, that are made without looking for a cheaper way: to look costs some hundred samples.
const CHEAP: f64 = 2e5;
const FEW: usize = 1000;

/// An order that is expected to need no more samples than this is taken.
const ENOUGH: f64 = 400.0;

/// A layout near the real part `order`. `None` where it would cost more turns of pointers than `work`.
pub(super) fn draft(composition: &mut Composition, order: f64, aim: Aim, work: f64) -> Option<Draft> {
    let first = Place::best(composition, order, aim, ENOUGH, Place::samples);
    let first = first.and_then(|place| Draft::new(composition, place, aim, work));
    match first {
        Some(draft) if draft.work <= CHEAP || draft.layout.count <= FEW => Some(draft),
        // Where the height is dictated by the cut, the widest step is best.
        first => {
            let second = Place::best(composition, order, aim, f64::NEG_INFINITY, |place| -place.step);
            let second = second.and_then(|place| Draft::new(composition, place, aim, work));
            [first, second].into_iter().flatten().min_by(Draft::finer)
        }
    }
}

/// A contour that was laid out and not yet sampled.
pub(super) struct Draft {
    /// How far below delta the cut is, as a logarithm.
    cut: f64,
    layout: Layout,
    tilts: Vec<Tilted>,
    aliasing: Aliasing,
    /// Turns of pointers.
    work: f64,
}

impl Draft {
    fn new(composition: &mut Composition, place: Place, aim: Aim, most_work: f64) -> Option<Self> {
        let Place { order, flat, deviation, step, aliasing, .. } = place;
        let mut decay = composition.decay(&flat, order);
        // What the decay is relative to.
        let size = composition.base(&flat, order).0 - order * aim.epsilon;
        let most = MOST_SAMPLES * step;
        let far = decay.exponent(most);
        for cut in CUTS {
            // A(c) e^{-c eps} e^-N / (pi Y) <= e^-cut delta
            let needed = |height: f64| size - aim.ln_delta + cut - (PI * height).ln();
            if far < needed(most) {
                continue;
            }
            let Some((height, decay)) = height(&mut decay, (6.0 / deviation, most), needed) else { continue };
            let count = (height / step).ceil().max(8.0);
            if count > MOST_SAMPLES || !height.is_finite() {
                continue;
            }
            // Nodes grow with the height.
            let Some(tilts) = composition.tilts(order, count * step, SPARED * most_work / count) else { continue };
            let layout = Layout { order, step, count: count as usize, decay };
            let all = tilts.iter().flat_map(|tilt| std::iter::once(&tilt.body).chain(&tilt.band));
            let work = all.map(|tilt| work(tilt, step, layout.count)).sum();
            if work <= most_work {
                return Some(Self { cut, layout, tilts, aliasing, work });
            }
        }
        None
    }

    /// The finer cut first, then the cheaper one.
    pub(super) fn finer(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.cut.total_cmp(&a.cut).then(a.work.total_cmp(&b.work))
    }

    /// The samples.
    pub(super) fn contour(self, composition: &Composition) -> Contour {
        // What is used up shows where the next nodes are built.
        let _ = composition.spend(self.work);
        Contour::new(composition, &self.tilts, self.layout, self.aliasing)
    }
}

/// A height at which the decay suffices, not much above the least one, and the decay there.
fn height(decay: &mut Decay, (start, most): (f64, f64), needed: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
    let mut low = (start, decay.exponent(start));
    if low.1 >= needed(low.0) {
        return Some(low);
    }
    // Grows like a square at first, later ever more slowly.
    while low.0 < most {
        let factor = if low.1 > 0.0 { (needed(low.0) / low.1).sqrt().clamp(1.05, 4.0) * 1.02 } else { 4.0 };
        let next = (low.0 * factor).min(most);
        let high = (next, decay.exponent(next));
        if high.1 >= needed(high.0) {
            return Some(high);
        }
        low = high;
    }
    None
}

/// A contour that stops at a share of the height it needs and is sampled more coarsely, with the certificates for that.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn spoilt(
    composition: &mut Composition,
    order: f64,
    epsilon: f64,
    ln_delta: f64,
    share: f64,
    coarse: f64,
) -> Contour {
    let aim = Aim { epsilon, ln_delta };
    let place = Place::at(composition, order, aim).unwrap();
    let mut decay = composition.decay(&place.flat, order);
    let whole = Place::at(composition, order, aim).unwrap();
    let layout = Draft::new(composition, whole, aim, 4e7).unwrap().layout;
    let step = coarse * layout.step;
    let count = (share * layout.step * layout.count as f64 / step).ceil() as usize;
    let height = step * count as f64;
    let layout = Layout { order, step, count, decay: decay.exponent(height) };
    let tilts = composition.tilts(order, height, f64::INFINITY).unwrap();
    Contour::new(composition, &tilts, layout, place.aliasing.with_step(order, place.step, step))
}
