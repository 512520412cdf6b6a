//! phi(y) = E_c e^{iy(L - mean)} at equispaced y, by turning one pointer for each node.
//!
//! A node of small loss turns slowly: its share of phi is smooth. Nodes that turn by at most 2 in all are not turned: their
//! moments sum p l^m make a Taylor series. Nodes of which |l| `step` 2^g is at most [`SLOW`] are turned only at every
//! 2^g-th y. Level by level, from the coarsest to the finest, what they add up to is interpolated at
//! the points halfway (Deslauriers & Dubuc 1989), and the nodes of the next level are added.
//!
//! Lagrange's formula on 2R points at distance 1 errs by 1 - 2 sum w_i cos((i - 1/2) a) relative to e^{ia/2} when it
//! interpolates e^{iax} halfway, at most |a|^{2R} C(2R, R)/16^R. For R = 16 and |a| <= 0.6 that is below 2^-57 |a|, and the
//! constant 1 in e^{iyl} - 1 is met exactly. Errors of the coarse values reach the finest ones with weights whose moduli
//! add up to less than 2 however many levels there are.

use super::tilt::Tilt;

/// Turns before the pointers are set anew.
const BLOCK: usize = 32;

/// Partial sums, so that rounding grows with an eighth of the nodes.
const LANES: usize = 8;

/// A pointer that turns by at most this much between two points is interpolated.
const SLOW: f64 = 0.6;

/// Half the points that an interpolation takes, and its weights from the nearest to the farthest point:
/// w_i = (-1)^{i+1} 2R C(2R, R) C(2R-1, R-i) / (2^{4R-1} (2i-1)), i = 1..R.
const RADIUS: usize = 16;
const WEIGHTS: [f64; RADIUS] = weights();

/// Fewer slow pointers than this are not worth a level of their own, or a series.
const FEW: usize = 4 * LANES;

/// A pointer that turns by at most this much in all is not turned, and as many terms of the series as make what follows,
/// 2^m/m! from m = 26 on, less than 2^-60 of the first.
const STILL: f64 = 2.0;
const TERMS: usize = 25;

/// phi(y) - 1 as (real, imaginary) for y = step, 2 step, .. , and what its rounding depends on.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) values: Vec<(f64, f64)>,
    pub(super) rounding: Rounding,
}

/// Rounding at y in units of 2^-52 of sum p min(2, (y + `reach`) |l|).
///
/// A pointer e^{iyl/2} is set with an error of 2 units of its angle and turned at most `BLOCK` times with one of 3
/// units of (|sine| + |sine of the turn|); p times its sine and cosine is summed in lanes. An interpolation takes points
/// up to 2 `RADIUS` coarsest steps beyond y, carries their errors with weights below 2 in all, and adds less than 10 units
/// at each level: two for a sum of two points, its weight and the product, and half a unit for each of the i sums that the
/// product is then part of, 2 sum |w_i| (2 + i/2) < 7. Where nothing is interpolated, `reach` is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounding {
    pub(super) units: f64,
    pub(super) reach: f64,
}

/// For y = step, 2 step, .. , count step: phi(y) - 1.
///
/// e^{iyl} - 1 = -2 sin^2(yl/2) + 2i sin(yl/2) cos(yl/2): small where yl is small, without cancellation.
pub(super) fn turns(tilt: &Tilt, step: f64, count: usize) -> Turned {
    let Speeds { still, levels } = Speeds::of(tilt, step, count);
    let (top, most) = (levels.len() - 1, tilt.nodes.len());
    let coarsest = (1_u64 << top) as f64 * step;
    let units = 40.0 + 8.0 * BLOCK as f64 + (most / LANES + LANES) as f64;
    let rounding = if top == 0 {
        Rounding { units, reach: 0.0 }
    } else {
        Rounding { units: 2.0 * (units + 10.0 * top as f64), reach: 2.0 * RADIUS as f64 * coarsest }
    };
    // How many points each level needs.
    let mut counts = vec![count];
    for level in 0..top {
        counts.push(counts[level].div_ceil(2) + RADIUS);
    }
    let (mut real, mut imaginary) = (Vec::new(), Vec::new());
    for (level, nodes) in levels.iter().enumerate().rev() {
        let count = counts[level];
        if level < top {
            real = finer(&real, 1.0, count);
            imaginary = finer(&imaginary, -1.0, count);
        } else {
            (real, imaginary) = (vec![0.0; count], vec![0.0; count]);
        }
        add(nodes, (1_u64 << level) as f64 * step, &mut real, &mut imaginary);
    }
    if !still.is_empty() {
        add_series(&still, step, &mut real, &mut imaginary);
    }
    Turned { values: real.into_iter().zip(imaginary).collect(), rounding }
}

/// What [`turns`] costs, in turns of one pointer.
pub(super) fn work(tilt: &Tilt, step: f64, count: usize) -> f64 {
    let Speeds { still, levels } = Speeds::of(tilt, step, count);
    let turned = levels.iter().enumerate().map(|(level, nodes)| nodes.len() as f64 / (1_u64 << level) as f64);
    let interpolated = if levels.len() > 1 { RADIUS as f64 / 2.0 } else { 0.0 };
    let summed = if still.is_empty() { 0.0 } else { TERMS as f64 / 4.0 };
    (turned.sum::<f64>() + interpolated + summed) * count as f64
}

/// The nodes by how fast they turn.
struct Speeds {
    /// By less than [`STILL`] in all.
    still: Vec<(f64, f64)>,
    /// Those number g at every 2^g-th point.
    levels: Vec<Vec<(f64, f64)>>,
}

impl Speeds {
    fn of(tilt: &Tilt, step: f64, count: usize) -> Self {
        let height = step * count as f64;
        let (mut still, turning): (Vec<_>, Vec<_>) = tilt.nodes.iter().partition(|(_, l)| l.abs() * height <= STILL);
        // The coarsest points lie well inside the range, lest the rounding there be carried to where y is small.
        let most = (count / (8 * RADIUS)).checked_ilog2().unwrap_or(0) as usize;
        let level = |l: f64| (SLOW / (l.abs() * step)).log2().floor().clamp(0.0, most as f64) as usize;
        let mut levels = vec![Vec::new(); most + 1];
        for (p, l) in turning {
            levels[level(l)].push((p, l));
        }
        if still.len() < FEW {
            levels[most].append(&mut still);
        }
        while levels.len() > 1 && levels.last().is_some_and(|nodes| nodes.len() < FEW) {
            let few = levels.pop().unwrap_or_default();
            if let Some(last) = levels.last_mut() {
                last.extend(few);
            }
        }
        Self { still, levels }
    }
}

/// Adds the nodes' share at y = step, 2 step, .. from its Taylor series about 0, sum over m of (iy)^m/m! sum p l^m.
fn add_series(nodes: &[(f64, f64)], step: f64, real: &mut [f64], imaginary: &mut [f64]) {
    let height = step * real.len() as f64;
    // sum p (l height)^m/m!, m = 1..
    let mut terms = [[0.0; LANES]; TERMS];
    for (p, l) in rows(nodes, |p, _| p).iter().zip(rows(nodes, |_, l| l * height)) {
        let mut power = *p;
        for (m, sum) in terms.iter_mut().enumerate() {
            for lane in 0..LANES {
                power[lane] *= l[lane] / (m + 1) as f64;
                sum[lane] += power[lane];
            }
        }
    }
    let terms = terms.map(|lanes| lanes.iter().sum::<f64>());
    let count = real.len() as f64;
    for (j, (re, im)) in real.iter_mut().zip(imaginary).enumerate() {
        let t = (j + 1) as f64 / count;
        let square = t * t;
        // Horner's rule for (it)^m: the odd terms are imaginary.
        let odd = terms.iter().step_by(2).rev().fold(0.0, |sum, term| term - square * sum);
        let even = terms.iter().skip(1).step_by(2).rev().fold(0.0, |sum, term| term - square * sum);
        *re -= square * even;
        *im += t * odd;
    }
}

/// Adds the nodes' share at y = step, 2 step, ..
fn add(nodes: &[(f64, f64)], step: f64, real: &mut [f64], imaginary: &mut [f64]) {
    let weights = rows(nodes, |p, _| 2.0 * p);
    let (turn_sin, turn_cos) = (rows(nodes, |_, l| (0.5 * step * l).sin()), rows(nodes, |_, l| (0.5 * step * l).cos()));
    for (block, (real, imaginary)) in real.chunks_mut(BLOCK).zip(imaginary.chunks_mut(BLOCK)).enumerate() {
        let y = (block * BLOCK + 1) as f64 * step;
        let (mut sin, mut cos) = (rows(nodes, |_, l| (0.5 * y * l).sin()), rows(nodes, |_, l| (0.5 * y * l).cos()));
        for (re, im) in real.iter_mut().zip(imaginary) {
            let (mut reals, mut imaginaries) = ([0.0; LANES], [0.0; LANES]);
            let pointers = weights.iter().zip(&mut sin).zip(&mut cos);
            for (((w, s), c), (ts, tc)) in pointers.zip(turn_sin.iter().zip(&turn_cos)) {
                for lane in 0..LANES {
                    let (sine, cosine) = (s[lane], c[lane]);
                    let weighted = w[lane] * sine;
                    reals[lane] -= weighted * sine;
                    imaginaries[lane] += weighted * cosine;
                    s[lane] = sine * tc[lane] + cosine * ts[lane];
                    c[lane] = cosine * tc[lane] - sine * ts[lane];
                }
            }
            *re += reals.iter().sum::<f64>();
            *im += imaginaries.iter().sum::<f64>();
        }
    }
}

/// `count` values at half the distance, of a function that is 0 at 0 and even or odd (`sign` 1 or -1).
fn finer(coarse: &[f64], sign: f64, count: usize) -> Vec<f64> {
    // From -RADIUS + 1 on; the origin has the index RADIUS - 1.
    let mirrored = coarse.iter().take(RADIUS - 1).rev().map(|value| sign * value);
    let points: Vec<f64> = mirrored.chain(std::iter::once(0.0)).chain(coarse.iter().copied()).collect();
    let halfway_count = count.div_ceil(2);
    let mut halfway = vec![0.0; halfway_count];
    for (i, weight) in WEIGHTS.iter().enumerate().rev() {
        let (left, right) = (&points[RADIUS - 1 - i..], &points[RADIUS + i..]);
        for ((sum, left), right) in halfway.iter_mut().zip(left).zip(right) {
            *sum += weight * (left + right);
        }
    }
    let mut fine = Vec::with_capacity(count + 1);
    for (between, at) in halfway.iter().zip(coarse) {
        fine.push(*between);
        fine.push(*at);
    }
    fine.truncate(count);
    fine
}

/// The numerators are whole numbers, so that each weight is rounded twice at most.
const fn weights() -> [f64; RADIUS] {
    let mut weights = [0.0; RADIUS];
    let r = RADIUS as u128;
    let mut i = 1;
    while i <= r {
        let numerator = (binomial(2 * r, r) * 2 * r * binomial(2 * r - 1, r - i)) as f64;
        let weight = numerator / ((1_u64 << (4 * RADIUS - 1)) as f64 * (2 * i - 1) as f64);
        weights[i as usize - 1] = if i % 2 == 1 { weight } else { -weight };
        i += 1;
    }
    weights
}

const fn binomial(n: u128, k: u128) -> u128 {
    let mut product = 1;
    let mut j = 1;
    while j <= k {
        product = product * (n - k + j) / j;
        j += 1;
    }
    product
}

/// A value for each node from its probability and its loss, in rows of which the last is filled up with nothing.
fn rows(nodes: &[(f64, f64)], value: impl Fn(f64, f64) -> f64) -> Vec<[f64; LANES]> {
    let row = |nodes: &[(f64, f64)]| {
        let mut row = [0.0; LANES];
        for (entry, (p, l)) in row.iter_mut().zip(nodes) {
            *entry = value(*p, *l);
        }
        row
    };
    nodes.chunks(LANES).map(row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::moments::direction::Direction;
    use crate::moments::label::Label;
    use crate::moments::nodes::Nodes;
    use crate::moments::part::Part;
    use crate::terms::Sampled;

    fn tilt((q, s, c): (f64, f64, f64), height: f64) -> Tilt {
        let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 100 };
        let part = Part { term, direction: Direction::Remove, label: Label::below(20.0, 0.4, 17.0) };
        Tilt::new(&Nodes::new(part, c, height, 40.0).unwrap(), c, (0.0, 0.0))
    }

    #[test]
    fn pointers_agree_with_sines_within_the_stated_rounding() {
        for (release, step, count, least) in
            [((0.01, 0.8, 3.0), 0.1, 100, 1), ((0.01, 0.8, 3.0), 0.1, 3000, 3), ((1e-3, 0.6, 2.0), 0.05, 4000, 4)]
        {
            let tilt = tilt(release, step * f64::from(count));
            let Speeds { still, levels } = Speeds::of(&tilt, step, count as usize);
            let nodes = still.len() + levels.iter().map(Vec::len).sum::<usize>();
            assert!(nodes == tilt.nodes.len() && levels.len() >= least, "{release:?} {}", levels.len());
            let turned = turns(&tilt, step, count as usize);
            assert_eq!(turned.values.len(), count as usize);
            for (j, (real, imaginary)) in turned.values.iter().enumerate() {
                let y = step * (j + 1) as f64;
                let (mut re, mut im) = (0.0, 0.0);
                for (p, l) in &tilt.nodes {
                    re -= p * 2.0 * (0.5 * y * l).sin().powi(2);
                    im += p * (y * l).sin();
                }
                let allowed = tilt.error(y, turned.rounding);
                let off = (re - real).abs().max((im - imaginary).abs());
                assert!(off <= allowed, "{release:?} y = {y}: {re} {im} against {real} {imaginary}, {allowed}");
                assert!(allowed < 1e-12, "{release:?} {allowed}");
            }
        }
    }

    #[test]
    fn a_level_takes_no_pointer_that_turns_too_fast() {
        // A negative control: interpolated over twice the distance, the points halfway are off by more than is claimed.
        let at = |a: f64| {
            let sum = |(i, w): (usize, &f64)| 2.0 * w * ((i as f64 + 0.5) * a).cos();
            (1.0 - WEIGHTS.iter().enumerate().map(sum).sum::<f64>()).abs()
        };
        let claimed = |a: f64| a * 2.0_f64.powi(-57) + 8.0 * f64::EPSILON;
        assert!([0.01, 0.1, 0.3, SLOW].into_iter().all(|a| at(a) <= claimed(a)));
        assert!(at(4.0 * SLOW) > claimed(4.0 * SLOW));
        let tilt = tilt((0.01, 0.8, 3.0), 300.0);
        for (level, nodes) in Speeds::of(&tilt, 0.1, 3000).levels.iter().enumerate().skip(1) {
            let most = nodes.iter().map(|(_, l)| l.abs()).fold(0.0, f64::max);
            assert!(most * 0.1 * 2.0_f64.powi(level as i32) <= SLOW * (1.0 + 1e-12), "{level}");
        }
    }

    #[test]
    fn errors_are_carried_with_weights_below_two() {
        // The moduli of what one coarse point adds to the finest ones, added up over all coarse points: by symmetry over
        // all finest points at the same place between two coarse ones. Far from the origin, which knows no neighbours.
        let (middle, size) = (40, 80);
        let mut values = vec![0.0; size];
        values[middle - 1] = 1.0;
        for level in 1..=11_u32 {
            values = finer(&values, 1.0, size << level);
            let stride = 1_usize << level;
            let most = (0..stride).map(|phase| values.iter().skip(phase).step_by(stride).map(|v| v.abs()).sum::<f64>());
            let most = most.fold(0.0, f64::max);
            assert!(most < 1.95, "{level}: {most}");
        }
        let weighted: f64 = WEIGHTS.iter().enumerate().map(|(i, w)| 2.0 * w.abs() * (2.5 + 0.5 * i as f64)).sum();
        assert!(weighted < 7.0, "{weighted}");
    }
}
