//! Epsilon after every step of a schedule that was fixed in advance.
//!
//! What k steps release is part of what more steps release, so epsilon does not fall along a schedule. The upper bound of
//! a longer prefix therefore holds for every shorter one, and the lower bound of a shorter one for every longer one: each
//! answer is the best of both directions, and neither end ever falls. It follows, too, that where two steps have nearly
//! the same bounds the steps between them need not be asked about.
//!
//! A schedule chosen on the way, from what was released before, is no schedule: see [`filter`](crate::filter).

use std::collections::HashMap;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::curve::falling;
use crate::event::Event;
use crate::parameters::{Delta, Order};
use crate::parts::CountOverflow;
use crate::rdp::Rdp;
use crate::relation::Relation;

/// Epsilon at `delta` after each of the events; a repeated event is one of them.
///
/// The steps are halved until the ends of a stretch have uppers that differ by a relative `within` at most; inside it each
/// bound is that of the ends. 0 asks about every step; 0.01 asks at most some hundred times in all, however many steps
/// there are. Steps that the accountant cannot certify have the bounds of their neighbours.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses an event or cannot certify the whole.
pub fn epsilons(
    accountant: &dyn Accountant,
    events: impl IntoIterator<Item = Event>,
    delta: Delta,
    within: f64,
) -> Result<Vec<Bound>, Unaccountable> {
    let events: Vec<Event> = events.into_iter().collect();
    let Some(last) = events.len().checked_sub(1) else { return Ok(Vec::new()) };
    let prefixes = Prefixes::new(&events)?;
    let ask = |step: usize| accountant.epsilon(&prefixes.event(step), delta);
    let unknown = Bound::new(0.0, f64::INFINITY, f64::INFINITY, accountant.name())?;
    let mut bounds = vec![unknown; events.len()];
    // The whole must be certified: nothing else would bound the last stretch.
    let whole = ask(last)?;
    set(&mut bounds, last, whole);
    let first = certified(ask(0))?.unwrap_or(unknown);
    set(&mut bounds, 0, first);
    // Stretches whose ends are known.
    let mut pending = vec![(0, last, first, whole)];
    while let Some((low, high, left, right)) = pending.pop() {
        let near = right.upper() <= left.upper() * (1.0 + within) && left.upper().is_finite();
        // Between two steps without a certificate there is hardly one with it.
        let blank = left.upper() == f64::INFINITY && right.upper() == f64::INFINITY;
        if high - low < 2 || (within > 0.0 && (near || blank)) {
            continue;
        }
        let middle = low + (high - low) / 2;
        let bound = certified(ask(middle))?.unwrap_or(unknown);
        set(&mut bounds, middle, bound);
        pending.extend([(low, middle, left, bound), (middle, high, bound, right)]);
    }
    rising(bounds)
}

fn set(bounds: &mut [Bound], step: usize, bound: Bound) {
    if let Some(place) = bounds.get_mut(step) {
        *place = bound;
    }
}

/// The bound, or nothing when it is not certified.
fn certified(answer: Result<Bound, Unaccountable>) -> Result<Option<Bound>, Unaccountable> {
    match answer {
        Err(Unaccountable::Uncertified { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

/// What these bounds say together when the quantities do not fall along the list.
fn rising(mut bounds: Vec<Bound>) -> Result<Vec<Bound>, Unaccountable> {
    bounds.reverse();
    let mut bounds = falling(&bounds)?;
    bounds.reverse();
    Ok(bounds)
}

/// The distinct leaves of a schedule and where each one happens, so that a prefix of any length is a short event.
struct Prefixes<'a> {
    /// For each leaf its steps, and its count up to and including each of them.
    leaves: Vec<(&'a Event, Vec<(usize, u64)>)>,
}

impl<'a> Prefixes<'a> {
    fn new(events: &'a [Event]) -> Result<Self, CountOverflow> {
        let mut leaves: Vec<(&Event, Vec<(usize, u64)>)> = Vec::new();
        let mut places = HashMap::new();
        for (step, event) in events.iter().enumerate() {
            for (leaf, count) in event.parts()? {
                let place = *places.entry(leaf).or_insert(leaves.len());
                match leaves.get_mut(place) {
                    None => leaves.push((leaf, vec![(step, count)])),
                    Some((_, counts)) => {
                        let before = counts.last().map_or(0, |(_, count)| *count);
                        counts.push((step, before.checked_add(count).ok_or(CountOverflow)?));
                    }
                }
            }
        }
        Ok(Self { leaves })
    }

    /// Everything up to and including this step. The order of a composition does not matter to its cost.
    fn event(&self, step: usize) -> Event {
        let counted = self.leaves.iter().filter_map(|(leaf, counts)| {
            let until = counts.partition_point(|(at, _)| *at <= step);
            let (_, count) = counts.get(until.checked_sub(1)?)?;
            Some((*leaf).clone().repeated(*count))
        });
        Event::composed(counted)
    }
}

/// ln of the orders of [`renyi`] less 1, stretch by stretch: first, step, how many.
const GRID: [(f64, f64, u32); 3] = [(-6.0, 0.1, 60), (0.0, 0.02, 250), (5.0, 0.1, 51)];

/// As [`epsilons`] with the accountant [`Rdp`], for every step and any number of different events: divergences at 361
/// fixed orders are added up step by step, each distinct event's being computed once.
///
/// The orders are not searched for. That costs less than a relative 1e-3 of epsilon for runs of hundreds of steps, up to
/// 1e-2 for few steps at a small rate, and more where epsilon is below 1e-3 or above 1e5; `lower` is 0.
///
/// # Errors
/// [`Unaccountable`] for events without a Renyi bound.
pub fn renyi(
    relation: Relation,
    events: impl IntoIterator<Item = Event>,
    delta: Delta,
) -> Result<Vec<Bound>, Unaccountable> {
    let rdp = Rdp::new(relation);
    let orders = grid();
    let mut known: HashMap<Event, Vec<f64>> = HashMap::new();
    let mut spent = vec![0.0_f64; orders.len()];
    let mut bounds = Vec::new();
    for (step, event) in events.into_iter().enumerate() {
        let costs = match known.entry(event) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let costs: Result<Vec<f64>, Unaccountable> =
                    orders.iter().map(|order| rdp.divergence(entry.key(), *order)).collect();
                entry.insert(costs?)
            }
        };
        for (total, cost) in spent.iter_mut().zip(costs.iter()) {
            *total += cost;
        }
        // One rounding for each addition.
        let rounding = 1.0 + (step as f64 + 1.0) * f64::EPSILON;
        let each = orders.iter().zip(&spent);
        let upper = each.map(|(order, total)| order.epsilon(total * rounding, delta)).fold(f64::INFINITY, f64::min);
        bounds.push(Bound::new(0.0, upper, upper, rdp.name())?);
    }
    rising(bounds)
}

/// Orders 1 + e^t: the best one is at most half a step away in t, where epsilon is nearly flat. For few steps at a small
/// rate the divergence rises steeply past it, at orders between 2 and 150: there the steps are smaller.
fn grid() -> Vec<Order> {
    let stretch = |(from, step, count): (f64, f64, u32)| (0..count).map(move |k| from + f64::from(k) * step);
    GRID.into_iter().flat_map(stretch).flat_map(|t| Order::new(1.0 + t.exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_ascends_without_a_gap() {
        let orders = grid();
        let places: Vec<f64> = orders.iter().map(|order| (order.get() - 1.0).ln()).collect();
        assert_eq!(orders.len(), 361);
        assert!(places.windows(2).all(|pair| (0.0199..0.1001).contains(&(pair[1] - pair[0]))), "{places:?}");
    }
}
