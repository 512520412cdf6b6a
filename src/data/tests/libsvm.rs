//! LIBSVM files: what is read and what is refused, with its place.

use super::super::Format;
use super::*;

fn libsvm() -> Reading {
    Reading { format: Some(Format::Libsvm), ..Reading::default() }
}

#[test]
fn labels_comments_blanks_and_rows_without_features() {
    let data = of("# head\n+1 1:0.5 3:-2 \n\n-1.0\n1 2:1e0 # tail\r\n-1 \n", &Reading::default());
    assert_eq!(rows(&data), [[0.5, 0.0, -2.0], [0.0; 3], [0.0, 1.0, 0.0], [0.0; 3]]);
    assert_eq!((data.classes(), data.labels()), (&strings(&["-1", "1"])[..], &[1, 0, 1, 0][..]));
    assert!(has_note(&data, "the number of features, 3, is the largest index seen"));
    assert!(has_note(&data, "the 2 class labels (-1, 1) were taken from the data"));
    assert!(has_note(&data, "the number of records, 4, is treated as public"));
}

#[test]
fn declarations_leave_nothing_to_be_seen() {
    let classes = Some(strings(&["1", "-1"]));
    let data = of("1 1:4\n-1 2:-9\n", &Reading { width: Some(3), classes, range: Some((-2.0, 2.0)), ..libsvm() });
    // A value that is left out is zero, the middle of the range; those outside are clamped.
    assert_eq!(rows(&data), [[1.0, 0.5, 0.5], [0.5, 0.0, 0.5]]);
    assert_eq!(data.labels(), [0, 1]);
    assert!(!has_note(&data, "not privatised") && has_note(&data, "the declared public range -2..2"));
    let shaped = of("1 1:4\n-1 2:-9\n", &Reading { shape: Some(vec![2, 2]), ..libsvm() });
    assert_eq!((shaped.shape(), shaped.width()), (&[2, 2][..], 4));
}

#[test]
fn what_is_refused() {
    for (text, message) in [
        ("1 1:1\n1 0:1\n", "t.csv:2: found the index 0 in `0:1`; expected indices that count from 1"),
        ("1 2:1 2:1\n", "t.csv:1: found the index 2 after 2; expected indices that increase within a line"),
        ("1 2:1 1:1\n", "t.csv:1: found the index 1 after 2; expected indices that increase within a line"),
        ("1 1:1\n0 1:x\n", "t.csv:2: found the value `x` of index 1; expected a finite number"),
        ("1 1:nan\n", "t.csv:1: found the value `nan` of index 1; expected a finite number"),
        ("1 1:1e99\n", "t.csv:1: found the value `1e99` of index 1; expected a finite number"),
        ("1 1:1\n0 7\n", "t.csv:2: found `7`; expected index:value"),
        ("1 a:1\n", "t.csv:1: found the index `a`; expected a whole number, at least 1"),
        ("x 1:1\n", "t.csv:1: found the label `x`; expected a number"),
        ("inf 1:1\n", "t.csv:1: found the label `inf`; expected a number"),
        ("1 4294967295:1\n", "t.csv:1: found the index 4294967295; expected an index up to 134217728"),
        (
            "1 1:1\n1 1:2\n",
            "t.csv: found 1 class; expected at least two classes, seen in the data or declared with --classes",
        ),
        ("1\n2\n", "t.csv: found no features; expected at least one feature besides the label"),
        ("# nothing\n", "t.csv: found no records; expected at least one record"),
    ] {
        assert_eq!(wrong(text, &libsvm()), message);
    }
    let message = wrong(b"1 1:1\n2 1:\xc3\n", &Reading::default());
    assert_eq!(message, "t.csv:2: found a byte that is not UTF-8 text, 0xc3; expected UTF-8 text");
    let message = wrong("1 qid:1 1:1\n", &Reading::default());
    assert!(
        message.starts_with("t.csv:1: found `qid:1`; expected no query groups: ranking is not supported"),
        "{message}"
    );
    assert!(wrong("1,2 1:1\n", &libsvm()).contains("a record of several classes is not supported"));
    let regression: String = (0..1_001).map(|i| format!("{}.5 1:1\n", i)).collect();
    assert!(wrong(regression, &libsvm()).starts_with("t.csv: found 1001 different labels; expected at most 1000"));
}

#[test]
fn a_second_file_keeps_width_and_classes() {
    let schema = of("1 3:1\n2 1:1\n", &Reading::default()).schema().clone();
    let files = Files::new();
    let data = read_like(&files.write("test", "2.0 1:4\n"), None, &schema).unwrap();
    assert_eq!((rows(&data), data.labels()), (vec![vec![4.0, 0.0, 0.0]], &[1][..]));
    let wider =
        "t.csv:2: found the index 4; expected an index up to 3, the training file's number of features (--width)";
    assert_eq!(wrong_like("1 1:1\n1 4:1\n", &schema), wider);
    assert_eq!(wrong_like("3 1:1\n", &schema), "t.csv:1: found the label `3`; expected one of the classes 1, 2");
    let declared = Reading { width: Some(2), ..libsvm() };
    let wider = "t.csv:1: found the index 3; expected an index up to 2, the declared number of features (--width)";
    assert_eq!(wrong("1 3:1\n", &declared), wider);
    let message = read_like(&files.write("test", "1 1:1\n"), Some(Path::new("l")), &schema).unwrap_err().to_string();
    assert_eq!(message, "labels = l: allowed is only with the format idx");
}
