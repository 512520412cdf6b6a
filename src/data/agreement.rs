//! Whether a model that was trained on the records of one schema means the same on those of another.

use super::quote::{list, quoted};
use super::schema::{Kind, Schema, Table};

impl Schema {
    /// What a model of records read as `self` would take for something else in records read as `other`; `None` if nothing. Shape,
    /// values, columns, categories, ranges, tokens and classes are compared; how the file is laid out and whether something
    /// was declared or seen is not.
    pub fn mistaken_in(&self, other: &Self) -> Option<String> {
        self.classes_in(other)
            .or_else(|| self.values_in(other))
            .or_else(|| self.columns_in(other))
            .or_else(|| self.tokens_in(other))
    }

    fn classes_in(&self, other: &Self) -> Option<String> {
        let (then, now) = (self.classes(), other.classes());
        (then != now)
            .then(|| format!("it has the classes {} in that order, and these records {}", list(then), list(now)))
    }

    fn values_in(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, then: String, now: String| {
            (then != now).then(|| format!("{what} of its records is {then}, and of these {now}"))
        };
        differ("the shape", format!("{:?}", self.shape()), format!("{:?}", other.shape()))
            .or_else(|| differ("the format", name(self.format()), name(other.format())))
            .or_else(|| differ("the type of the elements", name(self.element()), name(other.element())))
            .or_else(|| differ("the public range", range(self.range()), range(other.range())))
            .or_else(|| {
                let [then, now] = [self, other].map(|schema| schema.normalize().to_string());
                (then != now).then(|| format!("its records are normalised by {then}, and these by {now}"))
            })
    }

    fn columns_in(&self, other: &Self) -> Option<String> {
        let (then, now) = (self.table()?, other.table()?);
        if then.missing != now.missing {
            let words =
                [then, now].map(|table| table.missing.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "));
            return Some(format!("missing values were written {}, and in these records {}", words[0], words[1]));
        }
        // Columns that are left out may come and go.
        let used = |table: &Table| -> Vec<(String, Kind)> {
            let columns = table.columns.iter().filter(|column| !matches!(column.kind, Kind::Ignored | Kind::Label));
            columns.map(|column| (column.name.clone(), column.kind.clone())).collect()
        };
        let (then, now) = (used(then), used(now));
        let pair = (0..then.len().max(now.len())).map(|i| (then.get(i), now.get(i)));
        pair.into_iter().find_map(|pair| match pair {
            (Some((name, kind)), Some((other, like))) if name == other => {
                kind.mistaken_in(like).map(|what| format!("column {name} {what}"))
            }
            (then, now) => {
                let name = |column: Option<&(String, Kind)>| column.map_or("none".into(), |(name, _)| name.clone());
                Some(format!("its column {} is column {} of these records", name(then), name(now)))
            }
        })
    }

    fn tokens_in(&self, other: &Self) -> Option<String> {
        let (then, now) = (self.text()?, other.text()?);
        (then.vocabulary != now.vocabulary).then(|| {
            let [then, now] = [then, now].map(|text| text.vocabulary.description());
            format!("its vocabulary is another ({then}) than that of these records ({now})")
        })
    }
}

impl Kind {
    fn mistaken_in(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Categorical { values: then, .. }, Self::Categorical { values: now, .. }) => {
                (then != now).then(|| {
                    format!("has the categories {} in that order, and in these records {}", list(then), list(now))
                })
            }
            (Self::Numeric { range: then, missing }, Self::Numeric { range: now, missing: here }) => {
                let may = |missing: bool| if missing { ", and may be missing" } else { "" };
                let [then, now] = [(then, missing), (now, here)].map(|(of, missing)| range(*of) + may(*missing));
                (then != now).then(|| format!("has the range {then}, and in these records {now}"))
            }
            (then, now) => (then != now).then(|| "has numbers in one and categories in the other".into()),
        }
    }
}

fn name(of: Option<impl std::fmt::Debug>) -> String {
    of.map_or("none".into(), |of| format!("{of:?}").to_lowercase())
}

fn range(of: Option<(f64, f64)>) -> String {
    of.map_or("none".into(), |(low, high)| format!("{low}:{high}"))
}
