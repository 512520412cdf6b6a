//! What a run shows of itself: metrics while it goes on, a page for people, guarantees side by side, and comparisons.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{Ran, dpsgd, entries, here, json, ok, small_csv};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn run(directory: &Path, line: &str) -> Ran {
    dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>())
}

/// What is wrong with a page: elements that are not closed in order, attributes that are not quoted, a script, a thing to be loaded.
fn faults(page: &str) -> Vec<String> {
    let (mut faults, mut open) = (Vec::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap_or_else(|| {
        faults.push("no document type".into());
        page
    });
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') {
            faults.push(format!("a stray > in {:?}", &rest[..start]));
        }
        let Some(end) = rest[start..].find('>').map(|end| start + end) else {
            faults.push("a tag that does not end".into());
            break;
        };
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                faults.push(format!("</{name}> closes something else"));
            }
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if name == "script" || ["link", "img", "iframe", "object", "embed", "base"].contains(&name) {
            faults.push(format!("<{name}>"));
        }
        if !tag.matches('"').count().is_multiple_of(2)
            || [" on", " src=", " href=", " xlink:"].iter().any(|a| tag.contains(a))
        {
            faults.push(format!("the attributes of <{tag}>"));
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
        // The only text that is not escaped is that of the style sheet.
        if name == "style" {
            let end = rest.find("</style>").unwrap_or(0);
            if rest[..end].contains("url(") || rest[..end].contains("@import") {
                faults.push("a style sheet that loads something".into());
            }
            rest = &rest[end..];
        }
    }
    faults.extend(open.iter().map(|name| format!("<{name}> is never closed")));
    if page.contains("http:") || page.contains("https:") {
        faults.push("an address".into());
    }
    faults
}

#[test]
fn a_page_with_a_fault_would_be_found() {
    let page = |body: &str| format!("<!DOCTYPE html>\n<html><body>{body}</body></html>");
    assert!(faults(&page("<p class=\"a\">1 &lt; 2<br/></p>")).is_empty());
    for body in [
        "<p>",
        "</p>",
        "<p><b></p></b>",
        "<script></script>",
        "<p onclick=\"x\"></p>",
        "<a href=\"#\"></a>",
        "<p class=\"a></p>",
        "1 > 0",
        "see https://example.org",
        "<img/>",
        "<style>@import x</style>",
    ] {
        assert!(!faults(&page(body)).is_empty(), "{body}");
    }
}

#[test]
fn a_page_is_whole_stands_alone_and_states_the_epsilon_rounded_up() {
    let here = here();
    for (name, flags) in [
        ("plain", ""),
        ("tested", " --holdout 0.2"),
        (
            "rich",
            " --holdout 0.2 --clipping automatic --perturbation 0.1 --optimizer adam --ema 0.9 --relation replace",
        ),
        ("short", " --holdout 0.2 --steps 1 --accountant rdp"),
    ] {
        let report = json(here.path(), &format!("train --data small.csv --epsilon 2 --seed 3 --out {name}{flags}"));
        let page = read(&here.path().join(name), "report.html");
        assert_eq!(faults(&page), Vec::<String>::new(), "{name}");
        let upper = report["privacy"]["epsilon"]["upper"].as_f64().unwrap();
        let stated: f64 = page.split("satisfies (").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        assert!(stated >= upper && stated < upper + 1.01e-4, "{stated} for {upper}");
        for part in ["NOT PRIVATE", "Three guarantees side by side", "How to cite", "Abadi", "If this fails", "sha256"]
        {
            assert!(page.contains(part), "{name}: no {part}");
        }
        assert_eq!(page.contains("Class by class"), name != "plain");
        assert_eq!(page.contains("Automatic Clipping") && page.contains("Geometric Perspective"), name == "rich");
        assert!(!page.contains("NaN") && !page.contains(">inf<"), "{name}");
        ok(here.path(), &format!("verify {name}"));
    }
}

#[test]
fn what_users_name_cannot_become_part_of_the_page() {
    let here = here();
    let hostile = "<script>alert('x')</script>\" onload=\"y&amp;";
    let table: String = small_csv()
        .lines()
        .map(|line| {
            let (numbers, class) = line.rsplit_once(',').unwrap();
            let class = if class == "1" { format!("\"{}\"", hostile.replace('"', "\"\"")) } else { "no".into() };
            format!("{numbers},{class}\n")
        })
        .collect();
    std::fs::write(here.path().join("a<b onerror=1>.csv"), table).unwrap();
    let words =
        ["train", "--data", "a<b onerror=1>.csv", "--holdout", "0.2", "--steps", "3", "--quiet", "--out", "r<i>"];
    dpsgd(here.path(), &words).well();
    dpsgd(here.path(), &["report", "r<i>", "r<i>", "--html", "both.html"]).well();
    for page in [read(&here.path().join("r<i>"), "report.html"), read(here.path(), "both.html")] {
        assert_eq!(faults(&page), Vec::<String>::new());
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;y&amp;amp;";
        assert!(page.contains(escaped), "the class is shown");
        // Without escaping the same names would be found.
        assert!(!faults(&page.replace(escaped, hostile)).is_empty());
    }
}

#[test]
fn metrics_are_there_while_the_run_goes_on_and_after_it_was_stopped() {
    let here = here();
    let line = "train --data small.csv --holdout 0.2 --steps 2000000 --noise-multiplier 50 --quiet --out run";
    let mut child = Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(line.split_whitespace())
        .current_dir(here.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = here.path().join("run");
    let since = Instant::now();
    let seen = loop {
        let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap_or_default();
        if text.lines().count() >= 2 {
            break text;
        }
        assert!(since.elapsed() < Duration::from_secs(300), "no row after five minutes: {text:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(child.try_wait().unwrap(), None, "the run goes on");
    assert!(seen.starts_with("step,epsilon_upper,") && seen.contains("\n40000,"), "{seen}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(read(&run, "metrics.csv").starts_with(&seen));
    assert_eq!(std::fs::metadata(run.join("metrics.csv")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(entries(&run), ["checkpoint", "config.toml", "metrics.csv"]);
    let shown = dpsgd(here.path(), &["report", "run"]);
    assert!(shown.code == Some(2) && shown.first_line().contains("interrupted"), "{}", shown.stderr);
}

#[test]
fn testing_on_the_way_changes_nothing_but_the_columns_of_tests() {
    let here = here();
    let line = "train --data small.csv --holdout 0.2 --steps 100 --ema 0.9 --seed 4";
    let columns = |directory: &str, columns: std::ops::Range<usize>| -> Vec<Vec<String>> {
        let text = read(&here.path().join(directory), "metrics.csv");
        text.lines()
            .map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>()[columns.clone()].to_vec())
            .collect()
    };
    let runs: Vec<Value> = [("default", ""), ("none", " --evaluations 0"), ("all", " --evaluations 1000")]
        .map(|(name, flags)| json(here.path(), &format!("{line} --out {name}{flags}")))
        .into();
    for (run, (name, tested)) in runs.iter().zip([("default", 10), ("none", 0), ("all", 50)]) {
        assert_eq!((&run["model"], &run["privacy"]), (&runs[0]["model"], &runs[0]["privacy"]), "{name}");
        assert_eq!(run["utility"], runs[0]["utility"], "{name}");
        assert_eq!((columns(name, 0..5), columns(name, 7..10)), (columns("default", 0..5), columns("default", 7..10)));
        let tests =
            columns(name, 5..7).iter().skip(1).filter(|cells| cells.iter().all(|cell| !cell.is_empty())).count();
        assert_eq!(tests, tested, "{name}");
    }
    let classes = runs[0]["utility"]["classes"].as_array().unwrap();
    let sum = |field: &str| classes.iter().map(|class| class[field].as_f64().unwrap()).sum::<f64>();
    assert_eq!((classes.len(), sum("records")), (2, 12.0));
    assert_eq!(runs[0]["utility"]["test_accuracy"].as_f64(), Some(sum("right") / 12.0));
    assert!(runs[0]["utility"]["test_loss"].as_f64().is_some_and(|loss| loss >= 0.0));
    let refused = run(here.path(), &format!("{line} --evaluations 3"));
    assert!(refused.code == Some(2) && refused.stderr.contains("--out"), "{}", refused.stderr);
}

#[test]
fn guarantees_stand_side_by_side_and_a_change_to_them_is_found() {
    let here = here();
    let report = json(here.path(), "train --data small.csv --epsilon 1 --batch-size 6 --steps 20 --out run");
    let rows = report["privacy"]["guarantees"].as_array().unwrap();
    let kinds: Vec<(&str, u64)> =
        rows.iter().map(|row| (row["protection"].as_str().unwrap(), row["records"].as_u64().unwrap())).collect();
    assert_eq!(kinds, [("stated", 1), ("batches-known", 1), ("group", 2), ("group", 10)]);
    assert_eq!(rows[0]["epsilon"], report["privacy"]["epsilon"]);
    let upper = |row: usize| rows[row]["epsilon"]["upper"].as_f64().unwrap();
    assert!(upper(0) < upper(1), "sampling protects");
    assert!(2.0 * upper(0) < upper(2) && 5.0 * upper(2) < upper(3), "groups cost more than their share: {rows:?}");
    let path = here.path().join("run/report.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    changed["privacy"]["guarantees"][3]["epsilon"]["upper"] = 2.0.into();
    std::fs::write(&path, serde_json::to_string_pretty(&changed).unwrap()).unwrap();
    let refused = run(here.path(), "verify run");
    assert!(refused.code == Some(1) && refused.first_line().contains("guarantees"), "{}", refused.stderr);
}

#[test]
fn files_that_are_not_private_are_for_their_owner_alone() {
    let here = here();
    let mode = |name: &str| std::fs::metadata(here.path().join(name)).unwrap().permissions().mode() & 0o777;
    // What everybody may read depends on the umask; nobody is shut out of it here.
    std::fs::write(here.path().join("usual"), "").unwrap();
    let usual = mode("usual");
    assert_ne!(usual, 0o600, "the umask shuts everybody out, and the test says nothing");
    ok(here.path(), "train --data small.csv --holdout 0.2 --steps 60 --symmetry 8 --out run");
    ok(here.path(), "report run --html one.html");
    ok(here.path(), "report run run --html both.html");
    let owner = ["metrics.csv", "report.html", "report.json", "symmetry_not_private.json"];
    let published = ["config.toml", "ledger.json", "model.safetensors", "statement.txt"];
    assert_eq!(entries(&here.path().join("run")).len(), owner.len() + published.len());
    for name in owner.map(|name| format!("run/{name}")).iter().map(String::as_str).chain(["one.html", "both.html"]) {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    for name in published {
        assert_eq!(mode(&format!("run/{name}")), usual, "{name}");
    }
}

#[test]
fn runs_are_shown_again_and_compared() {
    let here = here();
    for (name, epsilon) in [("one", 1.0), ("three", 3.0)] {
        ok(here.path(), &format!("train --data small.csv --holdout 0.2 --epsilon {epsilon} --quiet --out {name}"));
    }
    let statement = read(&here.path().join("one"), "statement.txt");
    assert_eq!(ok(here.path(), "report one").stdout, statement);
    assert_eq!(ok(here.path(), "report one --html again.html").stdout, "");
    assert_eq!(read(here.path(), "again.html"), read(&here.path().join("one"), "report.html"));

    let table = ok(here.path(), "report one three --html both.html").stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("run ") && lines[0].ends_with("seconds"), "{table}");
    assert!(lines[1].starts_with("one ") && lines[2].starts_with("three "), "{table}");
    let page = read(here.path(), "both.html");
    assert_eq!(faults(&page), Vec::<String>::new());
    assert!(page.contains(">one<") && page.contains(">three<") && page.contains("The most accurate"), "{page}");
    let both = json(here.path(), "report one three");
    let upper = |i: usize| both["runs"][i]["epsilon"]["upper"].as_f64().unwrap();
    assert!(upper(0) <= 1.0 && upper(1) > 2.9 && upper(1) <= 3.0);
    for (i, name) in ["one", "three"].iter().enumerate() {
        assert!(lines[i + 1].contains(&format!("{:.4}", (upper(i) * 1e4).ceil() / 1e4)), "{table}");
        assert_eq!(both["runs"][i]["directory"], *name);
    }

    std::fs::create_dir(here.path().join("empty")).unwrap();
    for (directory, why) in [("empty", "report.json"), ("small.csv", "a file"), ("missing", "nothing")] {
        let refused = run(here.path(), &format!("report one {directory} --html none.html"));
        assert!(refused.code == Some(2) && refused.stdout.is_empty(), "{directory}: {:?}", refused.code);
        assert!(refused.first_line().contains(directory) && refused.first_line().contains(why), "{}", refused.stderr);
    }
    assert!(!here.path().join("none.html").exists());
}
