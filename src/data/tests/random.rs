//! Properties over random files: what is written is read back, and no bytes make a reader panic.

use std::fmt::Write;
use std::sync::LazyLock;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::embedded::optdigits;
use super::super::{ColumnRule, Format, Normalize, Target, Vocabulary};
use super::*;

/// Reads `bytes` in every way; the result does not matter.
fn read_anyhow(bytes: &[u8], schemas: &[Schema]) {
    let files = Files::new();
    let path = files.write("f-images-idx3", bytes);
    let labels = files.write("f-labels-idx1", b"\0\0\x08\x01\0\0\0\x02\x00\x01");
    for format in [None, Some(Format::Idx), Some(Format::Libsvm), Some(Format::Csv)] {
        let declared = Reading {
            format,
            range: Some((-1.0, 1.0)),
            normalize: Normalize::Record,
            classes: Some(strings(&["0", "1"])),
            ..Reading::default()
        };
        for reading in [Reading { format, ..Reading::default() }, declared] {
            if let Ok(data) = read(&path, &reading) {
                check(&data);
            }
        }
    }
    for (vocabulary, language_model) in [("a b 1", false), ("", false), ("a", true), ("", true)] {
        let words = Vocabulary::words(vocabulary.split(' ')).unwrap_or(Vocabulary::bytes());
        let (format, vocabulary, length) = (Some(Format::Text), Some(words), Some(2));
        if let Ok(data) = read(&path, &Reading { format, vocabulary, length, language_model, ..Reading::default() }) {
            check(&data);
        }
    }
    for schema in schemas {
        let labels = (schema.format() == Some(Format::Idx)).then_some(labels.as_path());
        if let Ok(data) = read_like(&path, labels, schema) {
            check(&data);
        }
    }
}

/// Whatever was read keeps the promises of a dataset.
fn check(data: &Dataset) {
    assert!(!data.is_empty() && data.width() > 0);
    match data.form().target {
        Target::Class(classes) => assert!(classes > 1 && data.labels().iter().all(|&label| (label as usize) < classes)),
        Target::NextToken => assert!(data.classes().is_empty() && data.labels().iter().all(|&label| label == 0)),
    }
    let last = [data.len() - 1];
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(&last, &mut features, &mut labels).expect("the last row");
    assert!(features.len() == data.width() && features.iter().all(|value| value.is_finite()));
    let schema = serde_json::to_string(data.schema()).expect("JSON");
    assert_eq!(&serde_json::from_str::<Schema>(&schema).expect("the schema read back"), data.schema());
}

/// Made once: unpacking the digits takes longer than a test case.
static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let csv = of("a,b,c\n1,u,0\n2,v,1\n", &Reading::default()).schema().clone();
    let libsvm = of("0 1:1\n1 2:1\n", &Reading::default()).schema().clone();
    let digits = optdigits().expect("the digits").0.schema().clone();
    let files = Files::new();
    files.write("labels", b"\0\0\x08\x01\0\0\0\x02\x00\x01");
    let images = files.write("images", b"\0\0\x08\x02\0\0\0\x02\0\0\0\x01\x01\x02");
    let idx = read(&images, &Reading::default()).expect("images").schema().clone();
    vec![csv, libsvm, digits, idx]
});

/// Bytes that look like one of the formats more often than chance would have it.
fn almost_a_file() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(",".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\t".to_owned()),
        Just("\"".to_owned()),
        Just(":".to_owned()),
        Just(" ".to_owned()),
        Just("#".to_owned()),
        Just("|".to_owned()),
        Just("?".to_owned()),
        Just("nan".to_owned()),
        Just("1:1".to_owned()),
        Just("qid:1".to_owned()),
        Just("2:-1e300".to_owned()),
        Just("a".to_owned()),
        Just("-1".to_owned()),
        Just("\u{feff}".to_owned()),
        "[0-9.eE+-]{1,6}",
        "\\PC{0,3}",
    ];
    let text = vec(word, 0..60).prop_map(|words| words.concat().into_bytes());
    let idx = (0u8..20, 0u8..5, vec(any::<u8>(), 0..80)).prop_map(|(code, dimensions, rest)| {
        let mut file = vec![0, 0, code, dimensions];
        // Small lengths, so that some headers are right.
        file.extend(rest.iter().enumerate().map(|(at, &byte)| if at < 16 && at % 4 < 3 { 0 } else { byte % 4 }));
        file
    });
    prop_oneof![4 => text, 2 => idx, 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in almost_a_file(), cut in 0usize..100) {
        read_anyhow(&bytes, &SCHEMAS);
        let packed = gzip(&bytes);
        read_anyhow(&packed[..packed.len().min(cut.max(2))], &SCHEMAS);
    }

    #[test]
    fn files_on_disk_are_read_as_in_memory(bytes in almost_a_file(), range in any::<bool>()) {
        let files = Files::new();
        let path = files.write("f-images-idx3", &bytes);
        files.write("f-labels-idx1", b"\0\0\x08\x01\0\0\0\x02\x00\x01");
        let range = range.then_some((-1.0, 1.0));
        for format in [None, Some(Format::Libsvm), Some(Format::Csv)] {
            super::on_disk::compare(&path, Some(&path), &Reading { format, range, ..Reading::default() });
        }
    }

    #[test]
    fn libsvm_written_and_read_back(
        records in vec((any::<bool>(), btree_map(1usize..=20, -1e30f32..1e30, 0..8)), 1..30),
    ) {
        let mut text = String::from("1 1:1\n-1\n");
        for (label, values) in &records {
            text.push_str(if *label { "+1" } else { "-1" });
            values.iter().for_each(|(index, value)| write!(text, " {index}:{value}").expect("memory"));
            text.push_str(" \n");
        }
        let data = of(text, &Reading { width: Some(20), ..Reading::default() });
        let read = rows(&data);
        prop_assert_eq!(data.len(), records.len() + 2);
        for (row, (label, values)) in records.iter().enumerate() {
            prop_assert_eq!(data.labels()[row + 2], u32::from(*label));
            for index in 1..=20 {
                prop_assert_eq!(read[row + 2][index - 1], values.get(&index).copied().unwrap_or(0.0));
            }
        }
    }

    #[test]
    fn csv_written_and_read_back(
        records in vec((proptest::option::of(-1e30f32..1e30), "[a-c ,\"\n]{0,4}x", 0u32..3), 1..30),
    ) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["number", "text", "class"]).expect("memory");
        for class in ["0", "1", "2"] {
            writer.write_record(["1", "x", class]).expect("memory");
        }
        for (number, text, class) in &records {
            let number = number.map_or_else(String::new, |number| number.to_string());
            writer.write_record([&number, text, &class.to_string()]).expect("memory");
        }
        let text = writer.into_inner().expect("memory");
        let data = of(text, &Reading { columns: vec![ColumnRule::parse_numeric("number?").unwrap()], ..Reading::default() });
        let names = data.schema().feature_names();
        let read = rows(&data);
        for (row, (number, text, class)) in records.iter().enumerate() {
            let row_read = &read[row + 3];
            prop_assert_eq!(data.labels()[row + 3], *class);
            prop_assert_eq!((row_read[0], row_read[1]), (number.unwrap_or(0.0), f32::from(u8::from(number.is_none()))));
            let set: Vec<&String> = names.iter().zip(row_read).skip(2).filter(|(_, v)| **v == 1.0).map(|(n, _)| n).collect();
            prop_assert_eq!(set, [&format!("text={}", text.trim())]);
        }
    }
}
