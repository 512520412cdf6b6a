//! A run that starts from another's model says what it took over, and takes over nothing that does not fit.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{Ran, dpsgd, here, json, ok};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn run(directory: &Path, line: &str) -> Ran {
    dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>())
}

fn refused(directory: &Path, line: &str, said: &[&str]) {
    let ran = run(directory, line);
    assert!(ran.code == Some(1) && said.iter().all(|said| ran.first_line().contains(said)), "{line}: {}", ran.stderr);
}

#[test]
fn the_seed_of_a_first_run_is_told_by_all_that_follow() {
    let here = here();
    ok(here.path(), "train --data small.csv --steps 5 --epsilon 1 --seed 1 --out first");
    ok(here.path(), "train --data small.csv --steps 5 --epsilon 1 --out system");
    for (from, to, epsilon, seed) in
        [("first", "second", 2, true), ("second", "third", 3, true), ("system", "other", 2, false)]
    {
        let line = format!("train --data small.csv --steps 5 --extend {from} --epsilon {epsilon} --out {to}");
        let privacy = json(here.path(), &line)["privacy"].clone();
        assert_eq!(privacy["key"], "operating-system", "{to}");
        assert_eq!(privacy["started_from_key"], if seed { "seed" } else { "operating-system" }, "{to}");
        ok(here.path(), &format!("verify {to}"));
        let statement = std::fs::read_to_string(here.path().join(to).join("statement.txt")).unwrap();
        let words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("of this run and of those it started from"), "{statement}");
        assert_eq!(words.contains("derived from a seed"), seed, "{statement}");
        assert_eq!(words.contains("earlier keys from a seed: the guarantee holds only while it is secret"), seed);
        assert!(statement.lines().all(|line| line.chars().count() <= 110), "{statement}");
    }
    let own = json(here.path(), "train --data small.csv --steps 5 --extend system --epsilon 2 --seed 1");
    let assumptions = own["assumptions"].to_string();
    assert!(assumptions.contains("of this run and of those it started from") && assumptions.contains("a seed"));
    assert!(!std::fs::read_to_string(here.path().join("first/statement.txt")).unwrap().contains("started from"));

    // What is taken out of the report is missed.
    let path = here.path().join("second/report.json");
    let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    report["privacy"].as_object_mut().unwrap().remove("started_from_key").unwrap();
    std::fs::write(&path, report.to_string()).unwrap();
    refused(here.path(), "verify second", &["started_from_key"]);
}

#[test]
fn a_model_is_extended_on_records_that_are_read_as_its_own_were() {
    let here = here();
    ok(here.path(), "train --data small.csv --classes 0,1 --steps 5 --epsilon 1 --out first");
    let line = "train --data small.csv --steps 5 --extend first --epsilon 2";
    ok(here.path(), &format!("{line} --classes 0,1"));
    // Seen and declared classes are the same ones, if their order is.
    ok(here.path(), line);
    for (flags, named) in [
        ("--classes 1,0", "the classes 0, 1 in that order"),
        ("--range 1=-1:1", "column 1"),
        ("--column-names a,b,c,y", "column 1"),
        ("--normalize record", "normalised"),
        ("--shape 1x3", "shape"),
    ] {
        refused(here.path(), &format!("{line} {flags}"), &["first", named]);
    }
}

#[test]
fn categories_and_words_in_another_order_are_other_inputs() {
    let here = here();
    let table: String =
        (0..40).map(|i| format!("{},{},{}\n", ["a", "b", "c"][i % 3], i % 7, ["no", "yes"][i % 2])).collect();
    std::fs::write(here.path().join("kinds.csv"), table).unwrap();
    let line = "train --data kinds.csv --header no --steps 3 --epsilon";
    ok(here.path(), &format!("{line} 1 --categorical 1=a|b|c --out table"));
    ok(here.path(), &format!("{line} 2 --categorical 1=a|b|c --extend table"));
    // Seen categories stand in the same order here: what they mean is the same.
    ok(here.path(), &format!("{line} 2 --categorical 1 --extend table"));
    refused(here.path(), &format!("{line} 2 --categorical 1=a|c|b --extend table"), &["column 1", "categories"]);

    let texts: String = (0..40).map(|i| format!("{}\t{}\n", i % 2, ["win a prize", "see you"][i % 2])).collect();
    std::fs::write(here.path().join("texts.tsv"), texts).unwrap();
    std::fs::write(here.path().join("words.txt"), "win\nprize\nsee\n").unwrap();
    std::fs::write(here.path().join("other.txt"), "prize\nwin\nsee\n").unwrap();
    let line = "train --data texts.tsv --data-format text --label first --length 4 --steps 3 --epsilon";
    ok(here.path(), &format!("{line} 1 --vocabulary words.txt --out texts"));
    ok(here.path(), &format!("{line} 2 --vocabulary words.txt --extend texts"));
    refused(here.path(), &format!("{line} 2 --vocabulary other.txt --extend texts"), &["vocabulary"]);
}

#[test]
fn a_model_that_is_not_finite_is_not_gone_on_from() {
    let here = here();
    let report = json(here.path(), "train --data small.csv --steps 5 --epsilon 1 --learning-rate 1e300 --out first");
    assert_eq!(report["model"]["finite"], false);
    refused(here.path(), "train --data small.csv --steps 5 --extend first --epsilon 2", &["first", "not finite"]);
}

#[test]
fn a_directory_whose_name_is_no_text_is_extended_like_any_other() {
    let here = here();
    let name = OsStr::from_bytes(b"fir\xffst");
    let words = |line: &'static str| line.split_whitespace().map(OsStr::new);
    let train = |line| words("train --data small.csv --steps 5").chain(words(line)).chain([name]).collect::<Vec<_>>();
    dpsgd(here.path(), &train("--epsilon 1 --out")).well();
    dpsgd(here.path(), &train("--epsilon 2 --extend")).well();
}
