//! The choice of step and size, from what a sketch of the composition promises.

use super::curve::{Curve, Setting};
use super::lattice::{Points, Side, merged_ratio};
use super::law::Law;
use super::sketch::{Aim, Centre, Sketch, Tilted};
use crate::exponentials::ln_kappa;

/// Aliases are kept below this share of delta, in logarithms.
const LN_ALIAS: f64 = -19.0;

/// The least transform.
const LEAST: usize = 512;

/// Points to be transformed for all laws together, and the least for each.
const TRANSFORMED: usize = 1 << 21;
const FEWEST: usize = 1 << 12;

/// How good a curve is to be, and how much work it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Width of the interval aimed at: times max(1, epsilon).
    pub(super) width: f64,
    /// Most points of a transform.
    pub(super) size: usize,
    /// Losses between which no cell is wider than a step.
    pub(super) fine: (f64, f64),
}

/// The least size of the form 2^a or 3 2^a that holds this many points.
fn size_for(points: f64, most: usize) -> usize {
    let mut size = LEAST;
    while (size as f64) < points && size < most {
        if (size / 2 * 3) as f64 >= points {
            return size / 2 * 3;
        }
        size *= 2;
    }
    size
}

/// The number with its last 27 bits cleared: its products with whole numbers below 2^27 are exact.
fn short(h: f64) -> f64 {
    f64::from_bits(h.to_bits() & !((1 << 27) - 1))
}

/// One side of the profile of these laws with counts. `None` when they are out of reach.
pub(super) fn curve(terms: &[(Law, u64)], side: Side, aim: Aim, effort: Effort) -> Option<Curve> {
    let (placed, setting) = place(terms, side, aim, effort)?;
    Curve::new(&placed, side, setting)
}

/// Laws on one lattice, with counts.
type Placed = Vec<(Points, u64)>;

/// These laws on a lattice fit for the aim, and how to compose them. `None` when they are out of reach.
pub(super) fn place(terms: &[(Law, u64)], side: Side, aim: Aim, effort: Effort) -> Option<(Placed, Setting)> {
    // Many distinct laws share the work.
    let share = (TRANSFORMED / terms.len().max(1)).max(FEWEST);
    let effort = Effort { size: effort.size.min(share), ..effort };
    let (sketch, tilted) = Sketch::new(terms, aim)?;
    let tilted = tilted.firm();
    let (circle, far) = circle(&sketch, tilted);
    let least = circle / effort.size as f64;
    let wanted = step(terms, &sketch, tilted, aim, effort).max(least);
    let h = anchored(terms, wanted, least).unwrap_or_else(|| short(wanted));
    if !(h > 1e-290 && h < 1e15) {
        return None;
    }
    // A tilt of more than a few units for each step sees only the last of them.
    let c = tilted.c.min(3.0 / h);
    let far = far.max(c * 1.01);
    let size = size_for(circle * (tilted.c / c) / h, effort.size);
    let placed = terms.iter().zip(&sketch.outlines).map(|((law, count), outline)| {
        let offset = outline.centre(law, c, h).map_or(0.0, |centre| offset(law, h, centre, side));
        let points = outline.points(law, c, (h, offset), effort.fine)?;
        Some((Points::place(law, (h, offset), &points, side), *count))
    });
    let placed = placed.collect::<Option<Vec<_>>>()?;
    Some((placed, Setting { c, far, size, guess: tilted.epsilon }))
}

/// A circumference on which the aliases hardly count, and the order that bounds those from above.
fn circle(sketch: &Sketch, tilted: Tilted) -> (f64, f64) {
    let Tilted { c, deviation, .. } = tilted;
    let epsilon = tilted.epsilon.max(0.0);
    let ln_allowed = LN_ALIAS + tilted.ln_delta;
    let below = (-ln_allowed).max(1.0) / c;
    let shares = [0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6].map(|share| c * share);
    let deviations = [1.0, 2.0, 4.0, 6.0, 9.0, 13.0].map(|count| count / deviation.max(1e-300));
    let orders = shares.into_iter().chain(deviations).map(|distance| c + distance);
    let (far, above) = orders
        .map(|far| (far, (sketch.ln_moment(far) + ln_kappa(far) - far * epsilon - ln_allowed).max(1.0) / (far - c)))
        .filter(|(_, above)| above.is_finite())
        .fold((1.5 * c, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best });
    // There are no aliases beyond the largest loss.
    (below.max(above.min((sketch.top() - epsilon).max(0.0) * 1.001)), far)
}

/// The step that leaves an interval of the width aimed at.
///
/// Rounding that adds v to E (loss^2) of one release under the tilted law adds c (c+1) v/2 to ln M(c); v = h^2/6 for a
/// smooth law, less where it is nearly an atom on a point. Merging takes half as much off.
fn step(terms: &[(Law, u64)], sketch: &Sketch, tilted: Tilted, aim: Aim, effort: Effort) -> f64 {
    let c = tilted.c;
    let count: f64 = sketch.outlines.iter().map(|outline| outline.count).sum();
    let width = match aim {
        Aim::Epsilon { .. } => effort.width * tilted.epsilon.max(1.0),
        Aim::Delta { .. } => effort.width / c.max(1e-3),
    };
    let smooth = (8.0 * width / (count * (c + 1.0))).sqrt();
    // Delta changes over 1/c: nothing finer is needed where the tilt leaves hardly any deviation.
    let most = tilted.deviation.max(1.0 / c) / 8.0;
    // Where fewer than one loss off the middle is expected delta is in proportion to that one.
    let far: f64 = sketch.outlines.iter().map(|outline| outline.count * outline.far(c)).sum();
    let scale = 1.0 / far.clamp(1e-12, 1.0);
    let predicted = |h: f64| -> f64 {
        let each = terms.iter().zip(&sketch.outlines);
        let each = each.map(|((law, _), outline)| {
            outline.count
                * outline.spreading(c, (h, outline.centre(law, c, h).map_or(0.0, |centre| centre.offset(h).0)))
        });
        0.75 * (c + 1.0) * each.sum::<f64>() * scale
    };
    let wider = (1..14).map(|k| smooth * 1.5_f64.powi(k)).take_while(|h| *h < most);
    wider.filter(|h| predicted(*h) <= width).fold(smooth.min(most), f64::max)
}

/// The offset of the lattice with a point at the centre; on the lower side exactly where its cell merges to.
fn offset(law: &Law, step: f64, centre: Centre, side: Side) -> f64 {
    let (mut offset, point) = centre.offset(step);
    if side == Side::Lower && !centre.exact {
        for _ in 0..4 {
            let at = step * point as f64 + offset;
            let Some(ratio) = merged_ratio(law, at - 0.5 * step, at + 0.5 * step) else { break };
            offset += ratio - at;
        }
        // A hair below the cluster it is rounded down by that hair; above it would have to be lifted.
        offset -= 1e-12 * step;
    }
    offset
}

/// A step of which the differences of atoms are multiples, as nearly as can be had; `None` without atoms.
fn anchored(terms: &[(Law, u64)], wanted: f64, least: f64) -> Option<f64> {
    let discrete = terms.iter().all(|(law, _)| law.is_discrete());
    // Losses less that of the heaviest atom of the same law, by their expected numbers.
    let mut atoms: Vec<(f64, f64)> = Vec::new();
    let mut rounding = 0.0;
    for (law, count) in terms {
        let heaviest = law.atoms().max_by(|a, b| a.ln_p.total_cmp(&b.ln_p)).map_or(0.0, |atom| atom.loss);
        let weight = (*count as f64).min(1e9);
        atoms.extend(law.atoms().map(|atom| (atom.loss - heaviest, atom.ln_p.exp() * weight)));
        rounding = f64::max(rounding, 8.0 * f64::EPSILON * heaviest.abs());
    }
    atoms.retain(|(distance, _)| *distance != 0.0);
    let nearest = atoms.iter().map(|(distance, _)| distance.abs()).min_by(f64::total_cmp)?;
    let heaviest = atoms.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(distance, _)| distance.abs())?;
    // What rounding down costs on the lower side.
    let cost = |step: f64| -> f64 {
        let each = |(distance, mass): &(f64, f64)| {
            let at = distance / step;
            if (at - at.round()).abs() <= 16.0 * f64::EPSILON * at.abs() + rounding / step {
                0.0
            } else {
                mass * (at - at.floor()) * step
            }
        };
        atoms.iter().map(each).sum()
    };
    let tries = (2_000_000 / atoms.len() as u64).clamp(16, 4096);
    let mut best: Option<(f64, f64)> = None;
    for anchor in [nearest, heaviest] {
        let start = (anchor / wanted).ceil().clamp(1.0, 1e9) as u64;
        // With nothing but atoms any step will do on which all of them lie.
        let coarse = if discrete { 1..tries.min(64) } else { 0..0 };
        for m in coarse.chain(start..start + start.min(tries)) {
            let step = anchor / m as f64;
            let price = cost(step);
            if price == 0.0 && discrete && step >= least {
                return Some(step);
            }
            if step >= least && m >= start && best.is_none_or(|(_, known)| price < known) {
                best = Some((step, price));
            }
        }
    }
    best.map(|(step, _)| step)
}
