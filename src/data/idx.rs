//! IDX, the format of MNIST: `00 00 TYPE NDIM`, NDIM big-endian lengths, then the elements, big-endian too.
//!
//! Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::{Classes, too_many};
use super::dataset::Dataset;
use super::on_disk::{Chunk, Fault, OnDisk, Places, Reread};
use super::range::{Scale, stored};
use super::reading::{Format, Normalize, Reading};
use super::schema::{Element, Schema};
use super::source::{Origin, Source};
use super::store::Store;
use super::values::Values;
use super::watched::Watched;
use super::width::product;
use crate::{Error, Result};

/// Reads the records of `source` and the labels beside it.
pub(super) fn read(source: Source, reading: &Reading) -> Result<Dataset> {
    let labels = match &reading.labels {
        Some(path) => path.clone(),
        None => sibling(source.origin())?,
    };
    let (array, elements) = Array::open(source)?;
    // A byte has a range of its own, known before any data: 0..255.
    let range = reading.range.or((array.element == Element::U8).then_some((0.0, 255.0)));
    let shape = reading.shape.clone().unwrap_or_else(|| array.record_shape());
    let expected = match reading.declared_width()? {
        Some(width) => width,
        None => array.width()?,
    };
    let classes = Classes::new(reading.classes.as_deref())?;
    assemble((array, elements), &labels, classes, expected, |element, classes| {
        Schema::of_file(Format::Idx, shape, classes, range, reading.normalize).with_element(element)
    })
}

/// Reads the records of `source` as those of `schema` were read.
pub(super) fn read_like(source: Source, labels: Option<&Path>, schema: &Schema) -> Result<Dataset> {
    let labels = match labels {
        Some(path) => path.to_path_buf(),
        None => sibling(source.origin())?,
    };
    let (array, elements) = Array::open(source)?;
    if schema.element() != Some(array.element) {
        let expected = schema.element().map_or_else(String::new, |element| format!("{element:?}").to_lowercase());
        let found = format!("elements of type {:?}", array.element).to_lowercase();
        return Err(array.origin.error(found, format!("{expected}, as in the training file")));
    }
    let classes = Classes::new(Some(schema.classes()))?;
    assemble((array, elements), &labels, classes, schema.width(), |_, _| schema.clone())
}

/// Puts records and labels together; `schema` makes the schema from the element type and the classes.
fn assemble(
    (array, elements): (Array, Elements),
    labels: &Path,
    mut classes: Classes,
    width: usize,
    schema: impl FnOnce(Element, Vec<String>) -> Schema,
) -> Result<Dataset> {
    let found = array.width()?;
    if found != width {
        let found = format!("records of {found} values, {:?}", array.record_shape());
        return Err(array.origin.error(found, format!("records of {width} values")));
    }
    let mut codes = read_labels(labels, &array, &mut classes)?;
    let mut notes = Vec::new();
    let names = classes.finish(&mut codes, &mut notes).map_err(|seen| {
        let (found, expected) = too_many(seen);
        Error::data(crate::Place::file(labels), found, expected)
    })?;
    let schema = schema(array.element, names);
    let scale = schema.range().map(Scale::new).transpose()?;
    notes.extend(notes_on_values(array.element, scale, schema.normalize()));
    let place = array.origin.place();
    Dataset::from_file(place, array.into_store(elements, width, scale)?, codes, notes, schema)
}

pub(super) fn notes_on_values(element: Element, scale: Option<Scale>, normalize: Normalize) -> Vec<String> {
    let mut notes = Vec::new();
    match scale {
        Some(scale) if element == Element::U8 && scale.to_string() == "0..255" => {
            notes.push("the values were scaled by the fixed range of a byte, 0..255, to 0..1".into());
        }
        Some(scale) => notes.push(super::notes::scaled("the values", scale)),
        None if normalize == Normalize::None => notes.push(super::notes::unscaled("the values")),
        None => {}
    }
    notes.extend(super::notes::normalized(normalize));
    notes
}

/// What one IDX file holds.
struct Array {
    origin: Origin,
    element: Element,
    lengths: Vec<usize>,
}

/// Where the elements are.
enum Elements {
    Memory(Vec<u8>),
    /// In the file, from this byte on.
    Disk(Arc<Watched>, u64),
}

impl Array {
    /// Opens a file whose elements are read now, or stay where they are.
    fn open(source: Source) -> Result<(Self, Elements)> {
        let Some(file) = source.file() else {
            let (array, bytes) = Self::read(source)?;
            return Ok((array, Elements::Memory(bytes)));
        };
        let (array, promised) = Self::header(&source.origin().clone(), &mut source.into_stream())?;
        let header = 4 + 4 * array.lengths.len() as u64;
        array.check(file.length().saturating_sub(header), promised)?;
        Ok((array, Elements::Disk(file, header)))
    }

    /// Reads a file into memory.
    fn read(source: Source) -> Result<(Self, Vec<u8>)> {
        let origin = source.origin().clone();
        let mut stream = source.into_stream();
        let (array, promised) = Self::header(&origin, &mut stream)?;
        // The header may promise anything: memory is taken for the bytes that are there, one more than promised at most.
        let mut bytes = Vec::new();
        stream.take(promised + 1).read_to_end(&mut bytes).map_err(|error| array.origin.fault(error))?;
        array.check(bytes.len() as u64, promised)?;
        bytes.shrink_to_fit();
        Ok((array, bytes))
    }

    /// Reads the header, and says how many bytes of elements it promises.
    fn header(origin: &Origin, stream: &mut impl Read) -> Result<(Self, u64)> {
        let mut header = [0u8; 4];
        read_header(stream, &mut header, origin)?;
        let [0, 0, code, dimensions] = header else {
            return Err(
                origin.error(format!("the first bytes {header:02x?}"), "00 00 TYPE NDIM, the start of an IDX file")
            );
        };
        let element = element(code).ok_or_else(|| {
            origin.error(
                format!("the element type {code:#04x}"),
                "08 (u8), 09 (i8), 0b (i16), 0c (i32), 0d (f32), 0e (f64)",
            )
        })?;
        if dimensions == 0 {
            return Err(origin.error("an array without dimensions", "at least one dimension"));
        }
        let mut lengths = Vec::new();
        for _ in 0..dimensions {
            let mut length = [0u8; 4];
            read_header(stream, &mut length, origin)?;
            lengths.push(u32::from_be_bytes(length) as usize);
        }
        let promised = lengths
            .iter()
            .try_fold(u64::from(size(element)), |product, &length| product.checked_mul(length as u64))
            .filter(|&bytes| bytes < u64::MAX && usize::try_from(bytes).is_ok())
            .ok_or_else(|| origin.error(format!("the dimensions {lengths:?}"), "a product that fits in memory"))?;
        Ok((Self { origin: origin.clone(), element, lengths }, promised))
    }

    /// Refuses a file with more or fewer bytes of elements than promised.
    fn check(&self, found: u64, promised: u64) -> Result<()> {
        if found == promised {
            return Ok(());
        }
        let more = if found > promised { "more than " } else { "" };
        let found = format!("{more}{} bytes of elements", found.min(promised));
        let expected = format!("{promised}, as the dimensions {:?} of {:?} say", self.lengths, self.element);
        Err(self.origin.error(found, expected.to_lowercase()))
    }

    fn records(&self) -> usize {
        self.lengths.first().copied().unwrap_or_default()
    }

    /// The shape of one record; that of a file with a single dimension is one number.
    fn record_shape(&self) -> Vec<usize> {
        match &self.lengths[..] {
            [] | [_] => vec![1],
            [_, shape @ ..] => shape.to_vec(),
        }
    }

    /// The number of values of one record.
    fn width(&self) -> Result<usize> {
        let shape = self.record_shape();
        product(&shape).map_err(|_| self.origin.error(format!("records of shape {shape:?}"), "smaller records"))
    }

    fn into_store(self, elements: Elements, width: usize, scale: Option<Scale>) -> Result<Store> {
        let records = self.records();
        let array = Numbers { origin: self.origin, element: self.element, scale };
        let bytes = match elements {
            Elements::Memory(bytes) => bytes,
            Elements::Disk(file, start) => return array.on_disk(file, start, records, width),
        };
        Ok(match self.element {
            Element::U8 => Values::Bytes { bytes, table: byte_table(f64::from, scale) },
            Element::I8 => Values::Bytes { bytes, table: byte_table(|byte| f64::from(byte as i8), scale) },
            _ => {
                let mut values = vec![0.0; bytes.len() / usize::from(size(self.element))];
                array.read(&bytes, 0, width, &mut values)?;
                Values::Dense(values)
            }
        }
        .into())
    }
}

/// What each byte stands for.
pub(super) fn byte_table(value: fn(u8) -> f64, scale: Option<Scale>) -> Box<[f32; 256]> {
    // Every i8 and u8 is a finite f32, scaled or not.
    let entry = |byte: usize| stored(value(byte as u8), scale).unwrap_or_default();
    Box::new(std::array::from_fn(entry))
}

/// How the bytes of elements become values.
#[derive(Debug)]
struct Numbers {
    origin: Origin,
    element: Element,
    scale: Option<Scale>,
}

impl Numbers {
    /// Turns the elements of some records, of which the first has the number `first` counted from zero, into values.
    fn read(&self, bytes: &[u8], first: usize, width: usize, out: &mut [f32]) -> Result<()> {
        for (at, (value, out)) in numbers(bytes, self.element).zip(out).enumerate() {
            *out = stored(value, self.scale).ok_or_else(|| {
                let found = format!("{value} as value {} of record {}", at % width + 1, first + at / width + 1);
                self.origin.error(found, "a finite number within the range of f32")
            })?;
        }
        Ok(())
    }

    /// Checks every record and leaves them where they are.
    fn on_disk(self, file: Arc<Watched>, start: u64, records: usize, width: usize) -> Result<Store> {
        let size = width as u64 * u64::from(size(self.element));
        let mut places = Places::default();
        let (mut bytes, mut values) = (Vec::new(), vec![0.0; width]);
        for record in 0..records {
            let place = start + record as u64 * size;
            places.push(place, place + size, &self.origin)?;
            // Integers of at most 32 bits are finite whatever they are.
            if matches!(self.element, Element::F32 | Element::F64) {
                bytes.clear();
                file.append(place, place + size, &mut bytes)?;
                self.read(&bytes, record, width, &mut values)?;
            }
        }
        Ok(OnDisk::new(file, places, Arc::new(self))?.into())
    }
}

impl Reread for Numbers {
    fn reread(&self, chunk: &Chunk, width: usize, out: &mut [f32]) -> Result<(), Fault> {
        for (record, (bytes, out)) in chunk.records().zip(out.chunks_exact_mut(width)).enumerate() {
            let fault = |_| {
                let error = self.origin.error("a value that is not finite", "a finite number within the range of f32");
                Fault::new(record, error)
            };
            self.read(bytes, record, width, out).map_err(fault)?;
        }
        Ok(())
    }

    fn has_lines(&self) -> bool {
        false
    }
}

fn read_header(stream: &mut impl Read, bytes: &mut [u8; 4], origin: &Origin) -> Result<()> {
    let mut read = Vec::with_capacity(4);
    stream.take(4).read_to_end(&mut read).map_err(|error| origin.fault(error))?;
    *bytes = read.try_into().map_err(|_| origin.error("a file that ends in its header", "a whole IDX header"))?;
    Ok(())
}

fn element(code: u8) -> Option<Element> {
    Some(match code {
        0x08 => Element::U8,
        0x09 => Element::I8,
        0x0b => Element::I16,
        0x0c => Element::I32,
        0x0d => Element::F32,
        0x0e => Element::F64,
        _ => return None,
    })
}

/// Bytes an element takes.
fn size(element: Element) -> u8 {
    match element {
        Element::U8 | Element::I8 => 1,
        Element::I16 => 2,
        Element::I32 | Element::F32 => 4,
        Element::F64 => 8,
    }
}

/// The elements as numbers; `f64` holds each type exactly.
fn numbers(bytes: &[u8], element: Element) -> impl Iterator<Item = f64> + '_ {
    bytes.chunks_exact(usize::from(size(element))).map(move |chunk| match (element, chunk) {
        (Element::I8, &[a]) => f64::from(a as i8),
        (Element::I16, &[a, b]) => f64::from(i16::from_be_bytes([a, b])),
        (Element::I32, &[a, b, c, d]) => f64::from(i32::from_be_bytes([a, b, c, d])),
        (Element::F32, &[a, b, c, d]) => f64::from(f32::from_be_bytes([a, b, c, d])),
        (Element::F64, &[a, b, c, d, e, f, g, h]) => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        // The chunks have the size of the element, so this is a u8.
        (_, chunk) => chunk.first().copied().map_or(0.0, f64::from),
    })
}

/// The class of each record of `array`.
fn read_labels(path: &Path, array: &Array, classes: &mut Classes) -> Result<Vec<u32>> {
    let (labels, bytes) = Array::read(Source::open(path)?)?;
    if matches!(labels.element, Element::F32 | Element::F64) {
        let found = format!("labels of type {:?}", labels.element).to_lowercase();
        return Err(labels.origin.error(found, "integers"));
    }
    if labels.lengths.iter().skip(1).any(|&length| length != 1) {
        return Err(labels.origin.error(format!("the dimensions {:?}", labels.lengths), "one label for each record"));
    }
    if labels.records() != array.records() {
        let expected = format!("{}, as {} has records", array.records(), array.origin.path().display());
        return Err(labels.origin.error(format!("{} labels", labels.records()), expected));
    }
    let mut codes = Vec::with_capacity(bytes.len() / usize::from(size(labels.element)));
    for (at, value) in numbers(&bytes, labels.element).enumerate() {
        let code = classes.code(&value.to_string()).ok_or_else(|| {
            let found = format!("the label {value} for record {}", at + 1);
            labels.origin.error(found, format!("one of the classes {}", classes.list()))
        })?;
        codes.push(code);
    }
    Ok(codes)
}

/// The label file beside `train-images-idx3-ubyte.gz`: `train-labels-idx1-ubyte`, packed or not.
fn sibling(origin: &Origin) -> Result<PathBuf> {
    let path = origin.path();
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (stem, packed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
    let mut labels = stem.replace("images", "labels");
    for dimensions in 1..=9 {
        labels = labels.replace(&format!("idx{dimensions}"), "idx1");
    }
    let way_out = "its label file, given with --labels FILE";
    if labels == stem {
        return Err(origin.error("no `images` in the file's name, from which the label file's would follow", way_out));
    }
    let zipped = format!("{labels}.gz");
    let candidates = if packed { [zipped, labels] } else { [labels, zipped] };
    candidates
        .iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
        .ok_or_else(|| origin.error(format!("neither {} beside it", candidates.join(" nor ")), way_out))
}
