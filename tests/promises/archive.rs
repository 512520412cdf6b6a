//! A run that was kept is still verified by versions that would tell of it in other words.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{Ran, dpsgd, here, ok};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

fn verify(directory: &Path) -> Ran {
    dpsgd(directory, &["verify", "run"])
}

fn unverified(directory: &Path, name: &str) {
    let ran = verify(directory);
    assert!(ran.code == Some(1) && ran.first_line().contains(name), "{name}: {:?} {}", ran.code, ran.stderr);
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces words in a file of the run, and its hash in the report if `stated`.
fn reworded(run: &Path, name: &str, (words, others): (&str, &str), stated: bool) {
    let text = std::fs::read_to_string(run.join(name)).unwrap();
    assert!(text.contains(words), "{name} has no {words}");
    let text = text.replace(words, others);
    std::fs::write(run.join(name), &text).unwrap();
    if stated {
        edited(run, |report| report["files"][name] = hash(text.as_bytes()).into());
    }
}

fn edited(run: &Path, edit: impl FnOnce(&mut Value)) {
    let path = run.join("report.json");
    let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut report);
    std::fs::write(path, serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
}

const FILES: [(&str, (&str, &str)); 3] = [
    ("statement.txt", ("The guarantee rests on this", "What the guarantee needs")),
    ("report.html", ("The guarantee rests on this", "What the guarantee needs")),
    ("metrics.csv", ("\n1,", "\n1,")),
];

#[test]
fn the_report_names_the_files_beside_it() {
    let here = here();
    let run = here.path().join("run");
    ok(here.path(), "train --data small.csv --holdout 0.2 --steps 5 --out run");
    let report: Value = serde_json::from_slice(&std::fs::read(run.join("report.json")).unwrap()).unwrap();
    for (name, _) in FILES {
        assert_eq!(report["files"][name], hash(&std::fs::read(run.join(name)).unwrap()), "{name}");
    }
    assert_eq!(report["files"].as_object().unwrap().len(), FILES.len());
    // A wrong hash of the right file is found as well.
    edited(&run, |report| report["files"]["report.html"] = "0".repeat(64).into());
    unverified(here.path(), "report.html");
}

#[test]
fn a_run_of_another_version_is_verified_by_the_hashes_of_its_files() {
    let here = here();
    let run = here.path().join("run");
    ok(here.path(), "train --data small.csv --holdout 0.2 --steps 5 --out run");
    let whole = verify(here.path()).well().stdout;
    assert!(whole.contains("statement.txt says what report.json says"), "{whole}");
    // This version must find its own words again, whatever the hashes say.
    for (name, words) in &FILES[..2] {
        let kept = [name, "report.json"].map(|name| (run.join(name), std::fs::read(run.join(name)).unwrap()));
        reworded(&run, name, *words, true);
        unverified(here.path(), name);
        kept.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
    ok(here.path(), "verify run");

    let reworded_guarantee = |report: &mut Value| report["privacy"]["guarantees"][1]["meaning"] = "Protects.".into();
    let kept = std::fs::read(run.join("report.json")).unwrap();
    edited(&run, reworded_guarantee);
    unverified(here.path(), "guarantees");
    std::fs::write(run.join("report.json"), kept).unwrap();

    edited(&run, |report| report["versions"]["dpsgd"] = "0.0.1".into());
    edited(&run, reworded_guarantee);
    for (name, words) in FILES {
        reworded(&run, name, words, true);
    }
    let other = ok(here.path(), "verify run").stdout;
    assert!(!whole.contains("was not compared") && other.contains("as dpsgd 0.0.1 wrote it"), "{whole}{other}");
    assert!(
        other.contains("what it says was not compared") && !other.contains("statement.txt says what report.json says"),
        "{other}"
    );
    ok(here.path(), "train --data small.csv --steps 5 --extend run --epsilon 4");
    for (name, words) in [
        ("statement.txt", ("one record", "one group")),
        ("report.html", ("one record", "one group")),
        ("metrics.csv", ("\n2,", "\n3,")),
    ] {
        let kept = std::fs::read(run.join(name)).unwrap();
        reworded(&run, name, words, false);
        unverified(here.path(), name);
        std::fs::write(run.join(name), kept).unwrap();
    }
    // Without the hashes there is nothing to hold on to but the words.
    edited(&run, |report| drop(report.as_object_mut().unwrap().remove("files")));
    unverified(here.path(), "statement.txt");
}
