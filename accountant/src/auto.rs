//! The default accountant: the tightest one that can answer.

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::Analytic;
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::rdp::Rdp;
use crate::relation::Relation;
use crate::terms::Terms;

const NAME: &str = "auto";

/// The closed form where there is one, Renyi differential privacy elsewhere.
///
/// [`Bound::accountant`] says which of them answered.
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

    fn choose(self, event: &Event) -> Result<Box<dyn Accountant>, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        Ok(if terms.sampled.is_empty() && terms.others.is_empty() {
            Box::new(Analytic::new(self.relation))
        } else {
            Box::new(Rdp::new(self.relation))
        })
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
        self.choose(event)?.epsilon(event, delta)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        self.choose(event)?.delta(event, epsilon)
    }
}
