//! Inspections: what was declared, what was seen, and flags that would declare it.

use super::super::embedded::{adult, adult_reading, optdigits, optdigits_reading};
use super::super::{ColumnRule, Inspection, Normalize};
use super::*;

fn inspect(content: &str, reading: &Reading) -> Inspection {
    Inspection::new(&of(content, reading), reading).unwrap()
}

fn suggested(inspection: &Inspection) -> Vec<String> {
    inspection.suggestions.iter().map(ToString::to_string).collect()
}

const PEOPLE: &str = "age,job,hours,id,y\n30,b,40,1,no\n?,a,20,2,yes\n50,?,60,3,no\n";

#[test]
fn what_is_seen_is_said_and_can_be_declared() {
    let reading = Reading { columns: vec![ColumnRule::parse_ignored("id").unwrap()], ..Reading::default() };
    let seen = inspect(PEOPLE, &reading);
    assert_eq!((seen.records, seen.features, seen.name.as_str()), (3, 5, "t"));
    assert_eq!((seen.declared.len(), seen.seen.clone()), (0, strings(&["the classes no, yes"])));
    let told: Vec<(&str, &str, String)> =
        seen.columns.iter().map(|c| (c.name.as_str(), c.treatment, c.seen.join("; "))).collect();
    assert_eq!(
        told,
        [
            ("age", "numeric", "missing values; numbers from 30 to 50".to_owned()),
            ("job", "categorical", "2 categories: a, b".to_owned()),
            ("hours", "numeric", "numbers from 20 to 60".to_owned()),
            ("id", "ignored", String::new()),
            ("y", "label", String::new()),
        ]
    );
    assert_eq!(seen.first_record.label, "no");
    let named =
        |list: &[(&str, f32)]| list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Vec<_>>();
    assert_eq!(seen.first_record.values, named(&[("age", 30.0), ("job=b", 1.0), ("hours", 40.0)]));
    assert_eq!(
        suggested(&seen),
        ["--classes no,yes", "--numeric 'age=30:50?'", "--categorical 'job=a|b'", "--range hours=20:60"]
    );

    // With what is suggested nothing is left to suggest, and no note says that something was seen.
    let columns = vec![
        ColumnRule::parse_ignored("id").unwrap(),
        ColumnRule::parse_numeric("1=30:50?").unwrap(),
        ColumnRule::parse_categorical("job=a|b").unwrap(),
        ColumnRule::parse_numeric("hours=20:60").unwrap(),
    ];
    let reading = Reading { columns, classes: Some(strings(&["no", "yes"])), ..Reading::default() };
    let declared = inspect(PEOPLE, &reading);
    assert!(declared.suggestions.is_empty() && declared.seen.is_empty(), "{declared:?}");
    assert!(declared.columns.iter().all(|column| column.seen.is_empty()), "{declared:?}");
    assert!(!declared.notes.iter().any(|note| note.contains("seen in the data")));
    assert_eq!(declared.columns[0].declared, ["missing values", "range 30 to 50"]);
}

#[test]
fn files_without_columns() {
    let seen = inspect("+1 2:5\n-1 1:-2\n", &Reading::default());
    assert_eq!(seen.seen, ["the classes -1, 1", "the number of features, 2", "values from -2 to 5"]);
    assert_eq!(suggested(&seen), ["--classes=-1,1", "--width 2", "--range=-2:5"]);
    let reading = Reading { normalize: Normalize::Record, width: Some(2), ..Reading::default() };
    assert_eq!(suggested(&inspect("+1 2:5\n-1 1:-2\n", &reading)), ["--classes=-1,1"]);
    // A wide first record is cut short.
    let wide: String = (1..=30).map(|index| format!(" {index}:1")).collect();
    let first = inspect(&format!("1{wide}\n-1\n"), &Reading::default()).first_record;
    assert_eq!((first.not_zero, first.values.len(), first.values[11].0.as_str()), (30, 12, "12"));
}

#[test]
fn nothing_of_the_embedded_data_is_undeclared() {
    let (digits, _) = optdigits().unwrap();
    let (people, _) = adult().unwrap();
    for (data, reading) in [(digits, optdigits_reading()), (people, adult_reading())] {
        let found = Inspection::new(&data, &reading).unwrap();
        assert!(found.suggestions.is_empty() && found.seen.is_empty(), "{found:?}");
        assert!(found.columns.iter().all(|column| column.seen.is_empty()), "{found:?}");
        assert!(!found.notes.iter().any(|note| note.contains("not privatised")), "{found:?}");
    }
}
