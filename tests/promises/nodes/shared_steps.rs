//! The steps of one machine, shared among nodes.

use super::{apart, file, model, number};
use crate::command_line::{here, json, ok, small_csv};

#[test]
fn dp_sgd_on_nodes_is_dp_sgd_on_one_machine() {
    let here = here();
    for (at, flags) in [
        "--steps 4",
        "--steps 4 --optimizer adam --clipping automatic",
        "--steps 6 --noise tree --batch-size 900",
        "--steps 4 --perturbation 0.5 --clipping adaptive --clipping-count-noise 300",
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("train --quiet --seed 4 --epsilon 2 {flags}");
        let one = json(here.path(), &format!("{line} --out one-{at}"));
        let perturbed = flags.contains("--perturbation");
        for (nodes, partition) in [(1, "iid"), (3, "iid"), (4, "dirichlet:0.3")] {
            let out = format!("many-{at}-{nodes}");
            let many = json(here.path(), &format!("{line} --nodes {nodes} --partition {partition} --out {out}"));
            for part in ["epsilon", "noise_multiplier", "sampling_rate", "steps", "sampler", "guarantees"] {
                assert_eq!(many["privacy"][part], one["privacy"][part], "{flags} on {nodes} nodes: {part}");
            }
            let directory = |name: &str| here.path().join(name);
            let ledger = |name: &str| file(&directory(name), "ledger.json");
            assert_eq!(ledger(&out), ledger(&format!("one-{at}")), "{flags} on {nodes} nodes");
            let off = apart(&model(&directory(&out)), &model(&directory(&format!("one-{at}"))));
            // Nodes draw perturbations of their own, except for one alone.
            if perturbed && nodes > 1 {
                assert!(off > 1e-4, "{flags} on {nodes} nodes: {off}");
            } else {
                assert!(off < 1e-5, "{flags} on {nodes} nodes: {off}");
            }
            ok(here.path(), &format!("verify {out}"));
        }
    }
    // The control: another seed is further away than rounding.
    ok(here.path(), "train --quiet --seed 5 --epsilon 2 --steps 4 --out other");
    assert!(apart(&model(&here.path().join("other")), &model(&here.path().join("one-0"))) > 1e-3);
}

#[test]
fn nodes_without_a_record_take_part_and_spend_nothing() {
    let here = here();
    let few: String = small_csv().lines().take(5).map(|line| format!("{line}\n")).collect();
    std::fs::write(here.path().join("few.csv"), few).unwrap();
    for (at, flags) in [
        "",
        "--algorithm clip-gd",
        "--algorithm norm-ec",
        "--algorithm kgt --local-steps 2",
        "--algorithm ef21 --compress top-k:2",
        "--algorithm celgc --longest-step 0.5",
        "--algorithm clip21 --unit client",
    ]
    .into_iter()
    .enumerate()
    {
        let line = "train --quiet --data few.csv --batch-size 3 --nodes 7 --steps 3 --seed 1 --epsilon 9";
        let report = json(here.path(), &format!("{line} {flags} --out run-{at}"));
        let records: Vec<u64> =
            report["nodes"]["records"].as_array().unwrap().iter().filter_map(|n| n.as_u64()).collect();
        assert_eq!((records.len(), records.iter().sum::<u64>()), (7, 5), "{flags}");
        assert!(records.contains(&0), "{flags}: {records:?}");
        assert!(number(&report, "/privacy/epsilon/upper") <= 9.0, "{flags}");
        assert_eq!(report["model"]["finite"], true, "{flags}");
        ok(here.path(), &format!("verify run-{at}"));
    }
}

#[test]
fn all_records_in_every_answer_are_counted_as_such() {
    let here = here();
    for flags in ["", "--algorithm clip-gd"] {
        let line =
            format!("train --quiet --data small.csv --batch-size 60 --nodes 3 --steps 3 --noise-multiplier 4 {flags}");
        let account = "account epsilon --noise-multiplier 4 --sampling none --steps 3 --delta 1e-5";
        let (report, account) = (json(here.path(), &line), json(here.path(), account));
        let (epsilon, counted) = (number(&report, "/privacy/epsilon/upper"), number(&account, "/epsilon/upper"));
        assert!((epsilon / counted - 1.0).abs() < 1e-3, "{flags}: {epsilon}, and {counted}");
    }
}
