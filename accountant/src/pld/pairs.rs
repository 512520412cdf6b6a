//! The pairs of single mechanisms, as laws of privacy losses.

use std::f64::consts::LN_2;

use super::law::{Atom, Base, Law, Part};
use super::transform::sum;
use super::view::View;

const E: f64 = f64::EPSILON;

/// More outcomes than this are not listed one by one.
pub(super) const MOST_ATOMS: u64 = 1 << 18;

/// Outcomes by their probabilities, which are good to a few units each: so are their losses, however small.
pub(super) fn atoms<const N: usize>(pairs: [(f64, f64); N]) -> Law {
    let mut list: Vec<Atom> =
        pairs.into_iter().filter(|(p, q)| *p > 0.0 || *q > 0.0).map(|(p, q)| Atom::new(p.ln(), q.ln())).collect();
    list.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    let finite = list.iter().filter(|atom| atom.loss.is_finite());
    let doubt = finite.map(|atom| E * (4.0 + atom.ln_p.abs() + atom.ln_q.abs())).fold(0.0, f64::max);
    Law { doubt, ..Law::of(Base::Atoms(list)) }
}

/// Laplace noise against its shift by `end` scales. In several coordinates a shift of the same L1 norm costs no more: its
/// trade-off function is at least the chain of those of the single moves, which for a log-concave density is that of the
/// one long move (Dong, Roth & Su 2022, section 2.5).
pub(super) fn laplace(end: f64) -> Law {
    let plain = |base| Part { ln_weight: 0.0, base, view: View::Plain };
    Law {
        parts: vec![
            plain(Base::Exponential { end, ln_density: -end / 2.0 - 2.0 * LN_2 }),
            plain(Base::Atoms(vec![
                Atom { ln_p: -end - LN_2, ln_q: -LN_2, loss: -end },
                Atom { ln_p: -LN_2, ln_q: -end - LN_2, loss: end },
            ])),
        ],
        doubt: 0.0,
    }
}

/// Discrete Gaussian noise against its shift; `None` where its outcomes are too many to list.
pub(super) fn discrete_gaussian(scale: f64, shift: u64) -> Option<Law> {
    // Beyond this nothing is left in f64.
    let reach = (38.7 * scale).ceil() + 1.0;
    if 2.0 * reach + shift as f64 > MOST_ATOMS as f64 {
        return None;
    }
    let (reach, shift) = (reach as i64, shift as f64);
    let exponent = |x: f64| -0.5 * (x / scale).powi(2);
    let total = sum((-reach..=reach).map(|x| exponent(x as f64).exp()));
    // Under P the noise is x; the loss is that against the noise x + shift, over both centres.
    let atom = |x: i64| {
        let x = x as f64;
        let (ln_p, ln_q) = (exponent(x) - total.ln(), exponent(x + shift) - total.ln());
        Atom { ln_p, ln_q, loss: shift * (2.0 * x + shift) / (2.0 * scale * scale) }
    };
    Some(Law::of(Base::Atoms((-reach - shift as i64..=reach).map(atom).collect())))
}

/// Discrete Laplace noise against its shift by at least 1.
pub(super) fn discrete_laplace(scale: f64, shift: u64) -> Law {
    // r = e^(-1/scale); P(x) = (1-r)/(1+r) r^|x|, against the same around `shift`.
    let ln_one_plus = (-1.0 / scale).exp().ln_1p();
    let ln_inner = (-(-1.0 / scale).exp_m1()).ln() - ln_one_plus;
    let end = shift as f64 / scale;
    let mut list = vec![Atom { ln_p: -end - ln_one_plus, ln_q: -ln_one_plus, loss: -end }];
    list.extend((1..shift).rev().map(|x| {
        let (x, rest) = (x as f64, (shift - x) as f64);
        Atom { ln_p: ln_inner - x / scale, ln_q: ln_inner - rest / scale, loss: (rest - x) / scale }
    }));
    list.push(Atom { ln_p: -ln_one_plus, ln_q: -end - ln_one_plus, loss: end });
    Law::of(Base::Atoms(list))
}
