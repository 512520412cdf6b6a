//! Where a search starts: the value at which the central limit theorem meets the target. A bad guess costs time only.

use super::Range;
use super::question::Question;
use crate::accountant::Accountant;
use crate::analytic::Analytic;
use crate::event::Event;
use crate::gdp::Gdp;
use crate::parameters::{NoiseMultiplier, OutOfDomain};
use crate::relation::Relation;

/// Halvings of the range, in logarithms: a range of 1e12 ends at a relative 1e-5.
const HALVINGS: usize = 22;

/// The value in the range at which the limiting mu is that of the target; `None` where no limit is known.
pub(super) fn start(
    question: &Question<'_>,
    plan: impl Fn(f64) -> Result<Event, OutOfDomain>,
    range: Range,
) -> Option<f64> {
    let gdp = Gdp::new(question.accountant.relation());
    let most = mu(question)?;
    // Whether the plan is known to stay within the target, as far as the limit says. An overflow is too much.
    let within = |value: f64| plan(value).ok().map(|event| gdp.mu(&event).is_ok_and(|mu| mu <= most));
    // A plan without a limit theorem: no guess.
    gdp.mu(&plan(range.private()).ok()?).ok()?;
    let (mut private, mut useful) = (range.private().ln(), range.useful().ln());
    for _ in 0..HALVINGS {
        let middle = 0.5 * (private + useful);
        if within(middle.exp())? {
            private = middle;
        } else {
            useful = middle;
        }
    }
    Some(private.exp())
}

/// The mu of the Gaussian whose epsilon is the target, roughly.
fn mu(question: &Question<'_>) -> Option<f64> {
    let (mut low, mut high) = (1e-8_f64.ln(), 1e8_f64.ln());
    let analytic = Analytic::new(Relation::AddRemove);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let event = Event::gaussian(NoiseMultiplier::new((-middle).exp()).ok()?);
        if analytic.epsilon(&event, question.delta).ok()?.estimate() <= question.target {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low.exp())
}
