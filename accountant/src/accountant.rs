//! What every accountant answers, and how it refuses.

use crate::analytic::Analytic;
use crate::auto::Auto;
use crate::bound::{Bound, Disordered};
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::parts::CountOverflow;
use crate::rdp::Rdp;
use crate::relation::Relation;

/// Turns an [`Event`] into a privacy guarantee.
pub trait Accountant: Send + Sync {
    /// The name by which [`by_name`] finds it.
    fn name(&self) -> &'static str;

    /// The neighbouring relation its answers are for.
    fn relation(&self) -> Relation;

    /// The smallest epsilon such that the event is (epsilon, delta) differentially private, between two bounds.
    ///
    /// # Errors
    /// [`Unaccountable`], with the reason, when the event has no guarantee or none that this accountant can state.
    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable>;

    /// The smallest delta such that the event is (epsilon, delta) differentially private, between two bounds.
    ///
    /// # Errors
    /// As for [`epsilon`](Self::epsilon).
    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable>;
}

/// Why there is no answer, and what to do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unaccountable {
    /// Part of the event has no privacy at all.
    #[error("the event contains a release without privacy ({reason}): no epsilon exists; take that release out")]
    NonPrivate {
        /// As the event states it.
        reason: String,
    },
    /// This accountant has no valid bound for part of the event.
    #[error("accountant {accountant} cannot account for {event}: {reason}")]
    Unsupported {
        /// Who refuses.
        accountant: &'static str,
        /// The part of the event.
        event: String,
        /// Why, and the way out.
        reason: String,
    },
    /// This accountant's bound for part of the event does not hold under this relation, though it does under others.
    #[error("accountant {accountant} cannot account for {event} under {relation} neighbours: {reason}")]
    Relation {
        /// Who refuses.
        accountant: &'static str,
        /// The relation that was asked for.
        relation: Relation,
        /// The part of the event.
        event: String,
        /// Why, and the way out.
        reason: String,
    },
    /// Too many repetitions to count.
    #[error(transparent)]
    Count(#[from] CountOverflow),
    /// The noise is so small, or so often repeated, that the numbers exceed the range of `f64`.
    #[error("accountant {accountant}: {quantity} is beyond the largest floating-point number; raise the noise")]
    Overflow {
        /// Who refuses.
        accountant: &'static str,
        /// What overflowed.
        quantity: &'static str,
    },
    /// The accountant contradicts itself. A defect of this crate: never a property of the event.
    #[error("the accountant contradicts itself, please report this: {0}")]
    Contradiction(#[from] Disordered),
}

/// The names [`by_name`] knows.
pub const NAMES: [&str; 3] = ["auto", "analytic", "rdp"];

/// A name that is no accountant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("accountant {name:?}: allowed is one of {}", NAMES.join(", "))]
pub struct UnknownAccountant {
    /// What was asked for.
    pub name: String,
}

/// The accountant of this name, for this neighbouring relation.
///
/// # Errors
/// [`UnknownAccountant`], listing [`NAMES`].
pub fn by_name(name: &str, relation: Relation) -> Result<Box<dyn Accountant>, UnknownAccountant> {
    match name {
        "auto" => Ok(Box::new(Auto::new(relation))),
        "analytic" => Ok(Box::new(Analytic::new(relation))),
        "rdp" => Ok(Box::new(Rdp::new(relation))),
        _ => Err(UnknownAccountant { name: name.to_owned() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_the_accountant_that_bears_it() {
        for name in NAMES {
            for relation in Relation::ALL {
                let accountant = by_name(name, relation).unwrap();
                assert_eq!((accountant.name(), accountant.relation()), (name, relation));
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = by_name("magic", Relation::AddRemove).err().unwrap();
        assert_eq!(error.to_string(), r#"accountant "magic": allowed is one of auto, analytic, rdp"#);
    }
}
