//! Balls-in-bins: one block of steps, in exactly one of which, drawn uniformly, a record takes part.
//!
//! With noise multiplier s and t steps, REMOVE compares P = (1/t) sum over i of N(e_i, s^2 I) with Q = N(0, s^2 I); ADD
//! is the same pair swapped. Under Q the Y_i = exp(x_i/s^2 - 1/(2 s^2)) are independent, log-normal, of mean 1, and
//! dP/dQ = S/t with S = Y_1 + .. + Y_t. Hence
//!
//! delta_REMOVE(eps) = E_Q (S/t - e^eps)_+   and   delta_ADD(eps) = E_Q (1 - e^eps S/t)_+.
//!
//! Both are expectations of convex functions of S. Replacing each Y, or any partial sum, by a mean-preserving spread of
//! itself can only raise them, and by a mean-preserving contraction only lower them. So the law of S is summed up by
//! squaring on a grid ([`ladder`]) to which every partial sum is taken in one of these two ways, at an error of second
//! order in the grid; the law of the loss goes to its lattice likewise ([`losses`]).
//!
//! Every mass is a sum of products of non-negative numbers. There is no subtraction and no Fourier transform, so each
//! mass, however small, is known to a *relative* error, which is added up on the way and covered at the end.

mod ladder;
mod lognormal;
mod losses;
mod plan;
mod product;
mod rung;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use super::lattice::Side;
use super::law::{Atom, Base, Law};
use super::releases::Way;
use ladder::Ladder;
use plan::Plan;

/// Relative errors of masses above this are not worth carrying on.
const MOST_ERROR: f64 = 1e-3;

/// More points than this are not kept of one law.
const MOST_POINTS: usize = 1 << 18;

/// Points to a standard deviation of the loss.
const POINTS: f64 = 500.0;

/// The law of a privacy loss under P, on equispaced losses.
#[derive(Debug, Clone, PartialEq)]
struct Lattice {
    /// Distance of neighbouring points.
    step: f64,
    /// The loss of `masses[k]` is `step * (first + k)`.
    first: i64,
    /// Masses under P.
    masses: Vec<f64>,
    /// Mass under P of an infinite loss. On the lower side mass that was dropped is simply missing.
    infinite: f64,
}

/// The law of the loss of one block; `None` as for [`Block::new`].
pub(super) fn law(noise_multiplier: f64, steps: u64, way: Way, side: Side, tail: f64) -> Option<Law> {
    let block = Block::new(noise_multiplier, steps, side, tail)?;
    let deviation = ((noise_multiplier.powi(-2)).min(30.0).exp_m1() / steps as f64).sqrt().min(1.0);
    let mut lattice = block.lattice(way, deviation / POINTS)?;
    if lattice.masses.len() > MOST_POINTS {
        let step = lattice.step * (lattice.masses.len() as f64 / MOST_POINTS as f64) * 1.01;
        lattice = block.lattice(way, step)?;
    }
    let loss = |k: usize| lattice.step * (lattice.first + k as i64) as f64;
    let atom = |(k, mass): (usize, &f64)| Atom { ln_p: mass.ln(), ln_q: mass.ln() - loss(k), loss: loss(k) };
    let mut atoms: Vec<Atom> = lattice.masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0).map(atom).collect();
    if lattice.infinite > 0.0 {
        atoms.push(Atom::new(lattice.infinite.ln(), f64::NEG_INFINITY));
    }
    Some(Law::of(Base::Atoms(atoms)))
}

/// The law of the likelihood ratio of one block, from which the losses of both directions are read.
#[derive(Debug, Clone)]
struct Block {
    sum: Ladder,
    side: Side,
    tail: f64,
}

impl Block {
    /// One block of so many steps with this noise multiplier (noise standard deviation over clip norm).
    ///
    /// `tail` is the mass that may be cut, some 1e-9 of the delta of interest. `None` where the likelihood ratio ranges too
    /// far (noise multipliers below about 0.1), or there are more than 10^9 steps.
    fn new(noise_multiplier: f64, steps: u64, side: Side, tail: f64) -> Option<Self> {
        let plan = Plan::new(noise_multiplier, steps, tail)?;
        let one = plan.one(side)?;
        let mut sum = one.clone();
        for bit in (0..steps.ilog2()).rev() {
            sum = plan.trimmed(sum.square(plan.exponent(2 * sum.count)));
            if (steps >> bit) & 1 == 1 {
                sum = plan.trimmed(sum.plus(&one, plan.exponent(sum.count + 1)));
            }
        }
        (sum.error < MOST_ERROR).then_some(Self { sum, side, tail: plan.tail })
    }

    /// The law of the privacy loss on multiples of `step`. On the upper side it dominates the exact pair of this
    /// direction; on the lower side the exact pair dominates it. Masses may add up to more than 1 by their rounding.
    ///
    /// `None` where so fine a lattice would not fit into memory.
    fn lattice(&self, direction: Way, step: f64) -> Option<Lattice> {
        match self.side {
            Side::Upper => losses::upper(&self.sum, direction, step, self.tail),
            Side::Lower => losses::lower(&self.sum, direction, step, self.tail),
        }
    }
}
