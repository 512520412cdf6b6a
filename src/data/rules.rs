//! Column rules: what is declared about single columns of a CSV file, and the words that declare it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::range;
use crate::{Error, Result};

/// What is declared about one column of a CSV file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// The column's name, or its position counted from one.
    pub column: String,
    /// How its cells are read.
    pub treatment: Treatment,
}

/// How the cells of a column are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// As categories, one feature each.
    Categorical {
        /// The public list of categories, anything else being an error; if absent, those seen in the data.
        values: Option<Vec<String>>,
    },
    /// As a number.
    Numeric {
        /// The public range mapped to `[0, 1]`; if absent, [`Reading::range`](super::Reading::range).
        range: Option<(f64, f64)>,
        /// Whether the column gets a missing-value indicator whether or not a value is missing in this file.
        #[serde(default)]
        missing: bool,
    },
    /// Not at all.
    Ignored,
}

impl ColumnRule {
    /// Reads `COLUMN` or `COLUMN=VALUE|VALUE|...`.
    ///
    /// # Errors
    ///
    /// When the column has no name, or a value is empty or listed twice.
    pub fn parse_categorical(word: &str) -> Result<Self> {
        let (column, values) = match word.split_once('=') {
            Some((column, list)) => (column, Some(list.split('|').map(|v| v.trim().to_owned()).collect::<Vec<_>>())),
            None => (word, None),
        };
        let form = "COLUMN or COLUMN=VALUE|VALUE|..., with values that differ";
        if let Some(values) = &values
            && (values.iter().any(String::is_empty) || repeated(values).is_some())
        {
            return Err(Error::value("categorical", word, form));
        }
        Ok(Self { column: name("categorical", word, column, form)?, treatment: Treatment::Categorical { values } })
    }

    /// Reads `COLUMN` or `COLUMN=LOW:HIGH`, and with a final `?` (`COLUMN?`, `COLUMN=LOW:HIGH?`) declares that values
    /// may be missing.
    ///
    /// # Errors
    ///
    /// When the column has no name or the range is not one.
    pub fn parse_numeric(word: &str) -> Result<Self> {
        let (text, missing) = word.strip_suffix('?').map_or((word, false), |text| (text, true));
        let (column, range) = match text.rsplit_once('=') {
            Some((column, range)) => (column, Some(range::parse(range)?)),
            None => (text, None),
        };
        let column =
            name("numeric", word, column, "COLUMN or COLUMN=LOW:HIGH, with a final ? if values may be missing")?;
        Ok(Self { column, treatment: Treatment::Numeric { range, missing } })
    }

    /// Reads `COLUMN`: a column that is left out.
    ///
    /// # Errors
    ///
    /// When the column has no name.
    pub fn parse_ignored(word: &str) -> Result<Self> {
        Ok(Self { column: name("ignore", word, word, "COLUMN")?, treatment: Treatment::Ignored })
    }
}

/// A declared public range, of one column or of every numeric value.
#[derive(Debug, Clone, PartialEq)]
pub enum RangeRule {
    /// `LOW:HIGH`, for every numeric value without a range of its own.
    Every((f64, f64)),
    /// `COLUMN=LOW:HIGH`, for one column.
    Column(ColumnRule),
}

impl FromStr for RangeRule {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let Some((column, text)) = word.rsplit_once('=') else {
            return range::parse(word).map(Self::Every);
        };
        let column = name("range", word, column, "LOW:HIGH or COLUMN=LOW:HIGH")?;
        let treatment = Treatment::Numeric { range: Some(range::parse(text)?), missing: false };
        Ok(Self::Column(ColumnRule { column, treatment }))
    }
}

fn name(flag: &str, word: &str, column: &str, form: &str) -> Result<String> {
    let column = column.trim();
    if column.is_empty() { Err(Error::value(flag, word, form)) } else { Ok(column.to_owned()) }
}

/// The first value that stands in the list a second time.
pub(super) fn repeated(values: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    values.iter().find(|value| !seen.insert(value.as_str()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_for_columns() {
        let rule = ColumnRule::parse_categorical("workclass").unwrap();
        assert_eq!(rule.treatment, Treatment::Categorical { values: None });
        let rule = ColumnRule::parse_categorical("workclass=Private| State-gov").unwrap();
        let values = Some(vec!["Private".to_owned(), "State-gov".to_owned()]);
        assert_eq!(rule, ColumnRule { column: "workclass".into(), treatment: Treatment::Categorical { values } });
        let rule = ColumnRule::parse_numeric("age=0:120?").unwrap();
        assert_eq!(rule.treatment, Treatment::Numeric { range: Some((0.0, 120.0)), missing: true });
        assert_eq!(ColumnRule::parse_ignored("id").unwrap().treatment, Treatment::Ignored);
    }

    #[test]
    fn words_for_ranges() {
        assert_eq!("0:16".parse::<RangeRule>().unwrap(), RangeRule::Every((0.0, 16.0)));
        let treatment = Treatment::Numeric { range: Some((0.0, 120.0)), missing: false };
        let rule = ColumnRule { column: "a=b".into(), treatment };
        assert_eq!("a=b=0:120".parse::<RangeRule>().unwrap(), RangeRule::Column(rule));
    }

    #[test]
    fn refusals_repeat_the_word_and_give_the_form() {
        for (message, start) in [
            (ColumnRule::parse_categorical("=a|b").unwrap_err(), "categorical = =a|b: allowed is COLUMN or"),
            (ColumnRule::parse_categorical("c=a||b").unwrap_err(), "categorical = c=a||b: allowed is COLUMN or"),
            (ColumnRule::parse_categorical("c=a|a").unwrap_err(), "categorical = c=a|a: allowed is COLUMN or"),
            (ColumnRule::parse_numeric("?").unwrap_err(), "numeric = ?: allowed is COLUMN or"),
            (ColumnRule::parse_ignored(" ").unwrap_err(), "ignore =  : allowed is COLUMN"),
            ("=0:1".parse::<RangeRule>().unwrap_err(), "range = =0:1: allowed is LOW:HIGH or"),
            ("age=5:1".parse::<RangeRule>().unwrap_err(), "range = 5:1: allowed is two finite numbers"),
        ] {
            assert!(message.to_string().starts_with(start), "{message}");
        }
    }
}
