//! CSV files: headers, column types, categories, missing values, and every refusal with its place.

use super::super::{ColumnRule, Format, Header, Label};
use super::*;

fn categorical(word: &str) -> ColumnRule {
    ColumnRule::parse_categorical(word).unwrap()
}

fn numeric(word: &str) -> ColumnRule {
    ColumnRule::parse_numeric(word).unwrap()
}

fn with(columns: Vec<ColumnRule>) -> Reading {
    Reading { columns, ..Reading::default() }
}

fn header(header: Header) -> Reading {
    Reading { header, ..Reading::default() }
}

#[test]
fn columns_become_features_in_their_order() {
    let text = "age,work,hours,y\r\n30,b,40,no\r\n?,a,20,yes\r\n50,?,60,\"no\"\r\n";
    let data = of(text, &Reading::default());
    assert_eq!(data.schema().feature_names(), ["age", "age is missing", "work=a", "work=b", "hours"]);
    assert_eq!(rows(&data), [[30.0, 0.0, 0.0, 1.0, 40.0], [0.0, 1.0, 1.0, 0.0, 20.0], [50.0, 0.0, 0.0, 0.0, 60.0]]);
    assert_eq!((data.classes(), data.labels()), (&strings(&["no", "yes"])[..], &[0, 1, 0][..]));
    for note in [
        "the categories of column work were seen in the data, not declared",
        "missing values in column age are 0 beside an indicator feature",
        "missing values in column work are none of the categories",
        "the values of columns age, hours were used as they are",
        "the 2 class labels (no, yes) were taken from the data",
    ] {
        assert!(has_note(&data, note), "{note}: {:?}", data.notes());
    }
}

#[test]
fn what_is_declared_is_not_noted_as_seen() {
    let columns = vec![numeric("age=0:100?"), categorical("work=b|a|c")];
    let reading = Reading { classes: Some(strings(&["yes", "no"])), range: Some((0.0, 80.0)), ..with(columns) };
    let data = of("age,work,hours,y\n30,b,40,no\n150,a,-20,yes\n", &reading);
    assert_eq!(rows(&data), [[0.3, 0.0, 1.0, 0.0, 0.0, 0.5], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]);
    assert_eq!(data.labels(), [1, 0]);
    assert!(!has_note(&data, "not privatised") && !has_note(&data, "used as they are"), "{:?}", data.notes());
    assert!(has_note(&data, "the values of column age were scaled from the declared public range 0..100"));
    // Also where a value that may be missing is missing.
    let data = of("age,work,hours,y\n30,b,40,no\n?,a,-20,yes\n", &reading);
    assert!(!has_note(&data, "not privatised"), "{:?}", data.notes());
    assert!(has_note(&data, "missing values in column age are 0 beside an indicator feature, as declared"));
}

#[test]
fn the_label_can_be_anywhere() {
    for (label, text) in [
        (Label::First, "1,5\n2,6\n"),
        (Label::Position(2), "5,1\n6,2\n"),
        (Label::Last, "5;1\n6;2\n"),
        (Label::Name("y".into()), "x\ty\n5\t1\n6\t2\n"),
    ] {
        let data = of(text, &Reading { label, ..Reading::default() });
        assert_eq!((rows(&data), data.labels()), (vec![vec![5.0], vec![6.0]], &[0, 1][..]));
    }
}

#[test]
fn headers_are_told_from_records() {
    assert_eq!(of("a,b,y\n1,x,0\n2,z,1\n", &Reading::default()).len(), 2);
    assert_eq!(of("1,x,0\n2,z,1\n", &Reading::default()).len(), 2);
    assert_eq!(of("?,x,u\n2,z,v\n", &Reading::default()).len(), 2);
    let ambiguous = "t.csv: found text in every cell, from which it does not follow whether the first row names the \
                     columns; expected `--header yes` or `--header no`";
    assert_eq!(wrong("a,b\nc,d\n", &Reading::default()), ambiguous);
    assert_eq!(of("a,b\nc,d\n", &header(Header::No)).len(), 2);
    assert_eq!(of("a,b\nc,d\ne,f\n", &header(Header::Yes)).len(), 2);
    let message = wrong("id,y\n1,a\n2,b\n", &header(Header::No));
    assert!(
        message.starts_with("t.csv:1, column 1: found `id`; expected a number, as in every later record"),
        "{message}"
    );
    assert!(message.contains("`--header yes` if line 1 names the columns"), "{message}");
}

#[test]
fn what_is_refused() {
    let auto = Reading::default();
    let yes = header(Header::Yes);
    let no = header(Header::No);
    let name = Reading { label: Label::Name("z".into()), ..Reading::default() };
    let no_header = Reading { header: Header::No, ..name.clone() };
    for (text, reading, message) in [
        ("", &auto, "t.csv: found an empty file; expected at least one record"),
        ("\n \r\n", &auto, "t.csv: found an empty file; expected at least one record"),
        ("a,y\n", &yes, "t.csv: found a header and no records; expected at least one record"),
        ("a,y\n", &auto, "t.csv: found a header and no records; expected at least one record"),
        ("a,a,y\n1,2,3\n", &auto, "t.csv:1: found two columns named `a`; expected column names that differ"),
        ("1,2,0\n\n1,2\n", &auto, "t.csv:3: found 2 cells; expected 3, as the file's first row has; `--skip-lines N`"),
        ("1,2,0\n1,2,1\n1,2,3,4\n", &auto, "t.csv:3: found 4 cells; expected 3, as the file's first row has"),
        (
            "x\n1\n2\n",
            &auto,
            "t.csv:1: found one column between delimiters ','; expected a label and at least one feature",
        ),
        (
            "h,y\n1,0\n\"x\n\",1\n",
            &auto,
            "t.csv:3, column h: found `x`; expected a number, as in the records before; `--categorical COLUMN`",
        ),
        ("1,0\nNaN,1\n", &auto, "t.csv:2, column 1: found `NaN`; expected a finite number"),
        ("1,0\n-inf,1\n", &auto, "t.csv:2, column 1: found `-inf`; expected a finite number"),
        ("1,0\n1e39,1\n", &auto, "t.csv:2, column 1: found `1e39`; expected a finite number within the range of f32"),
        (
            "0,1,y\n5,6,0\n7,8,1\n",
            &auto,
            "t.csv:1: found the label `y`; expected a number, as every later label; `--header yes`",
        ),
        ("1,0\n2,\n", &Reading { missing: Vec::new(), ..auto.clone() }, "t.csv:2, column 2: found ``, a missing label"),
        ("1,0\n2,?\n", &auto, "t.csv:2, column 2: found `?`, a missing label; expected a label for every record"),
        ("1,0\n2,0\n", &auto, "t.csv: found 1 class; expected at least two classes"),
        ("?,0\nNA,1\n", &auto, "t.csv, column 1: found only missing values; expected a value that tells"),
        ("1,0\n\"2,1\n", &auto, "t.csv:2: found a quote that is never closed; expected a closing quote"),
        ("a,y\n1,0\n", &name, "label = z: allowed is one of the columns a, y of t.csv"),
        ("1,0\n", &no_header, "label = z: allowed is last, first or a position, since the file has no header"),
        (
            "1,0\n2,1\n",
            &Reading { label: Label::Position(3), ..auto.clone() },
            "label = 3: allowed is a position 1 to 2",
        ),
        ("a,b\n", &no, "t.csv: found 1 class; expected at least two classes"),
        (
            "1,0\n2,1\n",
            &Reading { width: Some(2), ..auto.clone() },
            "t.csv: found columns that become 1 features; expected 2, as declared",
        ),
        (
            "1,0\n2,1\n",
            &Reading { delimiter: Some('"'), ..auto.clone() },
            "delimiter = '\"': allowed is `tab` or one ASCII",
        ),
        (
            "1,0\n2,1\n",
            &Reading { range: Some((1.0, 1.0)), ..auto.clone() },
            "range = 1:1: allowed is two finite numbers",
        ),
        (
            "1,0\n2,1\n",
            &Reading { classes: Some(strings(&["0", "2"])), ..auto.clone() },
            "t.csv:2, column 2: found the label `1`; expected one of the classes 0, 2",
        ),
    ] {
        let found = wrong(text, reading);
        assert!(found.starts_with(message), "{text:?}: {found}");
    }
    let found = wrong(b"1,0\n\xff2,1\n", &auto);
    assert_eq!(found, "t.csv:2: found bytes that are not UTF-8 text in cell 1; expected UTF-8 text");
}

#[test]
fn column_rules_that_do_not_fit() {
    let text = "a,b,y\n1,u,0\n2,v,1\n";
    for (rules, message) in [
        (vec![categorical("c")], "column = c: allowed is one of the columns a, b, y"),
        (vec![categorical("4")], "column = 4: allowed is one of the columns a, b, y"),
        (vec![categorical("0")], "column = 0: allowed is one of the columns a, b, y"),
        (vec![categorical("y")], "column = y: allowed is a column that does not hold the label"),
        (vec![categorical("a"), numeric("1")], "column = 1: allowed is columns declared once"),
        (vec![categorical("b=u|w")], "t.csv:3, column b: found `v`; expected one of the declared categories u, w"),
        (vec![numeric("b")], "t.csv:2, column b: found `u`; expected a number"),
        (
            vec![ColumnRule::parse_ignored("a").unwrap(), ColumnRule::parse_ignored("b").unwrap()],
            "t.csv: found no features",
        ),
    ] {
        let found = wrong(text, &with(rules));
        assert!(found.starts_with(message), "{found}");
    }
    let both = of(text, &with(vec![numeric("a?"), numeric("a=0:2")]));
    assert_eq!(both.schema().feature_names(), ["a", "a is missing", "b=u", "b=v"]);
    assert_eq!(of(text, &with(vec![categorical("1")])).schema().feature_names(), ["a=1", "a=2", "b=u", "b=v"]);
    let libsvm = Reading { format: Some(Format::Libsvm), ..with(vec![categorical("a")]) };
    assert!(wrong(text, &libsvm).starts_with("columns = a: allowed is only with the format csv"));
}

#[test]
fn a_declared_category_or_class_may_be_a_word_for_missing() {
    let reading = Reading { classes: Some(strings(&["NA", "EU"])), ..with(vec![categorical("1=?|x")]) };
    let data = of("?,1,NA\nx,2,EU\n", &reading);
    assert_eq!((rows(&data), data.labels()), (vec![vec![1.0, 0.0, 1.0], vec![0.0, 1.0, 2.0]], &[0, 1][..]));
}

#[test]
fn wide_tables_are_stored_sparsely_with_the_same_values() {
    let text: String = (0..40).map(|i| format!("c{i},{},{}\n", i % 3, i % 2)).collect();
    let data = of(&text, &Reading::default());
    assert_eq!(data.width(), 41);
    // Categories sort as text: c0, c1, c10, c11, ...
    let row = &rows(&data)[10];
    assert_eq!((row[2], row[40], row.iter().filter(|&&value| value != 0.0).count()), (1.0, 1.0, 2));
}

#[test]
fn a_second_file_is_read_as_the_first_one_was() {
    let text = "a,b,y\n1,u,no\n2,v,yes\n";
    let schema = of(text, &Reading::default()).schema().clone();
    let files = Files::new();
    let data = read_like(&files.write("t.csv", "a,b,y\n?,w,yes\n3,u,no\n"), None, &schema).unwrap();
    assert_eq!((rows(&data), data.labels()), (vec![vec![0.0, 0.0, 0.0], vec![3.0, 1.0, 0.0]], &[1, 0][..]));
    assert!(has_note(&data, "1 cell(s) of column b hold a category the training file does not have"));
    assert!(has_note(&data, "missing values in column a are 0 without an indicator"));
    for (text, message) in [
        ("a,b,y\n1,u,maybe\n", "t.csv:2, column y: found the label `maybe`; expected one of the classes no, yes"),
        ("a,c,y\n1,u,no\n", "t.csv:1: found `c`; expected the column `b`, as in the header of the training file"),
        ("1,u,no\n", "t.csv:1: found `1`; expected the column `a`, as in the header of the training file"),
        ("a,b\n", "t.csv:1: found 2 cells; expected 3, as in the training file"),
        ("a,b,y\nx,u,no\n", "t.csv:2, column a: found `x`; expected a number"),
        ("a,b,y\n", "t.csv: found a header and no records; expected at least one record"),
        ("", "t.csv: found an empty file; expected at least one record"),
    ] {
        let found = wrong_like(text, &schema);
        assert!(found.starts_with(message), "{found}");
    }
    let declared = of(text, &with(vec![categorical("b=u|v")])).schema().clone();
    let found = wrong_like("a,b,y\n1,w,no\n", &declared);
    assert_eq!(found, "t.csv:2, column b: found `w`; expected one of the declared categories u, v");
}

#[test]
fn skipped_lines_comments_and_the_mark_of_utf_8() {
    let data = of("\u{feff}junk,\n| comment\n\na,y\n1,0\n2,1\n", &Reading { skip_lines: 1, ..Reading::default() });
    assert_eq!((data.len(), data.schema().feature_names()), (2, strings(&["a"])));
    assert!(has_note(&data, "1 line(s) starting with `|`"));
    assert_eq!(of("\u{feff}a,y\n1,0\n2,1\n", &Reading::default()).schema().feature_names(), ["a"]);
    let piped = of("|1|0\n2|3|1\n", &Reading { delimiter: Some('|'), ..Reading::default() });
    assert_eq!(piped.len(), 2);
}
