//! CIFAR-10: records, the files of a directory, and files that are no such thing.

use super::super::{Format, read_cifar10};
use super::*;

const RECORD: usize = 3_073;

/// Records whose label and every byte are the numbers given.
fn batch(records: &[(u8, u8)]) -> Vec<u8> {
    records.iter().flat_map(|&(label, byte)| std::iter::once(label).chain(std::iter::repeat_n(byte, 3_072))).collect()
}

fn cifar() -> Reading {
    Reading { format: Some(Format::Cifar10), ..Reading::default() }
}

#[test]
fn one_file() {
    let mut content = batch(&[(9, 255), (0, 51)]);
    content[1] = 0;
    content[RECORD - 1] = 102;
    let data = of(content, &cifar());
    assert_eq!((data.shape(), data.labels(), data.name()), (&[3, 32, 32][..], &[9, 0][..], "t"));
    assert_eq!((data.classes().len(), data.classes()[9].as_str()), (10, "truck"));
    let rows = rows(&data);
    assert_eq!((rows[0][0], rows[0][1], rows[0][3_071], rows[1][5]), (0.0, 1.0, 0.4, 0.2));
    // Pixels stay bytes in memory; so do labels as four bytes.
    assert_eq!(data.bytes(), 2 * 3_072 + 2 * 4);
    assert!(has_note(&data, "the fixed range of a byte") && !has_note(&data, "taken from the data"));
    let text = serde_json::to_string(data.schema()).unwrap();
    assert_eq!(&serde_json::from_str::<Schema>(&text).unwrap(), data.schema());
    assert!(serde_json::from_str::<Schema>(&text.replace("truck", "lorry")).is_err());
    let flat = of(batch(&[(0, 255)]), &Reading { shape: Some(vec![3_072]), range: Some((0.0, 510.0)), ..cifar() });
    assert_eq!((flat.shape(), self::rows(&flat)[0][0]), (&[3_072][..], 0.5));
}

#[test]
fn files_that_are_not_cifar() {
    for (content, message) in [
        (batch(&[(1, 0), (10, 0)]), "t.csv: found the label 10 for record 2; expected a label from 0 to 9"),
        (batch(&[(1, 0)])[..3_072].to_vec(), "t.csv: found 3072 bytes; expected a multiple of 3073"),
        ([batch(&[(1, 0), (2, 0)]), vec![1]].concat(), "t.csv: found 6147 bytes; expected a multiple of 3073"),
        (Vec::new(), "t.csv: found an empty file; expected records of 3073 bytes"),
        (gzip(&batch(&[(1, 0)]))[..20].to_vec(), "t.csv: found a gzip stream that ends early"),
    ] {
        let found = wrong(content, &cifar());
        assert!(found.starts_with(message), "{found}");
    }
    let declared = Reading { classes: Some(strings(&["a", "b"])), ..cifar() };
    assert!(wrong(batch(&[(1, 0)]), &declared).starts_with("classes = a,b: allowed is none for CIFAR-10"));
    let shaped = Reading { shape: Some(vec![28, 28]), ..cifar() };
    assert!(wrong(batch(&[(1, 0)]), &shaped).starts_with("shape = 784 values: allowed is 3072 values"));
    let schema = of(batch(&[(1, 0)]), &cifar()).schema().clone();
    assert!(wrong_like("1,2,3\n", &schema).starts_with("t.csv: found 6 bytes"));
}

#[test]
fn the_files_of_a_directory() {
    for folder in ["", "cifar-10", "cifar-10-batches-bin"] {
        let files = Files::new();
        let place = files.0.path().join(folder);
        std::fs::create_dir_all(&place).unwrap();
        let refused = read_cifar10(files.0.path(), &Reading::default()).unwrap_err().to_string();
        assert!(refused.contains("data_dir = ") && refused.contains("data_batch_1.bin.gz"), "{refused}");
        std::fs::write(place.join("data_batch_5.bin"), batch(&[(5, 0)])).unwrap();
        std::fs::write(place.join("data_batch_2.bin.gz"), gzip(&batch(&[(2, 0), (3, 0)]))).unwrap();
        let found = read_cifar10(files.0.path(), &Reading::default()).unwrap();
        assert!(found.test.is_none());
        assert_eq!((found.train.name(), found.train.labels()), ("cifar-10", &[2, 3, 5][..]));
        let note = "of 2 of the 5 training files of CIFAR-10: data_batch_2.bin.gz, data_batch_5.bin";
        assert!(has_note(&found.train, note), "{:?}", found.train.notes());

        std::fs::write(place.join("test_batch_first1.bin"), batch(&[(7, 0)])).unwrap();
        std::fs::write(place.join("test_batch.txt"), "no records").unwrap();
        let (test, name) = read_cifar10(files.0.path(), &Reading::default()).unwrap().test.unwrap();
        assert_eq!((test.labels(), name.as_str()), (&[7][..], "test_batch_first1.bin"));
        std::fs::write(place.join("test_batch.bin"), batch(&[(7, 0)])).unwrap();
        let several = read_cifar10(files.0.path(), &Reading::default()).unwrap_err().to_string();
        assert!(several.contains("found test_batch.bin, test_batch_first1.bin; expected one file"), "{several}");
    }
}
