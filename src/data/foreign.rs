//! Foreign files: formats that are often at hand and that no reader here is for.

use super::source::Source;
use crate::Result;

/// What a file starts with, what that is, and the way out.
const KNOWN: &[(&[u8], &str, &str)] = &[
    (
        b"PK\x03\x04",
        "a zip archive, as workbooks of Excel (.xlsx) are",
        "a CSV file, as which spreadsheet programs can save a sheet, or an unpacked file",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "an old office document, as workbooks of Excel (.xls) are",
        "a CSV file, as which spreadsheet programs can save a sheet",
    ),
    (b"PAR1", "a Parquet file", "CSV: most programs that read Parquet can write it"),
    (b"ARROW1", "an Arrow file", "CSV: most programs that read Arrow can write it"),
    (b"\x93NUMPY", "a NumPy array", "CSV: `numpy.savetxt(name, array, delimiter=\",\")` writes it"),
    (b"\x89HDF", "an HDF5 file", "CSV, LIBSVM or IDX"),
    (b"SQLite format 3", "an SQLite database", "CSV: `sqlite3 -csv FILE 'select ...'` writes it"),
    (b"%PDF", "a PDF document", "CSV, LIBSVM or IDX"),
    (b"\x89PNG", "a PNG picture", "CSV, LIBSVM or IDX, with all records in one file"),
    (b"\xff\xd8\xff", "a JPEG picture", "CSV, LIBSVM or IDX, with all records in one file"),
    (b"BZh", "a file packed by bzip2", "a plain or gzip'd file: `bunzip2` unpacks it"),
    (b"\xfd7zXZ", "a file packed by xz", "a plain or gzip'd file: `unxz` unpacks it"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd", "a plain or gzip'd file: `unzstd` unpacks it"),
    (b"\xff\xfe", "text in UTF-16", "UTF-8: `iconv -f UTF-16 -t UTF-8` converts it"),
    (b"\xfe\xff", "text in UTF-16", "UTF-8: `iconv -f UTF-16 -t UTF-8` converts it"),
];

/// Refuses a file that is plainly something else, and says what.
pub(super) fn refuse(source: &Source) -> Result<()> {
    let head = source.head();
    // A tar archive bears its name after the first file's header.
    if head.get(257..262) == Some(b"ustar") {
        return Err(source.origin().error("a tar archive", "one of the files in it: `tar -xf` unpacks it"));
    }
    match KNOWN.iter().find(|(start, ..)| head.starts_with(start)) {
        Some((_, found, expected)) => Err(source.origin().error(*found, *expected)),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_named() {
        let message = |bytes| refuse(&Source::embedded("f", bytes).unwrap()).err().map(|error| error.to_string());
        assert!(message(b"PK\x03\x04\x14\0").unwrap().starts_with("f: found a zip archive, as workbooks of Excel"));
        assert!(message(b"PAR1\x15").unwrap().starts_with("f: found a Parquet file; expected CSV"));
        assert!(message(b"\xff\xfea\0,\0").unwrap().contains("iconv"));
        assert_eq!(message(b"PARK,1\n"), None);
        assert_eq!(message(b""), None);
    }
}
