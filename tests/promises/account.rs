//! `dpsgd account`: the accountants agree with each other, and with what is drawn.
#![cfg(feature = "cli")]

use crate::command_line::{dpsgd, here, json, ok};
use serde_json::Value;

const PLAN: &str = "--noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5";

fn ends(epsilon: &Value) -> (f64, f64) {
    let end = |name: &str| epsilon[name].as_f64().unwrap_or(f64::INFINITY);
    (end("lower"), end("upper"))
}

#[test]
fn all_accountants_stand_side_by_side_and_none_contradicts_another() {
    let here = here();
    let answer = json(here.path(), &format!("account compare {PLAN}"));
    let rows = answer["accountants"].as_array().unwrap();
    let asked: Vec<&str> = rows.iter().map(|row| row["asked"].as_str().unwrap()).collect();
    assert_eq!(asked, dp_accountant::NAMES);
    let answered: Vec<&Value> = rows.iter().filter(|row| row["epsilon"].is_object()).collect();
    assert!(answered.len() >= 4, "{answer}");
    for one in &answered {
        for other in &answered {
            assert!(ends(&one["epsilon"]).0 <= ends(&other["epsilon"]).1, "{one} {other}");
        }
        assert!(one["milliseconds"].as_f64().unwrap() > 0.0 && !one["width"].is_null(), "{one}");
    }
    let refused = rows.iter().find(|row| row["asked"] == "analytic").unwrap();
    assert!(refused["refused"].as_str().unwrap().contains("no closed form"), "{refused}");
    let text = ok(here.path(), &format!("account compare {PLAN}")).stdout;
    for name in dp_accountant::NAMES {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in {text}");
    }
}

#[test]
fn an_estimate_is_never_printed_as_a_bound() {
    let here = here();
    let line = "account epsilon --noise-multiplier 1.5 --sampling-rate 0.04 --steps 2249 --accountant gdp";
    let answer = json(here.path(), line);
    assert_eq!((answer["epsilon"]["lower"].as_f64(), answer["epsilon"]["upper"].as_str()), (Some(0.0), Some("inf")));
    // Opacus prints this estimate; the truth is 6.767.
    let estimate = answer["epsilon"]["estimate"].as_f64().unwrap();
    assert!(estimate > 6.59 && estimate < 6.60, "{answer}");
    assert!(answer["note"].as_str().unwrap().contains("no guarantee"), "{answer}");
    let text = ok(here.path(), line).stdout;
    assert!(text.contains("estimate; no bound") && !text.contains("upper bound"), "{text}");
    let refused = dpsgd(here.path(), &["train", "--data", "small.csv", "--accountant", "gdp"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
}

#[test]
fn a_curve_falls_and_is_drawn_as_it_is_printed() {
    let here = here();
    let plan = "--noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000";
    let answer = json(here.path(), &format!("account curve {plan} --svg curve.svg"));
    let points = answer["curve"].as_array().unwrap();
    assert!(points.len() >= 25, "{answer}");
    for pair in points.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(after["delta"].as_f64() < before["delta"].as_f64(), "{before} {after}");
        assert!(ends(&after["epsilon"]).1 > ends(&before["epsilon"]).1, "{before} {after}");
    }
    let at = points.iter().find(|point| (point["delta"].as_f64().unwrap() / 1e-5 - 1.0).abs() < 1e-9).unwrap();
    let single = json(here.path(), &format!("account epsilon {plan} --delta 1e-5"));
    assert!((ends(&at["epsilon"]).1 - ends(&single["epsilon"]).1).abs() < 1e-6, "{at} {single}");
    let svg = std::fs::read_to_string(here.path().join("curve.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("upper bound: the guarantee") && svg.contains("1e-5"), "the picture has no legend or axis");
    // Drawn as a line through every point.
    let line = svg.split("<polyline").map(|part| part.split("points=\"").nth(1).unwrap_or_default());
    let longest = line.map(|points| points.split('"').next().unwrap_or_default().split_whitespace().count()).max();
    assert!(longest >= Some(points.len()), "{longest:?} points are drawn of {}", points.len());
}

#[test]
fn the_number_left_out_is_calibrated_to_the_last_unit() {
    let here = here();
    let plan = "--noise-multiplier 1.3 --steps 500 --delta 1e-6";
    let cost = |rest: &str| ends(&json(here.path(), &format!("account epsilon {plan} {rest}"))["epsilon"]).1;
    let found = json(here.path(), &format!("account calibrate --epsilon 1.5 {plan} --records 5000"));
    let batch = found["batch"].as_u64().unwrap();
    assert!(cost(&format!("--records 5000 --batch {batch}")) <= 1.5, "{found}");
    assert!(cost(&format!("--records 5000 --batch {}", batch + 1)) > 1.5, "{found}");
    assert!((found["slack"].as_f64().unwrap() - (1.5 - ends(&found["epsilon"]).1)).abs() < 1e-12, "{found}");
    let found = json(here.path(), &format!("account calibrate --epsilon 1.5 {plan}"));
    let rate = found["sampling_rate"].as_f64().unwrap();
    assert!(cost(&format!("--sampling-rate {rate}")) <= 1.5, "{found}");
    assert!(cost(&format!("--sampling-rate {}", rate * 1.001)) > 1.5, "{found}");
    // The batch is the last whole one below the rate.
    assert!(batch as f64 <= rate * 5000.0 && (batch + 1) as f64 > rate * 5000.0 * (1.0 - 1e-5), "{batch} {rate}");
}

#[test]
fn each_sampler_has_its_own_price() {
    let here = here();
    let cost = |rest: &str| {
        let line = format!("account epsilon --noise-multiplier 1 --delta 1e-6 {rest}");
        ends(&json(here.path(), &line)["epsilon"])
    };
    let batches = "--steps 100 --records 1000 --batch 10";
    let poisson = cost(&format!("--sampling poisson {batches}"));
    let balls = cost(&format!("--sampling balls-in-bins {batches}"));
    let shuffled = cost(&format!("--sampling shuffled {batches} --relation zero-out"));
    let fixed = cost(&format!("--sampling without-replacement {batches} --relation replace"));
    let once = cost("--sampling none --relation zero-out --steps 1");
    // One pass: balls-in-bins costs less than Poisson; a shuffle is only known to cost between a multiple of that and
    // one unsampled release; a fixed batch under replacement costs more than Poisson under addition.
    assert!(balls.1 < poisson.1, "{balls:?} {poisson:?}");
    assert!(shuffled.0 > 2.0 * poisson.1 && (shuffled.1 / once.1 - 1.0).abs() < 1e-6, "{shuffled:?} {once:?}");
    assert!(fixed.0 > poisson.1, "{fixed:?} {poisson:?}");
    assert_eq!(cost("--sampling balls-in-bins --steps 100 --steps-per-epoch 100"), balls);
    // A part of an epoch costs no more than the whole one, and may cost far less.
    for sampling in ["balls-in-bins", "shuffled --relation zero-out"] {
        let part = cost(&format!("--sampling {sampling} --steps 101 --steps-per-epoch 100"));
        let whole = cost(&format!("--sampling {sampling} --steps 200 --steps-per-epoch 100"));
        assert!(part.0 == 0.0 && whole.0 > 0.5 && part.1 == whole.1, "{sampling}: {part:?} {whole:?}");
    }
}

/// Check R13: the true epsilon of the noise that published experiments with Clip21 add for a nominal one.
#[test]
fn r13_the_noise_of_published_experiments_is_worth_less_than_its_name() {
    let here = here();
    let line = |nominal: f64, delta: f64, rounds: u32| {
        format!("account clip21-noise --nominal-epsilon {nominal} --delta {delta} --rounds {rounds}")
    };
    // For a client that is absent, and for one, or a record, that is replaced.
    for (nominal, delta, absent, replaced) in [
        (0.1, 1e-3, 0.06, 0.14),
        (1.0, 1e-5, 1.11, 2.40),
        (3.0, 4e-4, 3.72, 8.90),
        (8.0, 1e-5, 12.27, 30.52),
        (27.0, 1e-3, 83.64, 273.63),
    ] {
        // Whatever T is.
        for rounds in [1, 1000] {
            let answer = json(here.path(), &line(nominal, delta, rounds));
            for (name, expected) in [("epsilon_absent", absent), ("epsilon_replaced", replaced)] {
                let (lower, upper) = ends(&answer[name]);
                let near = |end: f64| (end - expected).abs() < 0.01;
                assert!(lower <= upper && near(lower) && near(upper), "{name} is not {expected}: {answer}");
            }
            let noise = (f64::from(rounds) * (1.0 / delta).ln()).sqrt() / nominal;
            let found = answer["noise_multiplier"].as_f64().unwrap();
            assert!(found <= noise && found > noise * (1.0 - 1e-12), "{found} and not {noise}");
        }
    }
    // The same as the accountant says of that noise.
    let answer = json(here.path(), &line(8.0, 1e-5, 1000));
    let noise = &answer["noise_multiplier"];
    for (name, relation) in [("epsilon_absent", "zero-out"), ("epsilon_replaced", "replace")] {
        let plan = format!("--noise-multiplier {noise} --sampling none --steps 1000 --relation {relation}");
        let asked = json(here.path(), &format!("account epsilon {plan} --accountant analytic"));
        assert_eq!(ends(&answer[name]), ends(&asked["epsilon"]), "{name}");
    }
    let text = ok(here.path(), &line(8.0, 1e-5, 1000)).stdout;
    for words in
        ["epsilon absent    12.2", "epsilon replaced  30.5", "upper bound", "nominal epsilon   8", "2502.11682"]
    {
        assert!(text.contains(words), "no {words} in {text}");
    }
}
