//! A file for each node.

use crate::bad_input::faults;
use crate::command_line::{here, json, ok, small_csv};
use std::path::Path;

fn written(directory: &Path, name: &str, lines: &[&str]) {
    std::fs::write(directory.join(name), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_file_for_each_node_is_one_file_dealt_in_its_order() {
    let here = here();
    let all = small_csv();
    let lines: Vec<&str> = all.lines().collect();
    for (node, lines) in lines.chunks(20).enumerate() {
        written(here.path(), &format!("part-{node}.csv"), lines);
    }
    for flags in ["", "--algorithm clip21", "--algorithm kgt --local-steps 2", "--algorithm norm-ec --unit client"] {
        let line = format!("train --quiet --nodes 3 --steps 4 --seed 2 --epsilon 6 {flags}");
        let one = json(here.path(), &format!("{line} --data small.csv --partition sequential"));
        let out = format!("run{}", flags.replace(' ', "-"));
        let parts = format!("{line} --data part-{{node}}.csv --partition files --out {out}");
        let files = json(here.path(), &parts);
        assert_eq!(files["nodes"]["records"], serde_json::json!([20, 20, 20]), "{flags}");
        assert_eq!(files["nodes"]["partition"], "files");
        assert_eq!(files["model"]["sha256"], one["model"]["sha256"], "{flags}");
        assert_eq!(files["privacy"]["epsilon"], one["privacy"]["epsilon"], "{flags}");
        ok(here.path(), &format!("verify {out}"));
        let again = format!("train --quiet --config {out}/config.toml --seed 2");
        assert_eq!(json(here.path(), &again)["model"]["sha256"], one["model"]["sha256"], "{flags}");
    }
}

#[test]
fn a_file_that_is_not_like_the_others_is_refused_and_named() {
    let here = here();
    let all = small_csv();
    let lines: Vec<&str> = all.lines().collect();
    let (zeros, ones): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.ends_with(",0"));
    for prefix in ["wide", "gone", "apart", "third"] {
        written(here.path(), &format!("{prefix}-0.csv"), if prefix == "apart" { &zeros } else { &lines[..20] });
    }
    written(here.path(), "wide-1.csv", &["1,2,3,4,0", "1,2,3,4,1"]);
    written(here.path(), "apart-1.csv", &ones);
    written(here.path(), "third-1.csv", &["1,2,3,2"]);
    let mut all = Vec::new();
    for (prefix, words) in [
        ("wide", &["wide-1.csv", "5", "4"][..]),
        ("gone", &["gone-1.csv", "cannot read"]),
        ("third", &["third-1.csv:1", "column 4", "0, 1"]),
        // The first file has one class.
        ("apart", &["apart-0.csv", "1 class", "--classes"]),
    ] {
        let line =
            format!("train --nodes 2 --quiet --data {prefix}-{{node}}.csv --partition files --steps 2 --out new");
        all.extend(faults(here.path(), &line, 2, words));
    }
    assert!(all.is_empty(), "\n{}", all.concat());
    // With classes that are said, a node may have records of some alone.
    let line = "train --quiet --data apart-{node}.csv --partition files --classes 0,1 --nodes 2 --steps 4 --epsilon 6";
    let report = json(here.path(), &format!("{line} --algorithm clip21 --seed 1"));
    assert_eq!(report["model"]["classes"], serde_json::json!(["0", "1"]));
    assert_eq!(report["nodes"]["records"], serde_json::json!([30, 30]));
}
