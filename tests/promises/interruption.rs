//! A run that is interrupted keeps what it needs, and goes on as if nothing had happened.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{Ran, dpsgd, entries, here, is_misread, json, ok};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Long enough to be caught in the middle, and a few seconds to the end.
pub(crate) const RUN: &str = "train --data small.csv --steps 30000";

/// Starts `dpsgd LINE`, waits until it trains and `after` more, and interrupts it as the terminal would.
pub(crate) fn interrupted(directory: &Path, line: &str, after: Duration) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(line.split_whitespace())
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    errors.read_line(&mut stderr).unwrap();
    assert!(stderr.contains("30000 steps"), "the first line announces the run: {stderr}");
    std::thread::sleep(after);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    errors.read_to_string(&mut stderr).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran { code: child.wait().unwrap().code(), stdout, stderr }
}

pub(crate) fn stopped(ran: &Ran) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopped after step"), "{}", ran.stderr);
}

fn run(directory: &Path, line: &str) -> Ran {
    dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn a_resumed_run_is_bit_for_bit_the_uninterrupted_one() {
    is_resumed_bit_for_bit("");
}

#[test]
fn so_is_one_with_adam_a_schedule_and_an_average() {
    is_resumed_bit_for_bit(" --holdout 0.2 --optimizer adamw --schedule cosine --warmup-steps 1000 --ema 0.999");
}

#[test]
fn so_is_one_with_perturbed_gradients_under_another_rule() {
    is_resumed_bit_for_bit(" --perturbation 0.5 --clipping automatic --symmetry 8");
}

#[test]
fn so_is_one_whose_clip_norm_and_noise_change() {
    is_resumed_bit_for_bit(
        " --clipping adaptive --clipping-count-noise 300 --clipping-rate 0.001 --noise-schedule 1.2..0.8/4",
    );
}

#[test]
fn so_is_one_with_tree_noise() {
    is_resumed_bit_for_bit(" --noise tree --batch-size 8");
}

#[test]
fn so_is_one_with_banded_noise() {
    is_resumed_bit_for_bit(" --noise banded --bands 5 --batch-size 8");
}

#[test]
fn so_is_one_with_copies_of_its_examples() {
    is_resumed_bit_for_bit(" --shape 1x3 --augmentation 2 --augment flip");
}

#[test]
fn other_copies_do_not_go_on_with_a_run() {
    let here = here();
    let line = format!("{RUN} --shape 1x3 --out run");
    stopped(&interrupted(here.path(), &format!("{line} --augmentation 2 --augment flip"), Duration::from_millis(50)));
    for flags in ["", " --augment flip", " --augmentation 3 --augment flip"] {
        let refused = run(here.path(), &format!("{line} --resume{flags}"));
        assert!(refused.code == Some(1) && refused.stderr.contains("another recipe"), "{flags}: {}", refused.stderr);
    }
    ok(here.path(), &format!("{line} --resume --augmentation 2 --augment flip"));
}

/// What an interrupted run leaves, apart from what it was started with and what it has measured.
fn kept(directory: &Path) -> Vec<String> {
    entries(directory).into_iter().filter(|name| name != "metrics.csv" && name != "config.toml").collect()
}

fn is_resumed_bit_for_bit(flags: &str) {
    let here = here();
    let line = format!("{RUN}{flags}");
    let whole = json(here.path(), &format!("{line} --seed 5 --out whole"));
    let parts = here.path().join("parts");

    stopped(&interrupted(here.path(), &format!("{line} --seed 5 --out parts"), Duration::from_millis(150)));
    for again in 0..2 {
        assert_eq!(kept(&parts), ["checkpoint"]);
        let mode = std::fs::metadata(parts.join("checkpoint")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the checkpoint holds the key");
        let refused = run(here.path(), "verify parts");
        assert!(refused.code == Some(1) && refused.first_line().contains("interrupted"), "{}", refused.stderr);
        if again == 0 {
            stopped(&interrupted(here.path(), &format!("{line} --resume --out parts"), Duration::from_millis(100)));
        }
    }
    // Threads and physical batch belong to the run and not to the plan: other ones may go on.
    let resumed = json(here.path(), &format!("{line} --resume --out parts --threads 1"));
    assert_eq!(resumed["model"]["sha256"], whole["model"]["sha256"]);
    assert_eq!(resumed["privacy"], whole["privacy"]);
    let file = |directory: &str, name: &str| std::fs::read(here.path().join(directory).join(name)).unwrap();
    let symmetry = flags.contains("--symmetry").then_some("symmetry_not_private.json");
    for name in ["ledger.json", "metrics.csv", "model.safetensors"].into_iter().chain(symmetry) {
        assert_eq!(file("parts", name), file("whole", name), "{name}");
    }
    assert_eq!(entries(&parts), entries(&here.path().join("whole")), "the checkpoint is gone: it holds the key");
    ok(here.path(), "verify parts");
}

#[test]
fn symmetry_is_measured_once_although_a_run_died_before_its_first_checkpoint_after_it() {
    let here = here();
    let line = "train --data small.csv --steps 30000 --symmetry 8 --checkpoint-every 1000000";
    ok(here.path(), &format!("{line} --seed 5 --out whole"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(format!("{line} --seed 5 --out parts").split_whitespace())
        .current_dir(here.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let checkpoint = here.path().join("parts/checkpoint");
    while !checkpoint.exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the run goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The next checkpoint is that of the end: what stands there is step 0.
    child.kill().unwrap();
    child.wait().unwrap();
    ok(here.path(), &format!("{line} --resume --out parts"));
    let measured = |directory: &str| {
        std::fs::read_to_string(here.path().join(directory).join("symmetry_not_private.json")).unwrap()
    };
    assert_eq!(measured("parts"), measured("whole"));
    assert_eq!(measured("whole").matches("\"step\"").count(), 2);
}

#[test]
fn a_plan_is_recognised_whatever_its_numbers() {
    let here = here();
    // If the JSON reader rounds, this is a number it gets wrong; if it does not, any will do.
    let noise = (200..20_000).map(|i| f64::from(i) / 97.0).find(|noise| is_misread(*noise)).unwrap_or(150.3);
    let line = format!("{RUN} --noise-multiplier {noise} --out run");
    stopped(&interrupted(here.path(), &line, Duration::from_millis(50)));
    ok(here.path(), &format!("{line} --resume"));
    let ledger: Value = serde_json::from_slice(&std::fs::read(here.path().join("run/ledger.json")).unwrap()).unwrap();
    assert_eq!(ledger.as_array().map(Vec::len), Some(1), "all steps are the same event: {ledger}");
    assert_eq!(ledger[0]["count"], 30_000);
}

#[test]
fn a_resumed_run_reports_on_all_its_steps() {
    let here = here();
    let whole = json(here.path(), &format!("{RUN} --seed 5 --out whole"));
    stopped(&interrupted(here.path(), &format!("{RUN} --seed 5 --out parts"), Duration::from_millis(400)));
    let resumed = json(here.path(), &format!("{RUN} --resume --out parts"));
    let metrics = |directory: &str| std::fs::read_to_string(here.path().join(directory).join("metrics.csv")).unwrap();
    let steps = |text: String| text.lines().map(|line| line.split(',').next().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(
        steps(metrics("parts")),
        steps(metrics("whole")),
        "metrics.csv covers the steps before the interruption"
    );
    let norm = |report: &Value| report["not_private"]["mean_gradient_norm"].as_f64().unwrap();
    let (a, b) = (norm(&resumed), norm(&whole));
    assert!((a - b).abs() <= 1e-9 * b, "clipping over the whole run: {a} resumed, {b} uninterrupted");
}

#[test]
fn without_a_directory_nothing_is_kept() {
    let here = here();
    let ran = interrupted(here.path(), RUN, Duration::from_millis(100));
    stopped(&ran);
    assert!(ran.stderr.contains("nothing was kept"), "{}", ran.stderr);
    assert_eq!(entries(here.path()), ["small.csv"]);
}

#[test]
fn other_flags_do_not_go_on_with_a_run() {
    let here = here();
    stopped(&interrupted(here.path(), &format!("{RUN} --out run"), Duration::from_millis(100)));
    let checkpoint = || std::fs::read(here.path().join("run/checkpoint")).unwrap();
    let before = checkpoint();
    let mut accepted = Vec::new();
    for (flags, shown) in [
        ("--clip-norm 0.5", &["\"clip_norm\":1.0", "\"clip_norm\":0.5"][..]),
        ("--clipping per-layer", &["\"clipping\":\"flat\"", "\"clipping\":\"per-layer\""]),
        ("--epsilon 8", &["\"budget\":3.0", "\"budget\":8.0"]),
        ("--delta 1e-6", &["\"delta\":0.00001", "\"delta\":1e-6"]),
        ("--batch-size 6", &["\"expected_batch\":32", "\"expected_batch\":6"]),
        ("--noise tree", &["\"noise\":\"independent\"", "\"noise\":\"tree\""]),
        ("--noise-schedule 0=2", &["\"factor\":1.0", "\"factor\":2.0"]),
        ("--model mlp", &[]),
        ("--learning-rate 0.25", &[]),
        ("--momentum 0.5", &[]),
        ("--nesterov", &[]),
        ("--weight-decay 0.1", &[]),
        ("--optimizer adam", &[]),
        ("--schedule linear", &[]),
        ("--warmup-steps 10", &[]),
        ("--ema 0.9", &[]),
    ] {
        let ran = run(here.path(), &format!("{RUN} --quiet --resume --out run {flags}"));
        if ran.code == Some(0) {
            accepted.push(flags);
            // The run has been finished under other flags: put its checkpoint back for the rows to come.
            std::fs::remove_dir_all(here.path().join("run")).unwrap();
            std::fs::create_dir(here.path().join("run")).unwrap();
            std::fs::write(here.path().join("run/checkpoint"), &before).unwrap();
            continue;
        }
        assert!(matches!(ran.code, Some(1 | 2)) && ran.stdout.is_empty(), "{flags}: {:?} {}", ran.code, ran.stderr);
        assert!(shown.is_empty() || ran.code == Some(1), "{flags}: {:?}", ran.code);
        for part in shown {
            assert!(ran.stderr.contains(part), "{flags}: no {part} in {}", ran.stderr);
        }
        assert_eq!(kept(&here.path().join("run")), ["checkpoint"], "{flags}");
        assert!(checkpoint() == before, "{flags} changed the checkpoint");
    }
    assert!(accepted.is_empty(), "resumed silently with {accepted:?}, which the run was not started with");
}

#[test]
fn a_checkpoint_that_was_cut_or_changed_is_refused() {
    let here = here();
    stopped(&interrupted(here.path(), &format!("{RUN} --out run"), Duration::from_millis(50)));
    let path = here.path().join("run/checkpoint");
    let bytes = std::fs::read(&path).unwrap();
    let find = |part: &str| bytes.windows(part.len()).position(|window| window == part.as_bytes());
    let at = find("\\\"step\\\":").expect("the header counts the steps");
    let other_key = find("\\\"key\\\":\\\"").map(|at| at + 12).expect("the header holds the key");
    let format = find("\\\"format\\\":").map(|at| at + 11).expect("the header holds the layout");
    assert_eq!(bytes[format], b'4');
    let changed = |at: usize, byte: u8| {
        let mut copy = bytes.clone();
        copy[at] = byte;
        copy
    };
    for (what, content) in [
        ("cut in half", bytes[..bytes.len() / 2].to_vec()),
        ("cut by a byte", bytes[..bytes.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("a step that is no number", changed(at + 9, b'x')),
        ("a key that is not hexadecimal", changed(other_key, b'z')),
        ("written with the noise of an earlier version", changed(format, b'1')),
        ("written with the state of an earlier version", changed(format, b'3')),
    ] {
        std::fs::write(&path, &content).unwrap();
        let ran = run(here.path(), &format!("{RUN} --quiet --resume --out run"));
        assert!(ran.code == Some(2) && !ran.stderr.contains("panicked"), "{what}: {:?} {}", ran.code, ran.stderr);
        assert!(ran.first_line().contains("checkpoint"), "{what}: {}", ran.stderr);
        assert!(std::fs::read(&path).unwrap() == content && kept(&here.path().join("run")) == ["checkpoint"], "{what}");
    }
}

/// The checkpoint with its state changed by `edit`.
fn edited(path: &Path, edit: impl FnOnce(&mut Value)) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut state: Value = serde_json::from_str(header["__metadata__"]["dpsgd"].as_str().unwrap()).unwrap();
    edit(&mut state);
    header["__metadata__"]["dpsgd"] = state.to_string().into();
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(
        path,
        [&length[..], &header, &bytes[8 + usize::from_le_bytes(bytes[..8].try_into().unwrap())..]].concat(),
    )
    .unwrap();
}

#[test]
fn a_ledger_that_is_not_what_the_steps_cost_is_refused() {
    let here = here();
    stopped(&interrupted(here.path(), &format!("{RUN} --out run"), Duration::from_millis(50)));
    let path = here.path().join("run/checkpoint");
    let kept = std::fs::read(&path).unwrap();
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 4] = [
        ("a ledger of fewer steps, or of more than the one there is", |state| {
            let count = &mut state["ledger"][0]["count"];
            *count = if *count == 1 { 2.into() } else { 1.into() };
        }),
        ("a step near the end", |state| state["step"] = 29_990.into()),
        ("a step past the end", |state| {
            state["step"] = 30_001.into();
            state["ledger"][0]["count"] = 30_001.into();
        }),
        ("other records", |state| state["data"] = "0".repeat(64).into()),
    ];
    for (what, edit) in edits {
        edited(&path, edit);
        let ran = run(here.path(), &format!("{RUN} --quiet --resume --out run"));
        assert!(ran.code == Some(1) && ran.first_line().contains("refused"), "{what}: {:?} {}", ran.code, ran.stderr);
        std::fs::write(&path, &kept).unwrap();
    }
    edited(&path, |_| ());
    ok(here.path(), &format!("{RUN} --quiet --resume --out run"));
}

#[test]
fn a_changed_clip_norm_costs_nothing_and_has_to_be_one() {
    let here = here();
    let line = format!("{RUN} --clipping adaptive --clipping-count-noise 300 --clipping-rate 0.001 --out run");
    stopped(&interrupted(here.path(), &line, Duration::from_millis(50)));
    let path = here.path().join("run/checkpoint");
    let kept = std::fs::read(&path).unwrap();
    for (clip_norm, code) in [(Value::from(-1.0), 2), ("much".into(), 2), (Value::Null, 1)] {
        edited(&path, |state| state["clip_norm"] = clip_norm.clone());
        let ran = run(here.path(), &format!("{line} --quiet --resume"));
        assert_eq!(ran.code, Some(code), "{clip_norm}: {}", ran.stderr);
        std::fs::write(&path, &kept).unwrap();
    }
    edited(&path, |state| state["clip_norm"] = 0.125.into());
    ok(here.path(), &format!("{line} --quiet --resume"));
    ok(here.path(), "verify run");
    // Under another rule there is none to change.
    let line = format!("{RUN} --out flat");
    stopped(&interrupted(here.path(), &line, Duration::from_millis(50)));
    edited(&here.path().join("flat/checkpoint"), |state| state["clip_norm"] = 0.125.into());
    assert_eq!(run(here.path(), &format!("{line} --quiet --resume")).code, Some(1));
}

#[test]
fn the_seed_may_be_given_again_and_no_other() {
    let here = here();
    stopped(&interrupted(here.path(), &format!("{RUN} --seed 5 --out run"), Duration::from_millis(50)));
    let other = run(here.path(), &format!("{RUN} --seed 6 --quiet --resume --out run"));
    assert!(other.code == Some(2) && other.first_line().contains("--seed"), "{}", other.stderr);
    ok(here.path(), &format!("{RUN} --seed 5 --quiet --resume --out run"));
}

#[test]
fn two_runs_do_not_share_a_directory() {
    let here = here();
    let mut first = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(format!("{RUN} --out run").split_whitespace())
        .current_dir(here.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(first.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let second = run(here.path(), "train --data small.csv --steps 2 --quiet --out run");
    while !here.path().join("run/checkpoint").exists() {
        assert_eq!(first.try_wait().unwrap(), None, "the run goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.code == Some(2) && second.first_line().contains("no other run"), "{}", second.stderr);
    // A run that was killed leaves a directory that can be gone on from, and is not taken for an empty one.
    let refused = run(here.path(), "train --data small.csv --steps 2 --quiet --out run");
    assert!(refused.code == Some(2) && refused.first_line().contains("--resume"), "{}", refused.stderr);
    ok(here.path(), &format!("{RUN} --quiet --resume --out run"));
    ok(here.path(), "verify run");
}

#[test]
fn killed_at_fifty_moments_a_run_ends_in_the_same_bits_and_the_same_ledger() {
    let here = here();
    let line = "train --data small.csv --steps 100000 --ema 0.9 --quiet";
    let whole = json(here.path(), &format!("{line} --seed 5 --out whole"));
    let line = format!("{line} --out parts --checkpoint-every 0.01");
    let checkpoint = here.path().join("parts/checkpoint");
    let (mut kills, mut moment, mut before) = (0, 1u64, None);
    while kills < 50 {
        let flags = if checkpoint.exists() { "--resume" } else { "--seed 5" };
        let words: Vec<&str> = line.split_whitespace().chain(flags.split_whitespace()).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
            .args(words)
            .current_dir(here.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(moment >> 47));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), None, "killed, and not: {}", String::from_utf8_lossy(&ended.stderr));
        kills += 1;
        let kept = std::fs::read(&checkpoint).ok();
        assert!(kept.is_some() || before.is_none(), "a checkpoint that was there is there");
        before = kept;
    }
    let resumed = json(here.path(), &format!("{line} --resume"));
    assert_eq!(resumed["privacy"], whole["privacy"]);
    let file = |directory: &str, name: &str| std::fs::read(here.path().join(directory).join(name)).unwrap();
    for name in ["ledger.json", "model.safetensors"] {
        assert_eq!(file("parts", name), file("whole", name), "{name}");
    }
    assert_eq!(entries(&here.path().join("parts")), entries(&here.path().join("whole")), "nothing half is left");
    ok(here.path(), "verify parts");
}

#[test]
fn a_full_disk_leaves_the_older_checkpoint() {
    let here = here();
    let line = format!("{RUN} --model mlp --out run");
    stopped(&interrupted(here.path(), &format!("{line} --seed 5"), Duration::from_millis(100)));
    let kept = || std::fs::read(here.path().join("run/checkpoint")).unwrap();
    let before = kept();
    // A file may have a thousand bytes and not one more, as if nothing were left on the disk.
    let limited = format!("trap '' XFSZ; ulimit -f 2; exec {} {line} --resume", env!("CARGO_BIN_EXE_dpsgd"));
    let ran = Command::new("bash").args(["-c", &limited]).current_dir(here.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(2) && stderr.contains("run/checkpoint: cannot write"), "{stderr}");
    assert_eq!(kept(), before);
    assert!(!entries(&here.path().join("run")).iter().any(|name| name.ends_with(".partial")), "nothing half is left");
    let whole = json(here.path(), &format!("{RUN} --model mlp --seed 5"));
    let resumed = json(here.path(), &format!("{line} --resume"));
    assert_eq!(resumed["model"]["sha256"], whole["model"]["sha256"]);
}
