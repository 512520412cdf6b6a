//! Files that are there whole or not at all.

use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Everybody the system's defaults allow.
    Everybody,
    /// The owner alone (mode 0600 on Unix).
    Owner,
}

/// Writes `bytes` beside `path`, flushes them to the disk, and renames: whoever looks sees the old file or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = path.with_file_name(format!(".{name}.{}{PARTIAL}", std::process::id()));
    // One that a process of this number left behind may have other readers.
    fs::remove_file(&partial).ok();
    let written = create(&partial, readers).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&partial, path));
    if renamed.is_err() {
        // The old file still stands; what is left of the new one is of no use to anybody.
        fs::remove_file(&partial).ok();
    }
    renamed.map_err(Error::io("write", path))?;
    sync_directory(path);
    Ok(())
}

/// What the names of files end with that are not whole yet.
const PARTIAL: &str = ".partial";

/// Whether a file of this name is one that a process did not finish.
pub(crate) fn is_partial(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(PARTIAL))
}

fn create(path: &Path, readers: Readers) -> std::io::Result<File> {
    options(readers).write(true).create_new(true).open(path)
}

/// How a file is opened that only these may read if it is made.
pub(crate) fn options(readers: Readers) -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    if readers == Readers::Owner {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = readers;
    options
}

/// Makes the rename itself durable where the system can; where it cannot, the file is whole all the same.
fn sync_directory(path: &Path) {
    if let Some(directory) = path.parent().and_then(|directory| File::open(directory).ok()) {
        directory.sync_all().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        write(&path, b"one", Readers::Owner).unwrap();
        write(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let missing = directory.path().join("missing").join("state");
        let error = write(&missing, b"x", Readers::Everybody).unwrap_err().to_string();
        assert!(error.contains("cannot write"), "{error}");
    }
}
