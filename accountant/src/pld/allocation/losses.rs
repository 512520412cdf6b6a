//! From the law of the likelihood ratio to the law of the privacy loss on a lattice, in both safe directions.

use super::Lattice;
use super::ladder::Ladder;
use crate::pld::releases::Way;

/// Points of a lattice at most: 32 MB.
const MOST_POINTS: i64 = 1 << 22;

/// Bounds the relative rounding of a logarithm of a ratio, or of a multiple of the step, in units of 1 + |loss|.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// Atoms that are merged into one point at most, and the relative rounding of their sums.
const MERGED: usize = 4096;
const MERGED_ROUNDING: f64 = 2e-12;

/// Below this mass an atom of the lower side is left out: the range of numbers ends some 10^-324 below, and what is lost
/// or gained there adds up to less than 10^-300, in at most 10^20 terms.
const LEAST: f64 = 1e-280;
const OUT_OF_RANGE: f64 = 1e-300;

/// An outcome: its masses under P and Q of the direction, and ln of their ratio.
#[derive(Debug, Clone, Copy)]
struct Atom {
    p: f64,
    q: f64,
    loss: f64,
}

/// The outcomes of a ladder by ascending loss, and the mass under P where Q has none.
///
/// With S the sum of t likelihood ratios, a mass m under the law of S is m under the noise alone and m S/t with the
/// record.
fn atoms(sum: &Ladder, direction: Way) -> (Vec<Atom>, f64) {
    let t = sum.count as f64;
    let (mut atoms, mut infinite) = (Vec::new(), 0.0);
    for (exponent, rung) in sum.steps() {
        let step = 2_f64.powi(exponent);
        for ((k, mass), point) in rung.masses.iter().enumerate().zip(rung.first..) {
            let moment = rung.moments.get(k).copied().unwrap_or(0.0);
            let with = (mass * point as f64 + moment) * step / t;
            let (p, q) = match direction {
                Way::Remove => (with, *mass),
                Way::Add => (*mass, with),
            };
            if q > 0.0 && p > 0.0 {
                atoms.push(Atom { p, q, loss: (p / q).ln() });
            } else {
                infinite += p;
            }
        }
    }
    atoms.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    (atoms, infinite)
}

/// What is lost under P by what the ladder dropped.
fn dropped(sum: &Ladder, direction: Way) -> f64 {
    match direction {
        Way::Remove => sum.lost.moment / sum.count as f64,
        Way::Add => sum.lost.mass,
    }
}

/// The index of the first point of a lattice and its length, for losses between these.
fn extent(least: f64, most: f64, step: f64) -> Option<(i64, usize)> {
    let (first, last) = ((least / step).floor() - 1.0, (most / step).floor() + 2.0);
    let fits = step > 0.0 && last - first < MOST_POINTS as f64 && first.abs().max(last.abs()) < 2_f64.powi(50);
    fits.then(|| (first as i64, (last - first) as usize + 1))
}

/// A lattice that dominates.
///
/// A mass at a loss d above the point e goes to the next point, e + h, with weight (1 - e^-d)/(1 - e^-h) and else to e.
/// That keeps the masses under P and under Q, so it is undone by forgetting the point: the lattice dominates. Raising a
/// loss, or a mass, dominates too.
///
/// The dropped mass is given an infinite loss: (S/t - e^eps)_+ <= S/t and (1 - e^eps S/t)_+ <= 1.
pub(super) fn upper(sum: &Ladder, direction: Way, step: f64, tail: f64) -> Option<Lattice> {
    let (mut atoms, mut infinite) = atoms(sum, direction);
    // The highest losses, as long as they are cheap, become infinite.
    let mut cheap = 0.0;
    while let Some(atom) = atoms.pop_if(|atom| cheap + atom.p <= tail / 8.0) {
        cheap += atom.p;
    }
    infinite += cheap;
    // The lowest ones are raised to the first that is not.
    let mut low = 0.0;
    let least = atoms.iter().find(|atom| {
        low += atom.p;
        low > tail
    })?;
    let (least, most) = (least.loss, atoms.last()?.loss);
    let (first, length) = extent(least, most, step)?;
    let mut masses = vec![0.0; length];
    let full = -(-step).exp_m1();
    for atom in &atoms {
        // The rounding of the loss and of the product below is made up for upwards.
        let loss = atom.loss.max(least);
        let loss = loss + ROUNDING * (1.0 + loss.abs());
        let mut k = (loss / step).floor();
        if k * step > loss {
            k -= 1.0;
        }
        let above = (loss - k * step).min(step);
        let up = -(-above).exp_m1() / full;
        // e^-d - e^-h = e^-d (1 - e^-(h - d)): both weights are good relative to themselves.
        let down = (-above).exp() * -(above - step).exp_m1() / full;
        let at = (k as i64 - first) as usize;
        for (to, weight) in [(at, down), (at + 1, up)] {
            *masses.get_mut(to)? += atom.p * weight;
        }
    }
    // Some 20 units for an atom's own rounding, one for each atom that a point gathers.
    let cover = 1.0 + 1.01 * sum.error + (atoms.len() as f64 + 32.0) * f64::EPSILON;
    masses.iter_mut().for_each(|mass| *mass *= cover);
    // Masses below the range of numbers may count as 0. Under P they are at most as many times larger as the sum is.
    let underflow = OUT_OF_RANGE * (1.0 + sum.end_value() / sum.count as f64);
    let infinite = (infinite + dropped(sum, direction)) * cover + underflow;
    Some(Lattice { step, first, masses, infinite })
}

/// A lattice that is dominated.
///
/// Outcomes are merged, a part of an outcome where need be: forgetting which of them it was cannot raise delta. From the
/// highest loss on, as many of the next ones are merged as bring the loss of all down to the nearest point below the
/// first; the last one is divided so that it is met exactly. (From above, because where masses fall with the loss, which is
/// where delta is made, the reach of neighbouring merges then evens out.) Where it takes too many, the point stands for a
/// higher loss.
pub(super) fn lower(sum: &Ladder, direction: Way, step: f64, tail: f64) -> Option<Lattice> {
    let (mut atoms, _) = atoms(sum, direction);
    // Safe whatever the errors of both masses are: less under P, more under Q.
    let doubt = 1.01 * sum.error + 16.0 * f64::EPSILON;
    atoms.retain(|atom| atom.p.min(atom.q) > LEAST);
    for atom in &mut atoms {
        atom.p *= 1.0 - doubt;
        atom.q *= 1.0 + doubt;
        atom.loss -= 2.0 * doubt;
    }
    // The ratio of a merge lies above that of its point by more than all rounding.
    let slack = |loss: f64| MERGED_ROUNDING + ROUNDING * (1.0 + loss.abs());
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(atoms.len());
    let mut rest = atoms.iter().rev().copied();
    let mut carried = rest.next();
    while let Some(start) = carried {
        let point = ((start.loss - 2.0 * slack(start.loss)) / step).floor();
        let aim = (point * step + slack(point * step)).exp();
        let (mut p, mut q) = (start.p, start.q);
        carried = None;
        for atom in rest.by_ref().take(MERGED) {
            let (surplus, lacking) = (p - aim * q, aim * atom.q - atom.p);
            if lacking > surplus {
                let part = surplus.max(0.0) / lacking;
                p += part * atom.p;
                carried = Some(Atom { p: atom.p * (1.0 - part), q: atom.q * (1.0 - part), loss: atom.loss });
                break;
            }
            p += atom.p;
            q += atom.q;
        }
        points.push((point, p));
        carried = carried.or_else(|| rest.next());
    }
    // Cheap ends are dropped: less mass is dominated.
    let cheap = |spent: &mut f64, mass: f64| {
        *spent += mass;
        *spent <= tail / 8.0
    };
    points.reverse();
    let mut spent = 0.0;
    let low = points.iter().take_while(|(_, p)| cheap(&mut spent, *p)).count();
    spent = 0.0;
    let high = points.iter().rev().take_while(|(_, p)| cheap(&mut spent, *p)).count();
    let points = points.get(low..points.len().saturating_sub(high))?;
    let (least, most) = (points.first()?.0 * step, points.last()?.0 * step);
    let (first, length) = extent(least, most, step)?;
    let mut masses = vec![0.0; length];
    for (point, p) in points {
        *masses.get_mut((*point as i64 - first) as usize)? += p;
    }
    let cover = 1.0 - MERGED_ROUNDING - (atoms.len() as f64 + 32.0) * f64::EPSILON;
    masses.iter_mut().for_each(|mass| *mass *= cover);
    Some(Lattice { step, first, masses, infinite: 0.0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::rung::{Lost, Rung};
    use super::*;
    use crate::pld::lattice::Side;

    /// Two likelihood ratios' sum on eighths: masses like those of a bell, mean 2.
    fn bell(side: Side) -> Ladder {
        let masses: Vec<f64> = (1..=31).map(|k| (-0.02 * f64::from(k - 16).powi(2)).exp()).collect();
        let total: f64 = masses.iter().sum();
        let masses: Vec<f64> = masses.iter().map(|mass| mass / total).collect();
        let mut sum = Ladder::new(side, 0.0, 2, -3);
        let moments = if side == Side::Lower { vec![0.0; masses.len()] } else { Vec::new() };
        sum.settle(-3, Rung { first: 1, masses, moments });
        sum
    }

    fn delta(lattice: &Lattice, epsilon: f64) -> f64 {
        let gain = |(mass, k): (&f64, i64)| mass * (-(epsilon - k as f64 * lattice.step).exp_m1()).max(0.0);
        lattice.infinite + lattice.masses.iter().zip(lattice.first..).map(gain).sum::<f64>()
    }

    #[test]
    fn lattices_lie_on_their_sides() {
        for direction in [Way::Remove, Way::Add] {
            // Finer, as fine and coarser than the atoms.
            for (step, most) in [(1e-3, 1e-4), (0.05, 0.01), (0.3, 0.05)] {
                let upper = upper(&bell(Side::Upper), direction, step, 1e-12).unwrap();
                let lower = lower(&bell(Side::Lower), direction, step, 1e-12).unwrap();
                for epsilon in (-60..60).map(|k| 0.049 * f64::from(k)) {
                    let (atoms, _) = atoms(&bell(Side::Upper), direction);
                    let exact: f64 = atoms.iter().map(|atom| (atom.p - epsilon.exp() * atom.q).max(0.0)).sum();
                    let (below, above) = (delta(&lower, epsilon), delta(&upper, epsilon));
                    assert!(
                        below <= exact && exact <= above,
                        "{direction:?} {step} {epsilon}: {below} {exact} {above}"
                    );
                    assert!(above - below < most, "{direction:?} {step} {epsilon}: {below} {above}");
                }
            }
        }
    }

    #[test]
    fn dropped_mass_is_an_infinite_loss() {
        let mut sum = bell(Side::Upper);
        sum.lost = Lost { mass: 1e-3, moment: 6e-3 };
        for (direction, lost) in [(Way::Remove, 3e-3), (Way::Add, 1e-3)] {
            let infinite = upper(&sum, direction, 0.01, 1e-12).unwrap().infinite;
            assert!(infinite >= lost && infinite < lost * 1.001, "{direction:?} {infinite}");
        }
    }

    #[test]
    fn a_lattice_that_would_not_fit_is_refused() {
        for step in [1e-9, 0.0, f64::NAN] {
            assert_eq!(upper(&bell(Side::Upper), Way::Add, step, 1e-12), None);
            assert_eq!(lower(&bell(Side::Lower), Way::Remove, step, 1e-12), None);
        }
    }
}
