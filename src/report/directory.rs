//! The run directory: what a run leaves behind, each file whole or absent.

use super::metrics::MetricsFile;
use super::{Report, page, statement};
use crate::checkpoint::{Checkpoint, hexadecimal};
use crate::journal::Journal;
use crate::nn::Parameters;
use crate::whole_file::{self, Readers};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use dp_accountant::Ledger;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// A directory that belongs to one run.
///
/// Dropped before anything was kept in it, a directory made by [`RunDirectory::create`] is removed again.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// The directories that were made for it, itself first.
    made: Vec<PathBuf>,
    kept: std::cell::Cell<bool>,
    /// Held while the run lives: two runs in one directory would destroy each other's results.
    lock: Option<File>,
}

/// The file that is locked while a run lives.
const LOCK: &str = ".lock";
/// What a run is resumed from.
const CHECKPOINT: &str = "checkpoint";
/// The one before, where the nodes of a run may have come to keep different ones.
const LAST_CHECKPOINT: &str = "checkpoint.last";
/// What a run is repeated from.
const CONFIG: &str = "config.toml";
/// What is measured on the way.
const METRICS: &str = "metrics.csv";

impl RunDirectory {
    /// Makes the directory; one that exists must be empty.
    ///
    /// # Errors
    /// When it exists and holds something, or cannot be made or written to.
    pub fn create(path: &Path) -> Result<Self> {
        let made: Vec<PathBuf> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .map(Path::to_path_buf)
            .collect();
        let mut directory = Self { path: path.to_path_buf(), made, kept: false.into(), lock: None };
        if !directory.made.is_empty() {
            fs::create_dir_all(path).map_err(Error::io("create", path))?;
        } else if !path.join(LOCK).exists() {
            // Nothing is written to somebody else's directory, not even a lock.
            directory.check_empty()?;
        }
        // A run that lives is told from what a dead one left.
        directory.lock()?;
        // Another run may have come and gone until the lock was held.
        directory.check_empty()?;
        Ok(directory)
    }

    fn check_empty(&self) -> Result<()> {
        let entries = fs::read_dir(&self.path).map_err(Error::io("read", &self.path))?;
        // A process that was killed leaves its lock and half a file behind.
        let ours = |name: OsString| name == LOCK || whole_file::is_partial(&name);
        if entries.flatten().all(|entry| ours(entry.file_name())) {
            return Ok(());
        }
        let allowed = "a directory that does not exist or is empty; or add --resume to go on with the run in it";
        Err(Error::value("--out", self.path.display(), allowed))
    }

    /// Keeps other runs out. A run that ends removes the lock it holds: whoever had opened that file before, and locks it afterwards,
    /// holds one that others no longer find, and has to begin again.
    fn lock(&mut self) -> Result<()> {
        let lock = self.path.join(LOCK);
        while self.lock.is_none() {
            let file = File::create(&lock).map_err(Error::io("write to", &self.path))?;
            match file.try_lock() {
                Ok(()) => self.lock = is_at(&file, &lock).then_some(file),
                Err(TryLockError::WouldBlock) => {
                    let allowed = "a directory that no other run is writing to";
                    return Err(Error::value("--out", self.path.display(), allowed));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &lock)(error)),
            }
        }
        let entries = fs::read_dir(&self.path).map_err(Error::io("read", &self.path))?;
        let halves = entries.flatten().filter(|entry| whole_file::is_partial(&entry.file_name()));
        halves.for_each(|half| drop(fs::remove_file(half.path())));
        Ok(())
    }

    /// Opens the directory of an interrupted run.
    ///
    /// # Errors
    /// When there is no checkpoint in it.
    pub fn open(path: &Path) -> Result<(Self, Checkpoint)> {
        let checkpoint = path.join(CHECKPOINT);
        let mut directory = Self { path: path.to_path_buf(), made: Vec::new(), kept: true.into(), lock: None };
        let last = path.join(LAST_CHECKPOINT);
        // Between the two a process may have been killed.
        let there = if checkpoint.exists() || !last.exists() { checkpoint } else { last };
        if there.exists() {
            directory.lock()?;
        }
        if !there.exists() && path.join("report.json").exists() {
            let allowed = "nothing for a run that is finished; --extend goes on from its model, under a larger budget";
            return Err(Error::value("--resume", path.display(), allowed));
        }
        Ok((directory, Checkpoint::read(&there)?))
    }

    /// The checkpoint before the one that [`RunDirectory::open`] has found.
    ///
    /// # Errors
    /// When there is none.
    pub fn last_checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::read(&self.path.join(LAST_CHECKPOINT))
    }

    /// Puts the checkpoint before in the place of the newest, once the run goes on from it: kept as one before, the newest would be all
    /// that is left when the process is killed between two.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fall_back(&self) -> Result<()> {
        let last = self.path.join(LAST_CHECKPOINT);
        fs::rename(&last, self.path.join(CHECKPOINT)).map_err(Error::io("rename", &last))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what is needed to go on.
    ///
    /// # Errors
    /// When the system refuses; an older checkpoint then still stands.
    pub fn keep_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.kept.set(true);
        checkpoint.write(&self.path.join(CHECKPOINT))
    }

    /// The same, and keeps the one before too: where every process keeps its own, one may be killed before it has the newest.
    ///
    /// # Errors
    /// When the system refuses; an older checkpoint then still stands.
    pub fn keep_checkpoint_and_last(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (newest, last) = (self.path.join(CHECKPOINT), self.path.join(LAST_CHECKPOINT));
        if newest.exists() {
            fs::rename(&newest, &last).map_err(Error::io("rename", &newest))?;
        }
        self.keep_checkpoint(checkpoint)
    }

    /// Leaves nothing behind: what was kept for the others of a run that is done.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn clear(&self) -> Result<()> {
        self.discard()?;
        fs::remove_file(self.path.join(LOCK)).ok();
        // What somebody else has put there stays.
        fs::remove_dir(&self.path).ok();
        Ok(())
    }

    /// Keeps the file from which the run can be repeated.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn keep_config(&self, config: &str) -> Result<()> {
        self.kept.set(true);
        whole_file::write(&self.path.join(CONFIG), config.as_bytes(), Readers::Everybody)
    }

    /// Takes away what was kept of a run that has not made a step, in this process or one before it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn discard(&self) -> Result<()> {
        for name in [CHECKPOINT, LAST_CHECKPOINT, CONFIG, METRICS] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        self.kept.set(false);
        Ok(())
    }

    /// The file that entries of the journal are added to while the run goes on, with those already made.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn metrics_file(&self, journal: &Journal) -> Result<MetricsFile> {
        MetricsFile::new(self.path.join(METRICS), &journal.metrics())
    }

    /// Keeps a finished run. The checkpoint of its way there is removed: it holds the key, and nobody needs it any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn keep_results(&self, report: &Report, ledger: &Ledger, model: &[u8], journal: &Journal) -> Result<()> {
        self.kept.set(true);
        let json = |ledger: &Ledger| serde_json::to_string_pretty(ledger);
        let ledger = json(ledger).map_err(|error| Error::value("ledger", error, "finite numbers"))? + "\n";
        let file = |readers| move |name: &str, bytes: &[u8]| whole_file::write(&self.path.join(name), bytes, readers);
        // What holds figures that are not private is for the owner of the data.
        let (public, own) = (file(Readers::Everybody), file(Readers::Owner));
        public("model.safetensors", model)?;
        public("ledger.json", ledger.as_bytes())?;
        let metrics = journal.metrics();
        own(METRICS, metrics.to_csv().as_bytes())?;
        if let Some(symmetry) = journal.symmetry()? {
            own("symmetry_not_private.json", symmetry.as_bytes())?;
        }
        public("statement.txt", statement(report).as_bytes())?;
        own("report.html", page(report, &metrics).as_bytes())?;
        own("report.json", report.to_json()?.as_bytes())?;
        for checkpoint in [CHECKPOINT, LAST_CHECKPOINT].map(|name| self.path.join(name)) {
            if checkpoint.exists() {
                fs::remove_file(&checkpoint).map_err(Error::io("remove", &checkpoint))?;
            }
        }
        Ok(())
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if self.lock.is_some() {
            fs::remove_file(self.path.join(LOCK)).ok();
        }
        if !self.kept.get() {
            // Only empty directories go: whatever somebody else has put there meanwhile stays.
            self.made.iter().for_each(|directory| drop(fs::remove_dir(directory)));
        }
    }
}

/// Whether the open file is the one that the path names now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |of: &fs::Metadata| (of.dev(), of.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(file), Ok(named)) if place(&file) == place(&named))
}

/// A file that is open keeps its name here: it is the one that the path names.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// The parameters as a safetensors file, and its SHA-256 in hexadecimal.
///
/// # Errors
/// When the tensors cannot be read from their device.
pub fn model_file(parameters: &Parameters) -> Result<(Vec<u8>, String)> {
    let tensors = parameters
        .tensors()
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)))
        .collect::<Result<BTreeMap<String, Tensor>>>()?;
    let bytes = safetensors::serialize(&tensors, None)
        .map_err(|error| Error::Model { reason: format!("its parameters cannot be written: {error}") })?;
    let hash = sha256(&bytes);
    Ok((bytes, hash))
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[cfg(unix)]
    #[test]
    fn a_lock_that_was_removed_is_not_the_one_that_others_find() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK);
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path));
        let other = File::create(&path).unwrap();
        assert!(is_at(&other, &path) && !is_at(&file, &path));
    }

    #[test]
    fn runs_that_come_and_go_at_once_are_never_two_in_one_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let come_and_go = || {
            for _ in 0..2_000 {
                if let Ok(run) = RunDirectory::create(directory.path()) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two runs in one directory");
                    entered.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(run);
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(come_and_go))));
        assert!(entered.into_inner() >= 4, "some come in");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "and leave nothing");
    }
}
