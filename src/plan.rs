//! The plan: everything the guarantee depends on, and the cost that follows from it.
//!
//! A [`Draft`] is a plan without its noise. It becomes a [`Plan`] with a noise multiplier given or calibrated. The plan makes
//! the sampler, the clipping rule and the mechanism that a trainer uses, so that what is accounted and what is done cannot
//! differ.

use crate::clip::{Clip, ClipNorm, ClipRule, Perturbation};
use crate::noise::Gaussian;
use crate::sample::Poisson;
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{Accountant, Bound, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate, calibrate};
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
    /// How many steps are to be taken.
    pub steps: u32,
    /// The probability with which the epsilon may fail to hold.
    pub delta: Delta,
    /// An epsilon that must not be exceeded: training stops before the step that would.
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
    /// When records, expected batch or steps are zero, when the batch is larger than the data, or when no accountant has
    /// the name.
    pub fn with_noise(self, noise_multiplier: NoiseMultiplier) -> Result<Plan> {
        self.check()?;
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
        let (accountant, rate) = (self.accountant()?, self.sampling_rate()?);
        let event = |z: NoiseMultiplier| Event::gaussian(z).poisson_sampled(rate).repeated(u64::from(self.steps));
        let calibrated = calibrate::noise_multiplier(accountant.as_ref(), event, epsilon, self.delta)?;
        self.with_noise(calibrated.value)
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
        self.accountant().map(|_| ())
    }

    /// The probability with which a record is in a batch, q = expected batch / records.
    fn sampling_rate(&self) -> Result<SamplingRate> {
        Ok(SamplingRate::new(self.rate())?)
    }

    fn rate(&self) -> f64 {
        self.expected_batch as f64 / self.records as f64
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

    /// Noise standard deviation over clip norm.
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// The probability with which a record is in a batch.
    pub fn sampling_rate(&self) -> f64 {
        self.draft.rate()
    }

    /// What one step costs.
    ///
    /// # Errors
    /// Never for a plan that was made by a draft: its rate was checked.
    pub fn step_event(&self) -> Result<Event> {
        Ok(Event::gaussian(self.noise_multiplier).poisson_sampled(self.draft.sampling_rate()?))
    }

    /// What the whole run costs, known before it starts (law 1: the ledger says the same after it).
    ///
    /// # Errors
    /// As [`Plan::step_event`].
    pub fn event(&self) -> Result<Event> {
        Ok(self.step_event()?.repeated(u64::from(self.affordable_steps()?)))
    }

    /// The steps that can be taken: those asked for, or as many as the budget allows, whichever is less.
    ///
    /// # Errors
    /// When the accountant refuses the event, or not one step fits the budget.
    pub fn affordable_steps(&self) -> Result<u32> {
        let steps = self.draft.steps;
        let Some(budget) = self.draft.budget else { return Ok(steps) };
        let (accountant, step) = (self.draft.accountant()?, self.step_event()?);
        let all = accountant.epsilon(&step.clone().repeated(u64::from(steps)), self.draft.delta)?;
        if all.upper() <= budget.get() {
            return Ok(steps);
        }
        let most = calibrate::steps(accountant.as_ref(), |n| step.clone().repeated(n), budget, self.draft.delta)?;
        Ok(u32::try_from(most.value).unwrap_or(u32::MAX).min(steps))
    }

    /// The epsilon of `event` at the plan's delta, as the plan's accountant states it.
    ///
    /// # Errors
    /// When the accountant refuses the event.
    pub fn epsilon(&self, event: &Event) -> Result<Bound> {
        Ok(self.draft.accountant()?.epsilon(event, self.draft.delta)?)
    }

    /// The sampler of the plan, about to draw the batch of `step`.
    ///
    /// # Errors
    /// As [`Plan::step_event`].
    pub fn sampler(&self, key: &Key, step: u32) -> Result<Poisson> {
        Ok(Poisson::new(self.draft.records, self.draft.sampling_rate()?, key.clone(), step))
    }

    /// The clipping rule of the plan for a model with these parameters, by name.
    pub fn clip(&self, parameters: &[String]) -> Box<dyn Clip> {
        self.draft.clipping.build(self.draft.clip_norm, parameters)
    }

    /// The mechanism of the plan, about to make the release of `step`.
    ///
    /// # Errors
    /// Never for a plan that was made by a draft: its batch was checked.
    pub fn mechanism(&self, key: &Key, step: u32) -> Result<Gaussian> {
        Gaussian::new(self.noise_multiplier, self.draft.expected_batch as f64, key.clone(), step)
    }
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
        let upper = |n: u32| plan.epsilon(&plan.step_event().unwrap().repeated(u64::from(n))).unwrap().upper();
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
        for rule in ClipRule::ALL {
            assert_eq!(epsilon(rule), epsilon(ClipRule::Flat), "{}", rule.name());
        }
    }

    #[test]
    fn a_plan_written_without_a_rule_is_clipped_flat() {
        let plan = draft().with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        let before = text.replace("\"clipping\":\"flat\",", "");
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
        ] {
            assert!(serde_json::from_str::<Plan>(&text.replace(from, to)).is_err(), "{to}");
        }
    }
}
