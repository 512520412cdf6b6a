//! From one direction of a composition to certified intervals for epsilon and delta.

use std::f64::consts::PI;

use super::chernoff::{self, Chernoff};
use super::composition::Composition;
use super::direction::Direction;
use super::place::Aim;
use super::profile::Profile;
use super::value::Value;
use crate::profile::poisson_epsilon_at_least;
use crate::relation::Relation;
use crate::terms::Sampled;

const E: f64 = f64::EPSILON;

/// A certified interval, and the best number in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) lower: f64,
    pub(super) estimate: f64,
    pub(super) upper: f64,
}

/// The epsilon of this direction, where it can be certified.
pub(super) fn epsilon(composition: &mut Composition, delta: f64, chernoff: Chernoff) -> Option<Interval> {
    if chernoff.value <= 0.0 {
        return Some(Interval { lower: 0.0, estimate: 0.0, upper: 0.0 });
    }
    if total_variation(composition) <= delta {
        return Some(Interval { lower: 0.0, estimate: 0.0, upper: 0.0 });
    }
    let search = Search { target: delta.ln(), most: chernoff.value };
    let mut best = Best(None);
    let start = guess(composition, search.target, chernoff);
    let first = |start: f64, composition: &mut Composition, work: f64| {
        let aim = Aim { epsilon: start, ln_delta: search.target };
        certify(&Profile::whole(composition, chernoff.order, aim, work)?, start, search.most, search.target)
    };
    if let Some(start) = start {
        best.keep(first(start, composition, quick(composition)));
    }
    if !best.is_fine() && !composition.terms.is_empty() {
        let climbed = || climb(composition, delta, chernoff).filter(|epsilon| *epsilon > 0.0);
        let start = if composition.direction == Direction::Add { start } else { climbed().or(start) };
        search.near(composition, start.unwrap_or(search.most).min(search.most), &mut best);
    }
    if let Some(start) = start.filter(|_| best.0.is_none() && composition.direction != Direction::Add) {
        best.keep(first(start, composition, MOST_WORK));
    }
    best.0
}

/// Turns of pointers of a first try for each distinct release, and of any try.
const QUICK: f64 = 1e6;
const MOST_WORK: f64 = 1e8;

/// What a first try may cost: many distinct releases need many turns, however easy the plan.
fn quick(composition: &Composition) -> f64 {
    (QUICK * composition.terms.len().max(1) as f64).min(MOST_WORK)
}

/// The narrowest interval found.
struct Best(Option<Interval>);

impl Best {
    fn keep(&mut self, found: Option<Interval>) {
        let width = |interval: &Interval| interval.upper - interval.lower;
        if let Some(found) = found
            && self.0.as_ref().is_none_or(|best| width(&found) < width(best))
        {
            self.0 = Some(found);
        }
    }

    fn is_fine(&self) -> bool {
        self.0.is_some_and(|best| best.upper - best.lower <= FINE * best.upper.max(1.0))
    }
}

/// What epsilon is looked for.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// ln of delta.
    target: f64,
    /// An epsilon that is known to be enough.
    most: f64,
}

impl Search {
    /// Contours of the outcomes that matter near an epsilon, aimed ever better.
    fn near(self, whole: &mut Composition, start: f64, best: &mut Best) -> Option<()> {
        const ROUNDS: usize = 10;
        let mut epsilon = start;
        let mut closely = false;
        // Epsilons that are known to be too small and too large.
        let (mut low, mut high) = (0.0, self.most);
        // How far off ln delta is at either of them, where that is known.
        let (mut off_low, mut off_high) = (None, None);
        for _ in 0..ROUNDS {
            if epsilon <= 0.0 {
                break;
            }
            let aim = Aim { epsilon, ln_delta: self.target };
            let add = whole.direction == Direction::Add;
            let work = if closely && !add { MOST_WORK } else { quick(whole) };
            let profile = if add {
                let real = chernoff::delta(whole, epsilon, None, 1e-3)?;
                Profile::whole(whole, real.order, aim, work)
            } else {
                Profile::near(whole, aim, closely, work)
            };
            let value = profile.as_ref().map(|profile| profile.value(epsilon));
            if value.is_some_and(|value| value.ln().is_none() && value.ln_most() < self.target - 1.0) {
                (high, off_high) = (epsilon, None);
                epsilon = 0.5 * (low + high);
                continue;
            }
            let (Some(profile), Some(value), Some(ln)) = (profile, value, value.and_then(|value| value.ln())) else {
                if closely || add {
                    break;
                }
                closely = true;
                continue;
            };
            let off = ln - self.target;
            let step = (off / value.ln_slope().abs()).clamp(-0.6 * epsilon, 2.0 * epsilon);
            if off.abs() < 3.0 {
                best.keep(certify(&profile, epsilon, self.most, self.target));
                if best.is_fine() {
                    break;
                }
                if step.abs() <= 1e-2 * epsilon {
                    if closely {
                        break;
                    }
                    closely = true;
                }
            }
            if off > 0.0 {
                (low, off_low) = (epsilon, Some(off));
            } else {
                (high, off_high) = (epsilon, Some(off));
            }
            // Newton's method is far off where ln delta is not straight; then a chord is better.
            let chord = match (off_low, off_high) {
                (Some(a), Some(b)) if step.abs() > 0.02 * epsilon => Some(low + (high - low) * a / (a - b)),
                _ => None,
            };
            let next = chord.unwrap_or(epsilon + step);
            epsilon = if next > low && next < high { next } else { 0.5 * (low + high) };
        }
        Some(())
    }
}

/// A width, relative to max(1, epsilon), that needs no second attempt.
const FINE: f64 = 1e-7;

/// The saddle point approximation of the root, to place the contour's grid.
fn guess(composition: &mut Composition, target: f64, chernoff: Chernoff) -> Option<f64> {
    let c = chernoff.order;
    let (log_moment, _) = composition.log_moment(c)?;
    let flat = composition.flat(c)?;
    let variance = composition.deviation(&flat, c)?.powi(2);
    let prefactor = (c * (c + 1.0)).ln() + 0.5 * (2.0 * PI * variance).ln().max(-2.0 * c.ln());
    Some(((log_moment - target - prefactor) / c).clamp(0.0, chernoff.value))
}

/// A bound on delta at epsilon = 0, the total variation distance.
///
/// That of a composition is at most the sum of those of its releases, for one of them q (2 Phi(d/(2 s)) - 1) with the
/// distance d of the centres, at most q d/(s sqrt(2 pi)). By Pinsker's inequality it is at most sqrt(KL/2), and
/// KL <= ln(1 + chi^2) = ln(1 + q^2 (e^{1/s^2} - 1)) for add/remove.
fn total_variation(composition: &Composition) -> f64 {
    let replace = composition.direction == Direction::Replace;
    let mu = composition.mu.value * (1.0 + composition.mu.error);
    let linear = |term: &Sampled| {
        let distance = if replace { 2.0 } else { 1.0 };
        term.count as f64 * term.rate * (0.5 * distance * (2.0 / PI).sqrt() / term.noise_multiplier).min(1.0)
    };
    let divergence = |term: &Sampled| {
        let square = (term.rate * term.rate) * (1.0 / (term.noise_multiplier * term.noise_multiplier)).exp_m1();
        term.count as f64 * if replace { f64::INFINITY } else { square.ln_1p() }
    };
    let sum = 0.5 * (2.0 / PI).sqrt() * mu + composition.terms.iter().map(linear).sum::<f64>();
    let pinsker = (0.25 * mu * mu + 0.5 * composition.terms.iter().map(divergence).sum::<f64>()).sqrt();
    sum.min(pinsker) * (1.0 + 1e-12)
}

/// The root of saddle point approximations that leave out losses far beyond it, from below.
///
/// The saddle of the whole may stand where outcomes decide that are far too improbable to matter. With one large outcome
/// alone epsilon is too small; losses up to a few times an epsilon that is too small give one that is larger, and so on.
fn climb(composition: &Composition, delta: f64, whole: Chernoff) -> Option<f64> {
    /// Losses up to so many times epsilon are left in; it is accepted when it grew by less than this.
    const LEFT_IN: f64 = 0.4;
    const GROWN: f64 = 1.15;
    const ROUNDS: usize = 12;
    let target = delta.ln();
    let mut epsilon = single(composition, delta);
    let mut order = whole.order;
    for _ in 0..ROUNDS {
        let mut piece = composition.piece(None, &composition.places(LEFT_IN * epsilon));
        let real = chernoff::at_least(&mut piece, target, order, 1e-3);
        let Some(real) = real.filter(|real| real.value > 0.0) else { break };
        let next = guess(&mut piece, target, real)?;
        if next <= GROWN * epsilon {
            return Some(next.max(epsilon));
        }
        (epsilon, order) = (next, real.order);
    }
    Some(epsilon)
}

/// How epsilon would be found if a single large outcome always decided.
fn single(composition: &Composition, delta: f64) -> f64 {
    let relation = if composition.direction == Direction::Replace { Relation::Replace } else { Relation::AddRemove };
    let of = |term: &Sampled| poisson_epsilon_at_least(*term, relation, (delta / term.count as f64).max(1e-300));
    composition.terms.iter().map(of).fold(0.0, f64::max)
}

/// Ends at which the contour proves the bounds, at most `most`.
fn certify(contour: &Profile, start: f64, most: f64, target: f64) -> Option<Interval> {
    // The logarithm of delta is itself rounded.
    let slack = 4.0 * E * (1.0 - target);
    if contour.value(0.0).ln_upper() <= target - slack {
        return Some(Interval { lower: 0.0, estimate: 0.0, upper: 0.0 });
    }
    let (root, value) = newton(contour, (start, most), target)?;
    let slope = value.ln_slope().abs();
    let width = (1.5 * value.doubt() + 2.0 * slack) / slope + 4.0 * E * root;
    // Every point at which the bound holds is a proof: no exact root and no monotonicity is needed.
    let steps = || (0..24).map(|doubling| width * 2.0_f64.powi(doubling));
    let above = |at: &f64| contour.value(*at).ln_upper() <= target - slack;
    let below = |at: &f64| contour.value(*at).ln_lower() >= target + slack;
    let upper = steps().map(|step| root + step).find(above)?.min(most);
    let lower = steps().map(|step| root - step).take_while(|at| *at > 0.0).find(below).unwrap_or(0.0);
    (lower <= upper).then(|| Interval { lower, estimate: root.clamp(lower, upper), upper })
}

/// The root of ln S = target at or below `end`, from `start`: Newton's method, kept inside a bracket.
///
/// Where S is not above its own error it is taken to be too small. That only steers the search: what it finds is no
/// more than a place to look for proofs at.
fn newton(contour: &Profile, (start, end): (f64, f64), target: f64) -> Option<(f64, Value)> {
    let (mut low, mut high) = (0.0, end);
    let mut at = start;
    let mut found = None;
    for _ in 0..80 {
        let value = contour.value(at);
        let (distance, slope) = (value.ln().map(|ln| ln - target), value.ln_slope());
        let next = match distance {
            Some(distance) if slope < 0.0 => {
                found = Some((at, value));
                if distance > 0.0 {
                    low = at
                } else {
                    high = at
                }
                if distance.abs() <= 0.01 * value.doubt() {
                    break;
                }
                at - distance / slope
            }
            _ => {
                high = at;
                f64::NAN
            }
        };
        let next = if next > low && next < high { next } else { 0.5 * (low + high) };
        if (next - at).abs() <= 4.0 * E * at {
            break;
        }
        at = next;
    }
    found
}

/// The delta of this direction, where it can be certified.
pub(super) fn delta(composition: &mut Composition, epsilon: f64, chernoff: Chernoff) -> Option<Interval> {
    let c = chernoff.order;
    let flat = composition.flat(c)?;
    let variance = composition.deviation(&flat, c)?.powi(2);
    // Chernoff's bound is too large by about sqrt(2 pi variance) c, at least.
    let excess = (0.5 * (2.0 * PI * variance).ln() + c.ln()).max(0.0);
    let aim = Aim { epsilon, ln_delta: chernoff.value - excess - 2.0 };
    let work = quick(composition);
    let mut best = Profile::whole(composition, c, aim, work).and_then(|whole| interval(&whole, epsilon, chernoff));
    let fine = |found: &Interval| found.upper - found.lower <= FINE * found.upper;
    if composition.direction != Direction::Add && !composition.terms.is_empty() && epsilon > 0.0 {
        // A guess, and then what was found with it.
        let mut ln_delta = aim.ln_delta;
        for closely in [false, true, true] {
            if best.as_ref().is_some_and(fine) {
                break;
            }
            let aim = Aim { epsilon, ln_delta };
            let Some(profile) = Profile::near(composition, aim, closely, MOST_WORK) else { continue };
            let found = interval(&profile, epsilon, chernoff);
            ln_delta = found.map_or(profile.value(epsilon).ln_most(), |found| found.estimate.ln()).min(chernoff.value);
            let width = |found: &Interval| found.upper - found.lower;
            if let Some(found) = found
                && best.as_ref().is_none_or(|best| width(&found) < width(best))
            {
                best = Some(found);
            }
        }
    }
    best.or_else(|| interval(&Profile::whole(composition, c, aim, MOST_WORK)?, epsilon, chernoff))
}

/// What a contour proves of delta.
fn interval(contour: &Profile, epsilon: f64, chernoff: Chernoff) -> Option<Interval> {
    let value = contour.value(epsilon);
    let rounding = 8.0 * E;
    let most = chernoff.value.exp().min(1.0) * (1.0 + rounding);
    // An upper bound never underflows to zero.
    let upper = (value.ln_upper().exp() * (1.0 + rounding)).min(most).clamp(f64::MIN_POSITIVE, 1.0);
    let lower = (value.ln_lower().exp() * (1.0 - rounding)).min(upper);
    // Below the normal numbers a rounding is no longer relative: nothing is claimed there.
    let lower = if lower < f64::MIN_POSITIVE { 0.0 } else { lower };
    let estimate = value.ln()?.exp().clamp(lower, upper);
    Some(Interval { lower, estimate, upper })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::analytic::{Mu, gaussian_delta, gaussian_epsilon};
    use crate::moments::direction::Direction;
    use crate::terms::{Sampled, Terms};

    fn ask(direction: Direction, mu: f64, (z, q, n): (f64, f64, u64), delta: f64) -> Interval {
        let sampled =
            if n == 0 { vec![] } else { vec![Sampled { rate: q, noise_multiplier: z, doubt: 0.0, count: n }] };
        let terms = Terms { sampled, ..Terms::default() };
        let mut composition = Composition::new(&terms, Mu { value: mu, error: 4.0 * E }, direction, delta.ln());
        let real = chernoff::epsilon(&mut composition, delta).unwrap();
        epsilon(&mut composition, delta, real).unwrap()
    }

    #[test]
    fn a_gaussian_has_its_closed_form() {
        for (mu, at) in [(1.0, 1e-5), (0.01, 1e-3), (0.3, 1e-100), (30.0, 1e-2), (500.0, 1e-20), (1e-4, 1e-12)] {
            let got = ask(Direction::Remove, mu, (1.0, 0.1, 0), at);
            let (lower, upper) = gaussian_epsilon(Mu { value: mu, error: 4.0 * E }, at);
            assert!(got.lower <= upper && lower <= got.upper, "mu = {mu}: {got:?}, want {lower}..{upper}");
            assert!(got.upper - got.lower < 1e-9 * upper.max(1e-3), "mu = {mu}: {got:?}");
            let terms = Terms::default();
            let mut composition =
                Composition::new(&terms, Mu { value: mu, error: 4.0 * E }, Direction::Remove, at.ln());
            let real = chernoff::delta(&mut composition, upper, None, 1e-6).unwrap();
            let back = delta(&mut composition, upper, real).unwrap();
            let (lower, upper) = gaussian_delta(Mu { value: mu, error: 4.0 * E }, upper);
            assert!(back.lower <= upper && lower <= back.upper, "mu = {mu}: {back:?}, want {lower}..{upper}");
            assert!(back.upper < back.lower * (1.0 + 1e-7), "mu = {mu}: {back:?}");
        }
    }

    #[test]
    fn each_direction_has_its_own_epsilon() {
        // (sigma, q, steps, delta, REMOVE, ADD): fine quadrature and tilted FFT on two grids, good to some 1e-6.
        for (z, q, n, at, remove, add) in [
            (1.3, 0.0025, 6000, 1e-5, 0.640_003_65, 0.604_620_74),
            (0.7, 0.01, 120, 1e-5, 2.461_237_70, 0.579_042_01),
            (1.5, 0.04, 2249, 1e-5, 6.767_044_16, 6.176_877_09),
            (3.0, 0.1, 512, 1e-6, 3.769_683_81, 3.505_377_72),
            (1.0, 0.081_92, 250, 1e-5, 9.019_121_08, 5.935_366_75),
            (50.0, 0.01, 1000, 1e-6, 0.020_549_31, 0.020_504_13),
        ] {
            for (direction, want) in [(Direction::Remove, remove), (Direction::Add, add)] {
                let got = ask(direction, 0.0, (z, q, n), at);
                assert!((got.estimate - want).abs() < 1.3e-5, "{direction:?} ({z}, {q}, {n}): {got:?}, want {want}");
                assert!(got.upper - got.lower < 1e-9, "{direction:?} ({z}, {q}, {n}): {got:?}");
            }
        }
    }

    #[test]
    fn a_certificate_says_when_it_was_cut_too_early() {
        // A contour that stops at half the height it needs: the truth is still inside, and the interval says so.
        let (mut seen, truth) = (0, 1.655_353_471_724_124_7);
        let sampled = vec![Sampled { rate: 0.01, noise_multiplier: 2.0, doubt: 0.0, count: 1500 }];
        let terms = Terms { sampled, ..Terms::default() };
        let mut composition =
            Composition::new(&terms, Mu { value: 0.0, error: 0.0 }, Direction::Remove, 1e-15_f64.ln());
        for share in [0.2, 0.35, 0.5, 0.7] {
            for coarse in [1.0, 2.5] {
                let contour =
                    crate::moments::place::spoilt(&mut composition, 22.0, truth, 1e-15_f64.ln(), share, coarse);
                let value = contour.value(truth);
                assert!(value.ln_upper() >= 1e-15_f64.ln() - 1e-9, "{share} {coarse}: {value:?}");
                assert!(value.ln_lower() <= 1e-15_f64.ln() + 1e-9, "{share} {coarse}: {value:?}");
                let off = value.ln().map_or(1.0, |ln| (ln - 1e-15_f64.ln()).abs());
                seen += u32::from(off > 1e-6);
            }
        }
        assert!(seen >= 3, "only {seen} contours were bad enough to test anything");
    }
}
