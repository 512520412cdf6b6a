//! Models on the same data share a budget, and together they never exceed it.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{dpsgd, entries, here, json, ok};
use dp_accountant::{Accountant, Auto, Delta, Event, Ledger, Relation};
use dpsgd::ledger_file::{Entries, LedgerFile, State};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RUN: &str = "train --data small.csv --steps 50";

fn ledger(directory: &Path) -> Entries {
    LedgerFile::new(directory.join("spent.json")).read().unwrap().unwrap()
}

fn upper(event: &Event) -> f64 {
    Auto::new(Relation::AddRemove).epsilon(event, Delta::new(1e-5).unwrap()).unwrap().upper()
}

fn event_of_run(directory: &Path) -> Event {
    let text = std::fs::read(directory.join("ledger.json")).unwrap();
    serde_json::from_slice::<Ledger>(&text).unwrap().event()
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

fn refused(directory: &Path, line: &str, said: &str) {
    let ran = dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>());
    assert!(ran.code == Some(1) && ran.first_line().contains(said), "{line}: {:?} {}", ran.code, ran.stderr);
}

#[test]
fn the_second_model_knows_what_the_first_has_spent() {
    let here = here();
    let first = json(here.path(), &format!("{RUN} --epsilon 1 --ledger spent.json --out first"));
    let second = json(here.path(), &format!("{RUN} --epsilon 1.5 --ledger spent.json --out second"));
    let (alone, joint) = (number(&second, "/privacy/epsilon/upper"), number(&second, "/privacy/joint/epsilon/upper"));
    assert!(number(&first, "/privacy/epsilon/upper") > 0.999 && alone < 1.5, "{alone}");
    assert!(joint <= 1.5 && joint > 1.499, "{joint}");
    assert_eq!(second["privacy"]["joint"]["others"], 1);
    let entries = ledger(here.path());
    assert_eq!(
        entries.without(&[]),
        Event::composed(["first", "second"].map(|run| event_of_run(&here.path().join(run))))
    );
    assert!((upper(&entries.without(&[])) - joint).abs() < 1e-9);
    assert!(entries.entries.iter().all(|entry| entry.state == State::Spent && entry.run == "logistic on small"));
    ok(here.path(), "verify second");
    let statement = std::fs::read_to_string(here.path().join("second/statement.txt")).unwrap();
    assert!(statement.contains("joint epsilon") && statement.contains("1 other model of its ledger"), "{statement}");

    let before = std::fs::read(here.path().join("spent.json")).unwrap();
    refused(here.path(), &format!("{RUN} --epsilon 1.5 --ledger spent.json --out third"), "was spent or set aside");
    refused(here.path(), &format!("{RUN} --epsilon 9 --relation replace --ledger spent.json"), "--relation");
    assert!(!here.path().join("third").exists() && std::fs::read(here.path().join("spent.json")).unwrap() == before);
    let shown = json(here.path(), "ledger spent.json");
    assert!((number(&shown, "/epsilon/upper") - joint).abs() < 1e-9 && shown["entries"].as_array().unwrap().len() == 2);
    assert!(ok(here.path(), "ledger spent.json").stdout.contains("together: epsilon 1.5000 at delta 0.00001"));
    for of in [&shown, &shown["entries"][0], &shown["entries"][1]] {
        let [lower, estimate, upper] = ["lower", "estimate", "upper"].map(|end| number(of, &format!("/epsilon/{end}")));
        assert!(0.0 < lower && lower <= estimate && estimate <= upper, "{of}");
    }
}

#[test]
fn a_ledger_does_not_stand_in_the_directory_of_a_run() {
    let here = here();
    let inside = |path: &str, out: &str| {
        let line = format!("{RUN} --epsilon 1 --ledger {path} --out {out}");
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert!(ran.code == Some(2) && ran.first_line().contains("--ledger = "), "{path} in {out}: {}", ran.stderr);
    };
    let absolute = here.path().join("run/ledger.json");
    for path in ["run/ledger.json", "run/deep/spent.json", "./run/../run/spent.json", absolute.to_str().unwrap()] {
        inside(path, "run");
        assert!(!here.path().join("run").exists(), "{path}: refused before anything is made");
    }
    std::fs::create_dir(here.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", here.path().join("link")).unwrap();
    inside("real/spent.json", "link");
    inside("link/spent.json", "real");
    // The name of a link is outside, and what it names is not.
    std::fs::write(here.path().join("real/spent.json"), "").unwrap();
    std::os::unix::fs::symlink("real/spent.json", here.path().join("outside.json")).unwrap();
    inside("outside.json", "real");
    assert_eq!(entries(&here.path().join("real")), ["spent.json"]);
    ok(here.path(), &format!("{RUN} --epsilon 1 --ledger run.json --out run"));
}

#[test]
fn nothing_is_known_from_below_where_another_model_was_made_with_correlated_noise() {
    let here = here();
    let lower = |report: &Value, at: &str| number(report, &format!("{at}/lower"));
    let tree = json(here.path(), &format!("{RUN} --epsilon 1 --noise tree --ledger spent.json --out first"));
    let more = json(here.path(), &format!("{RUN} --epsilon 2 --ledger spent.json --out second"));
    let extended = json(here.path(), &format!("{RUN} --epsilon 2 --extend first"));
    assert_eq!((lower(&tree, "/privacy/epsilon"), lower(&more, "/privacy/joint/epsilon")), (0.0, 0.0));
    assert!(lower(&more, "/privacy/epsilon") > 0.0, "its own releases are of independent noise");
    assert_eq!(lower(&extended, "/privacy/epsilon"), 0.0);
    let shown = json(here.path(), "ledger spent.json");
    let known = [lower(&shown, "/epsilon"), lower(&shown, "/entries/0/epsilon"), lower(&shown, "/entries/1/epsilon")];
    assert!(known[0] == 0.0 && known[1] == 0.0 && known[2] > 0.0, "{known:?}");
    assert!(ok(here.path(), "ledger spent.json").stdout.contains("not below 0.0000"));
}

#[test]
fn a_joint_statement_that_was_changed_is_found() {
    let here = here();
    ok(here.path(), &format!("{RUN} --epsilon 1 --ledger spent.json"));
    ok(here.path(), &format!("{RUN} --epsilon 1.5 --ledger spent.json --out run"));
    let path = here.path().join("run/report.json");
    let mut report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    report["privacy"]["joint"]["epsilon"]["upper"] = 1.2.into();
    std::fs::write(&path, report.to_string()).unwrap();
    // The statement shows the number too; it is the check against the plan that must find it.
    refused(here.path(), "verify run", "what is stated as spent before, or together with others, is not the plan's");
}

/// Starts `dpsgd LINE` and waits until it is training.
fn started(directory: &Path, line: &str) -> std::process::Child {
    let child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(line.split_whitespace())
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !directory.join("spent.json").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn runs_at_the_same_time_never_exceed_the_budget_together() {
    let here = here();
    let mut first = started(here.path(), "train --data small.csv --steps 3000000 --epsilon 2 --ledger spent.json");
    // All of the budget is set aside, although little of it is spent yet.
    refused(here.path(), &format!("{RUN} --epsilon 2 --ledger spent.json"), "was spent or set aside");
    let second = json(here.path(), &format!("{RUN} --epsilon 2.5 --ledger spent.json"));
    assert!(number(&second, "/privacy/joint/epsilon/upper") <= 2.5);
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    // What the first one did not take is free again.
    let entries = ledger(here.path());
    assert!(entries.entries.iter().all(|entry| entry.state == State::Spent));
    assert!(upper(&entries.without(&[])) < 2.49);
    ok(here.path(), &format!("{RUN} --epsilon 2.5 --ledger spent.json"));
    assert!(upper(&ledger(here.path()).without(&[])) <= 2.5);
}

#[test]
fn a_run_that_was_killed_keeps_its_share_and_goes_on_with_it() {
    let here = here();
    let line = "train --data small.csv --steps 20000 --epsilon 2 --ledger spent.json --checkpoint-every 0.05 --out run";
    let mut first = started(here.path(), line);
    std::thread::sleep(Duration::from_millis(100));
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(ledger(here.path()).entries[0].state, State::SetAside);
    refused(here.path(), &format!("{RUN} --epsilon 2 --ledger spent.json"), "was spent or set aside");
    refused(here.path(), &format!("{} --resume", line.replace("--ledger spent.json ", "")), "--ledger");
    // A ledger that cannot be reached takes nothing with it.
    let checkpoint = here.path().join("run/checkpoint");
    let away = dpsgd(
        here.path(),
        &format!("{} --resume", line.replace("spent.json", "away/spent.json")).split(' ').collect::<Vec<_>>(),
    );
    assert_eq!(away.code, Some(2), "{}", away.stderr);
    assert!(checkpoint.exists());
    ok(here.path(), &format!("{line} --resume"));
    let entries = ledger(here.path());
    assert_eq!((entries.entries.len(), entries.entries[0].state), (1, State::Spent));
    assert_eq!(entries.without(&[]), event_of_run(&here.path().join("run")));
}

#[test]
fn a_finished_run_is_extended_under_a_larger_budget() {
    let here = here();
    let first = json(here.path(), &format!("{RUN} --epsilon 1 --seed 3 --out first"));
    let second =
        json(here.path(), "train --data small.csv --steps 30 --extend first --epsilon 2 --seed 3 --out second");
    let epsilon = number(&second, "/privacy/epsilon/upper");
    assert!(epsilon <= 2.0 && epsilon > 1.999, "{epsilon}");
    assert_eq!(second["privacy"]["started_from"], first["privacy"]["epsilon"]);
    assert_eq!((&second["privacy"]["steps"], &second["privacy"]["joint"]), (&30.into(), &Value::Null));
    let of_both = event_of_run(&here.path().join("second"));
    assert!((upper(&of_both) - epsilon).abs() < 1e-9);
    ok(here.path(), "verify second");
    let statement = std::fs::read_to_string(here.path().join("second/statement.txt")).unwrap();
    assert!(statement.contains("epsilon 1.0000 for the model that the run started from"), "{statement}");
    // It starts where the first one ended: without a step's length nothing moves.
    let still = "train --data small.csv --steps 1 --extend first --epsilon 2 --learning-rate 1e-300 --out still";
    assert_eq!(json(here.path(), still)["model"]["sha256"], first["model"]["sha256"]);
    // Once more, from the extended one.
    let third = json(here.path(), "train --data small.csv --steps 5 --extend second --epsilon 3 --out third");
    assert_eq!(third["privacy"]["started_from"], second["privacy"]["epsilon"]);
    ok(here.path(), "verify third");

    refused(here.path(), "train --data small.csv --extend first --epsilon 1", "was spent or set aside");
    refused(here.path(), "train --data small.csv --extend first --epsilon 3 --relation replace", "--relation");
    let usage = |line: &str, said: &str| {
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert!(ran.code == Some(2) && ran.first_line().contains(said), "{line}: {:?} {}", ran.code, ran.stderr);
    };
    usage("train --data small.csv --extend first --epsilon 3 --model mlp", "--model = mlp: allowed is logistic");
    usage("train --data small.csv --extend first --epsilon 3 --holdout 0.2", "cannot be used with");
    usage("train --data small.csv --extend nowhere --epsilon 3", "nowhere");
    std::fs::write(here.path().join("first/statement.txt"), "epsilon 0.1").unwrap();
    refused(here.path(), "train --data small.csv --extend first --epsilon 3", "verification failed");
}

#[test]
fn an_extended_run_is_not_counted_twice_in_the_ledger() {
    let here = here();
    ok(here.path(), &format!("{RUN} --epsilon 1 --ledger spent.json --out first"));
    let line = "train --data small.csv --steps 30 --extend first --epsilon 2 --ledger spent.json --out second";
    let second = json(here.path(), line);
    let epsilon = number(&second, "/privacy/epsilon/upper");
    assert!(epsilon > 1.999 && second["privacy"]["joint"]["epsilon"]["upper"] == epsilon, "{}", second["privacy"]);
    assert_eq!(ledger(here.path()).without(&[]), event_of_run(&here.path().join("second")));
    // Nor is the first one in the extension of the second.
    let third = "train --data small.csv --steps 30 --extend second --epsilon 3 --ledger spent.json --out third";
    let third = json(here.path(), third);
    assert!(third["privacy"]["joint"]["epsilon"] == third["privacy"]["epsilon"], "{}", third["privacy"]);
    assert_eq!((&third["privacy"]["joint"]["others"], ledger(here.path()).entries.len()), (&0.into(), 3));
    assert_eq!(ledger(here.path()).without(&[]), event_of_run(&here.path().join("third")));
    // In another ledger the first run is not listed: the entry of the second one holds what both have cost.
    let line = line.replace("spent.json", "other.json").replace("--out second", "--out again");
    ok(here.path(), &line);
    let other = LedgerFile::new(here.path().join("other.json")).read().unwrap().unwrap();
    assert_eq!(other.without(&[]), event_of_run(&here.path().join("again")));
    assert_eq!(entries(&here.path().join("again")).len(), 7);
}

#[test]
fn a_key_that_is_used_again_gives_an_extended_run_other_noise() {
    // The same seed, data and settings from a model that has not moved: were the key the same, the models would be.
    let here = here();
    let line = "train --data small.csv --steps 1 --seed 8 --momentum 0";
    ok(here.path(), &format!("{line} --learning-rate 1e-300 --out start"));
    let fresh = json(here.path(), &format!("{line} --learning-rate 1 --noise-multiplier 5"));
    let extended = json(here.path(), &format!("{line} --learning-rate 1 --noise-multiplier 5 --extend start"));
    assert_ne!(fresh["model"]["sha256"], extended["model"]["sha256"]);
}

#[test]
fn an_extension_by_the_same_steps_is_the_composition_of_both() {
    // What is repeated as a whole must not become another event than its parts.
    let here = here();
    for (name, flags) in [
        ("tree", "--noise tree --batch-size 15 --noise-multiplier 10 --steps 9"),
        ("stretches", "--noise-schedule 0=1.5,0.5=0.5 --noise-multiplier 10 --steps 10"),
        ("banded", "--noise banded --bands 3 --batch-size 15 --noise-multiplier 10 --steps 9"),
    ] {
        ok(here.path(), &format!("train --data small.csv {flags} --out {name}"));
        ok(here.path(), &format!("train --data small.csv {flags} --extend {name} --out {name}-again"));
        ok(here.path(), &format!("verify {name}-again"));
        ok(here.path(), &format!("train --data small.csv {flags} --extend {name}-again --out {name}-thrice"));
        ok(here.path(), &format!("verify {name}-thrice"));
    }
}

#[test]
fn randomness_that_two_models_could_share_is_refused_beside_a_ledger() {
    let here = here();
    for flag in ["--seed 3", "--holdout 0.2"] {
        let line = format!("{RUN} --ledger spent.json {flag}");
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
    }
}

#[test]
fn what_was_spent_before_is_not_dropped_from_a_file() {
    let here = here();
    let file = "data = \"small.csv\"\nsteps = 3\nnoise-multiplier = 30\n";
    let write = |name: &str, more: &str| std::fs::write(here.path().join(name), format!("{file}{more}")).unwrap();
    let refused = |line: &str, flags: [&str; 2]| {
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        let named = |part: &&str| ran.first_line().contains(part);
        assert!(
            ran.code == Some(2) && ["cannot be used with"].iter().chain(&flags).all(named),
            "{line}: {}",
            ran.stderr
        );
    };
    write("counted.toml", "ledger = \"spent.json\"\n");
    for flag in ["--seed 3", "--holdout 0.2"] {
        let name = flag.split(' ').next().unwrap();
        refused(&format!("train --config counted.toml {flag}"), ["--ledger", name]);
    }
    assert!(!here.path().join("spent.json").exists());
    // Its own flag and a run without privacy are what it yields to.
    ok(here.path(), "train --config counted.toml --no-privacy --seed 3");
    ok(here.path(), "train --config counted.toml --ledger other.json");
    assert!(!here.path().join("spent.json").exists() && here.path().join("other.json").exists());
    ok(here.path(), "train --config counted.toml --out first");
    assert_eq!(ledger(here.path()).entries.len(), 1);
    // The file that the run leaves starts another one, which is counted too.
    let kept = std::fs::read_to_string(here.path().join("first/config.toml")).unwrap();
    assert!(kept.contains("counts beside this one") && !kept.contains("with --seed the run is repeated"), "{kept}");
    refused("train --config first/config.toml --seed 3", ["--ledger", "--seed"]);
    ok(here.path(), "train --config first/config.toml");
    assert_eq!(ledger(here.path()).entries.len(), 2);

    write("extended.toml", "extend = \"first\"\n");
    refused("train --config extended.toml --holdout 0.2", ["--extend", "--holdout"]);
    let extended = json(here.path(), "train --config extended.toml --seed 3 --out second");
    assert!(number(&extended, "/privacy/started_from/upper") > 0.0);
    let kept = std::fs::read_to_string(here.path().join("second/config.toml")).unwrap();
    assert!(kept.contains("the model that `extend` names"), "{kept}");
    let again = json(here.path(), "train --config second/config.toml --seed 3");
    assert_eq!(again["model"]["sha256"], extended["model"]["sha256"]);
}
