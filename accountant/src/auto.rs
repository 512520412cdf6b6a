//! The default: the tightest answer there is.

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::Analytic;
use crate::bound::Bound;
use crate::event::Event;
use crate::moments::Moments;
use crate::parameters::{Delta, Epsilon};
use crate::pld::Pld;
use crate::rdp::Rdp;
use crate::relation::Relation;

const NAME: &str = "auto";

/// An interval narrower than this times max(1, epsilon), or than this times delta, ends the search for a better one.
const NARROW: f64 = 1e-6;

/// Asks one accountant after the other until an answer is narrow: [`Analytic`] where it has a closed form, then
/// [`Moments`], [`Pld`] and [`Rdp`].
///
/// Answers that are not narrow are intersected: each holds, so the better end of each holds. [`Bound::accountant`] says
/// whose `upper` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auto {
    relation: Relation,
}

impl Auto {
    /// The default accountant for this neighbouring relation.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation }
    }

    fn best(
        self,
        ask: impl Fn(&dyn Accountant) -> Result<Bound, Unaccountable>,
        narrow: impl Fn(&Bound) -> bool,
    ) -> Result<Bound, Unaccountable> {
        let (analytic, moments) = (Analytic::new(self.relation), Moments::new(self.relation));
        let (pld, rdp) = (Pld::new(self.relation), Rdp::new(self.relation));
        let engines: [&dyn Accountant; 4] = [&analytic, &moments, &pld, &rdp];
        let (mut best, mut refusals): (Option<Bound>, _) = (None, Vec::new());
        for engine in engines {
            match ask(engine) {
                Ok(bound) => best = Some(best.map_or(Ok(bound), |known| known.intersect(&bound))?),
                Err(refusal @ (Unaccountable::Unsupported { .. } | Unaccountable::Uncertified { .. })) => {
                    refusals.push(refusal);
                }
                // Another engine may have the range that this one lacks.
                Err(refusal @ Unaccountable::Overflow { .. }) => refusals.push(refusal),
                // No engine can change these: no privacy, no count, a defect.
                Err(reason) => return Err(reason),
            }
            if best.as_ref().is_some_and(&narrow) {
                break;
            }
        }
        best.ok_or_else(|| refused(&refusals))
    }
}

/// What the most general two engines say, each in its own words.
fn refused(refusals: &[Unaccountable]) -> Unaccountable {
    match refusals {
        [.., Unaccountable::Unsupported { event, reason: first, .. }, Unaccountable::Unsupported { reason, .. }]
            if first != reason =>
        {
            Unaccountable::Unsupported {
                accountant: NAME,
                event: event.clone(),
                reason: format!("pld: {first}; rdp: {reason}"),
            }
        }
        [.., last] => last.clone(),
        [] => Unaccountable::Uncertified { accountant: NAME, reason: "no accountant was asked" },
    }
}

impl Accountant for Auto {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        // An infinite upper end says nothing, and is no more than its own share.
        let narrow = |bound: &Bound| {
            bound.upper().is_finite() && bound.upper() - bound.lower() <= NARROW * bound.upper().max(1.0)
        };
        self.best(|engine| engine.epsilon(event, delta), narrow)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        // A delta below all ordinary numbers is known to be one.
        let narrow = |bound: &Bound| bound.upper() - bound.lower() <= NARROW * bound.upper().max(1e-290);
        self.best(|engine| engine.delta(event, epsilon), narrow)
    }
}
