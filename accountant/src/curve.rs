//! The privacy profile at many places in one call: delta at many epsilons, epsilon at many deltas.
//!
//! Both fall as the other grows, whatever the event. So a bound at one place is a bound at all places to one side of it,
//! and each answer is the best of what the accountant said here and there. Where it cannot certify an answer at one
//! place, the neighbours' bounds stand.

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::{Bound, Disordered};
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};

/// A bound and the place it is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<T> {
    /// The epsilon, or the delta, asked about.
    pub at: T,
    /// The delta, or the epsilon, there.
    pub bound: Bound,
}

/// Delta at each of these epsilons, in ascending order of epsilon, each one once. The bounds do not rise.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event, or can certify an answer at none of the places.
pub fn deltas(
    accountant: &dyn Accountant,
    event: &Event,
    epsilons: &[Epsilon],
) -> Result<Vec<Point<Epsilon>>, Unaccountable> {
    points(epsilons, 1.0, accountant, |epsilon| accountant.delta(event, epsilon))
}

/// Epsilon at each of these deltas, in ascending order of delta, each one once. The bounds do not rise.
///
/// # Errors
/// As for [`deltas`].
pub fn epsilons(
    accountant: &dyn Accountant,
    event: &Event,
    deltas: &[Delta],
) -> Result<Vec<Point<Delta>>, Unaccountable> {
    points(deltas, f64::INFINITY, accountant, |delta| accountant.epsilon(event, delta))
}

/// 0 and 24 epsilons from 0.01 to 100, for a plan about which nothing is known.
#[must_use]
pub fn usual_epsilons() -> Vec<Epsilon> {
    const MANTISSAS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0];
    let decades = [0.01, 0.1, 1.0, 10.0];
    let spread = decades.into_iter().flat_map(|decade| MANTISSAS.map(|mantissa| decade * mantissa));
    std::iter::once(0.0).chain(spread).flat_map(Epsilon::new).collect()
}

/// The powers of ten from 1e-12 to 0.1.
#[must_use]
pub fn usual_deltas() -> Vec<Delta> {
    (1..=12).rev().flat_map(|power| Delta::new(10.0_f64.powi(-power))).collect()
}

/// The answers at these places; `most` is what holds without any.
fn points<T: Copy + Ord>(
    places: &[T],
    most: f64,
    accountant: &dyn Accountant,
    ask: impl Fn(T) -> Result<Bound, Unaccountable>,
) -> Result<Vec<Point<T>>, Unaccountable> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.dedup();
    let (mut bounds, mut answered, mut refusal) = (Vec::with_capacity(places.len()), false, None);
    for place in &places {
        bounds.push(match ask(*place) {
            Err(unknown @ Unaccountable::Uncertified { .. }) => {
                refusal = Some(unknown);
                Bound::new(0.0, most, most, accountant.name())?
            }
            answer => {
                answered = true;
                answer?
            }
        });
    }
    if let (false, Some(refusal)) = (answered, refusal) {
        return Err(refusal);
    }
    let bounds = falling(&bounds)?;
    Ok(places.into_iter().zip(bounds).map(|(at, bound)| Point { at, bound }).collect())
}

/// What these bounds say together when the quantities they are for do not rise along the list.
pub(crate) fn falling(bounds: &[Bound]) -> Result<Vec<Bound>, Disordered> {
    let mut joined = Vec::with_capacity(bounds.len());
    let mut before: Option<Bound> = None;
    for bound in bounds {
        // At most what any earlier one is at most.
        let here = match before {
            Some(known) => bound.intersect(&Bound::new(0.0, known.upper(), known.upper(), known.accountant())?)?,
            None => *bound,
        };
        before = Some(here);
        joined.push(here);
    }
    let mut least = 0.0_f64;
    for bound in joined.iter_mut().rev() {
        // At least what any later one is at least.
        least = least.max(bound.lower());
        *bound = Bound::new(least, bound.estimate().max(least), bound.upper(), bound.accountant())?;
    }
    Ok(joined)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bound(lower: f64, upper: f64) -> Bound {
        Bound::new(lower, upper, upper, "x").unwrap()
    }

    #[test]
    fn what_falls_is_bounded_by_its_neighbours() {
        let joined = falling(&[bound(0.0, 5.0), bound(2.0, 9.0), bound(3.0, 4.0), bound(0.0, 4.5)]).unwrap();
        let ends: Vec<(f64, f64)> = joined.iter().map(|bound| (bound.lower(), bound.upper())).collect();
        assert_eq!(ends, [(3.0, 5.0), (3.0, 5.0), (3.0, 4.0), (0.0, 4.0)]);
        assert!(falling(&[bound(0.0, 1.0), bound(2.0, 3.0)]).is_err(), "a quantity that rises cannot fall");
    }

    #[test]
    fn the_usual_places_are_all_valid() {
        assert_eq!((usual_epsilons().len(), usual_deltas().len()), (25, 12));
        assert!(usual_epsilons().is_sorted() && usual_deltas().is_sorted());
    }
}
