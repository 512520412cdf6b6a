//! Answers about a plan of which only a part is carried out: what costs no more than the whole is not known from below.

use dp_accountant::{Accountant, Bound, Delta, Epsilon, Event, Relation, Unaccountable};

/// An accountant whose lower ends are given up.
pub(super) struct Covering(pub(super) Box<dyn Accountant>);

fn from_above(bound: &Bound) -> Result<Bound, Unaccountable> {
    Ok(Bound::new(0.0, bound.estimate(), bound.upper(), bound.accountant())?)
}

impl Accountant for Covering {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn relation(&self) -> Relation {
        self.0.relation()
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        from_above(&self.0.epsilon(event, delta)?)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        from_above(&self.0.delta(event, epsilon)?)
    }
}
