//! Bad input is refused with an exit code and a line that says what, where and what is allowed; nothing is left behind.
#![cfg(feature = "cli")]

use super::command_line::{Ran, dpsgd, entries, here, small_csv};
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;

/// A command, the exit code it must have, and words that the first line on stderr must contain.
type Row = (&'static str, i32, &'static [&'static str]);

const ACCOUNT: &str = "account epsilon --noise-multiplier 1 --sampling-rate 0.1";

/// Mistakes in values; `--quiet --out new` is added to those of `train`.
const VALUES: &[Row] = &[
    ("train --data small.csv --epsilon 0", 2, &["--epsilon", "0", "above 0"]),
    ("train --data small.csv --epsilon=-1", 2, &["--epsilon", "-1", "above 0"]),
    ("train --data small.csv --epsilon NaN", 2, &["--epsilon", "NaN", "above 0"]),
    ("train --data small.csv --epsilon inf", 2, &["--epsilon", "inf", "finite"]),
    ("train --data small.csv --epsilon three", 2, &["--epsilon", "three"]),
    ("train --data small.csv --delta 0", 2, &["delta", "0 < delta < 1"]),
    ("train --data small.csv --delta 1", 2, &["delta", "0 < delta < 1"]),
    ("train --data small.csv --delta 2", 2, &["delta", "0 < delta < 1"]),
    ("train --data small.csv --delta NaN", 2, &["delta", "0 < delta < 1"]),
    ("train --data small.csv --noise-multiplier 0", 2, &["noise", "multiplier", "> 0"]),
    ("train --data small.csv --noise-multiplier inf", 2, &["noise", "multiplier", "finite"]),
    ("train --data small.csv --clip-norm 0", 2, &["clip", "norm", "above 0"]),
    ("train --data small.csv --clip-norm inf", 2, &["clip", "norm", "finite"]),
    ("train --data small.csv --perturbation 0", 2, &["perturbation", "above 0"]),
    ("train --data small.csv --perturbation nan", 2, &["perturbation", "finite"]),
    ("train --data small.csv --clipping round", 2, &["--clipping", "round"]),
    ("train --data small.csv --clipping-gamma 0.1", 2, &["--clipping-gamma = 0.1", "--clipping automatic", "flat"]),
    (
        "train --data small.csv --clipping automatic --clipping-r 0.1",
        2,
        &["--clipping-r = 0.1", "--clipping psac", "automatic"],
    ),
    (
        "train --data small.csv --clipping normalised --clipping-gamma 0.1",
        2,
        &["--clipping-gamma = 0.1", "--clipping automatic", "normalised"],
    ),
    ("train --data small.csv --clipping psac --clipping-r 0", 2, &["--clipping-r = 0", "above 0"]),
    ("train --data small.csv --clipping psac --clipping-r NaN", 2, &["--clipping-r", "NaN", "above 0"]),
    (
        "train --data small.csv --clipping automatic --clipping-gamma 0",
        2,
        &["--clipping-gamma = 0", "above 0", "--clipping normalised"],
    ),
    ("train --data small.csv --clipping automatic --clipping-gamma=-1", 2, &["--clipping-gamma", "-1", "above 0"]),
    ("train --data small.csv --clipping automatic --clipping-gamma inf", 2, &["--clipping-gamma", "inf", "finite"]),
    ("train --data small.csv --batch-size 0", 2, &["batch", "size", "1 to"]),
    ("train --data small.csv --batch-size 61", 2, &["batch", "size", "61", "60"]),
    ("train --data small.csv --epochs 0", 2, &["--epochs", "above 0"]),
    ("train --data small.csv --epochs=-1", 2, &["--epochs", "-1", "above 0"]),
    ("train --data small.csv --epochs NaN", 2, &["--epochs", "NaN", "above 0"]),
    ("train --data small.csv --epochs 1e300", 2, &["--epochs", "2^32"]),
    ("train --data small.csv --steps 0", 2, &["steps", "at least 1"]),
    ("train --data small.csv --steps 4294967296", 2, &["--steps", "4294967295"]),
    ("train --data small.csv --steps 5 --epochs 2", 2, &["--steps", "--epochs"]),
    ("train --data small.csv --learning-rate 0", 2, &["learning", "rate", "above 0"]),
    ("train --data small.csv --momentum 1", 2, &["momentum", "[0, 1)"]),
    ("train --data small.csv --momentum 0 --nesterov", 2, &["--momentum", "above 0", "Nesterov"]),
    ("train --data small.csv --weight-decay=-1", 2, &["--weight-decay", "-1", "at least 0"]),
    ("train --data small.csv --optimizer adam --momentum 0.5", 2, &["--momentum", "0.5", "sgd", "--optimizer adam"]),
    ("train --data small.csv --optimizer adamw --nesterov", 2, &["--nesterov", "sgd", "--optimizer adamw"]),
    ("train --data small.csv --beta1 0.5", 2, &["--beta1", "0.5", "adam or adamw", "--optimizer sgd"]),
    ("train --data small.csv --bias-floor 0.5", 2, &["--bias-floor", "adam or adamw", "--optimizer sgd"]),
    ("train --data small.csv --optimizer adam --beta2 1", 2, &["--beta2", "[0, 1)"]),
    ("train --data small.csv --optimizer adam --bias-floor 0", 2, &["--bias-floor", "above 0"]),
    (
        "train --data small.csv --optimizer adam --adam-epsilon 1e-6",
        2,
        &["--adam-epsilon", "0.000001", "--no-bias-correction", "--bias-floor"],
    ),
    (
        "train --data small.csv --optimizer adam --no-bias-correction --adam-epsilon 0",
        2,
        &["--adam-epsilon", "above 0"],
    ),
    (
        "train --data small.csv --optimizer adam --no-bias-correction --bias-floor 1",
        2,
        &["--no-bias-correction", "--bias-floor"],
    ),
    (
        "train --data small.csv --schedule linear --decay-every 5",
        2,
        &["--decay-every", "5", "--schedule step", "--schedule linear"],
    ),
    (
        "train --data small.csv --final-fraction 0.1",
        2,
        &["--final-fraction", "linear or cosine", "--schedule constant"],
    ),
    ("train --data small.csv --schedule cosine --final-fraction 2", 2, &["--final-fraction", "0 to 1"]),
    ("train --data small.csv --schedule step", 2, &["--schedule", "--decay-every"]),
    ("train --data small.csv --schedule step --decay-every 0", 2, &["--decay-every", "at least 1"]),
    ("train --data small.csv --steps 5 --warmup-steps 5", 2, &["--warmup-steps", "fewer than the 5"]),
    ("train --data small.csv --ema 1", 2, &["--ema", "[0, 1)"]),
    ("train --data small.csv --model resnet", 2, &["--model", "resnet", "logistic, mlp, cnn"]),
    (
        "train --data small.csv --accountant magic",
        2,
        &["--accountant", "magic", "auto, analytic, moments, pld, rdp, gdp"],
    ),
    ("train --data small.csv --relation cousins", 2, &["--relation", "cousins", "add-remove, replace, zero-out"]),
    ("train --data small.csv --frobnicate", 2, &["--frobnicate"]),
    ("train --data small.csv --holdout 0", 2, &["--holdout", "between 0 and 1"]),
    ("train --data small.csv --holdout 1", 2, &["--holdout", "between 0 and 1"]),
    ("train --data small.csv --holdout 2", 2, &["--holdout", "between 0 and 1"]),
    ("train --data small.csv --holdout NaN", 2, &["--holdout", "between 0 and 1"]),
    ("train --data small.csv --holdout 0.2 --test-data small.csv", 2, &["--holdout", "--test-data"]),
    ("train --data small.csv --threads 0", 2, &["--threads"]),
    ("train --data small.csv --physical-batch 0", 2, &["--physical-batch"]),
    ("train --data small.csv --shape 0x3", 2, &["--shape", "0x3", "28x28"]),
    ("train --data small.csv --shape 2x2", 2, &["small.csv", "3 features", "4"]),
    ("train --data small.csv --model cnn", 2, &["cnn", "--shape"]),
    ("train --data small.csv --label 9", 2, &["label", "9", "1 to 4"]),
    ("train --data people.csv --label wage", 2, &["label", "wage", "age", "income"]),
    ("train --data people.csv --label income --range age=120:0", 2, &["range", "120:0", "LOW < HIGH"]),
    ("train --data people.csv --label income --ignore shoes", 2, &["shoes", "age"]),
    ("train --data mnist", 2, &["--data-dir", "mnist"]),
    ("train --data mnist --data-dir .", 2, &["--data-dir", "train-images-idx3-ubyte"]),
    ("train --data-dir .", 2, &["optdigits", "embedded"]),
    ("train --data small.csv --noise-multiplier 0.3 --epsilon 0.1", 1, &["refused", "0.1", "raise"]),
    ("train --data small.csv --accountant analytic", 1, &["refused", "analytic", "auto or rdp"]),
    ("account epsilon --noise-multiplier 1 --steps 1", 2, &["--sampling-rate", "--sampling none"]),
    ("account epsilon --noise-multiplier 1 --sampling-rate 0 --steps 1", 2, &["sampling", "rate", "0 < q <= 1"]),
    ("account epsilon --noise-multiplier 1 --sampling-rate 1.5 --steps 1", 2, &["sampling", "rate", "0 < q <= 1"]),
    ("account epsilon --noise-multiplier 1 --sampling-rate 1 --sampling none --steps 1", 2, &["--sampling none"]),
    ("account epsilon --noise-multiplier 1 --sampling dealt --steps 1", 2, &["--sampling", "dealt"]),
    ("account epsilon --noise-multiplier 0 --sampling none --steps 1", 2, &["noise", "multiplier", "> 0"]),
    ("account epsilon --noise-multiplier 1 --sampling none --steps 0", 2, &["--steps", "at least 1"]),
    ("account epsilon --noise-multiplier 1 --sampling none", 2, &["--steps"]),
    ("account epsilon --noise-multiplier 1 --sampling none --steps 1 --delta 0", 2, &["delta", "0 < delta < 1"]),
    ("account delta --noise-multiplier 1 --sampling none --steps 1 --epsilon=-1", 2, &["epsilon", "-1", ">= 0"]),
    ("account epsilon --noise-multiplier 1 --batch 5 --steps 1", 2, &["--records"]),
    ("account epsilon --noise-multiplier 1 --records 5 --batch 6 --steps 1", 2, &["batch", "6", "<= records"]),
    ("account epsilon --noise-multiplier 1 --records 5 --batch 0 --steps 1", 2, &["batch", "0", "1 <= batch"]),
    ("account epsilon --noise-multiplier 1 --sampling balls-in-bins --steps 1", 2, &["--steps-per-epoch", "--batch"]),
    ("account epsilon --noise-multiplier 1 --sampling shuffled --steps-per-epoch 0 --steps 1", 2, &["at least 1"]),
    (
        "account epsilon --noise-multiplier 1 --sampling shuffled --steps-per-epoch 9 --steps 9",
        1,
        &["refused", "zero-out"],
    ),
    (
        "account epsilon --noise-multiplier 1 --sampling without-replacement --sampling-rate 0.1 --steps 1",
        2,
        &["--sampling-rate", "--records and --batch"],
    ),
    (
        "account epsilon --noise-multiplier 1 --sampling without-replacement --records 9 --batch 3 --steps 1",
        1,
        &["refused", "replace"],
    ),
    ("account calibrate --epsilon 1 --noise-multiplier 1 --steps 5 --sampling shuffled", 2, &["--steps-per-epoch"]),
    ("account calibrate --epsilon 1 --steps 5 --sampling-rate 0.1 --accountant gdp", 1, &["refused", "gdp"]),
    ("account compare --noise-multiplier 1 --sampling-rate 0.1", 2, &["--steps"]),
    ("account clip21-noise --nominal-epsilon 8 --rounds 0", 2, &["--rounds", "at least 1"]),
    ("account clip21-noise --nominal-epsilon 0 --rounds 9", 2, &["--nominal-epsilon", "0", "above 0"]),
    ("account clip21-noise --nominal-epsilon 1e-320 --rounds 9", 2, &["--nominal-epsilon", "finite"]),
    ("account clip21-noise --nominal-epsilon -1 --rounds 9", 2, &["epsilon", "-1", ">= 0"]),
    ("account clip21-noise --nominal-epsilon 8 --rounds 9 --delta 1", 2, &["delta", "0 < delta < 1"]),
    ("account curve --noise-multiplier 1 --sampling none --steps 1 --svg absent/curve.svg", 2, &["absent", "write"]),
    ("account calibrate --epsilon 1 --sampling none", 2, &["--steps", "--noise-multiplier"]),
    ("account calibrate --epsilon 1 --sampling none --steps 1 --noise-multiplier 1", 2, &["--steps", "calibrated"]),
    ("account calibrate --epsilon 0 --sampling none --steps 1", 1, &["epsilon", "> 0"]),
    ("account calibrate --epsilon 1 --event good.json", 2, &["--event"]),
    ("account epsilon --event good.json --steps 3", 2, &["--event", "--steps"]),
    ("account epsilon --event absent.json", 2, &["absent.json", "cannot read"]),
    ("account epsilon --event malformed.json", 2, &["malformed.json:2", "an event"]),
    ("account epsilon --event negative.json", 2, &["negative.json:1", "noise multiplier = -1"]),
    ("account epsilon --event open.json", 1, &["refused", "without privacy", "histogram"]),
    ("account epsilon --event strange.json", 1, &["refused", "unsupported", "tree"]),
    ("verify absent", 2, &["absent", "found nothing"]),
    ("verify", 2, &["required"]),
    ("completions tcsh-3", 2, &["tcsh-3", "<SHELL>"]),
    ("frobnicate", 2, &["frobnicate"]),
];

/// Mistakes in files, each the data of `train`.
const FILES: &[(&str, &[u8], &str, &[&str])] = &[
    ("nan.csv", b"1,2,0\n3,NaN,1\n", "", &["nan.csv:2", "column 2", "NaN", "finite"]),
    ("inf.csv", b"1,2,0\n3,inf,1\n", "", &["inf.csv:2", "column 2", "finite"]),
    ("word.csv", b"1,2,0\n3,x,1\n", "", &["word.csv:2", "column 2", "`x`", "a number"]),
    ("ragged.csv", b"1,2,0\n3,1\n", "", &["ragged.csv:2", "2 cells", "3"]),
    ("empty.csv", b"", "", &["empty.csv", "empty file"]),
    ("header.csv", b"a,b,c\n", "", &["header.csv", "no records"]),
    ("narrow.csv", b"1\n2\n", "", &["narrow.csv:1", "one column", "--delimiter"]),
    ("single.csv", b"1,2,0\n3,4,0\n", "", &["single.csv", "1 class", "--classes"]),
    ("unlabelled.csv", b"1,2,0\n3,4,\n", "", &["unlabelled.csv:2", "column 3", "missing label"]),
    ("undeclared.csv", b"1,2,a\n3,4,b\n3,4,c\n", "--classes a,b", &["undeclared.csv:3", "column 3", "`c`", "a, b"]),
    ("gap.svm", b"1 1:1\n2 3:1 2:1\n", "", &["gap.svm:2"]),
    ("zero.svm", b"1 1:1\n2 0:1\n", "", &["zero.svm:2"]),
    ("short.idx", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 9], "--labels short.idx", &["short.idx", "8"]),
    ("cut.idx", &[0, 0, 8, 3, 0, 0], "--labels cut.idx", &["cut.idx", "header"]),
    ("lonely.idx", &[0, 0, 8, 1, 0, 0, 0, 1, 9], "", &["lonely.idx", "--labels"]),
];

/// A directory with everything the rows name.
fn prepared() -> tempfile::TempDir {
    let here = here();
    let people = (0..40).map(|i| format!("{},{}\n", 20 + i, ["low", "high"][i % 2])).collect::<String>();
    for (name, text) in [
        ("people.csv", format!("age,income\n{people}")),
        ("good.json", r#"{"gaussian":{"noise_multiplier":1}}"#.to_string()),
        ("malformed.json", "{\"gaussian\":\n{\"noise_multiplier\": oops}}".to_string()),
        ("negative.json", r#"{"gaussian":{"noise_multiplier":-1}}"#.to_string()),
        ("open.json", r#"{"non-private":{"reason":"histogram"}}"#.to_string()),
        ("strange.json", r#"{"unsupported":{"reason":"tree"}}"#.to_string()),
    ] {
        std::fs::write(here.path().join(name), text).unwrap();
    }
    here
}

/// What is wrong with how `line` was refused; empty if nothing is.
pub(crate) fn faults(directory: &Path, line: &str, code: i32, words: &[&str]) -> Vec<String> {
    let before = entries(directory);
    let ran = dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>());
    let mut faults = improper(&ran, code);
    let first = ran.first_line();
    faults.extend(words.iter().filter(|word| !first.contains(*word)).map(|word| format!("{word:?} is not in it")));
    if entries(directory) != before {
        faults.push(format!("left behind: {:?}", entries(directory)));
    }
    faults.into_iter().map(|fault| format!("dpsgd {line}\n    {first}\n    {fault}\n")).collect()
}

fn improper(ran: &Ran, code: i32) -> Vec<String> {
    let mut faults = Vec::new();
    if ran.code != Some(code) {
        faults.push(format!("exit code {:?}, not {code}", ran.code));
    }
    if ran.stderr.contains("panicked") {
        faults.push("a panic".into());
    }
    if !ran.stdout.is_empty() {
        faults.push(format!("stdout: {:?}", ran.stdout));
    }
    if !ran.first_line().starts_with("error: ") {
        faults.push("the first line on stderr is not the error".into());
    }
    faults
}

fn row(line: &str) -> String {
    format!("{line}{}", if line.starts_with("train") { " --quiet --out new" } else { "" })
}

#[test]
fn values_outside_their_domain_are_refused_and_leave_nothing() {
    let here = prepared();
    let all: Vec<String> =
        VALUES.iter().flat_map(|(line, code, words)| faults(here.path(), &row(line), *code, words)).collect();
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused_at_their_line_and_column() {
    let here = here();
    let mut all = Vec::new();
    for (name, bytes, flags, words) in FILES {
        std::fs::write(here.path().join(name), bytes).unwrap();
        all.extend(faults(here.path(), &row(&format!("train --data {name} {flags}")), 2, words));
    }
    std::fs::write(here.path().join("test.csv"), "1,2,3,0\n1,2,3,7\n").unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(small_csv().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    std::fs::write(here.path().join("cut.csv.gz"), &packed[..packed.len() / 2]).unwrap();
    for (flags, words) in [
        ("--data absent.csv", &["absent.csv", "cannot read"][..]),
        ("--data .", &["a directory", "--data-dir"]),
        ("--data cut.csv.gz", &["cut.csv.gz", "gzip", "complete"]),
        ("--data small.csv --test-data test.csv", &["test.csv:2", "column 4", "7", "0, 1"]),
        ("--data small.csv --test-data absent.csv", &["absent.csv", "cannot read"]),
    ] {
        all.extend(faults(here.path(), &row(&format!("train {flags}")), 2, words));
    }
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[test]
fn output_directories_that_cannot_be_used_are_refused_before_anything_is_written() {
    let here = here();
    std::fs::create_dir(here.path().join("full")).unwrap();
    std::fs::write(here.path().join("full/mine.txt"), "mine").unwrap();
    std::fs::create_dir(here.path().join("broken")).unwrap();
    std::fs::write(here.path().join("broken/checkpoint"), "no checkpoint at all").unwrap();
    let mut all = Vec::new();
    for (flags, words) in [
        ("--out full", &["--out", "full", "empty"][..]),
        ("--out small.csv", &["small.csv", "irectory"]),
        ("--out small.csv/sub", &["small.csv/sub", "cannot create"]),
        #[cfg(target_os = "linux")]
        ("--out /proc/x/y", &["/proc/x/y", "cannot create"]),
        ("--out absent --resume", &["absent/checkpoint", "cannot read"]),
        ("--out broken --resume", &["broken/checkpoint", "a checkpoint written by"]),
        ("--resume", &["required"]),
    ] {
        all.extend(faults(here.path(), &format!("train --data small.csv --quiet {flags}"), 2, words));
    }
    assert_eq!(entries(&here.path().join("full")), ["mine.txt"]);
    assert_eq!(std::fs::read(here.path().join("broken/checkpoint")).unwrap(), b"no checkpoint at all");
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[test]
fn no_directory_on_the_way_to_a_refused_run_is_left() {
    let here = here();
    let all = faults(here.path(), "train --data absent.csv --out deep/er/run", 2, &["absent.csv"]);
    assert!(all.is_empty(), "\n{}", all.concat());
    // An empty directory that was there before stays.
    std::fs::create_dir(here.path().join("given")).unwrap();
    let all = faults(here.path(), "train --data absent.csv --out given", 2, &["absent.csv"]);
    assert!(all.is_empty() && entries(&here.path().join("given")).is_empty(), "\n{}", all.concat());
}

#[test]
fn a_device_without_its_feature_names_the_feature() {
    let here = here();
    for (device, built) in [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))] {
        if !built {
            let line = format!("train --data small.csv --device {device} --out new");
            let all = faults(here.path(), &line, 2, &["--device", device, &format!("--features {device}")]);
            assert!(all.is_empty(), "\n{}", all.concat());
        }
    }
}

#[test]
fn a_negative_number_is_refused_as_a_value_and_not_as_an_unknown_flag() {
    let here = here();
    let mut all = Vec::new();
    for flag in [
        "--epsilon",
        "--delta",
        "--noise-multiplier",
        "--clip-norm",
        "--perturbation",
        "--epochs",
        "--learning-rate",
        "--holdout",
    ] {
        let name = flag.trim_start_matches('-').split('-').next().unwrap();
        all.extend(faults(
            here.path(),
            &format!("train --data small.csv {flag} -1 --out new"),
            2,
            &[name, "-1", "allowed"],
        ));
    }
    all.extend(faults(here.path(), &format!("{ACCOUNT} --steps 1 --delta -1"), 2, &["delta", "-1", "allowed"]));
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[test]
fn a_refused_value_is_named_by_its_flag() {
    let here = here();
    let mut all = Vec::new();
    for (flag, value) in [
        ("--delta", "2"),
        ("--noise-multiplier", "0"),
        ("--clip-norm", "0"),
        ("--perturbation", "0"),
        ("--batch-size", "0"),
        ("--steps", "0"),
        ("--learning-rate", "0"),
        ("--momentum", "1"),
        ("--label", "9"),
        ("--range", "1:0"),
        ("--data-format", "arff"),
    ] {
        all.extend(faults(here.path(), &format!("train --data small.csv {flag} {value} --out new"), 2, &[flag]));
    }
    all.extend(faults(here.path(), &format!("{ACCOUNT} --steps 1 --delta 0"), 2, &["--delta"]));
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[test]
fn an_error_gives_its_cause_once() {
    let here = here();
    for (line, cause) in [
        ("train --data absent.csv", "os error"),
        ("train --data small.csv --accountant analytic", "no closed form"),
        ("train --data small.csv --noise-multiplier 0.3 --epsilon 0.1", "raise the target"),
    ] {
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ran.stderr.matches(cause).count(), 1, "dpsgd {line}\n{}", ran.stderr);
    }
}

#[test]
fn a_tiny_budget_is_kept_or_refused_and_a_statement_is_never_void() {
    let here = here();
    let ran = |line: &str| dpsgd(here.path(), &format!("{line} --format json").split_whitespace().collect::<Vec<_>>());
    for epsilon in ["1e-9", "1e-15", "1e-300"] {
        let ran = ran(&format!("train --data small.csv --quiet --steps 20 --epsilon {epsilon}"));
        if ran.code != Some(1) {
            let upper = ran.json()["privacy"]["epsilon"]["upper"].as_f64().unwrap();
            assert!(ran.code == Some(0) && upper <= epsilon.parse().unwrap(), "{upper} for {epsilon}");
        }
    }
    // So little noise that no finite epsilon holds: whatever is printed, it is not a guarantee.
    let ran = ran("train --data small.csv --quiet --steps 1 --noise-multiplier 1e-200 --out void");
    assert_eq!(ran.code, Some(1), "epsilon is infinite, and it ended with {}", ran.stdout.replace('\n', " "));
}

#[test]
fn a_clip_norm_beyond_the_range_of_the_tensors_is_refused() {
    // Noise of standard deviation 1e300 is infinite in f32, and the model it makes is not a number.
    let here = here();
    let all = faults(here.path(), "train --data small.csv --steps 2 --quiet --clip-norm 1e300 --out new", 2, &["clip"]);
    assert!(all.is_empty(), "\n{}", all.concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// Half of the cases start like a format, so that its reader and not only the sniffer is reached.
    #[test]
    fn random_bytes_as_data_never_panic(
        start in prop::sample::select(vec![&b""[..], b"\0\0\x08\x03\0\0\0\x02", b"\x1f\x8b\x08\0", b"1 1:1\n", b"a,b,c\n1,2,x\n"]),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("images"), [start, &rest[..]].concat()).unwrap();
        std::fs::write(here.path().join("labels"), &rest).unwrap();
        let ran = dpsgd(here.path(), &["train", "--data", "images", "--steps", "1", "--quiet", "--out", "new"]);
        prop_assert!(matches!(ran.code, Some(0 | 2)) && !ran.stderr.contains("panicked"), "{:?} {}", ran.code, ran.stderr);
        prop_assert!(ran.code == Some(0) || !here.path().join("new").exists());
    }
}
