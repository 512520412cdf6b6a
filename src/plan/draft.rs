//! A plan without its noise, and how it comes to it.

use super::{Past, Plan, Schedules, Unit};
use crate::clip::{ClipNorm, ClipRule, Perturbation};
use crate::noise::NoiseRule;
use crate::{Error, Result};
use dp_accountant::calibrate::{self, Range};
use dp_accountant::{Accountant, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate, Uncalibrated};
use serde::{Deserialize, Serialize};

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
    /// How many records a batch is to have on average: a public constant. Sums are divided by it, under tree noise by the mean
    /// size that batches have there ([`Plan::mean_batch`]), and never by the realised size.
    pub expected_batch: usize,
    /// The largest norm of a per-example gradient in a sum, where nothing moves it: a clip schedule multiplies it, and adaptive
    /// clipping begins with it.
    pub clip_norm: ClipNorm,
    /// Noise on every example's gradient before it is clipped, against clipping bias. The cost does not depend on it.
    pub perturbation: Option<Perturbation>,
    /// How gradients are brought below the clip norm. No rule costs more than another: see [`ClipRule`].
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

impl Draft {
    /// So many steps on batches of `expected_batch` out of `records` records on average, under DP-SGD as it is known: add-remove
    /// neighbours, flat clipping at `clip_norm`, independent noise, nothing spent before, no budget but the one asked for, the
    /// accountant `auto`. Whatever is to be otherwise is set beside `..Draft::new(...)`.
    pub fn new(records: usize, expected_batch: usize, steps: u32, clip_norm: ClipNorm, delta: Delta) -> Self {
        Self {
            unit: Unit::Record,
            relation: Relation::AddRemove,
            records,
            expected_batch,
            clip_norm,
            perturbation: None,
            clipping: ClipRule::default(),
            noise: NoiseRule::default(),
            schedules: Schedules::default(),
            past: Past::default(),
            steps,
            delta,
            budget: None,
            accountant: "auto".into(),
        }
    }

    /// The plan with this noise multiplier.
    ///
    /// # Errors
    /// When records, expected batch or steps are zero, when the batch is larger than the data, or when no accountant has the
    /// name. When a stretch of a schedule has no step, or a clip norm or noise multiplier times its factor is out of its range.
    /// When adaptive clipping has a clip schedule beside it, or a noise multiplier, times its factor, that is not below twice
    /// the count noise. When correlated noise is asked for beside adaptive clipping or schedules, or in more bands than there
    /// are batches in the data.
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
            (Uncalibrated::Unreachable { .. }, Some(rule)) if self.most_noise() < MOST_NOISE => {
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
    pub(super) fn cost(&self, z: NoiseMultiplier, steps: u64) -> Result<Event> {
        match self.noise.event(z, (self.records, self.expected_batch), steps)? {
            Some(together) => Ok(together),
            None => Ok(prefix(&self.events(z)?, steps)),
        }
    }

    /// The same for who asks about many, an event without a cost where there is none.
    pub(super) fn cost_or_reason(&self, z: NoiseMultiplier, steps: u64) -> Event {
        self.cost(z, steps).unwrap_or_else(|error| Event::unsupported(error.to_string()))
    }

    /// The first step of each stretch of equal noise, and what one of its steps costs at the noise multiplier `z`.
    pub(super) fn events(&self, z: NoiseMultiplier) -> Result<Vec<(u64, Event)>> {
        let event = |(start, factor): (u32, f64)| {
            let z = NoiseMultiplier::new(z.get() * factor)?;
            let event = self.clipping.adaptive().map_or_else(|| Ok(Event::gaussian(z)), |rule| rule.event(z))?;
            // Clients who all take part are not sampled, and there is nothing that could be.
            let event = match self.unit {
                Unit::Client if self.expected_batch == self.records => event,
                Unit::Record | Unit::Client => event.poisson_sampled(self.poisson_rate()?),
            };
            Ok((u64::from(start), event))
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
    pub(super) fn in_all(&self, event: Event) -> Event {
        self.past.together(self.past.and(event))
    }

    /// Whether what was spent before leaves anything of the budget. What calibration leaves of it by rounding down is nothing: less
    /// than a thousandth would only buy noise.
    pub(super) fn check_past(&self, budget: Epsilon) -> Result<()> {
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
    pub(super) fn poisson_rate(&self) -> Result<SamplingRate> {
        Ok(SamplingRate::new(self.noise.sampling_rate(self.records, self.expected_batch).unwrap_or(1.0))?)
    }

    /// The accountant that states the epsilon.
    pub(crate) fn accountant(&self) -> Result<Box<dyn Accountant>> {
        dp_accountant::by_name(&self.accountant, self.relation)
            .map_err(|_| Error::value("--accountant", &self.accountant, dp_accountant::NAMES.join(", ")))
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
