//! A ledger that several runs on the same data share: what each of them has spent, or has set aside and may still spend.
//!
//! A run sets its whole plan aside before its first step, and afterwards puts what it has spent in the place of that. Runs that go
//! on at the same time see each other's plans, so together they never exceed a budget that each of them keeps; a run that dies
//! leaves its plan standing until it is resumed. The file holds costs alone, and nothing of the data.

use crate::checkpoint::hexadecimal;
use crate::whole_file::{self, Readers};
use crate::{Error, Place, Result};
use dp_accountant::{Event, Relation};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Where the ledger is.
#[derive(Debug, Clone)]
pub struct LedgerFile {
    path: PathBuf,
}

/// What one run has spent or set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name by which the run finds its entry again.
    pub id: String,
    /// What was trained on what, for people.
    pub run: String,
    /// Whether that is what was spent, or the most that will be.
    pub state: State,
    /// The cost.
    pub event: Event,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It may spend all of its event.
    SetAside,
    /// It has spent its event, and nothing will be added.
    Spent,
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// The neighbouring relation of all costs: those of different relations do not add up.
    pub relation: Relation,
    /// In the order in which the runs began.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// A name that no other entry has: 64 bits from the operating system's generator.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new_id() -> Result<String> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::value("operating system's random generator", error, "a working generator"))?;
        Ok(hexadecimal(&bytes))
    }
}

impl Entries {
    /// The cost of all entries but those of these names.
    #[must_use]
    pub fn without(&self, ids: &[String]) -> Event {
        let others = self.entries.iter().filter(|entry| !ids.contains(&entry.id));
        Event::composed(others.map(|entry| entry.event.clone()))
    }
}

impl LedgerFile {
    /// A ledger at `path`; it is made when the first entry is.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What stands in it; none if there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read or is no ledger.
    pub fn read(&self) -> Result<Option<Entries>> {
        let text = match std::fs::read_to_string(self.place()?) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &self.path))?,
        };
        let entries = serde_json::from_str(&text).map_err(|error| {
            let place = Place::line(&self.path, error.line() as u64);
            Error::data(place, error.to_string(), "a ledger written by dpsgd train --ledger")
        })?;
        Ok(Some(entries))
    }

    /// What stands in it, as costs under `relation`.
    ///
    /// # Errors
    /// As [`LedgerFile::read`]; and when its costs are of another relation.
    pub fn read_under(&self, relation: Relation) -> Result<Entries> {
        match self.read()? {
            None => Ok(Entries { relation, entries: Vec::new() }),
            Some(entries) if entries.relation == relation => Ok(entries),
            Some(entries) => {
                let reason = format!(
                    "the costs in {} are under {:?}, and costs under {relation:?} cannot be added to them; use --relation as before",
                    self.path.display(),
                    entries.relation
                );
                Err(Error::Refused { reason })
            }
        }
    }

    /// Sets `entry` aside, unless it already stands there; `fits` is asked whether what stands there leaves room for it.
    ///
    /// # Errors
    /// When `fits` refuses; then nothing is set aside. When the file cannot be read or written, or is of another relation.
    pub fn set_aside(&self, relation: Relation, entry: Entry, fits: impl FnOnce(&Entries) -> Result<()>) -> Result<()> {
        let _held = self.hold()?;
        let mut ledger = self.read_under(relation)?;
        if ledger.entries.iter().any(|other| other.id == entry.id) {
            return Ok(());
        }
        fits(&ledger)?;
        ledger.entries.push(entry);
        self.write(&ledger)
    }

    /// Puts what the run has `spent` in the place of what it had set aside. A run that has spent nothing leaves no entry.
    ///
    /// # Errors
    /// When the entry is not there, or the file cannot be read or written.
    pub fn settle(&self, id: &str, spent: Event) -> Result<()> {
        let _held = self.hold()?;
        let mut ledger = self.read()?.ok_or_else(|| self.lost(id))?;
        let place = ledger.entries.iter().position(|entry| entry.id == id).ok_or_else(|| self.lost(id))?;
        if spent == Event::nothing() {
            ledger.entries.remove(place);
        } else if let Some(entry) = ledger.entries.get_mut(place) {
            (entry.state, entry.event) = (State::Spent, spent);
        }
        self.write(&ledger)
    }

    fn lost(&self, id: &str) -> Error {
        let reason = format!("the ledger {} has lost the entry {id} of this run", self.path.display());
        Error::Refused { reason }
    }

    fn write(&self, ledger: &Entries) -> Result<()> {
        let text = serde_json::to_string_pretty(ledger);
        let text = text.map_err(|error| Error::value("ledger", error, "finite numbers"))? + "\n";
        whole_file::write(&self.place()?, text.as_bytes(), Readers::Everybody)
    }

    /// Keeps others from changing the ledger as long as the file returned is open.
    ///
    /// The lock is a file beside the ledger, because the ledger itself is replaced when it is written. It stays: were it removed, two
    /// runs could hold two of them.
    fn hold(&self) -> Result<File> {
        let place = self.place()?;
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let lock = place.with_file_name(format!(".{name}.lock"));
        let file = OpenOptions::new().create(true).append(true).open(&lock).map_err(Error::io("write", &lock))?;
        file.lock().map_err(Error::io("lock", &lock))?;
        Ok(file)
    }

    /// The file itself where the path is a link to it: a ledger has one place and one lock, by whatever name it is reached.
    fn place(&self) -> Result<PathBuf> {
        if self.path.is_symlink() {
            return std::fs::canonicalize(&self.path).map_err(Error::io("follow", &self.path));
        }
        Ok(self.path.clone())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_accountant::NoiseMultiplier;

    fn cost(count: u64) -> Event {
        Event::gaussian(NoiseMultiplier::new(10.0).unwrap()).repeated(count)
    }

    fn entry(id: &str, count: u64) -> Entry {
        Entry { id: id.into(), run: "a test".into(), state: State::SetAside, event: cost(count) }
    }

    fn at_most(most: u64) -> impl Fn(&Entries) -> Result<()> {
        move |entries| {
            let others = entries.without(&[]);
            let steps = match &others {
                Event::Repeated { count, .. } => *count,
                Event::Gaussian { .. } => 1,
                other => {
                    assert_eq!(*other, Event::nothing());
                    0
                }
            };
            if steps < most { Ok(()) } else { Err(Error::Refused { reason: format!("{steps}") }) }
        }
    }

    #[test]
    fn what_is_set_aside_counts_until_it_is_settled() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = LedgerFile::new(directory.path().join("ledger.json"));
        assert_eq!(ledger.read().unwrap(), None);
        ledger.set_aside(Relation::AddRemove, entry("a", 7), at_most(1)).unwrap();
        assert!(ledger.set_aside(Relation::AddRemove, entry("b", 1), at_most(7)).is_err(), "7 are set aside");
        // The same run again, say after a crash, is not counted twice and not asked again.
        ledger.set_aside(Relation::AddRemove, entry("a", 7), at_most(0)).unwrap();
        assert_eq!(ledger.read().unwrap().unwrap().without(&["b".into()]), cost(7));
        ledger.settle("a", cost(3)).unwrap();
        ledger.set_aside(Relation::AddRemove, entry("b", 2), at_most(7)).unwrap();
        assert_eq!(ledger.read().unwrap().unwrap().without(&[]), cost(5));
        ledger.settle("b", Event::nothing()).unwrap();
        let now = ledger.read().unwrap().unwrap();
        assert_eq!((now.entries.len(), now.entries[0].state), (1, State::Spent));
        assert!(ledger.settle("b", cost(1)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_ledger_that_is_reached_through_a_link_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("ledger.json"), directory.path().join("link.json"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = LedgerFile::new(&link);
        let refused = linked.set_aside(Relation::AddRemove, entry("a", 1), at_most(9)).unwrap_err().to_string();
        assert!(refused.contains("link.json: cannot follow"), "{refused}");
        LedgerFile::new(&path).set_aside(Relation::AddRemove, entry("a", 1), at_most(9)).unwrap();
        linked.set_aside(Relation::AddRemove, entry("b", 1), at_most(9)).unwrap();
        assert!(link.is_symlink());
        assert_eq!(LedgerFile::new(&path).read().unwrap().unwrap().without(&[]), cost(2));
    }

    #[test]
    fn costs_of_another_relation_are_not_added() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = LedgerFile::new(directory.path().join("ledger.json"));
        ledger.set_aside(Relation::Replace, entry("a", 1), at_most(1)).unwrap();
        let error = ledger.set_aside(Relation::AddRemove, entry("b", 1), at_most(9)).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("--relation"), "{error}");
        std::fs::write(ledger.path(), "{\n  \"relation\": 3\n}").unwrap();
        let error = ledger.read().unwrap_err().to_string();
        assert!(error.contains("ledger.json:2"), "{error}");
    }

    #[test]
    fn runs_that_set_aside_at_once_never_share_the_last_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.json");
        let granted: usize = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..16)
                .map(|i| {
                    let ledger = LedgerFile::new(&path);
                    scope.spawn(move || {
                        ledger.set_aside(Relation::AddRemove, entry(&i.to_string(), 1), at_most(5)).is_ok()
                    })
                })
                .collect();
            runs.into_iter().map(|run| usize::from(run.join().unwrap())).sum()
        });
        assert_eq!(granted, 5);
        assert_eq!(LedgerFile::new(&path).read().unwrap().unwrap().entries.len(), 5);
    }
}
