//! Sources: a file as a stream of unpacked bytes, whose first part can be looked at before it is read.

use std::fs::File;
use std::io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::watched::Watched;
use crate::{Error, Place, Result};

/// How much of a file is looked at to tell its format.
const HEAD: u64 = 64 * 1024;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

const IN_PLACE_OF_A_DIRECTORY: &str =
    "a file; the data sets mnist, fashion-mnist and cifar-10 are read with `--data NAME --data-dir DIRECTORY`";

/// A file or embedded bytes, unpacked if they are gzip'd.
pub(super) struct Source {
    origin: Origin,
    /// The bytes of a byte order mark, which are not in the stream.
    mark: u64,
    /// The file itself, if its records are to stay there.
    file: Option<Arc<Watched>>,
    head: Vec<u8>,
    stream: Chain<Cursor<Vec<u8>>, Box<dyn BufRead>>,
}

/// Where a source comes from, for errors.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    path: PathBuf,
    gzip: bool,
}

impl Source {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::data(Place::file(path), "a directory", IN_PLACE_OF_A_DIRECTORY));
        }
        let file = File::open(path).map_err(Error::io("read", path))?;
        Self::new(path, Box::new(BufReader::with_capacity(HEAD as usize, file)))
    }

    /// Opens a file whose records are to stay there.
    pub(super) fn on_disk(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::open(path);
        }
        let file = Watched::open(path)?;
        let source = Self::new(path, Box::new(BufReader::with_capacity(HEAD as usize, file.stream()?)))?;
        if source.origin.gzip {
            let expected = "a plain file: records cannot be read where they lie in a gzip'd one. `gunzip` unpacks it; \
                            without --on-disk it is read into memory";
            return Err(source.origin.error("a gzip'd file", expected));
        }
        Ok(Self { file: Some(Arc::new(file)), ..source })
    }

    /// Takes bytes in memory; `name` stands for the path in errors.
    pub(super) fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::new(Path::new(name), Box::new(bytes))
    }

    fn new(path: &Path, mut packed: Box<dyn BufRead>) -> Result<Self> {
        let mut magic = Vec::new();
        let mut origin = Origin { path: path.to_path_buf(), gzip: false };
        packed.by_ref().take(2).read_to_end(&mut magic).map_err(|error| origin.fault(error))?;
        origin.gzip = magic == [0x1f, 0x8b];
        let packed = Cursor::new(magic).chain(packed);
        let mut rest: Box<dyn BufRead> = if origin.gzip {
            Box::new(BufReader::with_capacity(HEAD as usize, MultiGzDecoder::new(packed)))
        } else {
            Box::new(packed)
        };
        let mut head = Vec::new();
        rest.by_ref().take(HEAD).read_to_end(&mut head).map_err(|error| origin.fault(error))?;
        // The byte order mark of UTF-8 says nothing and belongs to no cell.
        let mark = if head.starts_with(MARK) { MARK.len() } else { 0 };
        head.drain(..mark);
        Ok(Self { origin, mark: mark as u64, file: None, head: head.clone(), stream: Cursor::new(head).chain(rest) })
    }

    /// The first bytes of the stream, at most 64 KiB.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Where the bytes come from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The file, if its records are to stay there.
    pub(super) fn file(&self) -> Option<Arc<Watched>> {
        self.file.clone()
    }

    /// The place in the file of the first byte of the stream, where the file is not gzip'd.
    pub(super) fn start(&self) -> u64 {
        self.mark
    }

    /// The whole stream, from its first byte.
    pub(super) fn into_stream(self) -> impl BufRead + 'static {
        self.stream
    }
}

impl Origin {
    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file as a whole.
    pub(super) fn place(&self) -> Place {
        Place::file(&self.path)
    }

    /// A line, counted from one.
    pub(super) fn line(&self, line: u64) -> Place {
        Place::line(&self.path, line)
    }

    /// An error for something found in the file as a whole.
    pub(super) fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::data(self.place(), found, expected)
    }

    /// A failed read: of the packed stream, when its content is at fault, or of the file.
    pub(super) fn fault(&self, error: std::io::Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof if self.gzip => {
                self.error("a gzip stream that ends early", "a complete gzip file")
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData if self.gzip => {
                self.error(format!("a corrupt gzip stream ({error})"), "a complete gzip file")
            }
            _ => Error::io("read", &self.path)(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
        let source = Source::new(Path::new("f.gz"), Box::new(Cursor::new(bytes.to_vec())))?;
        let origin = source.origin().clone();
        let mut content = Vec::new();
        source.into_stream().read_to_end(&mut content).map_err(|error| origin.fault(error))?;
        Ok(content)
    }

    #[test]
    fn plain_packed_and_several_members_read_alike() {
        let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let (first, second) = content.split_at(1000);
        assert_eq!(unpack(&content).unwrap(), content);
        assert_eq!(unpack(&gzip(&content)).unwrap(), content);
        assert_eq!(unpack(&[gzip(first), gzip(second)].concat()).unwrap(), content);
        assert_eq!(unpack(b"").unwrap(), b"");
        assert_eq!(unpack(b"\xef\xbb\xbfx").unwrap(), b"x");
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let packed = gzip(b"1,2,3\n4,5,6\n");
        for length in 2..packed.len() {
            let message = unpack(&packed[..length]).unwrap_err().to_string();
            assert_eq!(message, "f.gz: found a gzip stream that ends early; expected a complete gzip file");
        }
    }

    #[test]
    fn a_changed_byte_is_an_error() {
        let mut packed = gzip(b"1,2,3\n4,5,6\n");
        let at = packed.len() - 6;
        packed[at] ^= 1;
        assert!(unpack(&packed).unwrap_err().to_string().starts_with("f.gz: found a corrupt gzip stream"));
    }

    #[test]
    fn a_missing_file_and_a_directory_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent.csv");
        assert!(Source::open(&absent).err().unwrap().to_string().contains("absent.csv: cannot read"));
        let message = Source::open(directory.path()).err().unwrap().to_string();
        assert!(message.contains("found a directory; expected a file") && message.contains("--data-dir"), "{message}");
    }
}
