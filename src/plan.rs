//! The plan: everything the guarantee depends on, and the cost that follows from it.
//!
//! A [`Draft`] is a plan without its noise. It becomes a [`Plan`] with a noise multiplier given or calibrated. The plan makes
//! the sampler, the clipping rule and the mechanism that a trainer uses, so that what is accounted and what is done cannot
//! differ.

mod factors;
mod past;

pub use factors::{Factors, Schedules, Stretch};
pub use past::{Others, Past};

use crate::clip::{Clip, ClipNorm, ClipRule, Perturbation};
use crate::noise::{AdaptiveGaussian, Banded, Gaussian, Mechanism, NoiseRule, Release, Tree};
use crate::sample::{Cyclic, Disjoint, Poisson, Sampling};
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::calibrate::{self, Range};
use dp_accountant::{Accountant, Bound, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate, Uncalibrated};
use serde::{Deserialize, Serialize};

/// What one unit of privacy is: whose presence the guarantee hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One record of the data set. A person with several records has several units.
    #[default]
    Record,
}

/// A plan without its noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// What one unit of privacy is.
    pub unit: Unit,
    /// Which data sets are neighbours.
    pub relation: Relation,
    /// How many records there are: a public constant, declared here.
    pub records: usize,
    /// How many records a batch has on average: a public constant. Sums are divided by it, never by the realised size.
    pub expected_batch: usize,
    /// The largest norm of a per-example gradient in a sum.
    pub clip_norm: ClipNorm,
    /// Noise on every example's gradient before it is clipped, against clipping bias. The cost does not depend on it.
    pub perturbation: Option<Perturbation>,
    /// How gradients are brought below that norm. No rule costs more than another: see [`ClipRule`].
    #[serde(default)]
    pub clipping: ClipRule,
    /// How the noise of different steps goes together, and with it how batches are drawn.
    #[serde(default)]
    pub noise: NoiseRule,
    /// How noise multiplier and clip norm change over the run.
    #[serde(default)]
    pub schedules: Schedules,
    /// What was spent on the same data before.
    #[serde(default, skip_serializing_if = "Past::is_none")]
    pub past: Past,
    /// How many steps are to be taken.
    pub steps: u32,
    /// The probability with which the epsilon may fail to hold.
    pub delta: Delta,
    /// An epsilon that must not be exceeded, by all that shares it: training stops before the step that would.
    pub budget: Option<Epsilon>,
    /// The accountant that states the epsilon, by name.
    pub accountant: String,
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

impl Draft {
    /// The plan with this noise multiplier.
    ///
    /// # Errors
    /// When records, expected batch or steps are zero, when the batch is larger than the data, when no accountant has the name,
    /// or when correlated noise is asked for beside adaptive clipping or schedules, or in more bands than there are batches in the
    /// data.
    pub fn with_noise(self, noise_multiplier: NoiseMultiplier) -> Result<Plan> {
        self.check()?;
        self.cost(noise_multiplier, u64::from(self.steps))?;
        Ok(Plan { draft: self, noise_multiplier })
    }

    /// The plan with the smallest noise multiplier found whose epsilon, rounded up, does not exceed `epsilon` after all
    /// steps. The epsilon becomes the plan's budget.
    ///
    /// # Errors
    /// As [`Draft::with_noise`]; and when no noise multiplier reaches the epsilon.
    pub fn calibrated(mut self, epsilon: Epsilon) -> Result<Plan> {
        self.check()?;
        self.budget = Some(epsilon);
        self.check_past(epsilon)?;
        let (accountant, steps) = (self.accountant()?, u64::from(self.steps));
        let range = Range::new(self.most_noise(), LEAST_NOISE)?;
        let event = |z: f64| {
            // A noise in the range has events: nothing else can be wrong with it.
            NoiseMultiplier::new(z).map(|z| self.in_all(self.cost_or_reason(z, steps)))
        };
        let name = "noise multiplier";
        let calibrated = calibrate::parameter(accountant.as_ref(), name, event, range, epsilon, self.delta);
        let calibrated = calibrated.map_err(|error| match (&error, self.clipping.adaptive()) {
            (Uncalibrated::Unreachable { .. }, Some(rule)) => {
                let (limit, count) = (range.private(), rule.count_noise());
                let reason = format!(
                    "{error}; noise multipliers must stay below {limit:.4}, as the count of adaptive clipping has the noise {count} alone: \
                     raise --clipping-count-noise"
                );
                Error::Refused { reason }
            }
            _ => error.into(),
        })?;
        self.with_noise(NoiseMultiplier::new(calibrated.value)?)
    }

    /// The largest noise multiplier that calibration tries. Where a count is released too, the noise of every step must stay below
    /// twice that of the count.
    fn most_noise(&self) -> f64 {
        let largest = self.schedules.noise.starts(self.steps).map(|(_, factor)| factor).fold(0.0, f64::max);
        let limit =
            self.clipping.adaptive().map_or(MOST_NOISE, |rule| 2.0 * rule.count_noise() / largest * (1.0 - 1e-9));
        limit.min(MOST_NOISE)
    }

    /// What the first `steps` steps cost at the noise multiplier `z`.
    fn cost(&self, z: NoiseMultiplier, steps: u64) -> Result<Event> {
        match self.noise.event(z, (self.records, self.expected_batch), steps)? {
            Some(together) => Ok(together),
            None => Ok(prefix(&self.events(z)?, steps)),
        }
    }

    /// The same for who asks about many, an event without a cost where there is none.
    fn cost_or_reason(&self, z: NoiseMultiplier, steps: u64) -> Event {
        self.cost(z, steps).unwrap_or_else(|error| Event::unsupported(error.to_string()))
    }

    /// The first step of each stretch of equal noise, and what one of its steps costs at the noise multiplier `z`.
    fn events(&self, z: NoiseMultiplier) -> Result<Vec<(u64, Event)>> {
        let event = |(start, factor): (u32, f64)| {
            let z = NoiseMultiplier::new(z.get() * factor)?;
            let event = self.clipping.adaptive().map_or_else(|| Ok(Event::gaussian(z)), |rule| rule.event(z))?;
            Ok((u64::from(start), event.poisson_sampled(self.poisson_rate()?)))
        };
        self.schedules.noise.starts(self.steps).map(event).collect()
    }

    fn check(&self) -> Result<()> {
        if self.records == 0 {
            return Err(Error::value("records", 0, "at least 1"));
        }
        if self.expected_batch == 0 || self.expected_batch > self.records {
            let allowed = format!("1 to the number of records, {}", self.records);
            return Err(Error::value("batch size", self.expected_batch, allowed));
        }
        if self.steps == 0 {
            return Err(Error::value("steps", 0, "at least 1"));
        }
        self.schedules.noise.check("noise schedule", self.steps)?;
        self.schedules.clip.check("clip schedule", self.steps)?;
        if self.clipping.adaptive().is_some() && !self.schedules.clip.is_one() {
            let reason =
                "adaptive clipping moves the clip norm itself; leave the clip schedule out, or choose another rule";
            return Err(Error::Refused { reason: reason.to_string() });
        }
        self.noise.check(self.records, self.expected_batch)?;
        let changing = self.clipping.adaptive().is_some() || self.schedules != Schedules::default();
        if self.noise != NoiseRule::Independent && changing {
            let reason = format!(
                "{} noise is correlated over many steps and needs one clip norm and one noise multiplier for all of them; leave \
                 adaptive clipping and schedules out, or choose independent noise",
                self.noise.name()
            );
            return Err(Error::Refused { reason });
        }
        for (_, factor) in self.schedules.clip.starts(self.steps) {
            ClipNorm::new(self.clip_norm.get() * factor)?;
        }
        self.accountant().map(|_| ())
    }

    /// What counts against the budget, if the run itself spends `event`.
    fn in_all(&self, event: Event) -> Event {
        self.past.together(self.past.and(event))
    }

    /// Whether what was spent before leaves anything of the budget. What calibration leaves of it by rounding down is nothing: less
    /// than a thousandth would only buy noise.
    fn check_past(&self, budget: Epsilon) -> Result<()> {
        if self.past.is_none() {
            return Ok(());
        }
        let spent = self.accountant()?.epsilon(&self.in_all(Event::nothing()), self.delta)?.upper();
        if spent < 0.999 * budget.get() {
            return Ok(());
        }
        let reason = format!(
            "epsilon {spent} was spent or set aside on these data before, and the budget is {}; raise --epsilon",
            budget.get()
        );
        Err(Error::Refused { reason })
    }

    /// The rate of Poisson samples, or of those of a group; 1 where there is none.
    fn poisson_rate(&self) -> Result<SamplingRate> {
        Ok(SamplingRate::new(self.noise.sampling_rate(self.records, self.expected_batch).unwrap_or(1.0))?)
    }

    /// The accountant that states the epsilon.
    pub(crate) fn accountant(&self) -> Result<Box<dyn Accountant>> {
        dp_accountant::by_name(&self.accountant, self.relation)
            .map_err(|_| Error::value("--accountant", &self.accountant, dp_accountant::NAMES.join(", ")))
    }
}

impl Plan {
    /// The plan's terms, its noise apart.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Noise standard deviation over clip norm, where the noise schedule has the factor 1; of sum and count together under adaptive
    /// clipping.
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// The probability with which a record is in a batch, or under banded noise in that of its group: see
    /// [`NoiseRule::sampling_rate`].
    pub fn sampling_rate(&self) -> Option<f64> {
        self.draft.noise.sampling_rate(self.draft.records, self.draft.expected_batch)
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
        Ok(u32::try_from(most.value).unwrap_or(u32::MAX).min(steps))
    }

    /// The epsilon of `event` at the plan's delta, as the plan's accountant states it.
    ///
    /// Under correlated noise the accountant's lower bound is of records whose places in the passes are known. They are drawn in secret
    /// here, so that nothing is known from below.
    ///
    /// # Errors
    /// When the accountant refuses the event.
    pub fn epsilon(&self, event: &Event) -> Result<Bound> {
        let bound = self.draft.accountant()?.epsilon(event, self.draft.delta)?;
        if !self.draft.noise.is_correlated() {
            return Ok(bound);
        }
        let bound = Bound::new(0.0, bound.estimate(), bound.upper(), bound.accountant());
        bound.map_err(|error| Error::value("epsilon", error, "bounds in order"))
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
        let (batch, key) = (expected_batch as f64, key.clone());
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

/// The noise multipliers that calibration tries.
const LEAST_NOISE: f64 = 1e-4;
const MOST_NOISE: f64 = 1e8;

/// The first `steps` of the steps whose stretches begin and cost as listed; the last stretch has no end.
fn prefix(events: &[(u64, Event)], steps: u64) -> Event {
    let ends = events.iter().map(|(start, _)| *start).skip(1).chain([u64::MAX]);
    let stretch =
        |((start, event), end): (&(u64, Event), u64)| event.clone().repeated(end.min(steps).saturating_sub(*start));
    Event::composed(events.iter().zip(ends).map(stretch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            unit: Unit::Record,
            relation: Relation::AddRemove,
            records: 1000,
            expected_batch: 100,
            clip_norm: ClipNorm::new(1.0).unwrap(),
            perturbation: None,
            clipping: ClipRule::default(),
            noise: NoiseRule::default(),
            schedules: Schedules::default(),
            past: Past::default(),
            steps: 50,
            delta: Delta::new(1e-5).unwrap(),
            budget: None,
            accountant: "auto".into(),
        }
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
