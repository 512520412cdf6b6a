//! delta as a function of epsilon: contours of the pieces of a composition, and what no contour is made for.
//!
//! Places x_0 < x_1 < .. of the loss divide the sequences of outcomes by their largest one: with M_j the moment generating
//! function of the outcomes below x_j, prod M_m = prod M_0 + sum of (prod M_j - prod M_{j-1}), and delta is a sum in the
//! same way. Each piece has a contour of its own at its own saddle, so that none has to resolve a delta that is far below
//! its own moments; a piece whose moments alone show that it does not matter has none.

use super::beyond::{self, Beyond};
use super::chernoff;
use super::composition::Composition;
use super::contour::Contour;
use super::left_out::{LeftOut, Negligible};
use super::place::{Aim, draft};
use super::value::Value;

/// Far outcomes are those whose loss is above one of these shares of epsilon, the first that will do.
const FAR: [f64; 6] = [1.5, 2.0, 2.5, 3.5, 6.0, 12.0];

/// Small outcomes are those whose loss is below one of these shares of epsilon, the first that will do.
const SMALL: [f64; 7] = [0.8, 0.5, 0.3, 0.15, 0.07, 0.03, 0.01];

/// Pieces that are looked at closely are this much apart in loss.
const RUNG: f64 = 1.6;

/// What has e^-NEGLIGIBLE of delta needs no contour.
const NEGLIGIBLE: f64 = 27.0;

/// Contours and what is left out.
#[derive(Debug)]
pub(super) struct Profile {
    contours: Vec<Contour>,
    left_out: LeftOut,
}

impl Profile {
    /// One contour, at this order, for all outcomes that are not too improbable to matter.
    pub(super) fn whole(whole: &mut Composition, order: f64, aim: Aim, work: f64) -> Option<Self> {
        let contour = draft(whole, order, aim, work)?.contour(whole);
        Some(Self { contours: vec![contour], left_out: LeftOut::far(whole) })
    }

    /// Contours for the outcomes that matter near an epsilon > 0: a single one, or `closely` many. Not for ADD.
    pub(super) fn near(whole: &Composition, aim: Aim, closely: bool, work: f64) -> Option<Self> {
        let Aim { epsilon, ln_delta } = aim;
        let (top, highest, mut left_out) = far(whole, aim);
        let start = |share: f64| (30.0 - ln_delta) / (epsilon * (1.0 - share));
        let small = SMALL.iter().find_map(|share| {
            let places = whole.places(share * epsilon);
            let mut piece = whole.piece(None, &places);
            let bound = Negligible::new(&mut piece, epsilon, start(*share));
            let enough = whole.apart(&places, &top) && bound.ln_bound(epsilon) <= ln_delta - NEGLIGIBLE;
            enough.then_some((*share, places, bound))
        });
        // From the highest to the lowest.
        let mut ends = vec![top];
        let lowest = small.as_ref().map_or(SMALL[SMALL.len() - 1], |(share, _, _)| *share);
        if closely {
            let mut share = highest / RUNG;
            while share > 1.2 * lowest {
                let places = whole.places(share * epsilon);
                if ends.last().is_some_and(|last| whole.apart(&places, last)) {
                    ends.push(places);
                }
                share /= RUNG;
            }
        }
        let mut pieces = Vec::new();
        if let Some((_, places, bound)) = small {
            while ends.len() > 1 && ends.last().is_some_and(|last| !whole.apart(&places, last)) {
                ends.pop();
            }
            ends.push(places);
            left_out.add(bound);
        } else if let Some(last) = ends.last() {
            pieces.push(whole.piece(None, last));
        }
        pieces.extend(ends.windows(2).map(|pair| whole.piece(Some(&pair[1]), &pair[0])));
        let mut contours = Vec::new();
        for mut piece in pieces {
            let real = chernoff::delta(&mut piece, epsilon, Some(10.0 / epsilon), 1e-3)?;
            if real.value <= ln_delta - NEGLIGIBLE - 1.0 {
                left_out.add(Negligible::new(&mut piece, epsilon, real.order));
                continue;
            }
            let draft = draft(&mut piece, real.order, aim, work)?;
            contours.push(draft.contour(&piece));
        }
        Some(Self { contours, left_out })
    }

    pub(super) fn value(&self, epsilon: f64) -> Value {
        let values: Vec<Value> = self.contours.iter().map(|contour| contour.value(epsilon)).collect();
        Value::total(&values, self.left_out.closed_form(epsilon), self.left_out.ln_bound(epsilon))
    }
}

/// Where outcomes begin to be far, the share of epsilon their losses have there, and what they count.
fn far(whole: &Composition, aim: Aim) -> (Vec<f64>, f64, LeftOut) {
    if beyond::applies(whole) {
        let mut opposite = whole.opposite();
        for share in FAR {
            let places = whole.places(share * aim.epsilon);
            let piece = whole.piece(None, &places);
            let Some(known) = Beyond::new(&piece.not_far(), &mut opposite, aim.epsilon) else { continue };
            if known.ln_short(aim.epsilon) <= aim.ln_delta - NEGLIGIBLE {
                return (places, share, LeftOut::beyond(&piece, known));
            }
        }
    }
    let places = whole.places(f64::INFINITY);
    let piece = whole.piece(None, &places);
    let left_out = LeftOut::far(&piece);
    (places, FAR[FAR.len() - 1], left_out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::analytic::Mu;
    use crate::moments::direction::Direction;
    use crate::terms::{Sampled, Terms};

    #[test]
    fn the_pieces_add_up_to_the_whole() {
        for direction in [Direction::Remove, Direction::Replace] {
            for (z, q, n, epsilon, c) in
                [(50.0, 0.0026, 1, 2e-4, 2e3), (1.3, 1e-3, 20, 0.3, 8.0), (0.5, 1e-3, 3, 4.0, 1.5)]
            {
                let sampled = vec![Sampled { rate: q, noise_multiplier: z, doubt: 0.0, count: n }];
                let terms = Terms { sampled, ..Terms::default() };
                let whole = Composition::new(&terms, Mu { value: 0.0, error: 0.0 }, direction, -40.0);
                let ends: Vec<Vec<f64>> = [2.0, 1.0, 0.4].iter().map(|share| whole.places(share * epsilon)).collect();
                assert!(ends.windows(2).all(|pair| whole.apart(&pair[1], &pair[0])), "{direction:?} ({z}, {q}, {n})");
                let at = |mut piece: Composition| piece.log_moment(c).unwrap().0;
                let all = at(whole.piece(None, &ends[0]));
                let sum: f64 = at(whole.piece(None, &ends[2])).exp()
                    + ends.windows(2).map(|pair| at(whole.piece(Some(&pair[1]), &pair[0])).exp()).sum::<f64>();
                assert!(
                    (sum.ln() - all).abs() < 1e-11 * (1.0 + all),
                    "{direction:?} ({z}, {q}, {n}): {} {all}",
                    sum.ln()
                );
            }
        }
    }
}
