//! What every accountant answers, and how it refuses.

use crate::bound::{Bound, Disordered};
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::parts::CountOverflow;
use crate::relation::Relation;

/// Turns an [`Event`] into a privacy guarantee.
pub trait Accountant: Send + Sync {
    /// The name by which [`by_name`](crate::by_name) finds it.
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
    /// The event has an answer, but this accountant cannot certify it to a useful width. Whether it can depends on the
    /// delta or epsilon asked for.
    #[error(
        "accountant {accountant} has no certified answer to this question: {reason}; use accountant auto, which asks others, too"
    )]
    Uncertified {
        /// Who refuses.
        accountant: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The accountant contradicts itself. A defect of this crate: never a property of the event.
    #[error("the accountant contradicts itself, please report this: {0}")]
    Contradiction(#[from] Disordered),
}
