//! The flags that say which data to read and how, and the data sets they lead to.

use crate::data::{self, ColumnRule, Dataset, Format, Header, Label, Normalize, Reading, Vocabulary, embedded};
use crate::seed::{Key, Role};
use crate::{Error, Result};
use rand::Rng;
use std::path::{Path, PathBuf};

/// Which data, and how to read it. Whatever is declared here is public knowledge; whatever is found in the data instead is
/// named in the statement.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
pub(super) struct DataArgs {
    /// The training data: `optdigits` or `adult` (embedded), `mnist`, `fashion-mnist` or `cifar-10` (with --data-dir), or a file
    /// (CSV, LIBSVM, IDX, CIFAR-10 or text, plain or gzip'd).
    #[arg(long, default_value = "optdigits", value_name = "NAME|PATH")]
    data: String,
    /// Where the files of a named data set are.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Test data, read as the training data was.
    #[arg(long, value_name = "PATH", conflicts_with = "holdout")]
    test_data: Option<PathBuf>,
    /// The share of the records to keep out of training and test on, between 0 and 1.
    #[arg(long, value_name = "FRACTION")]
    holdout: Option<f64>,
    /// The file format, if the first bytes mislead; `text` is always said.
    #[arg(long, value_name = "idx|libsvm|csv|cifar-10|text")]
    data_format: Option<Format>,
    /// CSV, text: the column of the labels: `last`, `first`, a position from 1, or a name.
    #[arg(long, default_value = "last", value_name = "COLUMN")]
    label: Label,
    /// IDX: the file of the labels, if its name is not that of the images with `labels` for `images`.
    #[arg(long, value_name = "PATH")]
    labels: Option<PathBuf>,
    /// IDX: the file of the test labels, likewise.
    #[arg(long, value_name = "PATH", requires = "test_data")]
    test_labels: Option<PathBuf>,
    /// CSV, text: whether the first row names the columns.
    #[arg(long, default_value = "auto", value_name = "auto|yes|no")]
    header: Header,
    /// CSV: the names of the columns of a file without a header.
    #[arg(long, value_delimiter = ',', value_name = "A,B,..")]
    column_names: Option<Vec<String>>,
    /// CSV, text: the character between cells, or `tab`; found in the first line if absent, and `tab` for text.
    #[arg(long, value_parser = data::parse_delimiter, value_name = "CHAR")]
    delimiter: Option<char>,
    /// CSV, text: lines to leave out before the table.
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip_lines: usize,
    /// CSV: a cell that stands for a missing value; repeatable. Default: empty, `?` and `NA`.
    #[arg(long, value_name = "WORD")]
    missing: Vec<String>,
    /// CSV: a column of categories, one-hot over the values declared (`job=a|b|c`) or else seen (`job`); repeatable.
    #[arg(long, value_parser = ColumnRule::parse_categorical, value_name = "COLUMN[=A|B|..]")]
    categorical: Vec<ColumnRule>,
    /// CSV: a column of numbers; `age=0:120?` declares a public range, and with `?` that values may be missing; repeatable.
    #[arg(long, value_parser = ColumnRule::parse_numeric, value_name = "COLUMN[=LOW:HIGH[?]]")]
    numeric: Vec<ColumnRule>,
    /// CSV: a column to leave out; repeatable.
    #[arg(long, value_parser = ColumnRule::parse_ignored, value_name = "COLUMN")]
    ignore: Vec<ColumnRule>,
    /// The public range of all numeric values (`0:255`) or of a CSV column (`age=0:120`); values are clamped to it and
    /// scaled to 0..1; repeatable.
    #[arg(long, value_name = "[COLUMN=]LOW:HIGH", allow_hyphen_values = true)]
    range: Vec<String>,
    /// `record`: scale each record to Euclidean norm 1, which depends on that record alone.
    #[arg(long, default_value = "none", value_name = "none|record")]
    normalize: Normalize,
    /// The class labels, in order; those seen, sorted, if absent.
    #[arg(long, value_delimiter = ',', value_name = "A,B,..")]
    classes: Option<Vec<String>>,
    /// LIBSVM: the number of features; the largest index seen if absent.
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Text: the tokens: `bytes`, or a public file of words, one a line.
    #[arg(long, value_name = "bytes|FILE")]
    vocabulary: Option<PathBuf>,
    /// Text: the tokens of a record; longer texts are cut and shorter ones filled up [default: 256 bytes, 64 words].
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Text: foretell each token of one long text without labels, which is cut into records of --length tokens.
    #[arg(long)]
    language_model: bool,
    /// The shape of one record, such as 28x28 or 3x32x32.
    #[arg(long, value_parser = shape, value_name = "HxW")]
    shape: Option<Shape>,
    /// Leave the records in their files, which may then be larger than memory, and read those of a batch when it is made. The files
    /// must be plain and must not change meanwhile. Changes no result.
    #[arg(long)]
    on_disk: bool,
}

/// The data sets that have a name.
const NAMES: [&str; 5] = ["optdigits", "adult", "mnist", "fashion-mnist", "cifar-10"];

/// The shape of one record.
#[derive(Debug, Clone)]
struct Shape(Vec<usize>);

fn shape(word: &str) -> Result<Shape> {
    let sizes: Option<Vec<usize>> = word.split('x').map(|size| size.parse().ok().filter(|size| *size > 0)).collect();
    sizes.map(Shape).ok_or_else(|| Error::value("--shape", word, "sizes above 0 joined by x, such as 28x28"))
}

/// What to train and test on.
pub(super) struct Datasets {
    pub(super) train: Dataset,
    pub(super) test: Option<Dataset>,
    /// Where the test records came from, for the statement.
    pub(super) test_origin: Option<String>,
    /// How many records of the training data each node's own file had, where they came from such files.
    pub(super) files: Option<Vec<usize>>,
}

impl Datasets {
    /// How many records all nodes have to train on.
    pub(super) fn records(&self) -> usize {
        self.files.as_ref().map_or(self.train.len(), |files| files.iter().sum())
    }
}

/// What stands in --data for the number of a node.
const NODE: &str = "{node}";

impl DataArgs {
    /// Reads the data, for so many nodes if there are any. `key` decides which records `--holdout` keeps out.
    pub(super) fn read(&self, key: &Key, nodes: Option<usize>) -> Result<Datasets> {
        if self.is_of_nodes() {
            return self.of_nodes(nodes);
        }
        let (train, test, origin) = match self.data.as_str() {
            "optdigits" => {
                self.check_embedded()?;
                let (train, test) = embedded::optdigits()?;
                (train, Some(test), Some("the test part of optdigits (13 other writers)".to_string()))
            }
            "adult" => {
                self.check_embedded()?;
                let (train, test) = embedded::adult()?;
                (train, Some(test), Some("the test part of Adult".to_string()))
            }
            "cifar-10" => {
                let files = data::read_cifar10(self.directory("cifar-10", "the files of")?, &self.reading()?)?;
                let (test, origin) = files.test.map(|(test, name)| (test, format!("{name} of CIFAR-10"))).unzip();
                (files.train, test, origin)
            }
            name @ ("mnist" | "fashion-mnist") => self.named(name)?,
            path => (self.file(path)?, None, None),
        };
        if let Some(path) = &self.test_data {
            let (labels, schema) = (self.test_labels.as_deref(), train.schema());
            let read = if self.on_disk { data::read_like_on_disk } else { data::read_like };
            let test = read(path, labels, schema)?;
            return Ok(Datasets {
                train,
                test: Some(test),
                test_origin: Some(path.display().to_string()),
                files: None,
            });
        }
        match self.holdout {
            None => Ok(Datasets { train, test, test_origin: origin, files: None }),
            Some(fraction) => hold_out(&train, fraction, key),
        }
    }

    /// Whether each node has a file of its own.
    pub(super) fn is_of_nodes(&self) -> bool {
        self.data.contains(NODE)
    }

    /// The name of files of nodes, with {node} for the number.
    pub(super) fn name_of_files(&self) -> String {
        let name =
            Path::new(&self.data).file_name().map_or_else(|| self.data.clone(), |name| name.to_string_lossy().into());
        name.split_once('.').map_or(name.clone(), |(stem, _)| stem.to_string())
    }

    /// Reads the file of one node alone, and for node 0 the test data.
    pub(super) fn of_node(&self, node: usize) -> Result<Datasets> {
        self.check_files()?;
        let train = self.file(&self.data.replace(NODE, &node.to_string()))?;
        let test = self.test_data.as_ref().filter(|_| node == 0);
        let test_origin = test.map(|path| path.display().to_string());
        let test = test.map(|path| data::read_like(path, self.test_labels.as_deref(), train.schema())).transpose()?;
        Ok(Datasets { train, test, test_origin, files: None })
    }

    fn check_files(&self) -> Result<()> {
        if self.holdout.is_some() || self.on_disk || self.labels.is_some() {
            let allowed = "nothing beside a file for each node; give --test-data, and labels beside their images";
            return Err(Error::value("--holdout, --on-disk or --labels", "given", allowed));
        }
        Ok(())
    }

    /// Reads a file for each node, all as the first.
    fn of_nodes(&self, nodes: Option<usize>) -> Result<Datasets> {
        let Some(nodes) = nodes else {
            return Err(Error::value("--data", &self.data, "a name without {node}, or --nodes beside it"));
        };
        self.check_files()?;
        let path = |node: usize| self.data.replace(NODE, &node.to_string());
        let first = self.file(&path(0))?;
        let mut all = vec![first];
        for node in 1..nodes {
            let of_node = data::read_like(Path::new(&path(node)), None, all[0].schema())?;
            all.push(of_node);
        }
        let files = Some(all.iter().map(Dataset::len).collect());
        let train = Dataset::joined(all)?;
        let Some(path) = &self.test_data else { return Ok(Datasets { train, test: None, test_origin: None, files }) };
        let test = data::read_like(path, self.test_labels.as_deref(), train.schema())?;
        Ok(Datasets { train, test: Some(test), test_origin: Some(path.display().to_string()), files })
    }

    fn check_embedded(&self) -> Result<()> {
        let given = self.reading()?;
        if given != Reading::default() || self.data_dir.is_some() {
            let allowed = format!("a file; {} is embedded and needs no flag about reading", self.data);
            return Err(Error::value("--data", &self.data, allowed));
        }
        Ok(())
    }

    /// The same flags about another source.
    pub(super) fn of(self, data: String) -> Self {
        Self { data, ..self }
    }

    /// How the training data are read: as the flags say, or as is built in for the embedded ones.
    pub(super) fn as_read(&self) -> Result<Reading> {
        match self.data.as_str() {
            "optdigits" => Ok(embedded::optdigits_reading()),
            "adult" => Ok(embedded::adult_reading()),
            _ => self.reading(),
        }
    }

    fn file(&self, path: &str) -> Result<Dataset> {
        // A word that could be a name and is none is more likely misspelt than a file that is not there.
        let word = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if word && !Path::new(path).exists() {
            return Err(Error::value("--data", path, format!("a file that is there, or one of {}", NAMES.join(", "))));
        }
        if let Some(directory) = &self.data_dir {
            let allowed = format!("it only with mnist, fashion-mnist or cifar-10; --data is the file {path}");
            return Err(Error::value("--data-dir", directory.display(), allowed));
        }
        data::read(Path::new(path), &self.reading()?)
    }

    fn directory(&self, name: &str, what: &str) -> Result<&Path> {
        let absent = || Error::value("--data-dir", "absent", format!("the directory with {what} {name}"));
        self.data_dir.as_deref().ok_or_else(absent)
    }

    fn named(&self, name: &str) -> Result<(Dataset, Option<Dataset>, Option<String>)> {
        let directory = self.directory(name, "the IDX files of")?;
        let file = |stem: &str| -> Result<PathBuf> {
            let places = [directory.join(name), directory.to_path_buf()];
            // Packed records cannot be left where they are.
            let names = match self.on_disk {
                true => [stem.to_string(), format!("{stem}.gz")],
                false => [format!("{stem}.gz"), stem.to_string()],
            };
            let candidates = places.iter().flat_map(|place| names.iter().map(|name| place.join(name)));
            candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
                Error::value("--data-dir", directory.display(), format!("a directory with {stem} or {stem}.gz"))
            })
        };
        let train = data::read(&file("train-images-idx3-ubyte")?, &self.reading()?)?;
        if self.test_data.is_some() || self.holdout.is_some() {
            return Ok((train, None, None));
        }
        let read = if self.on_disk { data::read_like_on_disk } else { data::read_like };
        let test = read(&file("t10k-images-idx3-ubyte")?, None, train.schema())?;
        Ok((train, Some(test), Some(format!("the test part of {name}"))))
    }

    fn reading(&self) -> Result<Reading> {
        let mut reading = Reading {
            format: self.data_format,
            label: self.label.clone(),
            labels: self.labels.clone(),
            header: self.header,
            names: self.column_names.clone(),
            delimiter: self.delimiter,
            skip_lines: self.skip_lines,
            columns: [&self.categorical, &self.numeric, &self.ignore].into_iter().flatten().cloned().collect(),
            normalize: self.normalize,
            classes: self.classes.clone(),
            width: self.width,
            shape: self.shape.clone().map(|Shape(sizes)| sizes),
            on_disk: self.on_disk,
            vocabulary: self.vocabulary.as_deref().map(Vocabulary::read).transpose()?,
            length: self.length,
            language_model: self.language_model,
            ..Reading::default()
        };
        if !self.missing.is_empty() {
            reading.missing.clone_from(&self.missing);
        }
        for word in &self.range {
            reading.add_range(word)?;
        }
        Ok(reading)
    }
}

/// Keeps a share of the records out of training, by a permutation that depends on the key and the public count alone.
fn hold_out(data: &Dataset, fraction: f64, key: &Key) -> Result<Datasets> {
    let count = (data.len() as f64 * fraction).round() as usize;
    if !(fraction > 0.0 && fraction < 1.0) || count == 0 || count >= data.len() {
        let allowed = format!("a share between 0 and 1 that leaves records on both sides of {}", data.len());
        return Err(Error::value("--holdout", fraction, allowed));
    }
    let mut rng = key.stream(Role::Holdout, 0);
    let mut rows: Vec<usize> = (0..data.len()).collect();
    for i in 0..count {
        rows.swap(i, rng.random_range(i..data.len()));
    }
    let (test, train) = rows.split_at(count);
    let mut train = train.to_vec();
    train.sort_unstable();
    let origin = format!("{count} records held out of {}", data.name());
    Ok(Datasets { train: data.select(&train)?, test: Some(data.select(test)?), test_origin: Some(origin), files: None })
}
