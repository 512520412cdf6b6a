//! CIFAR-10, binary version: records of 3,073 bytes, a class number and then 32 x 32 red, green and blue values.
//!
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the page of the data set, section "Binary
//! version".

use std::io::Read;
use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::idx::{byte_table, notes_on_values};
use super::range::Scale;
use super::reading::{Format, Reading};
use super::schema::{Element, Schema};
use super::source::Source;
use super::values::Values;
use crate::{Error, Result};

/// Values of a record.
pub(super) const VALUES: usize = 3 * 32 * 32;

/// Bytes of a record.
const RECORD: usize = 1 + VALUES;

/// The classes, in the order of their numbers, as the page of the data set names them.
pub(super) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// How many files the training records come in.
const TRAINING_FILES: usize = 5;

/// What a directory with CIFAR-10 holds.
#[derive(Debug, Clone)]
pub struct Cifar10 {
    /// The records of the training files that are there. How many of the five those are is in the notes.
    pub train: Dataset,
    /// The records of the test file and its name, if there is one.
    pub test: Option<(Dataset, String)>,
}

/// Reads CIFAR-10 from `directory`, its subdirectory `cifar-10-batches-bin` (as the archive unpacks) or `cifar-10`: those of
/// `data_batch_1.bin` to `data_batch_5.bin` that are there, and the one file whose name begins with `test_batch`. Each may be
/// gzip'd.
///
/// # Errors
///
/// When there is no training file or more than one test file, and whenever one of them cannot be read or is not what the format says.
pub fn read_cifar10(directory: &Path, reading: &Reading) -> Result<Cifar10> {
    let places = [directory.join("cifar-10"), directory.join("cifar-10-batches-bin"), directory.to_path_buf()];
    let batches = |place: &PathBuf| -> Vec<PathBuf> {
        let names = (1..=TRAINING_FILES).map(|number| format!("data_batch_{number}.bin"));
        names
            .filter_map(|name| [place.join(&name), place.join(name + ".gz")].into_iter().find(|path| path.is_file()))
            .collect()
    };
    let found = places.iter().map(|place| (place, batches(place))).find(|(_, files)| !files.is_empty());
    let Some((place, files)) = found else {
        let allowed = "a directory with data_batch_1.bin or data_batch_1.bin.gz, or with one that has them: cifar-10 or \
                       cifar-10-batches-bin";
        return Err(Error::value("data_dir", directory.display(), allowed));
    };
    let reading = Reading { format: Some(Format::Cifar10), ..reading.clone() };
    reading.check_applies_to(Format::Cifar10)?;
    let sources = files.iter().map(|path| super::open(path, reading.on_disk)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = files.iter().map(|path| name(path)).collect();
    let note = format!(
        "the records are those of {} of the {TRAINING_FILES} training files of CIFAR-10: {}",
        files.len(),
        names.join(", ")
    );
    let train = read(sources, &reading)?.described("cifar-10", [note]);
    let test = match test_file(place)? {
        Some(path) => {
            Some((read_like(Source::open(&path)?, train.schema())?.described("cifar-10-test", []), name(&path)))
        }
        None => None,
    };
    Ok(Cifar10 { train, test })
}

/// The one file of test records.
fn test_file(place: &Path) -> Result<Option<PathBuf>> {
    let refused = |error| Error::io("read", place)(error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let name = name(&path);
        if name.starts_with("test_batch") && (name.ends_with(".bin") || name.ends_with(".bin.gz")) {
            files.push(path);
        }
    }
    match &files[..] {
        [] => Ok(None),
        [path] => Ok(Some(path.clone())),
        several => {
            let mut names: Vec<String> = several.iter().map(|path| name(path)).collect();
            names.sort();
            Err(Error::data(crate::Place::file(place), names.join(", "), "one file whose name begins with test_batch"))
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Reads the records of files, one file after another.
pub(super) fn read(sources: Vec<Source>, reading: &Reading) -> Result<Dataset> {
    if reading.on_disk {
        return Err(Error::value("on_disk", "given", super::ON_DISK));
    }
    if let Some(classes) = &reading.classes {
        return Err(Error::value("classes", classes.join(","), "none for CIFAR-10: its ten classes are known"));
    }
    if let Some(width) = reading.declared_width()?.filter(|&width| width != VALUES) {
        return Err(Error::value("shape", format!("{width} values"), format!("{VALUES} values, as CIFAR-10 has")));
    }
    let shape = reading.shape.clone().unwrap_or_else(|| vec![3, 32, 32]);
    let range = reading.range.or(Some((0.0, 255.0)));
    let classes = CLASSES.map(str::to_owned).to_vec();
    let schema = Schema::of_file(Format::Cifar10, shape, classes, range, reading.normalize);
    assemble(sources, schema)
}

/// Reads the records of `source` as those of `schema` were read.
pub(super) fn read_like(source: Source, schema: &Schema) -> Result<Dataset> {
    assemble(vec![source], schema.clone())
}

fn assemble(sources: Vec<Source>, schema: Schema) -> Result<Dataset> {
    let (mut bytes, mut labels) = (Vec::new(), Vec::new());
    let Some(place) = sources.first().map(|source| source.origin().place()) else {
        return Err(Error::value("files", "none", "at least one file"));
    };
    for source in sources {
        append(source, &mut bytes, &mut labels)?;
    }
    bytes.shrink_to_fit();
    let scale = schema.range().map(Scale::new).transpose()?;
    let notes = notes_on_values(Element::U8, scale, schema.normalize());
    let values = Values::Bytes { bytes, table: byte_table(f64::from, scale) };
    Dataset::from_file(place, values, labels, notes, schema)
}

/// Appends the records of a file.
fn append(source: Source, bytes: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<()> {
    let origin = source.origin().clone();
    let mut stream = source.into_stream();
    let mut record = Vec::with_capacity(RECORD);
    for number in 0u64.. {
        record.clear();
        stream.by_ref().take(RECORD as u64).read_to_end(&mut record).map_err(|error| origin.fault(error))?;
        match record.split_first() {
            None if number == 0 => return Err(origin.error("an empty file", format!("records of {RECORD} bytes"))),
            None => break,
            Some((&label, values)) if values.len() == VALUES => {
                if usize::from(label) >= CLASSES.len() {
                    let found = format!("the label {label} for record {}", number + 1);
                    return Err(origin.error(found, "a label from 0 to 9"));
                }
                labels.push(u32::from(label));
                bytes.extend_from_slice(values);
            }
            Some(_) => {
                let length = number * RECORD as u64 + record.len() as u64;
                let expected = format!("a multiple of {RECORD}, the bytes of a record of CIFAR-10's binary version");
                return Err(origin.error(format!("{length} bytes"), expected));
            }
        }
    }
    Ok(())
}
