//! The guarantee side by side with two others that the same releases have: against an adversary who knows the batches, and for
//! people with several records.

use super::Interval;
use crate::plan::{Plan, Unit, stated};
use dp_accountant::{Accountant, Bound, Event, SamplingRate, group};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// Who is protected from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// One record, from whoever does not know the batches: the guarantee that is stated.
    Stated,
    /// One record, from whoever knows which records every batch held.
    BatchesKnown,
    /// All records of a person, from whoever does not know the batches.
    Group,
}

/// An epsilon of the releases of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guarantee {
    /// Who is protected from whom.
    pub protection: Protection,
    /// What a unit is.
    #[serde(default)]
    pub unit: Unit,
    /// How many records, or clients, are protected together.
    pub records: NonZeroU64,
    /// The epsilon, at the delta of the run. None if no finite one is known.
    pub epsilon: Option<Interval>,
    /// Why there is none.
    pub not_available: Option<String>,
    /// The accountant that answered.
    pub accountant: Option<String>,
    /// How the releases were put to the accountant.
    pub route: Option<Route>,
    /// What it says, in a sentence.
    pub meaning: String,
}

/// How releases were put to the accountant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// As they were, or in the exact form they have for what is protected.
    Exact,
    /// By the group lemma from the epsilon of one record at a smaller delta. Much larger than the truth, as a rule.
    GroupLemma,
}

/// Records of one person for which a guarantee is given.
const GROUPS: [NonZeroU64; 2] = [NonZeroU64::MIN.saturating_add(1), NonZeroU64::MIN.saturating_add(9)];

/// The three guarantees of `event`, what was released under `plan`: as stated, with the batches known, and for groups of 2 and of
/// 10 records. One that has no answer says why. `of_one` is what the plan states of the event ([`Plan::epsilon`]). Where nodes
/// release by themselves (`apart`), the records of a person may be at different ones.
///
/// # Errors
/// When the plan's accountant does not exist.
pub fn guarantees(plan: &Plan, event: &Event, of_one: Bound, apart: bool) -> crate::Result<Vec<Guarantee>> {
    let stated = Guarantee::of_group(plan.draft().unit, NonZeroU64::MIN, finite(of_one));
    let mut rows = vec![stated, batches_known(plan, event)?];
    if apart && plan.draft().unit == Unit::Record {
        rows[0].meaning = "Protects each record from whoever sees what the nodes release and knows all other records, the plan and the \
                           program, but not which records the batches held."
            .into();
    }
    for size in GROUPS {
        rows.push(if apart { group_apart(plan, event, size)? } else { group_of(plan, event, size)? });
    }
    Ok(rows)
}

/// The guarantee of `event` for all the records of a person who has at most `size`, wherever they are among nodes that release by
/// themselves: the group lemma, which asks for nothing but the guarantee of one record. The exact forms are of records in one sum.
///
/// # Errors
/// When the plan's accountant does not exist.
pub fn group_apart(plan: &Plan, event: &Event, size: NonZeroU64) -> crate::Result<Guarantee> {
    let answer = match group::by_lemma(plan.draft().accountant()?.as_ref(), event, size, plan.draft().delta) {
        Ok(bound) if bound.upper().is_finite() => {
            stated(event, bound).map(|bound| (bound, Route::GroupLemma)).map_err(|error| error.to_string())
        }
        Ok(_) => Err("the group lemma has no finite epsilon at this delta".into()),
        Err(lemma) => Err(lemma.to_string()),
    };
    Ok(Guarantee::of_group(plan.draft().unit, size, answer))
}

/// The guarantee of `event` for all the records of a person who has at most `size`: one record is the stated one.
///
/// [`group::event`] gives what is released the form that it has for a group, and the plan's accountant answers. Where no such form
/// is known, or the accountant does not take it, the group lemma answers ([`group::by_lemma`]).
///
/// # Errors
/// When the plan's accountant does not exist.
pub fn group_of(plan: &Plan, event: &Event, size: NonZeroU64) -> crate::Result<Guarantee> {
    let accountant = plan.draft().accountant()?;
    let exact = group::event(event, plan.draft().relation, size)
        .map_err(|reason| reason.to_string())
        .and_then(|event| ask(accountant.as_ref(), &event, plan));
    let answer = match exact {
        Err(reason) if size > NonZeroU64::MIN => {
            match group::by_lemma(accountant.as_ref(), event, size, plan.draft().delta) {
                Ok(bound) if bound.upper().is_finite() => Ok((bound, Route::GroupLemma)),
                Ok(_) => Err(format!("{reason}; and the group lemma has no finite epsilon at this delta")),
                Err(lemma) => Err(format!("{reason}; {lemma}")),
            }
        }
        exact => exact,
    };
    let answer = answer
        .and_then(|(bound, route)| stated(event, bound).map(|bound| (bound, route)).map_err(|error| error.to_string()));
    Ok(Guarantee::of_group(plan.draft().unit, size, answer))
}

/// The guarantee of `event` for one record against an adversary who knows which records every batch held: nothing rests on the
/// sampling, and the record may have been in all of them. Where its places are known the accountant's lower bound holds too.
///
/// # Errors
/// When the plan's accountant does not exist.
pub fn batches_known(plan: &Plan, event: &Event) -> crate::Result<Guarantee> {
    let accountant = plan.draft().accountant()?;
    let answer = without_sampling(event).and_then(|event| ask(accountant.as_ref(), &event, plan));
    let meaning = match plan.draft().unit {
        Unit::Record => {
            "Protects each record even from whoever knows which records every batch held, down to a record that was in all of them: \
             nothing rests on the sampling."
        }
        Unit::Client => {
            "Protects each client even from whoever knows which clients took part in every round, down to one that took part in all \
             of them: nothing rests on the sampling."
        }
    };
    Ok(Guarantee::new((Protection::BatchesKnown, plan.draft().unit), NonZeroU64::MIN, answer, meaning.into()))
}

type Answer = Result<(Bound, Route), String>;

impl Guarantee {
    fn of_group(unit: Unit, size: NonZeroU64, answer: Answer) -> Self {
        let meaning = match (unit, size == NonZeroU64::MIN) {
            (Unit::Record, true) => {
                "Protects each record from whoever sees the released model and knows all other records, the plan and the program, but \
                 not which records the batches held."
                    .into()
            }
            (Unit::Client, true) => {
                "Protects each client, with all its data, from whoever sees what the nodes release and knows the data of all other \
                 clients, the plan and the program."
                    .into()
            }
            (Unit::Record, false) => format!(
                "Protects all records of one person together, if nobody has more than {size}, from the same adversary as the stated \
                 guarantee."
            ),
            (Unit::Client, false) => format!(
                "Protects a person whose data are at no more than {size} clients from the same adversary as the stated guarantee."
            ),
        };
        let protection = if size == NonZeroU64::MIN { Protection::Stated } else { Protection::Group };
        Self::new((protection, unit), size, answer, meaning)
    }

    fn new((protection, unit): (Protection, Unit), records: NonZeroU64, answer: Answer, meaning: String) -> Self {
        let (bound, not_available) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            protection,
            unit,
            records,
            epsilon: bound.map(|(bound, _)| Interval::from(bound)),
            not_available,
            accountant: bound.map(|(bound, _)| bound.accountant().into()),
            route: bound.map(|(_, route)| route),
            meaning,
        }
    }

    /// What is protected, in a few words.
    pub fn name(&self) -> String {
        let unit = self.unit.name();
        match self.protection {
            Protection::Stated => format!("one {unit} (the stated guarantee)"),
            Protection::BatchesKnown => format!("one {unit}, batches known"),
            Protection::Group => format!("a person with up to {} {unit}s", self.records),
        }
    }
}

fn ask(accountant: &dyn Accountant, event: &Event, plan: &Plan) -> Answer {
    finite(accountant.epsilon(event, plan.draft().delta).map_err(|reason| reason.to_string())?)
}

fn finite(bound: Bound) -> Answer {
    if bound.upper().is_finite() {
        Ok((bound, Route::Exact))
    } else {
        Err("no finite epsilon is known at this delta".into())
    }
}

/// What was released, without the sampling of the records it was released from: the same releases from all of them.
///
/// Whoever knows a batch sees the inner release of that batch, and a record that was not in it does not matter to it; the most it
/// can cost is that of a record which was in every batch.
///
/// # Errors
/// Naming a part of which it is not known what is left of it.
fn without_sampling(event: &Event) -> Result<Event, String> {
    Ok(match event {
        Event::PoissonSampled { event, .. } => without_sampling(event)?,
        Event::Repeated { count, event } => without_sampling(event)?.repeated(*count),
        Event::Composed { events } => {
            Event::composed(events.iter().map(without_sampling).collect::<Result<Vec<_>, _>>()?)
        }
        Event::CyclicPoisson { bands, steps, noise_multiplier, .. } => Event::CyclicPoisson {
            sampling_rate: SamplingRate::new(1.0).map_err(|error| error.to_string())?,
            bands: *bands,
            steps: *steps,
            noise_multiplier: *noise_multiplier,
        },
        Event::Gaussian { .. } | Event::AdaptiveClip { .. } | Event::TreeAggregation { .. } => event.clone(),
        other => return Err(format!("it is not known what is left of {} without sampling", other.kind())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipNorm;
    use crate::plan::Draft;
    use dp_accountant::{Delta, NoiseMultiplier, NoiseScale, Relation};

    fn plan(expected_batch: usize, steps: u32, relation: Relation) -> Plan {
        let draft = Draft {
            relation,
            ..Draft::new(4, expected_batch, steps, ClipNorm::new(1.0).unwrap(), Delta::new(1e-5).unwrap())
        };
        draft.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap()
    }

    fn holds(guarantee: &Guarantee, golden: f64, width: f64) {
        let epsilon = guarantee.epsilon.unwrap();
        assert!(
            epsilon.lower <= golden * (1.0 + 1e-9) && golden <= epsilon.upper * (1.0 + 1e-9),
            "{golden} {guarantee:?}"
        );
        assert!(epsilon.upper - epsilon.lower <= width, "{guarantee:?}");
    }

    /// The golden values are roots of delta(epsilon) = 1e-5 in closed form: for known batches that of N(1, 1) against N(0, 1), for
    /// two records under rate 1/2 that of the mixture of N(0, 1), N(1, 1) and N(2, 1) with weights 1/4, 1/2 and 1/4 against N(0, 1).
    #[test]
    fn one_step_has_the_guarantees_of_its_closed_forms() {
        let plan = plan(2, 1, Relation::AddRemove);
        let event = plan.event().unwrap();
        holds(&batches_known(&plan, &event).unwrap(), 4.377_178_095_681_225, 1e-9);
        let pair = group_of(&plan, &event, GROUPS[0]).unwrap();
        holds(&pair, 7.990_131_864_631_805, 1e-2);
        assert_eq!(pair.route, Some(Route::Exact));
    }

    #[test]
    fn the_stated_guarantee_is_that_of_a_group_of_one_and_no_other_is_less() {
        for (expected_batch, steps) in [(1, 1), (1, 300), (4, 3)] {
            let plan = plan(expected_batch, steps, Relation::AddRemove);
            let event = plan.event().unwrap();
            let rows = guarantees(&plan, &event, plan.epsilon(&event).unwrap(), false).unwrap();
            assert_eq!(group_of(&plan, &event, NonZeroU64::MIN).unwrap(), rows[0]);
            let upper = |row: usize| rows[row].epsilon.unwrap().upper;
            assert!(upper(0) <= upper(1) && upper(0) < upper(2) && upper(2) < upper(3), "{rows:?}");
            assert_eq!(upper(0) == upper(1), expected_batch == 4, "a rate of 1 amplifies nothing");
        }
    }

    #[test]
    fn records_at_different_nodes_are_a_group_by_the_lemma_alone() {
        let plan = plan(1, 10, Relation::AddRemove);
        let event = plan.event().unwrap();
        let rows = |apart| guarantees(&plan, &event, plan.epsilon(&event).unwrap(), apart).unwrap();
        let (together, apart) = (rows(false), rows(true));
        let epsilons = |rows: &[Guarantee]| [0, 1].map(|row: usize| rows[row].epsilon);
        assert_eq!(epsilons(&together), epsilons(&apart));
        assert!(apart[0].meaning.contains("what the nodes release"), "{:?}", apart[0]);
        assert_eq!((together[2].route, apart[2].route), (Some(Route::Exact), Some(Route::GroupLemma)));
        assert!(apart[2].epsilon.unwrap().upper >= 2.0 * apart[0].epsilon.unwrap().upper);
    }

    #[test]
    fn where_no_exact_form_is_known_the_lemma_answers_and_is_named() {
        let plan = plan(1, 10, Relation::Replace);
        let event = plan.event().unwrap();
        let pair = group_of(&plan, &event, GROUPS[0]).unwrap();
        assert_eq!((pair.route, &pair.not_available), (Some(Route::GroupLemma), &None));
        let one = group_of(&plan, &event, NonZeroU64::MIN).unwrap();
        assert!(pair.epsilon.unwrap().upper >= 2.0 * one.epsilon.unwrap().upper);
    }

    #[test]
    fn nothing_is_known_from_below_for_whoever_does_not_know_the_places() {
        use crate::noise::NoiseRule;
        use crate::plan::Past;
        let (z, draft) = (NoiseMultiplier::new(2.0).unwrap(), plan(1, 6, Relation::AddRemove).draft().clone());
        let independent = draft.clone().with_noise(z).unwrap();
        for noise in [NoiseRule::Tree, NoiseRule::Banded { bands: std::num::NonZeroU32::MIN.saturating_add(1) }] {
            let correlated = Draft { noise, ..draft.clone() }.with_noise(z).unwrap();
            let model = correlated.event().unwrap();
            let past = Past { model: model.clone(), ..Past::default() };
            let extending = Draft { past, ..draft.clone() }.with_noise(z).unwrap();
            for (plan, known) in [(&independent, true), (&correlated, false), (&extending, false)] {
                let event = plan.event().unwrap();
                let rows = guarantees(plan, &event, plan.epsilon(&event).unwrap(), false).unwrap();
                let lower = |row: usize| rows[row].epsilon.map(|epsilon| epsilon.lower > 0.0);
                assert_eq!([lower(0), lower(2), lower(3)], [Some(known); 3], "{noise:?}: {rows:?}");
                assert_eq!(lower(1), Some(true), "with the batches known: {rows:?}");
                assert_eq!(group_of(plan, &event, NonZeroU64::MIN).unwrap(), rows[0]);
            }
            // So it is for the others of a ledger, of which this plan knows the event alone.
            assert_eq!(independent.epsilon(&model).unwrap().lower(), 0.0);
        }
    }

    #[test]
    fn sampling_is_taken_off_wherever_it_is_and_nothing_is_guessed() {
        let (z, rate) = (NoiseMultiplier::new(1.0).unwrap(), SamplingRate::new(0.1).unwrap());
        let clip = Event::AdaptiveClip { noise_multiplier: z, count_noise: NoiseScale::new(5.0).unwrap() };
        let gaussian = Event::gaussian(z);
        let both = [gaussian.clone().poisson_sampled(rate), clip.clone().poisson_sampled(rate).repeated(3)];
        let known = without_sampling(&Event::composed(both).repeated(2)).unwrap();
        assert_eq!(known, Event::composed([gaussian, clip.repeated(3)]).repeated(2));

        let plan = plan(1, 1, Relation::AddRemove);
        let other = Event::laplace(z).poisson_sampled(rate);
        let refused = batches_known(&plan, &other).unwrap();
        assert!(refused.epsilon.is_none() && refused.not_available.unwrap().contains("laplace"));
    }
}
