//! One test for every algorithm of the command line.

use super::{ALGORITHMS, Row, document, file, number};
use crate::command_line::{Ran, dpsgd, here, json, ok};
use serde_json::{Value, json as value};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const NODES: &str = "train --quiet --nodes 3 --partition dirichlet:0.5 --unit record --epsilon 3";

/// A few records in the place of optdigits, for what does not depend on them.
const SMALL: &str = "--data small.csv --batch-size 16";

fn line(row: &Row) -> String {
    format!("{NODES} --algorithm {} {}", row.name, row.flags)
}

fn run(directory: &Path, line: &str) -> Ran {
    dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>())
}

fn counted(ledger: &Value) -> u64 {
    ledger.as_array().unwrap().iter().map(|entry| entry["count"].as_u64().unwrap()).sum()
}

#[test]
fn every_algorithm_keeps_its_budget_counts_every_answer_and_is_repeated_by_its_config() {
    let here = here();
    for row in &ALGORITHMS {
        let report = json(here.path(), &format!("{} --steps 4 --seed 7 --out {}", line(row), row.name));
        let directory = here.path().join(row.name);
        let upper = number(&report, "/privacy/epsilon/upper");
        assert!(upper <= 3.0 && upper > 2.9, "{}: {upper}", row.name);
        let ledger = document(&directory, "ledger.json");
        assert_eq!(counted(&ledger), row.answers, "{}: {ledger}", row.name);
        assert_eq!(ledger.as_array().map(Vec::len), Some(1), "{}: all answers cost the same: {ledger}", row.name);
        assert_eq!(number(&report, "/nodes/rounds"), 4.0, "{}", row.name);
        let records = report["nodes"]["records"].as_array().unwrap();
        assert_eq!(records.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 3823, "{}", row.name);
        assert!(records[0] != records[1] || records[1] != records[2], "{}: dealt unequally", row.name);
        ok(here.path(), &format!("verify {}", row.name));

        let again = format!("train --config {}/config.toml --quiet --seed 7 --out {}-again", row.name, row.name);
        let again = json(here.path(), &again);
        assert_eq!(again["model"], report["model"], "{}", row.name);
        assert_eq!(again["plan"], report["plan"], "{}", row.name);
        assert_eq!(again["nodes"]["setting"], report["nodes"]["setting"], "{}", row.name);
        let config = |run: String| String::from_utf8(file(&here.path().join(run), "config.toml")).unwrap();
        assert_eq!(config(row.name.into()), config(format!("{}-again", row.name)));
        // The control: another constant gives another model.
        let other = format!("{NODES} --algorithm {} {} --steps 4 --seed 7", row.name, row.others);
        assert_ne!(json(here.path(), &other)["model"]["sha256"], report["model"]["sha256"], "{}", row.name);
    }
}

#[test]
fn what_is_said_of_the_nodes_is_verified() {
    let here = here();
    let mut unnoticed = Vec::new();
    for row in &ALGORITHMS {
        ok(here.path(), &format!("{} {SMALL} --steps 2 --seed 7 --out {}", line(row), row.name));
        let path = here.path().join(row.name).join("report.json");
        let kept = std::fs::read(&path).unwrap();
        let report: Value = serde_json::from_slice(&kept).unwrap();
        let mut edits = vec![("/nodes/promise/0/1", value!("nothing at all"))];
        if row.name != "dp-sgd" {
            edits.push(("/nodes/setting/method/step", value!(0.001)));
        }
        // What is the same for all of them.
        if ["dp-sgd", "clip21"].contains(&row.name) {
            edits.extend([
                ("/nodes/records/0", value!(4000)),
                ("/nodes/rounds", value!(20)),
                ("/nodes/partition", value!("iid")),
            ]);
        }
        if row.name == "clip21" {
            edits.extend([
                ("/nodes/setting/trust", value!("central")),
                ("/nodes/setting/nodes", value!(4)),
                ("/nodes/setting/method", value!({"name": "clip-gd", "step": 0.25, "radius": 7.0})),
                ("/nodes/setting/method/radius", value!(7.0)),
                ("/nodes/setting", Value::Null),
            ]);
        }
        for (pointer, to) in edits {
            let mut altered = report.clone();
            *altered.pointer_mut(pointer).unwrap_or_else(|| panic!("{}: no {pointer}", row.name)) = to;
            assert_ne!(altered, report, "{}: {pointer}", row.name);
            std::fs::write(&path, serde_json::to_vec_pretty(&altered).unwrap()).unwrap();
            let ran = run(here.path(), &format!("verify {}", row.name));
            if ran.code != Some(1) {
                unnoticed.push(format!("{}: {pointer}: {:?} {}", row.name, ran.code, ran.stderr));
            }
        }
        std::fs::write(&path, &kept).unwrap();
        ok(here.path(), &format!("verify {}", row.name));
    }
    assert!(unnoticed.is_empty(), "verify does not refuse\n{}", unnoticed.join("\n"));
}

/// Starts a run, waits until it has entered a round in its metrics, and interrupts it as the terminal would.
fn interrupted(directory: &Path, line: &str, out: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(line.split_whitespace())
        .args(["--out", out])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = directory.join(out).join("metrics.csv");
    while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was caught: {line}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    while errors.read_line(&mut stderr).unwrap() > 0 {}
    Ran { code: child.wait().unwrap().code(), stdout, stderr }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits_and_with_other_flags_not_at_all() {
    let here = here();
    let mut accepted = Vec::new();
    for row in &ALGORITHMS {
        let steps = "--steps 120 --checkpoint-every 0 --evaluations 0";
        let (name, whole) = (row.name, format!("{} {SMALL} {steps}", line(row)));
        let undisturbed = json(here.path(), &format!("{whole} --seed 7 --out {name}-whole"));
        let ran = interrupted(here.path(), &format!("{whole} --seed 7"), name);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""), "{name}: {}", ran.stderr);
        let checkpoint = here.path().join(name).join("checkpoint");
        let before = std::fs::read(&checkpoint).unwrap();
        let algorithm = if name == "clip-gd" { "clip21" } else { "clip-gd" };
        let own = format!("--algorithm {name} {}", row.flags);
        for (what, line) in [
            ("another algorithm", whole.replace(&own, &format!("--algorithm {algorithm}"))),
            ("another constant", whole.replace(row.flags, row.others)),
            ("another partition", whole.replace("dirichlet:0.5", "iid")),
            ("other nodes", whole.replace("--nodes 3", "--nodes 4")),
        ] {
            assert_ne!(line, whole, "{name}: {what}");
            let ran = run(here.path(), &format!("{line} --resume --out {name}"));
            if ran.code != Some(1) || !ran.first_line().contains("resume") && !ran.first_line().contains("each node") {
                accepted.push(format!("{name} with {what}: {:?} {}", ran.code, ran.first_line()));
                std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
                std::fs::write(&checkpoint, &before).unwrap();
            }
            assert!(std::fs::read(&checkpoint).unwrap() == before, "{name}: {what} changed the checkpoint");
        }
        for entry in std::fs::read_dir(here.path().join(name)).unwrap().flatten() {
            // What a run that should have been refused has left.
            if !["checkpoint", "config.toml", "metrics.csv"].contains(&entry.file_name().to_str().unwrap()) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let resumed = json(here.path(), &format!("{whole} --resume --out {name}"));
        for part in ["model", "privacy"] {
            assert_eq!(resumed[part], undisturbed[part], "{name}: {part}");
        }
        let kept = |directory: &str, name: &str| file(&here.path().join(directory), name);
        for part in ["ledger.json", "model.safetensors"] {
            assert_eq!(kept(name, part), kept(&format!("{name}-whole"), part), "{name}: {part}");
        }
        ok(here.path(), &format!("verify {name}"));
    }
    assert!(accepted.is_empty(), "went on\n{}", accepted.join("\n"));
}

#[test]
fn the_twin_without_privacy_has_the_rounds_that_are_asked_for() {
    let here = here();
    for row in &ALGORITHMS {
        let line = format!("train --quiet --nodes 3 --algorithm {} {} --steps 3 --seed 7", row.name, row.flags);
        let line = line.replace("--clip-norm 1", "");
        let run = |flags: &str| json(here.path(), &format!("{line} {flags}"));
        let (none, twin) = (run("--unit none --batch-size 500"), run("--no-privacy --batch-size 500"));
        for report in [&none, &twin] {
            assert!(report["privacy"].is_null(), "{}: {report}", row.name);
            assert_eq!(number(report, "/nodes/rounds"), 3.0, "{}", row.name);
        }
        assert_eq!(none["sha256"], twin["sha256"], "{}: nobody is protected in either", row.name);
        // Without a word on it the twin has batches as large as the private run, and a study all records.
        let whole = run("--unit none")["sha256"] == run("--no-privacy")["sha256"];
        assert_eq!(whole, row.name == "dp-sgd", "{}", row.name);
    }
}
