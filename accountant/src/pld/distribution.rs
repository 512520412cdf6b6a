//! Privacy loss distributions to keep in a file, compose and ask again.

use serde::{Deserialize, Serialize};

use super::grid;
use super::lattice::{Points, Side};
use super::law::{Atom, Base, Law};
use super::releases::Way;
use super::sketch::Aim;
use super::{EFFORT, OUT_OF_REACH, Plan, answer};
use crate::accountant::Unaccountable;
use crate::bound::Bound;
use crate::parameters::{Delta, Epsilon};
use crate::parts::CountOverflow;
use crate::relation::Relation;

/// The version of the file format.
const VERSION: u32 = 1;

/// The privacy loss of a composition under one neighbouring relation, bounded from both sides.
///
/// It holds, for each direction, one distribution from above and one from below for each distinct release, with its count;
/// they are composed when a question is asked. Composing two of them is therefore exact, and distributions on different
/// lattices are brought to one in the safe direction then. Read from a file it is checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct PrivacyLossDistribution {
    relation: Relation,
    ways: Vec<Both>,
}

/// Both sides of one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    upper: Vec<Piece>,
    lower: Vec<Piece>,
}

/// One release, so many times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    count: u64,
    step: f64,
    offset: f64,
    points: Vec<i64>,
    masses: Vec<f64>,
    infinite: f64,
    doubt: f64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    relation: Relation,
    ways: Vec<Both>,
}

/// A file that holds no privacy loss distribution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no valid privacy loss distribution: {0}")]
pub struct Malformed(&'static str);

/// Distributions under different neighbouring relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a distribution under {left} cannot be composed with one under {right}: compute both under the same relation")]
pub struct Incompatible {
    /// The relation of the one.
    pub left: Relation,
    /// The relation of the other.
    pub right: Relation,
}

impl Piece {
    fn new((points, count): (Points, u64)) -> Self {
        let (at, masses): (Vec<i64>, Vec<f64>) =
            points.at.into_iter().zip(points.mass).filter(|(_, mass)| *mass > 0.0).unzip();
        let Points { step, offset, infinite, doubt, .. } = points;
        Self { count, step, offset, points: at, masses, infinite, doubt }
    }

    /// The piece as a law of atoms.
    fn law(&self) -> Law {
        let atom = |(k, mass): (&i64, &f64)| {
            let (ln_p, loss) = (mass.ln(), self.step * *k as f64 + self.offset);
            Atom { ln_p, ln_q: ln_p - loss, loss }
        };
        let mut atoms: Vec<Atom> = self.points.iter().zip(&self.masses).map(atom).collect();
        if self.infinite > 0.0 {
            atoms.push(Atom::new(self.infinite.ln(), f64::NEG_INFINITY));
        }
        Law { doubt: self.doubt, ..Law::of(Base::Atoms(atoms)) }
    }

    fn check(&self, side: Side) -> Result<(), Malformed> {
        let sound = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(Malformed(what)) };
        sound(self.count > 0, "a count of 0")?;
        sound(self.step.is_finite() && self.step > 0.0, "a step that is no positive number")?;
        sound(self.offset.is_finite(), "an offset that is no number")?;
        sound(self.doubt.is_finite() && self.doubt >= 0.0, "a doubt that is no number >= 0")?;
        sound(self.points.len() == self.masses.len(), "points and masses of different lengths")?;
        sound(self.points.windows(2).all(|pair| pair[0] < pair[1]), "points that do not ascend")?;
        sound(self.points.iter().all(|k| k.unsigned_abs() < 1 << 48), "a point beyond 2^48")?;
        sound(self.masses.iter().all(|mass| *mass > 0.0 && mass.is_finite()), "a mass that is no positive number")?;
        sound((0.0..=1.0).contains(&self.infinite), "a mass at infinity outside of [0, 1]")?;
        let total = self.masses.iter().sum::<f64>() + self.infinite;
        sound(total <= 1.0 + 1e-6, "masses that sum to more than 1")?;
        sound(side == Side::Lower || total >= 1.0 - 1e-9, "an upper side that has lost mass")
    }
}

impl PrivacyLossDistribution {
    pub(super) fn of(relation: Relation, plan: &Plan, delta: f64) -> Result<Self, Unaccountable> {
        let aim = Aim::Epsilon { ln_delta: delta.ln() };
        let pieces = |laws: &[(Law, u64)], side| -> Result<Vec<Piece>, Unaccountable> {
            if laws.is_empty() {
                return Ok(Vec::new());
            }
            let (placed, _) = grid::place(laws, side, aim, EFFORT).ok_or(OUT_OF_REACH)?;
            Ok(placed.into_iter().map(Piece::new).collect())
        };
        let both = |[upper, lower]: &[Vec<(Law, u64)>; 2]| {
            Ok(Both { upper: pieces(upper, Side::Upper)?, lower: pieces(lower, Side::Lower)? })
        };
        Ok(Self { relation, ways: plan.ways.iter().map(both).collect::<Result<_, Unaccountable>>()? })
    }

    /// The neighbouring relation it is for.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// Epsilon at this delta, between two bounds.
    ///
    /// # Errors
    /// [`Unaccountable::Uncertified`] when the losses are out of the range of a lattice.
    pub fn epsilon(&self, delta: Delta) -> Result<Bound, Unaccountable> {
        let delta = delta.get();
        answer(self.plan().largest(Aim::Epsilon { ln_delta: delta.ln() }, |curve| curve.epsilon(delta))?)
    }

    /// Delta at this epsilon, between two bounds.
    ///
    /// # Errors
    /// As for [`epsilon`](Self::epsilon).
    pub fn delta(&self, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let epsilon = epsilon.get();
        answer(self.plan().largest(Aim::Delta { epsilon }, |curve| curve.delta(epsilon))?)
    }

    /// Both, one after the other.
    ///
    /// # Errors
    /// [`Incompatible`] when their neighbouring relations differ.
    pub fn compose(&self, other: &Self) -> Result<Self, Incompatible> {
        if self.relation != other.relation {
            return Err(Incompatible { left: self.relation, right: other.relation });
        }
        let join = |a: &[Piece], b: &[Piece]| a.iter().chain(b).cloned().collect();
        let ways = self.ways.iter().zip(&other.ways);
        let ways = ways.map(|(a, b)| Both { upper: join(&a.upper, &b.upper), lower: join(&a.lower, &b.lower) });
        Ok(Self { relation: self.relation, ways: ways.collect() })
    }

    /// All of it, `count` times.
    ///
    /// # Errors
    /// [`CountOverflow`] when a release would be counted beyond `u64`.
    pub fn self_compose(&self, count: u64) -> Result<Self, CountOverflow> {
        let times = |pieces: &[Piece]| -> Result<Vec<Piece>, CountOverflow> {
            let piece = |piece: &Piece| {
                Ok(Piece { count: piece.count.checked_mul(count).ok_or(CountOverflow)?, ..piece.clone() })
            };
            if count == 0 { Ok(Vec::new()) } else { pieces.iter().map(piece).collect() }
        };
        let both = |both: &Both| Ok(Both { upper: times(&both.upper)?, lower: times(&both.lower)? });
        Ok(Self { relation: self.relation, ways: self.ways.iter().map(both).collect::<Result<_, CountOverflow>>()? })
    }

    fn plan(&self) -> Plan {
        let laws = |pieces: &[Piece]| pieces.iter().map(|piece| (piece.law(), piece.count)).collect();
        Plan { ways: self.ways.iter().map(|both| [laws(&both.upper), laws(&both.lower)]).collect() }
    }
}

impl TryFrom<File> for PrivacyLossDistribution {
    type Error = Malformed;
    fn try_from(file: File) -> Result<Self, Malformed> {
        if file.version != VERSION {
            return Err(Malformed("a version other than 1"));
        }
        if file.ways.len() != Way::of(file.relation).len() {
            return Err(Malformed("a number of directions that is not that of its relation"));
        }
        for both in &file.ways {
            both.upper.iter().try_for_each(|piece| piece.check(Side::Upper))?;
            both.lower.iter().try_for_each(|piece| piece.check(Side::Lower))?;
            if both.upper.is_empty() && !both.lower.is_empty() {
                return Err(Malformed("a lower side without an upper one"));
            }
        }
        Ok(Self { relation: file.relation, ways: file.ways })
    }
}

impl From<PrivacyLossDistribution> for File {
    fn from(value: PrivacyLossDistribution) -> Self {
        Self { version: VERSION, relation: value.relation, ways: value.ways }
    }
}
