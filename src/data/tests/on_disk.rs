//! Records that stay in their file are the records that would be in memory, or there is an error.

use std::fmt::Write;
use std::io::Write as _;

use super::super::{ColumnRule, Format, Header, Normalize, Vocabulary, read_like_on_disk};
use super::*;

fn on_disk(reading: &Reading) -> Reading {
    Reading { on_disk: true, ..reading.clone() }
}

/// What a reader says of a file: the dataset's parts with its values bit by bit, or the error.
fn told(read: crate::Result<Dataset>) -> Result<impl PartialEq + std::fmt::Debug, String> {
    let data = read.map_err(|error| error.to_string())?;
    let bits: Vec<Vec<u32>> = rows(&data).iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect();
    Ok((bits, data.labels().to_vec(), data.notes().to_vec(), data.schema().clone(), data.name().to_owned()))
}

/// Reads a file in both ways and compares; the same for a second file read like the first.
pub(super) fn compare(path: &Path, like: Option<&Path>, reading: &Reading) {
    let disk = read(path, &on_disk(reading));
    let memory = read(path, reading);
    if let (Ok(memory), Ok(disk), Some(like)) = (&memory, &disk, like) {
        assert_eq!(
            told(read_like(like, None, memory.schema())),
            told(read_like_on_disk(like, None, disk.schema())),
            "{reading:?}"
        );
    }
    assert_eq!(told(memory), told(disk), "{reading:?}");
}

#[test]
fn every_oddity_of_csv_is_read_the_same() {
    let files = Files::new();
    let text = "\u{feff}skipped\r\n| comment\n\nage,job,hours,y\r\n30,\"a\nb\",40,no\r\n\n   \n,\"say \"\"c\"\"\",-0,yes\n\n\n\
                50,?,6e1,no\r\n 7 , a\n ,0,yes\n";
    let path = files.write("t.csv", format!("{text}51,u,3,no"));
    let like = files.write("like.csv", "skipped\nage,job,hours,y\n1,never seen,2,no\n\"2\",u,?,yes");
    let job = ColumnRule::parse_categorical("job").unwrap();
    for normalize in [Normalize::None, Normalize::Record] {
        let columns = vec![job.clone()];
        compare(&path, Some(&like), &Reading { skip_lines: 1, columns, normalize, ..Reading::default() });
    }
    compare(&path, None, &Reading::default());
    compare(&path, None, &Reading { range: Some((0.0, 10.0)), skip_lines: 1, ..Reading::default() });
}

#[test]
fn a_byte_order_mark_is_part_of_a_record_whatever_its_company() {
    let files = Files::new();
    let rows = ["\u{feff}a,1,x", "\u{feff}a,2,y", "a,3,x", "\u{feff}a,4,y", "a,5,x"];
    let path = files.write("t.csv", format!("\u{feff}{}\n", rows.join("\n")));
    let columns = vec![ColumnRule::parse_categorical("1=a|\u{feff}a").unwrap()];
    let reading = Reading { header: Header::No, columns, ..Reading::default() };
    compare(&path, None, &reading);
    let (memory, disk) = (read(&path, &reading).unwrap(), read(&path, &on_disk(&reading)).unwrap());
    let of = |data: &Dataset, row: usize| {
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        data.gather(&[row], &mut values, &mut labels).unwrap();
        (values, labels)
    };
    (0..5).for_each(|row| assert_eq!(of(&memory, row), of(&disk, row), "row {row} alone"));
    assert_ne!(of(&disk, 1).0[..2], of(&disk, 2).0[..2], "with and without the mark");
}

#[test]
fn libsvm_and_idx_are_read_the_same() {
    let files = Files::new();
    let path = files.write("t", "# a\n+1 1:0.5 3:-0 # b\n\n-1\n1 2:1e3\r\n-1 3:7");
    let like = files.write("like", "-1 1:1\n+1 3:2\n");
    for range in [None, Some((-1.0, 1.0))] {
        compare(&path, Some(&like), &Reading { range, ..Reading::default() });
    }
    files.write("a-labels-idx1", b"\0\0\x08\x01\0\0\0\x03\x01\x00\x01");
    for (code, elements) in [
        (8, vec![0, 255, 3, 4, 5, 6]),
        (9, vec![0, 255, 3, 4, 5, 6]),
        (0x0b, [-3i16, 2, 1, 0, 9, -9].map(i16::to_be_bytes).concat()),
        (0x0d, [1.5f32, -0.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_be_bytes).concat()),
        (0x0d, [1.5f32, 0.0, 3.0, f32::NAN, 5.0, 6.0].map(f32::to_be_bytes).concat()),
        (0x0e, [1.5f64, 0.0, 3.0, 1e39, 5.0, 6.0].map(f64::to_be_bytes).concat()),
        (0x0e, vec![0; 47]),
        (8, vec![0; 7]),
    ] {
        let header = [0, 0, code, 2, 0, 0, 0, 3, 0, 0, 0, 2];
        let path = files.write("a-images-idx3", [&header[..], &elements].concat());
        compare(&path, Some(&path), &Reading::default());
        compare(&path, None, &Reading { range: Some((0.0, 3.0)), ..Reading::default() });
    }
}

/// A table of 5,000 records, some of whose lines are longer than others.
fn table() -> String {
    (0..5_000).fold("id,job,y\n".to_owned(), |mut text, i| {
        writeln!(text, "{},{},{}", i * i, ["clerk", "smith", "?"][i % 3], i % 2).unwrap();
        text
    })
}

#[test]
fn any_order_repetition_and_selection() {
    let files = Files::new();
    let path = files.write("t.csv", table());
    let memory = read(&path, &Reading::default()).unwrap();
    let disk = read(&path, &on_disk(&Reading::default())).unwrap();
    let wanted: Vec<usize> = (0..700).map(|i| (i * 3_571 + 11) % 5_000).chain([4_999, 0, 4_999]).collect();
    let gather = |data: &Dataset, rows: &[usize]| {
        let (mut features, mut labels) = (vec![9.0; 5], vec![9]);
        data.gather(rows, &mut features, &mut labels).unwrap();
        (features, labels)
    };
    assert_eq!(gather(&memory, &wanted), gather(&disk, &wanted));
    assert_eq!(gather(&disk, &[]), (vec![], vec![]));
    let (part, of_disk) = (memory.select(&wanted[..600]).unwrap(), disk.select(&wanted[..600]).unwrap());
    assert_eq!(rows(&part), rows(&of_disk));
    assert_eq!((part.labels(), part.notes()), (of_disk.labels(), of_disk.notes()));
    // Twelve bytes say where a record lies and four are its label.
    assert_eq!(disk.bytes(), 16 * 5_000);
}

#[test]
fn a_file_that_changes_is_refused() {
    let files = Files::new();
    let path = files.write("t.csv", table());
    let (mut features, mut labels) = (vec![1.0], vec![1]);
    let data = read(&path, &on_disk(&Reading::default())).unwrap();
    data.gather(&[3, 1], &mut features, &mut labels).unwrap();
    std::fs::File::options().append(true).open(&path).unwrap().write_all(b"1,clerk,0\n").unwrap();
    let error = data.gather(&[3, 1], &mut features, &mut labels).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("has changed while it was used"), "{error}");
    assert!(features.is_empty() && labels.is_empty());

    // A file of the same length is told by the time it was written.
    let data = read(&path, &on_disk(&Reading::default())).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified + std::time::Duration::from_secs(2)).unwrap();
    assert!(data.gather(&[0], &mut features, &mut labels).unwrap_err().is_refusal());
}

/// Only somebody who sets the clock back gets here; then what can be seen is seen.
#[test]
fn a_record_that_is_another_is_named_by_its_line() {
    let good = "id,job,y\n1,clerk,0\n2,smith,1\n3,clerk,1\n";
    for (change, found) in [
        ("id,job,y\n1,clerk,0\n2,smit?,1\n3,clerk,1\n", "t.csv:3, column job: found `smit?`; expected one of"),
        ("id,job,y\n1,clerk,0\nx,smith,1\n3,clerk,1\n", "t.csv:3, column id: found `x`; expected a number"),
        ("id,job,y\n1,clerk,0\n2,smith,7\n3,clerk,1\n", "t.csv:3, column y: found the label `7`; expected one of"),
        ("id,job,y\n1,clerk,0\n2,smith 1\n3,clerk,1\n", "t.csv:3: found 2 cells; expected 3"),
        ("id,job,y\n1,clerk,0\n2,smi\n\n,1\n3,clerk,1\n", "t.csv:3: found something that is not one row"),
        ("id,job,y\n1,clerk,0\n2,\"mith,1\n3,clerk,1\n", "t.csv:3: found"),
    ] {
        let files = Files::new();
        let path = files.write("t.csv", good);
        let data = read(&path, &on_disk(&Reading::default())).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, change).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        // The batch before has left nothing behind that the next one would see.
        for _ in 0..2 {
            let error = data.gather(&[2, 1, 0], &mut features, &mut labels).unwrap_err();
            let message = without_directory(&files, &error.to_string());
            assert!(message.starts_with(found) && message.ends_with("as when the file was first read"), "{message}");
        }
        data.gather(&[2, 0], &mut features, &mut labels).unwrap();
        assert_eq!((features, labels), (vec![3.0, 1.0, 0.0, 1.0, 1.0, 0.0], vec![1, 0]));
    }
}

#[test]
fn a_number_that_is_none_any_more_is_named_by_its_byte() {
    let files = Files::new();
    let file = |value: f32| [&[0, 0, 0x0d, 1, 0, 0, 0, 2][..], &1f32.to_be_bytes(), &value.to_be_bytes()].concat();
    files.write("a-labels-idx1", b"\0\0\x08\x01\0\0\0\x02\x01\x00");
    let path = files.write("a-images-idx1", file(2.0));
    let data = read(&path, &on_disk(&Reading::default())).unwrap();
    assert_eq!(rows(&data), [[1.0], [2.0]]);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, file(f32::NAN)).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let error = data.gather(&[0, 1], &mut Vec::new(), &mut Vec::new()).unwrap_err();
    let message = without_directory(&files, &error.to_string());
    assert!(
        message.starts_with("a-images-idx1: found a value that is not finite in the record at byte 12;"),
        "{message}"
    );
}

#[test]
fn what_cannot_stay_on_disk_is_refused_with_a_way_out() {
    let files = Files::new();
    let packed = files.write("t.csv.gz", gzip(table().as_bytes()));
    let message = read(&packed, &on_disk(&Reading::default())).unwrap_err().to_string();
    assert!(message.contains("found a gzip'd file; expected a plain file") && message.contains("gunzip"), "{message}");
    let path = files.write("t.bin", [0; 3_073]);
    let reading = Reading { format: Some(Format::Cifar10), ..on_disk(&Reading::default()) };
    let message = read(&path, &reading).unwrap_err().to_string();
    assert!(message.contains("on_disk = given: allowed is absent: only CSV, LIBSVM and IDX files"), "{message}");
    let text = files.write("t.tsv", "a\t0\nb\t1\na\t1\nb\t0\n");
    let (format, vocabulary) = (Some(Format::Text), Some(Vocabulary::bytes()));
    let reading = Reading { format, vocabulary, ..Reading::default() };
    let train = read(&text, &reading).unwrap();
    for refused in [read(&text, &on_disk(&reading)), read_like_on_disk(&text, None, train.schema())] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("on_disk = given: allowed is absent: only CSV, LIBSVM and IDX files"), "{message}");
    }
    let message = read(files.0.path(), &on_disk(&Reading::default())).unwrap_err().to_string();
    assert!(message.contains("found a directory"), "{message}");
}
