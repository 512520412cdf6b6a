//! The plan: everything the guarantee depends on, and the cost that follows from it.
//!
//! A [`Draft`] is a plan without its noise. It becomes a [`Plan`] with a noise multiplier given or calibrated. The plan makes
//! the sampler, the clipping rule and the mechanism that a trainer uses, so that what is accounted and what is done cannot
//! differ.

mod draft;
mod factors;
mod past;
mod places;

pub use draft::Draft;
pub use factors::{Factors, Schedules, Stretch};
pub use past::{Others, Past};
pub(crate) use places::stated;

use crate::clip::{Clip, ClipNorm};
use crate::noise::{AdaptiveGaussian, Banded, Gaussian, Mechanism, NoiseRule, Release, Tree};
use crate::sample::{Cyclic, Disjoint, Poisson, Sampling};
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{Bound, Event, NoiseMultiplier, calibrate};
use serde::{Deserialize, Serialize};

/// What one unit of privacy is: whose presence the guarantee hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One record of the data set. A person with several records has several units.
    #[default]
    Record,
    /// A client: a node of a distributed run with all its data. The records of a plan are then clients, its clip norm is that of what a
    /// client sends in a round, and its batches are those who take part.
    Client,
}

impl Unit {
    /// What one unit is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Client => "client",
        }
    }
}

/// Everything the guarantee depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Plan {
    #[serde(flatten)]
    draft: Draft,
    noise_multiplier: NoiseMultiplier,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(flatten)]
    draft: std::collections::BTreeMap<String, serde_json::Value>,
    noise_multiplier: NoiseMultiplier,
}

impl TryFrom<Stored> for Plan {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let draft = serde_json::Value::Object(stored.draft.into_iter().collect());
        let draft: Draft = serde_json::from_value(draft)
            .map_err(|error| Error::value("plan", error, "the fields of a plan as this version writes them"))?;
        draft.with_noise(stored.noise_multiplier)
    }
}

impl Plan {
    /// The plan's terms, its noise apart.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Noise standard deviation over clip norm, where the noise schedule has the factor 1; of sum and count together under adaptive
    /// clipping. Under tree noise that of a node of the tree, under banded noise that before the matrix and over its column norm
    /// too.
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// The probability with which a record is in a batch, or under banded noise in that of its group: see
    /// [`NoiseRule::sampling_rate`].
    pub fn sampling_rate(&self) -> Option<f64> {
        self.draft.noise.sampling_rate(self.draft.records, self.draft.expected_batch)
    }

    /// What sums are divided by: the mean size of batches, a public constant. It is the expected batch, and under tree noise the
    /// number of records over the whole number of batches in a pass.
    pub fn mean_batch(&self) -> f64 {
        self.draft.noise.mean_batch(self.draft.records, self.draft.expected_batch)
    }

    /// What `step`, counted from 0, costs.
    ///
    /// # Errors
    /// Under correlated noise, where steps cost something together only: see [`Plan::event_of`].
    pub fn step_event(&self, step: u32) -> Result<Event> {
        if self.draft.noise != NoiseRule::Independent {
            let reason = format!(
                "a step has no cost of its own under {} noise; ask for that of the first steps",
                self.draft.noise.name()
            );
            return Err(Error::Refused { reason });
        }
        let events = self.draft.events(self.noise_multiplier)?;
        let of_step = events.into_iter().take_while(|(start, _)| *start <= u64::from(step)).last();
        Ok(of_step.map_or_else(Event::nothing, |(_, event)| event))
    }

    /// What the model costs after the first `steps` steps, stretch by stretch in their order, after what the model they start from has
    /// cost. Steps beyond those asked for are as the last of them.
    ///
    /// # Errors
    /// Never for a plan that was made by a draft: its rate and noise were checked.
    pub fn event_of(&self, steps: u32) -> Result<Event> {
        Ok(self.draft.past.and(self.steps_event(steps)?))
    }

    /// What the first `steps` steps alone cost.
    ///
    /// # Errors
    /// As [`Plan::event_of`].
    pub fn steps_event(&self, steps: u32) -> Result<Event> {
        self.draft.cost(self.noise_multiplier, u64::from(steps))
    }

    /// What the whole run costs, known before it starts (law 1: the ledger says the same after it).
    ///
    /// # Errors
    /// As [`Plan::affordable_steps`].
    pub fn event(&self) -> Result<Event> {
        self.event_of(self.affordable_steps()?)
    }

    /// The steps that can be taken: those asked for, or as many of the first of them as the budget allows, whichever is less.
    ///
    /// # Errors
    /// When the accountant refuses the event, or not one step fits the budget.
    pub fn affordable_steps(&self) -> Result<u32> {
        let steps = self.draft.steps;
        let Some(budget) = self.draft.budget else { return Ok(steps) };
        self.draft.check_past(budget)?;
        let cost = |n| self.draft.in_all(self.draft.cost_or_reason(self.noise_multiplier, n));
        let accountant = self.draft.accountant()?;
        let all = accountant.epsilon(&cost(u64::from(steps)), self.draft.delta)?;
        if all.upper() <= budget.get() {
            return Ok(steps);
        }
        // A longer prefix holds a shorter one, so its cost is not lower, whatever the noise of its steps.
        let most = calibrate::steps(accountant.as_ref(), cost, budget, self.draft.delta)?;
        // All of them do not fit, whatever another answer to the same question was rounded to.
        match u32::try_from(most.value).unwrap_or(u32::MAX).min(steps.saturating_sub(1)) {
            0 => Err(Error::Refused { reason: format!("not one step fits the budget, epsilon {}", budget.get()) }),
            most => Ok(most),
        }
    }

    /// The epsilon of `event` at the plan's delta, as the plan's accountant states it.
    ///
    /// Nothing is stated from below where a part of the event is a tree or banded noise, be it of this run or of one before it:
    /// the places of records are drawn in secret, and the accountant's lower bound is of known ones.
    ///
    /// # Errors
    /// When the accountant refuses the event.
    pub fn epsilon(&self, event: &Event) -> Result<Bound> {
        stated(event, self.draft.accountant()?.epsilon(event, self.draft.delta)?)
    }

    /// The epsilon that all models sharing the budget have together, if this one has cost `event`.
    ///
    /// # Errors
    /// When the accountant refuses what they cost.
    pub fn joint_epsilon(&self, event: &Event) -> Result<Bound> {
        self.epsilon(&self.draft.past.together(event.clone()))
    }

    /// The sampler of the plan, about to draw the batch of `step`.
    ///
    /// # Errors
    /// As [`Plan::event_of`].
    pub fn sampler(&self, key: &Key, step: u32) -> Result<Box<dyn Sampling>> {
        let Draft { records, expected_batch, .. } = self.draft;
        let (rate, key) = (self.draft.poisson_rate()?, key.clone());
        Ok(match self.draft.noise {
            NoiseRule::Independent => Box::new(Poisson::new(records, rate, key, step)),
            NoiseRule::Tree => {
                Box::new(Disjoint::new(records, NoiseRule::tree_steps(records, expected_batch), key, step))
            }
            NoiseRule::Banded { bands } => Box::new(Cyclic::new(records, rate, bands, key, step)),
        })
    }

    /// The clip norm of the first step.
    ///
    /// # Errors
    /// Never for a plan that was made by a draft: its clip norms were checked.
    pub fn first_clip_norm(&self) -> Result<ClipNorm> {
        self.scheduled_clip_norm(0)
    }

    /// The clip norm of `step`, after a step with the clip norm `now` that made this release.
    ///
    /// # Errors
    /// As [`Plan::first_clip_norm`].
    pub fn clip_norm_after(&self, now: ClipNorm, release: &Release, step: u32) -> Result<ClipNorm> {
        match (self.draft.clipping.adaptive(), release.within()) {
            (Some(rule), Some(within)) => rule.next(self.draft.clip_norm, now, within),
            _ => self.scheduled_clip_norm(step),
        }
    }

    pub(crate) fn scheduled_clip_norm(&self, step: u32) -> Result<ClipNorm> {
        ClipNorm::new(self.draft.clip_norm.get() * self.draft.schedules.clip.at(step, self.draft.steps))
    }

    /// The clipping rule of the plan at this clip norm, for a model with these parameters, by name.
    pub fn clip(&self, clip_norm: ClipNorm, parameters: &[String]) -> Box<dyn Clip> {
        self.draft.clipping.build(clip_norm, parameters)
    }

    /// The mechanism that makes the release of `step`.
    ///
    /// # Errors
    /// Never for a plan that was made by a draft: its batch and noise were checked.
    pub fn mechanism(&self, key: &Key, step: u32) -> Result<Box<dyn Mechanism>> {
        let factor = self.draft.schedules.noise.at(step, self.draft.steps);
        let z = NoiseMultiplier::new(self.noise_multiplier.get() * factor)?;
        let Draft { records, expected_batch, clip_norm, noise, .. } = self.draft;
        let (batch, key) = (self.mean_batch(), key.clone());
        Ok(match (noise, self.draft.clipping.adaptive()) {
            (NoiseRule::Independent, Some(rule)) => Box::new(AdaptiveGaussian::new(rule, z, batch, key, step)?),
            (NoiseRule::Independent, None) => Box::new(Gaussian::new(z, batch, key, step)?),
            (NoiseRule::Tree, _) => {
                let steps = NoiseRule::tree_steps(records, expected_batch);
                Box::new(Tree::new(z, clip_norm, steps, batch, key, step)?)
            }
            (NoiseRule::Banded { bands }, _) => Box::new(Banded::new(z, clip_norm, bands, batch, key, step)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipRule;
    use dp_accountant::{Delta, Epsilon};

    fn draft() -> Draft {
        Draft::new(1000, 100, 50, ClipNorm::new(1.0).unwrap(), Delta::new(1e-5).unwrap())
    }

    #[test]
    fn calibration_meets_the_budget_and_barely() {
        for epsilon in [0.3, 1.0, 3.0, 8.0] {
            let plan = draft().calibrated(Epsilon::new(epsilon).unwrap()).unwrap();
            let upper = plan.epsilon(&plan.event().unwrap()).unwrap().upper();
            assert!(upper <= epsilon && upper > 0.999 * epsilon, "{upper} for {epsilon}");
            assert_eq!(plan.affordable_steps().unwrap(), 50);
        }
    }

    #[test]
    fn a_budget_stops_before_the_step_that_would_exceed_it() {
        let draft = Draft { budget: Some(Epsilon::new(2.0).unwrap()), steps: 10_000, ..draft() };
        let plan = draft.with_noise(NoiseMultiplier::new(1.5).unwrap()).unwrap();
        let steps = plan.affordable_steps().unwrap();
        assert!((2..10_000).contains(&steps), "{steps}");
        let upper = |n: u32| plan.epsilon(&plan.event_of(n).unwrap()).unwrap().upper();
        assert!(upper(steps) <= 2.0 && upper(steps + 1) > 2.0);
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused_with_its_value() {
        let z = NoiseMultiplier::new(1.0).unwrap();
        for (draft, message) in [
            (Draft { records: 0, ..draft() }, "records = 0"),
            (Draft { expected_batch: 0, ..draft() }, "batch size = 0"),
            (
                Draft { expected_batch: 1001, ..draft() },
                "batch size = 1001: allowed is 1 to the number of records, 1000",
            ),
            (Draft { steps: 0, ..draft() }, "steps = 0"),
            (Draft { accountant: "guess".into(), ..draft() }, "--accountant = guess"),
        ] {
            let error = draft.with_noise(z).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_plan_costs_the_same_under_every_clipping_rule() {
        let epsilon = |clipping: ClipRule| {
            let plan = Draft { clipping, ..draft() }.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap();
            plan.epsilon(&plan.event().unwrap()).unwrap()
        };
        let flat = epsilon(ClipRule::Flat);
        for rule in ClipRule::ALL {
            if rule.adaptive().is_none() {
                assert_eq!(epsilon(rule), flat, "{}", rule.name());
                continue;
            }
            // Sum and count are two releases whose noise was split: together the same up to rounding.
            let off = (epsilon(rule).upper() - flat.upper()).abs();
            assert!(off <= 1e-9 * flat.upper(), "{}: {off}", rule.name());
        }
    }

    #[test]
    fn a_plan_written_without_a_rule_or_schedules_is_clipped_flat_without() {
        let plan = draft().with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        let before = text.replace(r#""noise":"independent","#, "");
        assert_ne!(text, before);
        assert_eq!(serde_json::from_str::<Plan>(&before).unwrap(), plan);
        let one = r#"[{"from":0.0,"factor":1.0}]"#;
        let before = text.replace("\"clipping\":\"flat\",", "");
        assert_ne!(text, before);
        assert_eq!(serde_json::from_str::<Plan>(&before).unwrap(), plan);
        let before = text.replace(&format!(r#""schedules":{{"noise":{one},"clip":{one}}},"#), "");
        assert_ne!(text, before);
        assert_eq!(serde_json::from_str::<Plan>(&before).unwrap(), plan);
    }

    #[test]
    fn a_stored_plan_is_checked_when_it_is_read() {
        let plan = draft().with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        for (from, to) in [
            ("\"records\":1000", "\"records\":10"),
            ("\"steps\":50", "\"steps\":0"),
            ("\"steps\":50", "\"stepz\":50"),
            ("\"flat\"", "\"round\""),
            ("\"from\":0.0", "\"from\":0.5"),
        ] {
            assert!(serde_json::from_str::<Plan>(&text.replace(from, to)).is_err(), "{to}");
        }
    }
}
