//! Datasets as such: gathering, selecting, reshaping, making them in memory, packed files.

use super::super::Normalize;
use super::super::embedded::optdigits;
use super::*;

fn small() -> Dataset {
    let features = vec![3.0, 4.0, 0.0, 0.0, 1.0, 0.0];
    Dataset::from_dense("small", &[2], features, strings(&["a", "b"]), vec![0, 1, 1]).unwrap()
}

#[test]
fn gather_replaces_what_was_there_and_admits_repetition() {
    let (mut features, mut labels) = (vec![9.0; 100], vec![7; 3]);
    small().gather(&[2, 0, 2], &mut features, &mut labels).unwrap();
    assert_eq!(features, [1.0, 0.0, 3.0, 4.0, 1.0, 0.0]);
    assert_eq!(labels, [1, 0, 1]);
    small().gather(&[], &mut features, &mut labels).unwrap();
    assert!(features.is_empty() && labels.is_empty());
}

#[test]
fn a_row_out_of_range_leaves_the_batch_alone() {
    let (mut features, mut labels) = (vec![9.0], vec![7]);
    let error = small().gather(&[0, 3], &mut features, &mut labels).unwrap_err();
    assert_eq!(error.to_string(), "row = 3: allowed is 0 to 2, the records of small");
    assert_eq!((features, labels), (vec![9.0], vec![7]));
}

#[test]
fn select_keeps_everything_but_the_other_records() {
    let (train, _) = optdigits().unwrap();
    let part = train.select(&[5, 0]).unwrap();
    assert_eq!(rows(&part), [rows(&train)[5].clone(), rows(&train)[0].clone()]);
    assert_eq!((part.schema(), part.name()), (train.schema(), train.name()));
    let notes: Vec<String> = train.notes().iter().map(|note| note.replace("records, 3823,", "records, 2,")).collect();
    assert_eq!(part.notes(), notes);
    assert_ne!(part.notes(), train.notes());
    let message = |rows: &[usize]| small().select(rows).unwrap_err().to_string();
    assert_eq!(message(&[]), "rows = none: allowed is at least one record");
    assert_eq!(message(&[1, 0, 1]), "rows = 1 twice: allowed is each record at most once");
    assert_eq!(message(&[3]), "row = 3: allowed is 0 to 2, the records of small");
}

#[test]
fn reshape_keeps_the_values() {
    let (train, _) = optdigits().unwrap();
    let flat = train.clone().reshape(&[64]).unwrap();
    assert_eq!((flat.shape(), rows(&flat)), (&[64][..], rows(&train)));
    let message = |shape: &[usize]| train.clone().reshape(shape).unwrap_err().to_string();
    assert_eq!(message(&[8, 9]), "shape = [8, 9]: allowed is a shape of 64 values, as [8, 8] has");
    assert!(message(&[]).starts_with("shape = []: allowed is one to"));
    assert!(message(&[usize::MAX, 2]).starts_with("shape = ["));
}

#[test]
fn datasets_in_memory_are_checked() {
    let wrong = |shape: &[usize], features: Vec<f32>, classes: &[&str], labels: Vec<u32>| {
        Dataset::from_dense("x", shape, features, strings(classes), labels).unwrap_err().to_string()
    };
    let two = ["a", "b"];
    assert_eq!(
        wrong(&[2], vec![0.0; 3], &two, vec![0, 1]),
        "features = 3 values: allowed is 4 values: 2 records of shape [2]"
    );
    let nan = wrong(&[2], vec![0.0, 0.0, 0.0, f32::NAN], &two, vec![0, 1]);
    assert_eq!(nan, "features[record 1, value 1] = NaN: allowed is a finite number");
    assert_eq!(wrong(&[1], vec![0.0], &two, vec![2]), "labels[0] = 2: allowed is a class number less than 2");
    assert!(wrong(&[1], vec![0.0], &["a"], vec![0]).contains("at least two classes"));
    assert!(wrong(&[1], vec![0.0], &["a", "a"], vec![0]).contains("names that differ"));
    assert!(wrong(&[1], vec![], &two, vec![]).contains("at least one record"));
    assert!(wrong(&[0], vec![], &two, vec![0]).contains("at least one feature"));
    let schema = small().schema().clone();
    assert!(wrong_like("1,2\n", &schema).contains("the schema of records read from a file"));
}

#[test]
fn records_are_normalised_one_by_one() {
    let reading = Reading { normalize: Normalize::Record, ..Reading::default() };
    for content in ["3,4,a\n0,0,b\n-5,0,a\n", "0 1:3 2:4\n1\n0 1:-5\n"] {
        let data = of(content, &reading);
        assert_eq!(rows(&data), [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]);
        assert!(has_note(&data, "scaled to Euclidean norm 1"));
        assert!(!has_note(&data, "used as they are"));
    }
    // Squares that overflow or vanish in f32.
    let data = of("3e38,0,a\n1e-40,0,b\n", &reading);
    assert_eq!(rows(&data), [[1.0, 0.0], [1.0, 0.0]]);
}

#[test]
fn packed_files_read_as_plain_ones_and_broken_ones_are_named() {
    let content: String = (0..5_000).map(|i| format!("{i},{},{}\n", i * 7 % 13, i % 2)).collect();
    let (first, second) = content.as_bytes().split_at(1_234);
    let plain = of(&content, &Reading::default());
    let packed = gzip(content.as_bytes());
    for file in [packed.clone(), [gzip(first), gzip(second)].concat()] {
        assert_eq!(rows(&of(file, &Reading::default())), rows(&plain));
    }
    for length in [3, 20, packed.len() / 2, packed.len() - 1] {
        let message = wrong(&packed[..length], &Reading::default());
        assert_eq!(message, "t.csv: found a gzip stream that ends early; expected a complete gzip file");
    }
    let mut corrupt = packed.clone();
    let at = packed.len() - 5;
    corrupt[at] ^= 0xff;
    assert!(wrong(corrupt, &Reading::default()).starts_with("t.csv: found a corrupt gzip stream ("));
}

#[test]
fn names_come_from_the_files() {
    let files = Files::new();
    for (file, name) in [("a.b.csv", "a.b"), ("a9a.t", "a9a.t"), ("x.data", "x"), (".csv", ".csv")] {
        let path = files.write(file, "1,2,a\n2,3,b\n");
        assert_eq!(read(&path, &Reading::default()).unwrap().name(), name);
    }
    let path = files.write("y.csv.gz", gzip(b"1,2,a\n2,3,b\n"));
    assert_eq!(read(&path, &Reading::default()).unwrap().name(), "y");
}

#[test]
fn a_schema_read_back_reads_the_same() {
    let text = "age,work,y\n30,a,no\n,b,yes\n";
    let data = of(text, &Reading::default());
    let json = serde_json::to_string(data.schema()).unwrap();
    let schema: Schema = serde_json::from_str(&json).unwrap();
    assert_eq!(&schema, data.schema());
    let path = Files::new();
    let like = read_like(&path.write("again.csv", text), None, &schema).unwrap();
    assert_eq!((rows(&like), like.labels()), (rows(&data), data.labels()));
}
