//! Watched files: read in any order, and refused once they have changed.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{Error, Place, Result};

/// An open file that must not change while it is used.
///
/// What is remembered of it is its length and the time of its last change. A file that is replaced by another of the same
/// name is still the one that was opened.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    file: File,
    length: u64,
    changed: SystemTime,
    /// Where reading moves a cursor, one reader at a time may use it.
    #[cfg(not(unix))]
    cursor: std::sync::Mutex<()>,
}

impl Watched {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let refused = |error| Error::io("read", path)(error);
        let file = File::open(path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        if !metadata.is_file() {
            let expected =
                "a regular file, which can be read in any order; without --on-disk it is read once, into memory";
            return Err(Error::data(Place::file(path), "something that is no regular file", expected));
        }
        let changed = metadata.modified().map_err(refused)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length: metadata.len(),
            changed,
            #[cfg(not(unix))]
            cursor: std::sync::Mutex::new(()),
        })
    }

    /// A second handle, to read the file from its start to its end.
    pub(super) fn stream(&self) -> Result<File> {
        self.file.try_clone().map_err(Error::io("read", &self.path))
    }

    /// The length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends the bytes from `start` to `end`, or to the end of the file if it comes first.
    pub(super) fn append(&self, start: u64, end: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let count = end.min(self.length).saturating_sub(start) as usize;
        let from = bytes.len();
        bytes.resize(from + count, 0);
        match self.read_exact_at(&mut bytes[from..], start) {
            Ok(()) => Ok(()),
            // A file that has become shorter ends early: that is the better thing to say.
            Err(error) => self.check().and_then(|()| Err(Error::io("read", &self.path)(error))),
        }
    }

    /// The number of the line that the byte at `place` stands in, counted from one.
    pub(super) fn line_at(&self, place: u64) -> Result<u64> {
        let (mut line, mut start, mut bytes) = (1, 0, Vec::new());
        while start < place {
            bytes.clear();
            let end = place.min(start + (1 << 16));
            self.append(start, end, &mut bytes)?;
            line += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            start = end;
        }
        Ok(line)
    }

    /// Refuses a file that is not what it was when it was opened.
    pub(super) fn check(&self) -> Result<()> {
        let refused = |error| Error::io("read", &self.path)(error);
        let metadata: Metadata = self.file.metadata().map_err(refused)?;
        let how = if metadata.len() != self.length {
            format!("it had {} bytes and now has {}", self.length, metadata.len())
        } else if metadata.modified().map_err(refused)? != self.changed {
            "it was written to".to_owned()
        } else {
            return Ok(());
        };
        let reason = format!(
            "{} has changed while it was used ({how}); records that change between steps have no guarantee: use a copy that \
             nobody writes to",
            self.path.display()
        );
        Err(Error::Refused { reason })
    }

    #[cfg(unix)]
    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, place)
    }

    #[cfg(not(unix))]
    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> std::io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        // Whoever panicked while holding it has left nothing behind that matters: each use sets the cursor first.
        let _one = self.cursor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bytes_lines_and_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "ab\ncd\nef").unwrap();
        let file = Watched::open(&path).unwrap();
        let mut bytes = b"x".to_vec();
        file.append(3, 5, &mut bytes).unwrap();
        file.append(6, 99, &mut bytes).unwrap();
        assert_eq!(bytes, b"xcdef");
        assert_eq!([0, 2, 3, 5, 6].map(|place| file.line_at(place).unwrap()), [1, 1, 2, 2, 3]);
        file.check().unwrap();

        // Another file under the same name is not this one.
        let other = directory.path().join("g");
        std::fs::write(&other, "other").unwrap();
        std::fs::rename(&other, &path).unwrap();
        file.check().unwrap();

        let file = Watched::open(&path).unwrap();
        let later = file.changed + std::time::Duration::from_secs(1);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(file.check().unwrap_err().to_string().contains("it was written to"));
        let file = Watched::open(&path).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        assert!(file.check().unwrap_err().to_string().contains("it had 5 bytes and now has 6"));
        let file = Watched::open(&path).unwrap();
        std::fs::write(&path, "o").unwrap();
        let error = file.append(0, 6, &mut bytes).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("it had 6 bytes and now has 1"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_in_any_order_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let message = Watched::open(directory.path()).unwrap_err().to_string();
        assert!(message.contains("no regular file"), "{message}");
    }
}
