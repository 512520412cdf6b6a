//! Factors that change over a run: of the noise multiplier, of the clip norm.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A factor that is constant over stretches of a run. Each stretch begins at a share of the steps asked for, the first at 0.
///
/// As JSON a list of stretches, `[{"from":0.0,"factor":1.2},{"from":0.5,"factor":0.8}]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Stretch>", into = "Vec<Stretch>")]
pub struct Factors(Vec<Stretch>);

/// From which share of the steps on, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// The share of the steps, in [0, 1), at which the stretch begins: with the step nearest to it.
    pub from: f64,
    /// The factor, from 0.001 to 1000.
    pub factor: f64,
}

/// How noise and clip norm change over a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedules {
    /// Factors of the noise multiplier. Each stretch has an event of its own.
    pub noise: Factors,
    /// Factors of the clip norm. They cost nothing: the noise is scaled with them.
    pub clip: Factors,
}

/// Each stretch of other noise is accounted for on its own, at a cost in time.
const MOST: usize = 100;

impl Default for Factors {
    fn default() -> Self {
        Self(vec![Stretch { from: 0.0, factor: 1.0 }])
    }
}

impl Factors {
    /// # Errors
    /// When there are none or more than 100, when the first does not begin at 0, when one does not begin after the one before it and
    /// below 1, or when a factor is out of its range.
    pub fn new(stretches: Vec<Stretch>) -> Result<Self> {
        if stretches.is_empty() || stretches.len() > MOST {
            return Err(Error::value("stretches of a schedule", stretches.len(), format!("1 to {MOST}")));
        }
        let mut before = None;
        for Stretch { from, factor } in &stretches {
            let begins = match before {
                None => *from == 0.0,
                Some(before) => *from > before && *from < 1.0,
            };
            if !begins {
                let allowed = "0 for the first, and shares above the one before and below 1 for the others";
                return Err(Error::value("start of a stretch of the schedule", from, allowed));
            }
            if !(1e-3..=1e3).contains(factor) {
                return Err(Error::value("factor of the schedule", factor, "a number from 0.001 to 1000"));
            }
            before = Some(*from);
        }
        Ok(Self(stretches))
    }

    /// `count` stretches of equal length with factors on a line from `first` to `last`.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 100 of them, or a factor is out of its range.
    pub fn linear(first: f64, last: f64, count: usize) -> Result<Self> {
        if !(2..=MOST).contains(&count) {
            return Err(Error::value("stretches of a linear schedule", count, format!("2 to {MOST}")));
        }
        let stretch = |k: usize| {
            let way = k as f64 / (count - 1) as f64;
            Stretch { from: k as f64 / count as f64, factor: first * (1.0 - way) + last * way }
        };
        Self::new((0..count).map(stretch).collect())
    }

    /// Reads `SHARE=FACTOR,...`, as in `0=1.2,0.5=0.8`, or `FIRST..LAST/COUNT` for [`Factors::linear`], as in `1.5..0.8/10`. `name`
    /// is for messages.
    ///
    /// # Errors
    /// When the text is neither, or the numbers are not those of a schedule.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let allowed = "SHARE=FACTOR,... as in 0=1.2,0.5=0.8, or FIRST..LAST/COUNT as in 1.5..0.8/10";
        let unreadable = || Error::value(name, text, allowed);
        let number = |part: &str| part.trim().parse::<f64>().map_err(|_| unreadable());
        let read = if let Some((first, rest)) = text.split_once("..") {
            let (last, count) = rest.split_once('/').ok_or_else(unreadable)?;
            Self::linear(number(first)?, number(last)?, count.trim().parse().map_err(|_| unreadable())?)
        } else {
            let stretch = |part: &str| {
                let (from, factor) = part.split_once('=').ok_or_else(unreadable)?;
                Ok(Stretch { from: number(from)?, factor: number(factor)? })
            };
            Self::new(text.split(',').map(stretch).collect::<Result<_>>()?)
        };
        read.map_err(|error| match error {
            Error::Value { name: ref of, .. } if of == name => error,
            error => Error::value(name, format!("{text} ({error})"), allowed),
        })
    }

    /// Whether the factor is always 1.
    pub fn is_one(&self) -> bool {
        self.0.iter().all(|stretch| stretch.factor == 1.0)
    }

    /// The first step of each stretch of a run of `steps`, and its factor.
    pub fn starts(&self, steps: u32) -> impl Iterator<Item = (u32, f64)> + '_ {
        // To the nearest step, so that rounding of a share moves no start: 0.1 of 30 steps are 3.
        self.0.iter().map(move |stretch| ((stretch.from * f64::from(steps)).round() as u32, stretch.factor))
    }

    /// The factor at `step`, counted from 0, of a run of `steps`. What comes after them is as the last one.
    pub fn at(&self, step: u32, steps: u32) -> f64 {
        self.starts(steps).take_while(|(start, _)| *start <= step).last().map_or(1.0, |(_, factor)| factor)
    }

    /// Whether every stretch of a run of `steps` has a step.
    ///
    /// # Errors
    /// Names the first that has none.
    pub(super) fn check(&self, name: &str, steps: u32) -> Result<()> {
        let ends = self.starts(steps).map(|(start, _)| start).skip(1).chain([steps]);
        for ((start, end), Stretch { from, .. }) in self.starts(steps).map(|(start, _)| start).zip(ends).zip(&self.0) {
            if start >= end {
                let allowed = "stretches of at least one step each; take more steps or fewer stretches";
                return Err(Error::value(
                    name,
                    format!("a stretch from {from} on, which has none of the {steps} steps"),
                    allowed,
                ));
            }
        }
        Ok(())
    }
}

impl TryFrom<Vec<Stretch>> for Factors {
    type Error = Error;
    fn try_from(stretches: Vec<Stretch>) -> Result<Self> {
        Self::new(stretches)
    }
}

impl From<Factors> for Vec<Stretch> {
    fn from(factors: Factors) -> Self {
        factors.0
    }
}

/// As [`Factors::parse`] reads it.
impl std::fmt::Display for Factors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, Stretch { from, factor }) in self.0.iter().enumerate() {
            write!(f, "{}{from}={factor}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn read(text: &str) -> Factors {
        Factors::parse("--noise-schedule", text).unwrap()
    }

    #[test]
    fn stretches_begin_at_the_nearest_step() {
        let factors = read("0=1.2,0.1=2,0.5=0.8");
        assert_eq!(factors.starts(30).collect::<Vec<_>>(), [(0, 1.2), (3, 2.0), (15, 0.8)]);
        assert_eq!(factors.starts(7).collect::<Vec<_>>(), [(0, 1.2), (1, 2.0), (4, 0.8)]);
        let at: Vec<f64> = [0, 2, 3, 14, 15, 29, 30, u32::MAX].iter().map(|step| factors.at(*step, 30)).collect();
        assert_eq!(at, [1.2, 1.2, 2.0, 2.0, 0.8, 0.8, 0.8, 0.8]);
        assert_eq!(Factors::default().at(7, 30), 1.0);
    }

    #[test]
    fn a_line_has_its_ends_and_equal_stretches() {
        assert_eq!(read("1.5..0.5/5").to_string(), "0=1.5,0.2=1.25,0.4=1,0.6=0.75,0.8=0.5");
        assert_eq!(read("2..1/2"), read("0=2,0.5=1"));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["0=1", "0=1.2,0.5=0.8", "0=0.001,0.3333333333333333=1000"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert!(Factors::default().is_one() && read("0=1,0.5=1").is_one() && !read("0=1,0.5=2").is_one());
        let factors = read("3..1/7");
        assert_eq!(read(&factors.to_string()), factors);
        let json = serde_json::to_string(&factors).unwrap();
        assert_eq!(serde_json::from_str::<Factors>(&json).unwrap(), factors);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_text() {
        for (text, words) in [
            ("", "SHARE=FACTOR"),
            ("1.5", "SHARE=FACTOR"),
            ("0=1;0.5=2", "SHARE=FACTOR"),
            ("0.5=1", "0 for the first"),
            ("0=1,0.5=2,0.5=3", "above the one before"),
            ("0=1,1=2", "below 1"),
            ("0=1,NaN=2", "below 1"),
            ("0=0", "0.001 to 1000"),
            ("0=-1", "0.001 to 1000"),
            ("0=inf", "0.001 to 1000"),
            ("2..1", "FIRST..LAST/COUNT"),
            ("2..1/1", "2 to 100"),
            ("2..1/101", "2 to 100"),
            ("2..0/5", "0.001 to 1000"),
        ] {
            let refusal = Factors::parse("--noise-schedule", text).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("--noise-schedule = {text}")), "{text}: {refusal}");
            assert!(refusal.contains(words), "{text}: {refusal}");
        }
        for json in ["[]", r#"[{"from":0.5,"factor":1.0}]"#, r#"[{"from":0.0,"factor":1.0,"x":1}]"#] {
            assert!(serde_json::from_str::<Factors>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_stretch_without_a_step_is_refused() {
        let factors = read("2..1/10");
        assert!(factors.check("noise schedule", 10).is_ok());
        let refusal = factors.check("noise schedule", 6).unwrap_err().to_string();
        assert!(refusal.contains("noise schedule") && refusal.contains("none of the 6 steps"), "{refusal}");
        assert!(read("0=1,0.99=2").check("noise schedule", 10).is_err(), "a stretch past the last step");
    }
}
