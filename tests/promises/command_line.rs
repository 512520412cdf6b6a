//! The command line does what it says: results on stdout, words on stderr, and files that agree with each other.
#![cfg(feature = "cli")]

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `dpsgd` with these words in `directory`.
pub(crate) fn dpsgd<S: AsRef<std::ffi::OsStr>>(directory: &Path, words: &[S]) -> Ran {
    with_stdin(directory, words, "")
}

fn with_stdin<S: AsRef<std::ffi::OsStr>>(directory: &Path, words: &[S], stdin: &str) -> Ran {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dpsgd"));
    command.current_dir(directory).args(words).write_stdin(stdin).timeout(Duration::from_secs(600));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    /// The same, having ended well.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {:?}", self.stdout))
    }

    pub(crate) fn first_line(&self) -> &str {
        self.stderr.lines().next().unwrap_or_default()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// `dpsgd LINE` in `directory`, ended well.
pub(crate) fn ok(directory: &Path, line: &str) -> Ran {
    dpsgd(directory, &words(line)).well()
}

/// The JSON that `dpsgd LINE --format json` prints, ended well.
pub(crate) fn json(directory: &Path, line: &str) -> Value {
    ok(directory, &format!("{line} --format json")).json()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

/// 60 records in a table without header that a linear model separates: three numbers and a class, 0 or 1.
pub(crate) fn small_csv() -> String {
    (0..60).fold(String::new(), |mut text, i| {
        let sign = if i % 2 == 0 { -1.0 } else { 1.0 };
        writeln!(text, "{:.2},{:.2},{:.2},{}", 0.8 * sign, f64::from(i % 7) / 7.0, f64::from(i % 5) / 5.0, i % 2)
            .unwrap();
        text
    })
}

pub(crate) fn here() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("small.csv"), small_csv()).unwrap();
    directory
}

/// The names in a directory, sorted.
pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn without_flags_the_digits_are_learnt_and_the_statement_is_complete() {
    let here = here();
    let ran = ok(here.path(), "train");
    let value = |label: &str| {
        let line = ran.stdout.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {}", ran.stdout)).trim().to_string()
    };
    let epsilon: f64 = value("epsilon ").split(' ').next().unwrap().parse().unwrap();
    assert!(epsilon > 2.9 && epsilon <= 3.0, "{epsilon}");
    assert_eq!(value("delta "), "0.00001");
    for (label, part) in [
        ("unit", "record"),
        ("neighbouring relation", "add or remove"),
        ("sampler", "Poisson, rate 0.249804"),
        ("clipping", "clip norm"),
        ("mechanism", "noise multiplier"),
        ("steps", "80 asked, 80 done"),
        ("accountant", env!("CARGO_PKG_VERSION")),
        ("generator", "ChaCha20, key from the operating system"),
        ("test accuracy", "% of 1797 records"),
    ] {
        assert!(value(label).contains(part), "{label}: {}", value(label));
    }
    assert!(ran.stdout.contains("not private"), "{}", ran.stdout);
    let accuracy: f64 = value("test accuracy").split(' ').next().unwrap().parse().unwrap();
    assert!(accuracy > 85.0, "{accuracy} % where chance is 10 %");
    assert!(ran.stderr.contains("step 80/80") && !ran.stdout.contains("step 80/80"), "progress belongs on stderr");
    let quiet = ok(here.path(), "train --steps 1 --quiet");
    assert_eq!(quiet.stderr, "");
    assert_eq!(entries(here.path()), ["small.csv"], "nothing is written without --out");
}

#[test]
fn json_is_one_document_with_the_fields_scripts_rely_on_and_the_budget_kept() {
    let here = here();
    for budget in [0.5, 1.0, 3.0, 8.0] {
        let report = json(here.path(), &format!("train --data small.csv --holdout 0.2 --epochs 5 --epsilon {budget}"));
        let bound = |part: &str| number(&report, &format!("/privacy/epsilon/{part}"));
        let upper = bound("upper");
        assert!(upper <= budget && upper > 0.99 * budget, "{upper} for {budget}");
        assert!(0.0 <= bound("lower") && bound("lower") <= bound("estimate") && bound("estimate") <= upper);
        assert_eq!(number(&report, "/privacy/delta"), 1e-5);
        assert_eq!(number(&report, "/privacy/sampling_rate"), 32.0 / 48.0);
        assert_eq!(number(&report, "/privacy/steps"), 8.0, "5 passes of 48 records in batches of 32 are 7.5 steps");
        assert_eq!(number(&report, "/utility/test_records"), 12.0);
        assert!((0.0..=1.0).contains(&number(&report, "/utility/test_accuracy")));
        assert!(number(&report, "/privacy/noise_multiplier") > 0.0);
        assert!(number(&report, "/cost/examples_per_second") > 0.0);
        assert!(!cfg!(target_os = "linux") || number(&report, "/cost/peak_memory_bytes") > 1e6);
        assert!(report["privacy"]["accountant"].is_string() && report["versions"]["dpsgd"].is_string());
        assert_eq!(report["model"]["sha256"].as_str().map(str::len), Some(64));
        assert!(report["assumptions"].as_array().is_some_and(|list| !list.is_empty()));
    }
}

#[test]
fn the_twin_without_privacy_says_so_and_keeps_nothing() {
    let here = here();
    let twin = json(here.path(), "train --data small.csv --holdout 0.2 --epochs 20 --no-privacy");
    assert!(twin["privacy"].is_null() && twin["warning"].as_str().unwrap().starts_with("not private"), "{twin}");
    assert!(number(&twin, "/utility/test_accuracy") > 0.9, "{twin}");
    assert!(number(&twin, "/cost/examples_per_second") > 0.0);
    let text = ok(here.path(), "train --data small.csv --epochs 2 --no-privacy").stdout;
    assert!(text.starts_with("NO PRIVACY\n") && !text.contains("epsilon"), "{text}");
    for flags in [
        "--epsilon 1",
        "--noise-multiplier 2",
        "--delta 1e-6",
        "--clip-norm 1",
        "--perturbation 1",
        "--clipping per-layer",
        "--clipping-gamma 0.01",
        "--clipping-r 0.1",
        "--relation replace",
        "--accountant rdp",
        "--out run",
    ] {
        let refused = dpsgd(here.path(), &words(&format!("train --data small.csv --no-privacy {flags}")));
        assert_eq!(refused.code, Some(2), "{flags}: {}", refused.stderr);
    }
    assert_eq!(entries(here.path()), ["small.csv"]);
}

#[test]
fn perturbation_changes_the_model_and_the_statement_and_not_the_cost() {
    let here = here();
    let line = "train --data small.csv --holdout 0.2 --epochs 5 --epsilon 1 --seed 3";
    let (plain, perturbed) =
        (json(here.path(), line), json(here.path(), &format!("{line} --perturbation 0.5 --out run")));
    assert_eq!(perturbed["privacy"]["epsilon"], plain["privacy"]["epsilon"]);
    assert_eq!(perturbed["privacy"]["noise_multiplier"], plain["privacy"]["noise_multiplier"]);
    assert_eq!((number(&perturbed, "/privacy/perturbation"), &plain["privacy"]["perturbation"]), (0.5, &Value::Null));
    assert_ne!(perturbed["model"]["sha256"], plain["model"]["sha256"]);
    assert!(!here.path().join("run/symmetry_not_private.json").exists());
    let statement = std::fs::read_to_string(here.path().join("run/statement.txt")).unwrap();
    assert!(statement.contains("before the clip, standard deviation 0.5 in each coordinate"), "{statement}");
    ok(here.path(), "verify run");
}

#[test]
fn symmetry_is_measured_before_and_after_and_marked_as_not_private() {
    let here = here();
    ok(here.path(), "train --data small.csv --epochs 5 --epsilon 1 --symmetry 20 --out run --seed 3");
    let text = std::fs::read_to_string(here.path().join("run/symmetry_not_private.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["warning"].as_str().unwrap().starts_with("not private"));
    let steps: Vec<f64> = (0..2).map(|i| number(&document, &format!("/measured/{i}/step"))).collect();
    assert_eq!(steps, [0.0, 9.0], "5 passes of 60 records in batches of 32 are 9.4 steps");
    for i in 0..2 {
        let part = |name: &str| number(&document, &format!("/measured/{i}/{name}"));
        assert_eq!(part("examples"), 20.0);
        assert!(
            part("asymmetry") > 0.0
                && part("distance_from_symmetric") <= 2.0 * part("clip_norm") * part("mean_gradient_norm")
        );
    }
    let (all, statement) =
        (entries(&here.path().join("run")), std::fs::read_to_string(here.path().join("run/statement.txt")));
    assert!(all.iter().any(|name| name == "symmetry_not_private.json") && statement.unwrap().contains("symmetry"));
    let refused = dpsgd(here.path(), &words("train --data small.csv --symmetry 1 --out other"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn a_given_noise_stops_before_the_step_that_would_exceed_the_budget() {
    let here = here();
    let report =
        json(here.path(), "train --data small.csv --batch-size 6 --noise-multiplier 2 --steps 5000 --epsilon 2");
    let steps = number(&report, "/privacy/steps");
    assert!(steps > 1.0 && steps < 5000.0 && number(&report, "/privacy/steps_asked") == 5000.0, "{steps}");
    let cost = |steps: f64| {
        let plan = "account epsilon --noise-multiplier 2 --sampling-rate 0.1 --delta 1e-5";
        number(&json(here.path(), &format!("{plan} --steps {steps}")), "/epsilon/upper")
    };
    assert_eq!(number(&report, "/privacy/epsilon/upper"), cost(steps));
    assert!(cost(steps) <= 2.0 && cost(steps + 1.0) > 2.0);
    let free = json(here.path(), "train --data small.csv --noise-multiplier 2 --steps 40");
    assert_eq!((number(&free, "/privacy/steps"), &free["privacy"]["budget"]), (40.0, &Value::Null));
}

#[test]
fn a_run_directory_is_complete_and_verifies_and_every_change_to_it_is_found() {
    let here = here();
    let line = "train --data small.csv --holdout 0.2 --epochs 3 --seed 1 --out run";
    let printed = ok(here.path(), &format!("{line} --format json")).stdout;
    let run = here.path().join("run");
    assert_eq!(
        entries(&run),
        [
            "config.toml",
            "ledger.json",
            "metrics.csv",
            "model.safetensors",
            "report.html",
            "report.json",
            "statement.txt"
        ]
    );
    let read = |name: &str| std::fs::read(run.join(name)).unwrap();
    assert_eq!(printed.as_bytes(), read("report.json"), "stdout is the content of report.json");
    let hash: String = Sha256::digest(read("model.safetensors")).iter().map(|byte| format!("{byte:02x}")).collect();
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["model"]["sha256"], hash.as_str());
    assert_eq!(report["model"]["schema"]["shape"], report["model"]["input_shape"], "{}", report["model"]);
    let diagnostics = report["not_private"].as_object().unwrap().values().map(Value::to_string);
    let published = String::from_utf8(read("statement.txt")).unwrap();
    for number in diagnostics.filter(|number| number.len() > 4) {
        assert!(!published.contains(&number[..5]), "{number} is not private and stands in the statement");
    }
    assert!(json(here.path(), "verify run")["epsilon_upper"].is_number());
    assert!(ok(here.path(), "verify run").stdout.starts_with("verified"));

    let edit = |name: &str, pointer: &str, to: Value| {
        let mut value: Value = serde_json::from_slice(&read(name)).unwrap();
        let place = value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {name}"));
        assert_ne!(*place, to, "{pointer} would not change");
        *place = to;
        (name.to_string(), serde_json::to_string_pretty(&value).unwrap().into_bytes())
    };
    let mut model = read("model.safetensors");
    *model.last_mut().unwrap() ^= 1;
    let [statement, page, metrics] =
        ["statement.txt", "report.html", "metrics.csv"].map(|name| String::from_utf8(read(name)).unwrap());
    let lower = number(&report, "/privacy/epsilon/upper") * 0.9;
    let mut unnoticed = Vec::new();
    for ((name, bytes), names) in [
        (edit("report.json", "/privacy/epsilon/upper", lower.into()), "epsilon"),
        (edit("report.json", "/privacy/epsilon/estimate", 0.1.into()), "epsilon"),
        (edit("report.json", "/privacy/noise_multiplier", 50.0.into()), "parameters"),
        (edit("report.json", "/plan/noise_multiplier", 50.0.into()), "ledger"),
        (edit("report.json", "/plan/clip_norm", 0.5.into()), "parameters"),
        (edit("report.json", "/privacy/sampler", "fixed-size".into()), "sampler"),
        (edit("report.json", "/privacy/mechanism", "laplace".into()), "mechanism"),
        (edit("report.json", "/privacy/clipping", "per-layer".into()), "clipping"),
        (edit("report.json", "/privacy/accountant", "magic".into()), "accountant"),
        (edit("ledger.json", "/0/count", 1.into()), "ledger"),
        (("model.safetensors".to_string(), model), "hash"),
        (("report.html".to_string(), page.replace("one record", "one group").into_bytes()), "report.html"),
        (("metrics.csv".to_string(), metrics.replacen("\n1,", "\n2,", 1).into_bytes()), "report.html"),
        (("statement.txt".to_string(), statement.replace("one record", "one group").into_bytes()), "statement.txt"),
    ] {
        let kept = read(&name);
        std::fs::write(run.join(&name), &bytes).unwrap();
        let ran = dpsgd(here.path(), &["verify", "run"]);
        std::fs::write(run.join(&name), kept).unwrap();
        // A field that no check but that of the statement covers is caught by it, and the message then names that file.
        let named = ran.stderr.contains(names) || ran.stderr.contains("statement.txt");
        if ran.code != Some(1) || !named || !ran.stdout.is_empty() {
            unnoticed.push(format!("{name}, {names}: {:?} {}", ran.code, ran.stderr));
        }
    }
    assert!(unnoticed.is_empty(), "verify does not refuse changes to\n{}", unnoticed.join("\n"));
    for name in ["report.json", "ledger.json", "model.safetensors", "statement.txt", "report.html", "metrics.csv"] {
        let kept = read(name);
        std::fs::remove_file(run.join(name)).unwrap();
        let ran = dpsgd(here.path(), &["verify", "run"]);
        assert!(ran.code == Some(2) && ran.first_line().contains(name), "{name}: {:?} {}", ran.code, ran.stderr);
        std::fs::write(run.join(name), kept).unwrap();
    }
    ok(here.path(), "verify run");
}

#[test]
fn a_seed_repeats_a_run_and_the_system_never_does() {
    let here = here();
    let run = |seed: &str| {
        let report = json(here.path(), &format!("train --data small.csv --epochs 2 --holdout 0.2 {seed}"));
        (report["model"]["sha256"].clone(), report["privacy"].clone())
    };
    assert_eq!(run("--seed 7"), run("--seed 7"));
    assert_ne!(run("--seed 7").0, run("--seed 8").0);
    assert_ne!(run("").0, run("").0);
    assert_eq!(run("--seed 7").1["key"], "seed");
    assert_eq!(run("").1["key"], "operating-system");
}

#[test]
fn threads_change_no_bit_and_physical_batches_only_rounding() {
    let here = here();
    let model = |flags: &str| json(here.path(), &format!("train --steps 5 --seed 3 {flags}"));
    for name in ["logistic", "mlp", "cnn"] {
        let one = model(&format!("--model {name} --threads 1"));
        let two = model(&format!("--model {name} --threads 2"));
        assert_eq!(one["model"]["sha256"], two["model"]["sha256"], "{name} with 1 and 2 threads");
        let small = model(&format!("--model {name} --physical-batch 64 --out {name}-64"));
        let large = model(&format!("--model {name} --physical-batch 512 --out {name}-512"));
        let file =
            |size: u32, file: &str| std::fs::read(here.path().join(format!("{name}-{size}")).join(file)).unwrap();
        assert_eq!(file(64, "ledger.json"), file(512, "ledger.json"));
        assert_eq!(small["privacy"], large["privacy"]);
        let accuracy = |report: &Value| number(report, "/utility/test_accuracy");
        assert!((accuracy(&small) - accuracy(&large)).abs() <= 0.01, "{name}");
        let (a, b) = (file(64, "model.safetensors"), file(512, "model.safetensors"));
        let (a, b) =
            (safetensors::SafeTensors::deserialize(&a).unwrap(), safetensors::SafeTensors::deserialize(&b).unwrap());
        for (tensor, view) in a.tensors() {
            let other = b.tensor(&tensor).unwrap();
            let numbers = |bytes: &[u8]| -> Vec<f32> {
                bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
            };
            for (x, y) in numbers(view.data()).into_iter().zip(numbers(other.data())) {
                assert!((x - y).abs() <= 1e-4 * x.abs().max(1.0), "{name}.{tensor}: {x} and {y}");
            }
        }
    }
}

#[test]
fn the_accountant_answers_in_text_and_json_under_every_relation() {
    let here = here();
    // B. Balle, Y.-X. Wang 2018, theorem 8: mu = 1, delta = 1e-5.
    let exact = json(here.path(), "account epsilon --noise-multiplier 1 --sampling none --steps 1");
    assert!((number(&exact, "/epsilon/upper") - 4.377_178).abs() < 1e-5, "{exact}");
    assert_eq!((exact["accountant"].as_str(), exact["relation"].as_str()), (Some("analytic"), Some("add-remove")));
    // Replacing a record moves a sum by 2C, so twice the noise costs the same.
    let twice = json(here.path(), "account epsilon --noise-multiplier 2 --sampling none --steps 1 --relation replace");
    assert_eq!(number(&twice, "/epsilon/upper"), number(&exact, "/epsilon/upper"));
    let plan = "--noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000";
    let upper = |relation: &str| {
        number(&json(here.path(), &format!("account epsilon {plan} --relation {relation}")), "/epsilon/upper")
    };
    assert!(upper("replace") > upper("add-remove") && upper("zero-out") <= upper("add-remove"));
    let text = ok(here.path(), &format!("account epsilon {plan} --delta 1e-5")).stdout;
    let printed = text.lines().find_map(|line| line.strip_prefix("epsilon")).unwrap();
    let printed: f64 = printed.split_whitespace().next().unwrap().parse().unwrap();
    assert!((printed / upper("add-remove") - 1.0).abs() < 1e-15 && text.contains("upper bound"), "{text}");
    // Going back through delta never loses what was promised.
    let back = json(here.path(), &format!("account delta {plan} --epsilon {}", upper("add-remove")));
    let delta = number(&back, "/delta/upper");
    assert!(delta <= 1e-5 * (1.0 + 1e-9) && delta > 1e-6, "{delta}");
}

#[test]
fn an_event_from_a_file_or_stdin_costs_what_its_flags_cost() {
    let here = here();
    let event = r#"{"repeated":{"count":1000,"event":{"poisson-sampled":{"sampling_rate":0.01,"event":{"gaussian":{"noise_multiplier":1.1}}}}}}"#;
    std::fs::write(here.path().join("event.json"), event).unwrap();
    let flags = json(here.path(), "account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000");
    let file = json(here.path(), "account epsilon --event event.json");
    let stdin = with_stdin(here.path(), &words("account epsilon --event - --format json"), event).well().json();
    assert_eq!((&file["epsilon"], &stdin["epsilon"]), (&flags["epsilon"], &flags["epsilon"]));
}

#[test]
fn calibrated_values_keep_the_epsilon_and_waste_little_of_it() {
    let here = here();
    for (epsilon, rate, steps) in [(0.5, 0.01, 2000), (2.0, 0.1, 100), (8.0, 1.0, 1)] {
        let plan = format!("--sampling-rate {rate} --delta 1e-6");
        let cost = |noise: &str, steps: u64| {
            let line = format!("account epsilon {plan} --noise-multiplier {noise} --steps {steps}");
            number(&json(here.path(), &line), "/epsilon/upper")
        };
        let line = format!("account calibrate {plan} --epsilon {epsilon} --steps {steps}");
        let found = json(here.path(), &line);
        let noise = found["noise_multiplier"].to_string();
        assert!(cost(&noise, steps) <= epsilon && cost(&noise, steps) > 0.999 * epsilon, "{line}: {noise}");
        assert_eq!(number(&found, "/epsilon/upper"), cost(&noise, steps));
        // Who copies the noise from the text gets no less of it.
        let text = ok(here.path(), &line).stdout;
        let printed = text.lines().find_map(|line| line.strip_prefix("noise multiplier")).unwrap().trim().to_string();
        assert!(cost(&printed, steps) <= epsilon, "{line}: {printed}");
        let most = json(here.path(), &format!("account calibrate {plan} --epsilon {epsilon} --noise-multiplier 3"));
        let most = number(&most, "/steps") as u64;
        assert!(cost("3", most) <= epsilon && cost("3", most + 1) > epsilon, "{plan}: {most} steps");
    }
}

#[test]
fn a_table_with_a_header_categories_gaps_and_ranges_is_learnt_from() {
    let here = here();
    let mut table = String::from("age,job,score,income\n");
    for i in 0..200 {
        let (job, high) = (["clerk", "smith", "cook"][i % 3], i % 2 == 1);
        let age = if i % 20 == 0 { "?".to_string() } else { (20 + i % 60).to_string() };
        writeln!(table, "{age},{job},{},{}", if high { 90 } else { 10 }, if high { "high" } else { "low" }).unwrap();
    }
    std::fs::write(here.path().join("people.csv"), table).unwrap();
    let line = "train --data people.csv --label income --categorical job --range age=0:120 --range score=0:100 --missing ? \
                --holdout 0.2 --epsilon 20 --seed 1";
    let report = json(here.path(), line);
    // Age and its gap, three jobs, score: six features, two classes, one bias each.
    assert_eq!(report["model"]["parameters"], 14);
    assert_eq!(report["model"]["classes"], serde_json::json!(["high", "low"]));
    assert_eq!((number(&report, "/privacy/records"), number(&report, "/utility/test_records")), (160.0, 40.0));
    assert!(number(&report, "/utility/test_accuracy") > 0.9, "the score alone decides the class");
    let statement = ok(here.path(), line).stdout;
    for said in ["0..120", "categories of column job", "class labels (high, low)", "40 records held out"] {
        assert!(statement.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{said} in {statement}");
    }
}

#[test]
fn libsvm_and_idx_files_and_tables_of_pixels_are_learnt_from() {
    let here = here();
    let libsvm = (0..80).fold(String::new(), |mut text, i| {
        text += if i % 2 == 0 { "+1 1:1 3:0.5\n" } else { "-1 2:1 3:0.5\n" };
        text
    });
    for name in ["a", "a.t"] {
        std::fs::write(here.path().join(name), &libsvm).unwrap();
    }
    let report = json(here.path(), "train --data a --test-data a.t --epsilon 20 --seed 1");
    assert_eq!((number(&report, "/model/parameters"), number(&report, "/utility/test_accuracy")), (8.0, 1.0));

    let gzip = |name: &str, bytes: &[u8]| {
        let file = std::fs::File::create(here.path().join(name)).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap();
    };
    for (stem, records) in [("train", 64u8), ("t10k", 32)] {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, records, 0, 0, 0, 8, 0, 0, 0, 8];
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, records];
        for record in 0..records {
            // Class 0 is bright above, class 1 below.
            images.extend((0..64).map(|pixel| if (pixel < 32) == (record % 2 == 0) { 200 } else { record % 8 }));
            labels.push(record % 2);
        }
        gzip(&format!("{stem}-images-idx3-ubyte.gz"), &images);
        gzip(&format!("{stem}-labels-idx1-ubyte.gz"), &labels);
    }
    let line = "train --data train-images-idx3-ubyte.gz --test-data t10k-images-idx3-ubyte.gz --model cnn --epsilon 20 --seed 1";
    let report = json(here.path(), line);
    assert_eq!(report["model"]["input_shape"], serde_json::json!([8, 8]));
    assert!(number(&report, "/utility/test_accuracy") > 0.9, "{}", report["utility"]);
    let named = json(here.path(), "train --data mnist --data-dir . --model cnn --epsilon 20 --seed 1");
    assert_eq!(named["model"]["sha256"], report["model"]["sha256"], "the same files by their data set's name");

    let pixels = (0..60).fold(String::new(), |mut text, i| {
        (0..16).for_each(|pixel| write!(text, "{},", (pixel * i) % 16).unwrap());
        writeln!(text, "{}", i % 2).unwrap();
        text
    });
    std::fs::write(here.path().join("pixels.csv"), pixels).unwrap();
    let report = json(here.path(), "train --data pixels.csv --range 0:15 --shape 4x4 --model cnn --steps 3");
    assert_eq!(report["model"]["input_shape"], serde_json::json!([4, 4]));
}

#[test]
fn flags_about_reading_and_learning_reach_what_they_are_for() {
    let here = here();
    let write = |name: &str, bytes: &[u8]| std::fs::write(here.path().join(name), bytes).unwrap();
    let model = |line: &str| json(here.path(), &format!("train --steps 2 --seed 1 {line}"))["model"].clone();
    let width = |line: &str| model(line)["input_shape"][0].as_u64().unwrap();
    let sha = |line: &str| model(line)["sha256"].clone();

    write("titled.csv", format!("a title, of no table\n{}", small_csv()).as_bytes());
    assert_eq!(sha("--data titled.csv --skip-lines 1"), sha("--data small.csv"));
    // A declared numeric column that may miss values brings its indicator, seen or not.
    assert_eq!(width("--data small.csv --numeric 2=0:1?"), 4);
    assert_ne!(sha("--data small.csv --normalize record"), sha("--data small.csv"));
    write("sparse", "+1 1:1\n-1 2:1\n".repeat(20).as_bytes());
    assert_eq!((width("--data sparse"), width("--data sparse --width 7")), (2, 7));
    assert_eq!(sha("--data small.csv --optimizer sgd"), sha("--data small.csv"));
    let adam = "--optimizer adam --learning-rate 0.1";
    let moved = [
        "",
        "--momentum 0.5",
        "--nesterov",
        "--weight-decay 0.1",
        "--ema 0.9",
        "--warmup-steps 1",
        "--schedule linear",
        "--schedule cosine",
        "--schedule cosine --final-fraction 0.5",
        "--schedule step --decay-every 1",
        "--schedule step --decay-every 1 --decay-factor 0.1",
        adam,
        &format!("{adam} --beta1 0.5"),
        &format!("{adam} --beta2 0.5"),
        &format!("{adam} --weight-decay 0.1"),
        &format!("{adam} --bias-floor 1"),
        &format!("{adam} --no-bias-correction"),
        &format!("{adam} --no-bias-correction --adam-epsilon 1"),
        "--optimizer adamw --learning-rate 0.1",
    ];
    let longer = |flags| json(here.path(), &format!("train --steps 4 --seed 1 --data small.csv {flags}"));
    let models: Vec<_> = moved.iter().map(|flags| longer(flags)["model"]["sha256"].clone()).collect();
    for (i, model) in models.iter().enumerate() {
        let same = models[..i].iter().position(|other| other == model);
        assert!(same.is_none(), "{:?} makes the model of {:?}", moved[i], same.map(|j| moved[j]));
    }

    let images: Vec<u8> = [&[0, 0, 8, 2, 0, 0, 0, 20, 0, 0, 0, 2][..], &[9, 200].repeat(20)].concat();
    let labels: Vec<u8> = [&[0, 0, 8, 1, 0, 0, 0, 20][..], &[0, 1].repeat(10)].concat();
    write("pictures", &images);
    write("names", &labels);
    let line = "train --steps 2 --data pictures --labels names --test-data pictures --test-labels names";
    assert_eq!(number(&json(here.path(), line), "/utility/test_records"), 20.0);
}

#[test]
fn every_help_has_an_example_and_the_rest_of_the_surface_is_there() {
    let here = here();
    let commands = [
        "",
        "train",
        "account",
        "account epsilon",
        "account delta",
        "account calibrate",
        "account clip21-noise",
        "verify",
        "completions",
    ];
    let without: Vec<&str> = commands
        .into_iter()
        .filter(|command| !ok(here.path(), &format!("{command} --help")).stdout.contains("Example"))
        .collect();
    assert!(without.is_empty(), "no example in the help of {without:?}");
    let script = ok(here.path(), "completions bash").stdout;
    assert!(script.contains("_dpsgd") && script.contains("--noise-multiplier"));
    assert_eq!(ok(here.path(), "--version").stdout.trim(), format!("dpsgd {}", env!("CARGO_PKG_VERSION")));
    let bare = dpsgd::<&str>(here.path(), &[]);
    assert!(bare.code == Some(2) && bare.stdout.is_empty() && bare.stderr.contains("Usage"));
}

/// Whether a number is read from JSON as another one than was written.
pub(crate) fn is_misread(number: f64) -> bool {
    let text = serde_json::to_string(&number).unwrap();
    serde_json::from_str::<f64>(&text).unwrap().to_bits() != number.to_bits()
}

#[test]
fn numbers_survive_being_written_to_files_and_read_again() {
    let here = here();
    let records: Vec<String> = small_csv().lines().map(str::to_string).collect();
    // If the JSON reader rounds, these are numbers it gets wrong; if it does not, any will do.
    let rates = (40..=60usize).flat_map(|n| (1..=n).map(move |batch| (batch, n)));
    let wrong = rates.filter(|(batch, n)| is_misread(*batch as f64 / *n as f64)).take(3);
    for (batch, n) in wrong.chain([(7, 60)]) {
        std::fs::write(here.path().join("cut.csv"), records[..n].join("\n")).unwrap();
        let out = format!("run-{batch}-{n}");
        ok(here.path(), &format!("train --data cut.csv --quiet --batch-size {batch} --steps 3 --out {out}"));
        ok(here.path(), &format!("verify {out}"));
    }
    let noises = (200..2000).map(|i| f64::from(i) / 97.0).filter(|noise| is_misread(*noise)).take(3);
    for noise in noises.chain([1.7]) {
        let out = format!("noise-{noise}");
        ok(here.path(), &format!("train --data small.csv --quiet --noise-multiplier {noise} --steps 3 --out {out}"));
        ok(here.path(), &format!("verify {out}"));
    }
}

#[test]
fn readers_that_have_gone_away_do_not_break_a_run() {
    let here = here();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(["train", "--data", "small.csv", "--steps", "50", "--out", "run"])
        .current_dir(here.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0), "nobody reads stdout and stderr");
    ok(here.path(), "verify run");
}
