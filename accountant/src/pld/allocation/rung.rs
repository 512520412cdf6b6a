//! Masses on one lattice, and the ways to take them to a coarser one that err to either side.

use super::product::product;
use crate::pld::lattice::Side;

/// Mass that was dropped, and the mean of the sum there (times the mass).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Lost {
    pub(super) mass: f64,
    pub(super) moment: f64,
}

/// Masses at the points (first + k) 2^exponent for the exponent of the rung.
///
/// On the lower side a mass stands for a cell: it sits at its mean, which lies `moments[k] / masses[k]` steps above the
/// point. On the upper side it sits at the point, and there are no moments.
#[derive(Debug, Clone, Default)]
pub(super) struct Rung {
    pub(super) first: i64,
    pub(super) masses: Vec<f64>,
    pub(super) moments: Vec<f64>,
}

impl Rung {
    /// Adds the masses of another rung of the same step.
    pub(super) fn add(&mut self, other: &Self) {
        if other.masses.is_empty() {
            return;
        }
        if self.masses.is_empty() {
            self.clone_from(other);
            return;
        }
        let first = self.first.min(other.first);
        let end = (self.first + self.masses.len() as i64).max(other.first + other.masses.len() as i64);
        let length = (end - first) as usize;
        let (own, shift) = ((self.first - first) as usize, (other.first - first) as usize);
        for (to, from) in [(&mut self.masses, &other.masses), (&mut self.moments, &other.moments)] {
            if from.is_empty() {
                continue;
            }
            to.splice(0..0, std::iter::repeat_n(0.0, own));
            to.resize(length, 0.0);
            to.iter_mut().skip(shift).zip(from).for_each(|(sum, x)| *sum += x);
        }
        self.first = first;
    }

    /// The same law on points twice as far apart.
    ///
    /// Upper: what sits halfway goes to both neighbours by halves, a spread. Lower: a cell is joined with the next, and
    /// its mean is theirs, a contraction. Both keep mass and mean exactly.
    pub(super) fn coarsened(&self, side: Side) -> Self {
        if self.masses.is_empty() {
            return Self::default();
        }
        let first = self.first.div_euclid(2);
        let length = self.masses.len() / 2 + 2;
        let (mut masses, mut moments) = (vec![0.0; length], Vec::new());
        let start = self.first.rem_euclid(2) as usize;
        match side {
            Side::Upper => {
                for (k, mass) in (start..).zip(&self.masses) {
                    // k / 2 and, for odd k, the next one: (k + 1) / 2 in both cases.
                    for to in [k / 2, k.div_ceil(2)] {
                        if let Some(sum) = masses.get_mut(to) {
                            *sum += 0.5 * mass;
                        }
                    }
                }
            }
            Side::Lower => {
                moments = vec![0.0; length];
                for ((k, mass), moment) in (start..).zip(&self.masses).zip(&self.moments) {
                    if let (Some(sum), Some(mean)) = (masses.get_mut(k / 2), moments.get_mut(k / 2)) {
                        *sum += mass;
                        *mean += 0.5 * (moment + if k % 2 == 1 { *mass } else { 0.0 });
                    }
                }
            }
        }
        Self { first, masses, moments }
    }

    /// Takes off the points from this one on.
    pub(super) fn split_off(&mut self, point: i64) -> Self {
        let at = (point - self.first).clamp(0, self.masses.len() as i64) as usize;
        let moments = if self.moments.is_empty() { Vec::new() } else { self.moments.split_off(at) };
        Self { first: self.first + at as i64, masses: self.masses.split_off(at), moments }
    }

    /// This law, every mass doubled.
    pub(super) fn doubled(&self) -> Self {
        let double = |values: &[f64]| values.iter().map(|x| 2.0 * x).collect();
        Self { first: self.first, masses: double(&self.masses), moments: double(&self.moments) }
    }

    /// The convolution with another law on the same step.
    pub(super) fn convolved(&self, other: &Self) -> Self {
        let masses = product(&self.masses, &other.masses);
        let mut moments = product(&self.moments, &other.masses);
        moments.iter_mut().zip(product(&self.masses, &other.moments)).for_each(|(sum, more)| *sum += more);
        Self { first: self.first + other.first, masses, moments }
    }

    /// Drops cheap points at both ends, each end as long as the costs add up to at most `budget`.
    pub(super) fn trim(&mut self, budget: f64, cost: impl Fn(i64, f64) -> f64) -> Lost {
        let mut lost = Lost::default();
        let cheap = |spent: &mut f64, k: usize, mass: f64| {
            *spent += cost(self.first + k as i64, mass);
            *spent <= budget
        };
        let points = || self.masses.iter().enumerate();
        let mut spent = 0.0;
        let low = points().take_while(|(k, mass)| cheap(&mut spent, *k, **mass)).count();
        spent = 0.0;
        let high = points().rev().take_while(|(k, mass)| cheap(&mut spent, *k, **mass)).count();
        let keep = low..self.masses.len().saturating_sub(high).max(low);
        let mean = |k: usize| self.moments.get(k).copied().unwrap_or(0.0);
        for (k, mass) in self.masses.iter().enumerate().filter(|(k, _)| !keep.contains(k)) {
            lost.mass += mass;
            lost.moment += mass * (self.first + k as i64) as f64 + mean(k);
        }
        self.masses = self.masses.get(keep.clone()).unwrap_or_default().to_vec();
        self.moments = self.moments.get(keep).unwrap_or_default().to_vec();
        self.first += low as i64;
        lost
    }
}
