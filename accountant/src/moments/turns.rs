//! phi(y) = E_c e^{iy(L - mean)} at equispaced y, by turning one pointer for each node.

use super::tilt::Tilt;

/// Turns before the pointers are set anew.
const BLOCK: usize = 64;

/// Partial sums, so that rounding grows with an eighth of the nodes.
const LANES: usize = 8;

/// Rounding of [`turns`] in units of 2^-52 of sum p min(2, y |l|).
///
/// A pointer e^{iyl/2} is set with an error of 2 units of its angle and turned at most `BLOCK` times with one of 3
/// units of (|sine| + |sine of the turn|); p times its sine and cosine is summed in lanes.
pub(super) fn rounding(nodes: usize) -> f64 {
    8.0 + 8.0 * BLOCK as f64 + (nodes / LANES + LANES) as f64
}

/// For y = step, 2 step, .. , count step: phi(y) - 1 as (real, imaginary).
///
/// e^{iyl} - 1 = -2 sin^2(yl/2) + 2i sin(yl/2) cos(yl/2): small where yl is small, without cancellation.
pub(super) fn turns(tilt: &Tilt, step: f64, count: usize) -> Vec<(f64, f64)> {
    let weights = rows(tilt, |p, _| 2.0 * p);
    let (turn_sin, turn_cos) = (rows(tilt, |_, l| (0.5 * step * l).sin()), rows(tilt, |_, l| (0.5 * step * l).cos()));
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let y = (out.len() + 1) as f64 * step;
        let (mut sin, mut cos) = (rows(tilt, |_, l| (0.5 * y * l).sin()), rows(tilt, |_, l| (0.5 * y * l).cos()));
        for _ in 0..BLOCK.min(count - out.len()) {
            let (mut real, mut imaginary) = ([0.0; LANES], [0.0; LANES]);
            let pointers = weights.iter().zip(&mut sin).zip(&mut cos);
            for (((w, s), c), (ts, tc)) in pointers.zip(turn_sin.iter().zip(&turn_cos)) {
                for lane in 0..LANES {
                    let (sine, cosine) = (s[lane], c[lane]);
                    let weighted = w[lane] * sine;
                    real[lane] -= weighted * sine;
                    imaginary[lane] += weighted * cosine;
                    s[lane] = sine * tc[lane] + cosine * ts[lane];
                    c[lane] = cosine * tc[lane] - sine * ts[lane];
                }
            }
            out.push((real.iter().sum(), imaginary.iter().sum()));
        }
    }
    out
}

/// A value for each node from its probability and its loss, in rows of which the last is filled up with nothing.
fn rows(tilt: &Tilt, value: impl Fn(f64, f64) -> f64) -> Vec<[f64; LANES]> {
    let row = |nodes: &[(f64, f64)]| {
        let mut row = [0.0; LANES];
        for (entry, (p, l)) in row.iter_mut().zip(nodes) {
            *entry = value(*p, *l);
        }
        row
    };
    tilt.nodes.chunks(LANES).map(row).collect()
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

    #[test]
    fn pointers_agree_with_sines_within_the_stated_rounding() {
        let term = Sampled { rate: 0.01, noise_multiplier: 0.8, doubt: 0.0, count: 100 };
        let part = Part { term, direction: Direction::Remove, label: Label::below(20.0, 0.4, 17.0) };
        let nodes = Nodes::new(part, 3.0, 40.0, 40.0).unwrap();
        let tilt = Tilt::new(&nodes, 3.0, (0.0, 0.0));
        let step = 0.1;
        for (j, (real, imaginary)) in turns(&tilt, step, 300).into_iter().enumerate() {
            let y = step * (j + 1) as f64;
            let (mut re, mut im) = (0.0, 0.0);
            for (p, l) in &tilt.nodes {
                re -= p * 2.0 * (0.5 * y * l).sin().powi(2);
                im += p * (y * l).sin();
            }
            let allowed = tilt.error(y, rounding(tilt.nodes.len()));
            assert!(
                (re - real).abs() <= allowed && (im - imaginary).abs() <= allowed,
                "y = {y}: {re} {real} {allowed}"
            );
            assert!(allowed < 1e-12, "{allowed}");
        }
    }
}
