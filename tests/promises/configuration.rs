//! One file holds every flag of a run, and a run can be repeated from the file it leaves.
#![cfg(feature = "cli")]

use super::command_line::{dpsgd, here, json, ok};
#[cfg(unix)]
use super::interruption::{RUN, interrupted, stopped};
use dpsgd::clip::ClipRule;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
#[cfg(unix)]
use std::time::Duration;

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

/// The settings of the file that a run left, numbers and texts alike without quotes.
fn settings(directory: &Path, run: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(directory.join(run).join("config.toml")).unwrap();
    let settings = text.lines().filter_map(|line| line.split_once(" = "));
    settings.map(|(key, value)| (key.to_string(), value.trim_matches('"').to_string())).collect()
}

/// The numbers within `value`, by the names on the way to them.
fn numbers(value: &Value, path: &str) -> Vec<(String, f64)> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| numbers(value, &format!("{path}/{name}"))).collect()
        }
        Value::Number(number) => vec![(path.to_string(), number.as_f64().unwrap())],
        _ => Vec::new(),
    }
}

/// The constants of a plan and a recipe, by the end of their place in the report, and the flags that give them.
const CONSTANTS: [(&str, &str); 23] = [
    ("plan/steps", "steps"),
    ("plan/expected_batch", "batch-size"),
    ("plan/clip_norm", "clip-norm"),
    ("plan/delta", "delta"),
    ("plan/budget", "epsilon"),
    ("plan/noise_multiplier", "noise-multiplier"),
    ("automatic/gamma", "clipping-gamma"),
    ("psac/r", "clipping-r"),
    ("adaptive/quantile", "clipping-quantile"),
    ("adaptive/rate", "clipping-rate"),
    ("adaptive/count_noise", "clipping-count-noise"),
    ("banded/bands", "bands"),
    ("/learning_rate", "learning-rate"),
    ("/weight_decay", "weight-decay"),
    ("sgd/momentum", "momentum"),
    ("/beta1", "beta1"),
    ("/beta2", "beta2"),
    ("/epsilon", "adam-epsilon"),
    ("bias_correction/floor", "bias-floor"),
    ("schedule/warmup", "warmup-steps"),
    ("/to", "final-fraction"),
    ("step/factor", "decay-factor"),
    ("step/every", "decay-every"),
];

#[test]
fn the_file_of_a_run_names_every_constant_of_plan_and_recipe() {
    let clipping = ClipRule::ALL.map(|rule| format!("--clipping {}", rule.name()));
    let others = [
        "--noise tree --batch-size 15",
        "--noise banded --batch-size 15",
        "--model mlp --schedule linear",
        "--optimizer adam --schedule cosine --warmup-steps 1",
        "--optimizer adamw --bias-floor 1e-9 --schedule step --decay-every 2",
        "--optimizer adamw --no-bias-correction --ema 0.5",
    ];
    let here = here();
    for (at, flags) in clipping.into_iter().chain(others.map(String::from)).enumerate() {
        let (first, again) = (format!("first-{at}"), format!("again-{at}"));
        let report = json(here.path(), &format!("train --data small.csv --steps 6 {flags} --seed 5 --out {first}"));
        let settings = settings(here.path(), &first);
        assert_eq!(settings["model"], report["recipe"]["model"].as_str().unwrap(), "{flags}");
        // Without --no-bias-correction Adam has no use for an epsilon, and the flag is refused.
        let is_used = |place: &str| !place.ends_with("/epsilon") || flags.contains("--no-bias-correction");
        let constants =
            [numbers(&report["plan"], "plan"), numbers(&report["recipe"]["optimizer"], "optimizer")].concat();
        let mut seen = 0;
        for (place, value) in constants.into_iter().filter(|(place, _)| is_used(place)) {
            // The records are those of the data; the average has one number, which is given.
            if place == "plan/records" || place.ends_with("ema/decay") {
                continue;
            }
            let flag = CONSTANTS.iter().find(|(end, _)| place.ends_with(end));
            let (_, flag) = flag.unwrap_or_else(|| panic!("{flags}: no flag for {place} = {value}"));
            let written = settings.get(*flag).unwrap_or_else(|| panic!("{flags}: {flag} is not in {settings:?}"));
            assert_eq!(written.parse::<f64>().unwrap(), value, "{flags}: {flag}");
            seen += 1;
        }
        assert!(seen >= 8, "{flags}: {seen} constants in {report}");
        let repeated = json(here.path(), &format!("train --config {first}/config.toml --seed 5 --out {again}"));
        for part in ["privacy", "model", "plan", "recipe", "run"] {
            assert_eq!(report[part], repeated[part], "{flags}: {part}");
        }
    }
}

#[test]
fn the_file_of_a_run_on_texts_names_their_length() {
    let here = here();
    let texts: String = (0..60).map(|i| format!("{}\ttext number {i}\n", ["ham", "spam"][i % 2])).collect();
    written(here.path(), "texts.tsv", &texts);
    let line = "train --data texts.tsv --data-format text --vocabulary bytes --label first --steps 2 --seed 5";
    let first = json(here.path(), &format!("{line} --out first"));
    let settings = settings(here.path(), "first");
    assert_eq!((settings["length"].as_str(), settings["model"].as_str()), ("256", "bag"));
    let again = json(here.path(), "train --config first/config.toml --seed 5");
    assert_eq!((&first["model"], &first["assumptions"]), (&again["model"], &again["assumptions"]));
}

#[test]
fn what_is_measured_for_a_directory_is_left_out_without_one() {
    let here = here();
    let line = "train --data small.csv --steps 6 --holdout 0.2 --seed 5";
    let first = json(here.path(), &format!("{line} --symmetry 4 --evaluations 3 --out first"));
    let again = json(here.path(), "train --config first/config.toml --seed 5");
    assert_eq!(first["model"], again["model"]);
    ok(here.path(), "train --config first/config.toml --no-privacy");
    ok(here.path(), "train --config first/config.toml --seed 5 --out again");
    let file = |name: &str| std::fs::read_to_string(here.path().join(name)).unwrap();
    for name in ["config.toml", "metrics.csv"] {
        assert_eq!(file(&format!("first/{name}")), file(&format!("again/{name}")));
    }
    assert!(settings(here.path(), "again")["symmetry"] == "4", "it is measured again where it can be kept");
    // What the command line asks for is not left out.
    let ran = dpsgd(here.path(), &["train", "--config", "first/config.toml", "--symmetry", "4"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("--out"), "{}", ran.stderr);
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

#[cfg(unix)]
#[test]
fn a_run_is_resumed_from_the_file_it_leaves() {
    let here = here();
    for (name, flags) in [
        ("sgd", ""),
        ("adam", "--optimizer adamw --no-bias-correction --schedule cosine --ema 0.99 --symmetry 4 --evaluations 3"),
        ("tree", "--noise tree --batch-size 8 --clipping psac --schedule step --decay-every 9000"),
    ] {
        let line = format!("{RUN} --holdout 0.2 {flags} --seed 5");
        let whole = json(here.path(), &format!("{line} --out {name}-whole"));
        stopped(&interrupted(here.path(), &format!("{line} --out {name}"), Duration::from_millis(150)));
        let resumed = json(here.path(), &format!("train --config {name}/config.toml --out {name} --resume"));
        assert_eq!(resumed["model"]["sha256"], whole["model"]["sha256"], "{name}");
        assert_eq!(resumed["privacy"], whole["privacy"], "{name}");
        let file = |run: &str| std::fs::read_to_string(here.path().join(run).join("config.toml")).unwrap();
        assert_eq!(file(name), file(&format!("{name}-whole")));
    }
}

#[test]
fn a_finished_run_is_not_resumed() {
    let here = here();
    ok(here.path(), "train --data small.csv --steps 3 --out run");
    let ran = dpsgd(here.path(), &["train", "--config", "run/config.toml", "--out", "run", "--resume"]);
    assert!(ran.code == Some(2) && ran.first_line().contains("finished; --extend"), "{}", ran.stderr);
}

/// IDX files of `records` images of 28 x 28 pixels and their labels, as the published ones are named.
pub(crate) fn images(directory: &Path, records: u32) {
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
