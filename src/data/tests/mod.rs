//! What the readers promise, checked through the public functions.

mod cifar;
mod csv;
mod files;
mod golden;
mod idx;
mod inspection;
mod libsvm;
mod on_disk;
mod partition;
mod random;
mod text;

use std::path::{Path, PathBuf};

use super::{Dataset, Reading, Schema, read, read_like};

/// A directory of files for one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary directory");
        path
    }
}

/// Reads `content` as the file `t.csv`, whatever its format.
fn of(content: impl AsRef<[u8]>, reading: &Reading) -> Dataset {
    read(&Files::new().write("t.csv", content), reading).expect("a dataset")
}

/// What is wrong with `content`, the directory left out.
fn wrong(content: impl AsRef<[u8]>, reading: &Reading) -> String {
    let files = Files::new();
    let path = files.write("t.csv", content);
    without_directory(&files, &read(&path, reading).expect_err("an error").to_string())
}

/// What is wrong with `content` as a second file.
fn wrong_like(content: impl AsRef<[u8]>, schema: &Schema) -> String {
    let files = Files::new();
    let path = files.write("t.csv", content);
    without_directory(&files, &read_like(&path, None, schema).expect_err("an error").to_string())
}

fn without_directory(files: &Files, message: &str) -> String {
    message.replace(&format!("{}/", files.0.path().display()), "")
}

/// All records, one row each.
fn rows(data: &Dataset) -> Vec<Vec<f32>> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(&(0..data.len()).collect::<Vec<_>>(), &mut features, &mut labels).expect("all rows");
    assert_eq!(labels, data.labels());
    features.chunks(data.width()).map(<[f32]>::to_vec).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn has_note(data: &Dataset, part: &str) -> bool {
    data.notes().iter().any(|note| note.contains(part))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).join(path);
    path.exists().then_some(path)
}
