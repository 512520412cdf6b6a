//! Promises to clients, which are nodes with all their data.

use super::number;
use crate::command_line::{here, json, ok};
use serde_json::Value;
use std::path::Path;

const CLIENTS: &str = "train --quiet --unit client --steps 4 --seed 3";

fn epsilon(report: &Value) -> f64 {
    number(report, "/privacy/epsilon/upper")
}

/// What the accountant says of Gaussian releases.
fn account(directory: &Path, flags: &str) -> f64 {
    number(&json(directory, &format!("account epsilon --delta 1e-5 --steps 4 {flags}")), "/epsilon/upper")
}

#[test]
fn a_client_costs_a_gaussian_release_a_round_under_the_relation_of_who_is_trusted() {
    let here = here();
    for algorithm in ["clip-gd", "clip21", "clip21-sgd2m", "norm-ec"] {
        let line = format!("{CLIENTS} --nodes 5 --algorithm {algorithm} --epsilon 8");
        let mut noise = Vec::new();
        for (flags, relation) in [
            ("", "zero-out"),
            ("--trust local --relation zero-out", "zero-out"),
            ("--trust central", "add-remove"),
            ("--relation replace", "replace"),
            ("--trust central --relation replace", "replace"),
        ] {
            let out = format!("{algorithm}-{}", noise.len());
            let report = json(here.path(), &format!("{line} {flags} --out {out}"));
            assert_eq!(report["plan"]["relation"], relation, "{algorithm} {flags}");
            assert_eq!((report["plan"]["unit"].as_str(), number(&report, "/plan/records")), (Some("client"), 5.0));
            let multiplier = number(&report, "/privacy/noise_multiplier");
            let counted =
                account(here.path(), &format!("--noise-multiplier {multiplier} --sampling none --relation {relation}"));
            assert_eq!(epsilon(&report), counted, "{algorithm} {flags}");
            assert!(counted <= 8.0 && counted > 7.9, "{algorithm} {flags}: {counted}");
            let statement = std::fs::read_to_string(here.path().join(&out).join("statement.txt")).unwrap();
            assert!(statement.contains("client"), "{statement}");
            ok(here.path(), &format!("verify {out}"));
            noise.push(multiplier);
        }
        let [local, same, central, replaced, replaced_in_sum] = noise[..] else { panic!("{noise:?}") };
        assert_eq!(local, same);
        // A client that is replaced moves a message by twice its radius.
        for (noise, twice) in [(local, replaced), (central, replaced_in_sum)] {
            assert!(noise < twice && (twice / noise - 2.0).abs() < 0.01, "{algorithm}: {noise} and {twice}");
        }
    }
}

#[test]
fn clients_whose_coins_are_secret_cost_less() {
    let here = here();
    let line = format!("{CLIENTS} --nodes 10 --algorithm clip21 --noise-multiplier 2");
    let run = |flags: &str| json(here.path(), &format!("{line} {flags}"));
    let (everybody, some) = (run("--trust central"), run("--trust central --participants 2 --out some"));
    let counted = account(here.path(), "--noise-multiplier 2 --sampling-rate 0.2 --relation add-remove");
    assert_eq!(epsilon(&some), counted);
    assert!(epsilon(&some) < 0.8 * epsilon(&everybody), "{} of {}", epsilon(&some), epsilon(&everybody));
    ok(here.path(), "verify some");
    // Where everybody takes part nothing is amplified.
    let all = run("--trust central --participants 10");
    assert!((epsilon(&all) / epsilon(&everybody) - 1.0).abs() < 1e-3, "{} {}", epsilon(&all), epsilon(&everybody));
    // Neither is anything where messages tell who has sent them.
    let (seen, everybody) = (run("--participants 2"), run(""));
    assert_eq!(epsilon(&seen), epsilon(&everybody));
    assert_ne!(seen["model"]["sha256"], everybody["model"]["sha256"], "but others take part");
}

#[test]
fn public_memories_are_a_choice_of_clients_that_trust_nobody() {
    let here = here();
    let run = |flags: &str| json(here.path(), &format!("{CLIENTS} --nodes 5 --algorithm clip21 --epsilon 8 {flags}"));
    let (hidden, public, usual) = (run("--memory hidden"), run("--memory public"), run(""));
    assert_eq!(hidden["model"]["sha256"], usual["model"]["sha256"]);
    assert_ne!(hidden["model"]["sha256"], public["model"]["sha256"]);
    assert_eq!(hidden["privacy"]["epsilon"], public["privacy"]["epsilon"]);
}

#[test]
fn the_config_of_clients_repeats_their_run() {
    let here = here();
    for flags in ["--trust central --participants 2", "--memory public", "--batch-size 500 --wire-width f64"] {
        let first =
            json(here.path(), &format!("{CLIENTS} --nodes 5 --algorithm clip21 --epsilon 8 {flags} --out first"));
        let again = json(here.path(), "train --quiet --config first/config.toml --seed 3 --out again");
        for part in ["privacy", "model", "plan"] {
            assert_eq!(first[part], again[part], "{flags}: {part}");
        }
        assert_eq!(first["nodes"]["setting"], again["nodes"]["setting"], "{flags}");
        for name in ["first", "again"] {
            std::fs::remove_dir_all(here.path().join(name)).unwrap();
        }
    }
}
