//! Classes: which labels there are, and which number each one has.

use std::collections::HashMap;

use super::quote::list;
use crate::{Error, Result};

/// More labels than this are taken for something that is no class, a measurement say, unless they are declared.
const MAX_SEEN: usize = 1_000;

/// The classes of a file while it is read. Labels that are equal as numbers (`1`, `+1`, `1.0`) are one class.
#[derive(Debug)]
pub(super) struct Classes {
    names: Vec<String>,
    codes: HashMap<String, u32>,
    /// Labels as they stand in the file, so that each spelling is looked at once.
    spellings: HashMap<String, u32>,
    open: bool,
    full_stops: bool,
}

impl Classes {
    /// Declared classes if there are any, and otherwise those that will be seen.
    pub(super) fn new(declared: Option<&[String]>) -> Result<Self> {
        let mut classes = Self {
            names: Vec::new(),
            codes: HashMap::new(),
            spellings: HashMap::new(),
            open: declared.is_none(),
            full_stops: false,
        };
        for name in declared.unwrap_or_default() {
            let name = name.trim();
            if name.is_empty() {
                return Err(Error::value("classes", "an empty name", "names that are not empty"));
            }
            if classes.codes.contains_key(&canonical(name)) {
                return Err(Error::value("classes", format!("{name} twice"), "names that differ, also as numbers"));
            }
            classes.add(canonical(name), name.to_owned());
        }
        Ok(classes)
    }

    fn add(&mut self, canonical: String, name: String) -> u32 {
        let code = self.names.len() as u32;
        self.codes.insert(canonical, code);
        self.names.push(name);
        code
    }

    /// The number of the class `label`, or `None` where the classes are given and it is not among them. The numbers of
    /// classes that are being seen are preliminary until [`finish`](Self::finish).
    pub(super) fn code(&mut self, label: &str) -> Option<u32> {
        if let Some(&code) = self.spellings.get(label) {
            return Some(code);
        }
        let key = canonical(label);
        let code = match self.codes.get(&key) {
            Some(&code) => code,
            None if self.open => self.add(key.clone(), key),
            // The C4.5 file format lets a record end with a full stop, and the Adult test file does.
            None => {
                let code = label.strip_suffix('.').and_then(|label| self.codes.get(&canonical(label)).copied())?;
                self.full_stops = true;
                code
            }
        };
        self.spellings.insert(label.to_owned(), code);
        Some(code)
    }

    /// Whether `label` is one of the given classes as it stands.
    pub(super) fn declares(&self, label: &str) -> bool {
        !self.open && self.codes.contains_key(&canonical(label))
    }

    /// The classes for an error message.
    pub(super) fn list(&self) -> String {
        list(&self.names)
    }

    /// Sorts the classes that were seen, by number if all are numbers and otherwise by text, renumbers `labels`, and
    /// adds to `notes` what was assumed. The names come back in order.
    ///
    /// `Err` holds the number of labels seen where it is too large.
    pub(super) fn finish(self, labels: &mut [u32], notes: &mut Vec<String>) -> Result<Vec<String>, usize> {
        if self.full_stops {
            notes.push("a full stop after the class label was read as the end of the record".into());
        }
        if !self.open {
            return Ok(self.names);
        }
        if self.names.len() > MAX_SEEN {
            return Err(self.names.len());
        }
        let numbers: Option<Vec<f64>> = self.names.iter().map(|name| number(name)).collect();
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        match &numbers {
            Some(numbers) => order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b])),
            None => order.sort_by(|&a, &b| self.names[a].cmp(&self.names[b])),
        }
        let mut rank = vec![0u32; order.len()];
        (0u32..).zip(&order).for_each(|(to, &from)| rank[from] = to);
        labels.iter_mut().for_each(|label| *label = rank[*label as usize]);
        let names: Vec<String> = order.iter().map(|&from| self.names[from].clone()).collect();
        notes.push(format!(
            "the {} class labels ({}) were taken from the data and are not privatised",
            names.len(),
            list(&names)
        ));
        Ok(names)
    }
}

/// What a reader says when [`Classes::finish`] finds too many labels.
pub(super) fn too_many(seen: usize) -> (String, String) {
    let expected =
        format!("at most {MAX_SEEN} classes; if each of them is meant as a class, declare them with --classes");
    (format!("{seen} different labels"), expected)
}

/// A label as a number, if it is one that `f64` holds without merging neighbours.
fn number(label: &str) -> Option<f64> {
    let value = label.parse::<f64>().ok()?;
    (value.abs() <= 9_007_199_254_740_992.0).then_some(value)
}

/// One spelling for all labels that are equal as numbers.
fn canonical(label: &str) -> String {
    match number(label) {
        // Adding zero turns -0 into 0.
        Some(value) => (value + 0.0).to_string(),
        None => label.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(labels: &[&str]) -> (Vec<String>, Vec<u32>) {
        let mut classes = Classes::new(None).unwrap();
        let mut codes: Vec<u32> = labels.iter().map(|label| classes.code(label).unwrap()).collect();
        let names = classes.finish(&mut codes, &mut Vec::new()).unwrap();
        (names, codes)
    }

    #[test]
    fn numbers_sort_as_numbers_and_text_as_text() {
        let (names, codes) = seen(&["10", "+2", "-1.0", "2.0", "1e1", "-0"]);
        assert_eq!(names, ["-1", "0", "2", "10"]);
        assert_eq!(codes, [3, 2, 0, 2, 3, 1]);
        assert_eq!(seen(&["b", "10", "9", "a"]).0, ["10", "9", "a", "b"]);
    }

    #[test]
    fn identifiers_beyond_the_precision_of_floats_are_not_merged() {
        assert_eq!(seen(&["12345678901234567890", "12345678901234567891"]).0.len(), 2);
        assert_eq!(seen(&["nan", "inf"]).0, ["inf", "nan"]);
    }

    #[test]
    fn given_classes_keep_their_order_and_admit_no_other() {
        let mut classes = Classes::new(Some(&["yes".into(), "no".into(), "1".into()])).unwrap();
        assert_eq!(["no", "1.0", "yes", "no."].map(|label| classes.code(label)), [Some(1), Some(2), Some(0), Some(1)]);
        assert_eq!(classes.code("maybe"), None);
        assert_eq!(classes.list(), "yes, no, 1");
        let mut notes = Vec::new();
        assert_eq!(classes.finish(&mut [], &mut notes).unwrap(), ["yes", "no", "1"]);
        assert_eq!(notes, ["a full stop after the class label was read as the end of the record"]);
    }

    #[test]
    fn declared_classes_must_differ_also_as_numbers() {
        let message = Classes::new(Some(&["1".into(), "1.0".into()])).unwrap_err().to_string();
        assert_eq!(message, "classes = 1.0 twice: allowed is names that differ, also as numbers");
        assert!(Classes::new(Some(&[" ".into()])).is_err());
    }

    #[test]
    fn a_thousand_labels_are_classes_and_more_are_not() {
        for (count, allowed) in [(1_000, true), (1_001, false)] {
            let mut classes = Classes::new(None).unwrap();
            let mut codes: Vec<u32> = (0..count).filter_map(|i| classes.code(&i.to_string())).collect();
            assert_eq!(classes.finish(&mut codes, &mut Vec::new()).is_ok(), allowed);
        }
    }
}
