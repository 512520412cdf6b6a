//! One file holds every flag of a run, and a run can be repeated from the file it leaves.
#![cfg(feature = "cli")]

use super::command_line::{dpsgd, here, json, ok};
use serde_json::Value;
use std::path::Path;

fn written(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

#[test]
fn a_run_is_repeated_to_the_last_bit_from_the_file_it_leaves() {
    for flags in [
        "--epochs 9",
        "--epochs 9 --model mlp --optimizer adamw --schedule cosine --warmup-steps 2 --ema 0.9",
        "--epochs 9 --noise-multiplier 2.7 --epsilon 8 --clipping automatic --clipping-gamma 0.1 --perturbation 0.5",
        "--steps 3 --clip-norm 0.1 --nesterov --weight-decay 1e-7 --normalize record --holdout 0.2",
        "--epochs 9 --range 3=-0.5:1e1 --classes 1,0 --relation replace --delta 1e-3 --physical-batch 7 --threads 1",
    ] {
        let here = here();
        let first = json(here.path(), &format!("train --data small.csv {flags} --seed 5 --out first"));
        let again = json(here.path(), "train --config first/config.toml --seed 5 --out again");
        for part in ["privacy", "model", "plan", "recipe", "run", "utility"] {
            assert_eq!(first[part], again[part], "{flags}: {part}");
        }
        let file = |run: &str| std::fs::read_to_string(here.path().join(run).join("config.toml")).unwrap();
        assert_eq!(file("first"), file("again"), "{flags}");
        assert!(!file("first").contains("seed ="), "{}", file("first"));
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let here = here();
    let file = "epsilon = 2\n[data]\ndata = \"small.csv\"\nclasses = [\"1\", \"0\"]\n[privacy]\nsteps = 5\nbatch-size = 20\n[run]\nquiet = true\n";
    written(here.path(), "run.toml", file);
    let plan = |flags: &str| json(here.path(), &format!("train --config run.toml {flags}"))["plan"].clone();
    let of_file = plan("");
    let number = |plan: &Value, name: &str| plan[name].as_f64().unwrap();
    assert_eq!(
        (number(&of_file, "budget"), number(&of_file, "steps"), number(&of_file, "expected_batch")),
        (2.0, 5.0, 20.0)
    );
    let other = plan("--epsilon 1 --batch-size 30");
    assert_eq!((number(&other, "budget"), number(&other, "steps"), number(&other, "expected_batch")), (1.0, 5.0, 30.0));
    // Passes conflict with steps: those of the file stand back.
    assert_eq!(number(&plan("--epochs 3"), "steps"), 9.0);
    let twin = json(here.path(), "train --config run.toml --no-privacy");
    assert_eq!(twin["privacy"], Value::Null, "the file's epsilon says nothing of a run without privacy");
    let ran = ok(here.path(), "train --config run.toml");
    assert_eq!(ran.stderr, "", "quiet");
}

#[test]
fn what_the_file_gets_wrong_is_named_with_its_line() {
    let here = here();
    for (text, said) in [
        ("\nepsilin = 1", "run.toml:2: found the key epsilin; expected one of "),
        ("[privacy]\nmodel = \"mlp\"", "run.toml:2: found model in [privacy]; expected it in [learning]"),
        ("[privacy]\nepsilon = \"x\"", "run.toml:2: found invalid value 'x' for '--epsilon <E>'"),
        ("[privacy]\nepsilon = true", "run.toml:2: found epsilon = a value of type boolean; expected text or a number"),
        (
            "[data]\nclasses = [\"ham,spam\", \"x\"]",
            "run.toml:2: found classes = a value of type array; expected a list without ','",
        ),
        ("[privacy]\nepsilon = [1, 2]", "run.toml:2: found epsilon = a value of type array; expected one value"),
        ("[learning]\nnesterov = 1", "run.toml:2: found nesterov = a value of type integer; expected true or false"),
        ("[privacy]\nepsilon = = 1", "run.toml:2: found extra `=`"),
        ("[run]\nout = \"here\"", "run.toml:2: found the key out; expected one of "),
        ("[privacy]\nepsilon = 0x10", "run.toml:2: found epsilon = a value of type integer"),
        ("[privacy]\nepsilon = -1", "--epsilon = -1: allowed is a finite number above 0"),
        ("steps = 3\nepochs = 1", "cannot be used with"),
        ("epsilon = 1\nno-privacy = true", "cannot be used with"),
    ] {
        written(here.path(), "run.toml", text);
        let ran = dpsgd(here.path(), &["train", "--config", "run.toml"]);
        assert!(ran.code == Some(2) && ran.first_line().contains(said), "{text}: {:?} {}", ran.code, ran.stderr);
    }
    let ran = dpsgd(here.path(), &["train", "--config", "absent.toml"]);
    assert!(ran.code == Some(2) && ran.first_line().contains("absent.toml: cannot read"), "{}", ran.stderr);
    let ran = dpsgd(here.path(), &["train", "--config"]);
    assert_eq!(ran.code, Some(2));
}

#[test]
fn a_run_is_resumed_from_the_file_it_leaves() {
    let here = here();
    // A directory that is full of a finished run is not resumed; that the flags are read is what is asked here.
    ok(here.path(), "train --data small.csv --steps 3 --out run");
    let ran = dpsgd(here.path(), &["train", "--config", "run/config.toml", "--out", "run", "--resume"]);
    assert!(ran.code == Some(2) && ran.first_line().contains("checkpoint"), "{}", ran.stderr);
}

/// IDX files of `records` images of 28 x 28 pixels and their labels, as the published ones are named.
fn images(directory: &Path, records: u32) {
    for part in ["train", "t10k"] {
        let header = |kind: u8, sizes: &[u32]| {
            let mut bytes = vec![0, 0, 8, kind];
            sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
            bytes
        };
        let mut pixels = header(3, &[records, 28, 28]);
        pixels.extend((0..records * 784).map(|i| (i * 7919 % 256) as u8));
        let mut labels = header(1, &[records]);
        labels.extend((0..records).map(|i| (i % 10) as u8));
        std::fs::write(directory.join(format!("{part}-images-idx3-ubyte")), pixels).unwrap();
        std::fs::write(directory.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn every_recipe_is_one_that_trains() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let here = here();
    images(here.path(), 40);
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&recipes).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let target: f64 = name.trim_end_matches(".toml").rsplit_once("-eps").unwrap().1.parse().unwrap();
        let few = if name.contains("mnist") || name.contains("fashion") { "--data-dir . --batch-size 20" } else { "" };
        let report = json(here.path(), &format!("train --config {} --steps 2 --seed 1 {few}", path.display()));
        let epsilon = report["privacy"]["epsilon"]["upper"].as_f64().unwrap();
        assert!(epsilon <= target && epsilon > 0.9 * target, "{name}: {epsilon}");
        assert_eq!(report["privacy"]["delta"], 1e-5, "{name}");
        seen.push(name);
    }
    seen.sort();
    assert_eq!(seen, ["adult-eps1.toml", "fashion-eps3.toml", "mnist-eps1.toml", "mnist-eps3.toml"]);
}
