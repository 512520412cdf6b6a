//! Every command that a document or a help text shows is one that works.
#![cfg(all(feature = "cli", unix))]

use super::command_line::{dpsgd, ok};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands with one of these words need data that a test cannot make up; their flags must be accepted all the same.
const DATA_THAT_IS_NOT_HERE: [&str; 7] = ["-ubyte", "mnist", "adult", "cifar", "sms-spam", "sst-2", "tinyshakespeare"];

/// The Markdown files and sources of the product.
fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md" || extension == "rs") {
            found.push(path);
        }
    }
}

/// The commands in the fenced `sh` and `console` blocks of a Markdown text, continued lines joined.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut fence, mut pending) = (Vec::new(), None, String::new());
    for line in text.lines() {
        if let Some(word) = line.trim().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(word.trim().to_string()) };
            continue;
        }
        if !matches!(fence.as_deref(), Some("sh" | "console" | "bash" | "shell")) {
            continue;
        }
        let line = line.trim().trim_start_matches("$ ");
        if let Some(start) = line.strip_suffix('\\') {
            pending += start;
            continue;
        }
        let line = std::mem::take(&mut pending) + line;
        let line = line.split(" #").next().unwrap_or_default().trim().to_string();
        let line = match line.strip_prefix("cargo run --release -- ") {
            Some(rest) => format!("dpsgd {rest}"),
            None => line,
        };
        if line.starts_with("dpsgd ") {
            found.push(line);
        }
    }
    found
}

/// The examples at the end of a help text, without the remarks behind them.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| line.starts_with("dpsgd ")));
    lines.map(|line| line.split("  ").next().unwrap_or_default().trim().to_string()).collect()
}

/// A directory with the small files that documents speak of.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let mut people = String::from("age,job,income\n");
    let (mut sparse, mut messages) = (String::new(), String::new());
    for i in 0..100 {
        writeln!(people, "{},{},{}", 20 + i % 60, ["clerk", "smith"][i % 2], ["low", "high"][i / 3 % 2]).unwrap();
        writeln!(messages, "{}\tmessage {i}", ["ham", "spam"][i % 2]).unwrap();
        writeln!(sparse, "{} {}:1 4:0.5", if i % 2 == 0 { "+1" } else { "-1" }, 1 + i % 3).unwrap();
    }
    let ledger = r#"[{"event":{"gaussian":{"noise_multiplier":4.1}},"count":3}]"#.to_string();
    std::fs::create_dir(desk.path().join("model")).unwrap();
    let play = "to be or not to be\n".repeat(100);
    for (name, text) in [
        ("people-0.csv", people.clone()),
        ("people-1.csv", people.clone()),
        ("people.csv", people),
        ("a9a", sparse.clone()),
        ("a9a.t", sparse),
        ("messages.tsv", messages),
        ("play.txt", play),
        ("model/ledger.json", ledger),
    ] {
        std::fs::write(desk.path().join(name), text).unwrap();
    }
    desk
}

/// Runs the commands of one text one after the other, as its reader would, and says what failed.
fn failures(origin: &str, commands: &[String]) -> Vec<String> {
    let desk = desk();
    let binaries = Path::new(env!("CARGO_BIN_EXE_dpsgd")).parent().unwrap().display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    let mut failures = Vec::new();
    for command in commands {
        let output = Command::new("sh")
            .args(["-e", "-c", command])
            .env("PATH", &path)
            .current_dir(desk.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let away = DATA_THAT_IS_NOT_HERE.iter().any(|word| command.contains(word));
        // The parser's refusals end with a hint at --help; a missing file is named before anything else.
        let understood =
            away && output.status.code() == Some(2) && !stderr.contains("--help") && !stderr.contains("panicked");
        if !output.status.success() && !understood {
            failures.push(format!("{origin}: {command}\n    {:?} {stderr}\n", output.status.code()));
        }
    }
    failures
}

#[test]
fn commands_in_documents_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for directory in ["docs", "src", "accountant"] {
        documents(&root.join(directory), &mut files);
    }
    let (mut shown, mut failed) = (0, Vec::new());
    for file in files {
        let mut text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if file.extension().is_some_and(|extension| extension == "rs") {
            let comments = text.lines().map(str::trim_start);
            let comments = comments.filter_map(|line| line.strip_prefix("//!").or_else(|| line.strip_prefix("///")));
            text = comments.collect::<Vec<_>>().join("\n");
        }
        let commands = commands(&text);
        shown += commands.len();
        failed.extend(failures(&file.strip_prefix(root).unwrap_or(&file).display().to_string(), &commands));
    }
    assert!(shown >= 5, "only {shown} commands found: the README shows more");
    assert!(failed.is_empty(), "\n{}", failed.concat());
}

#[test]
fn examples_in_help_texts_work() {
    let here = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for command in ["", "train", "account", "data inspect", "verify", "report", "ledger"] {
        let examples = examples(&ok(here.path(), &format!("{command} --help")).stdout);
        assert!(!examples.is_empty(), "no examples in the help of {command:?}");
        failed.extend(failures(&format!("dpsgd {command} --help"), &examples));
    }
    assert!(failed.is_empty(), "\n{}", failed.concat());
}

#[test]
fn a_command_that_does_not_exist_would_be_found() {
    let text = "```sh\n$ dpsgd train --steps 1 \\\n    --no-such-flag   # as it was\ncargo run --release -- acount\n```\n`dpsgd x`\n";
    let found = commands(text);
    assert_eq!(found, ["dpsgd train --steps 1 --no-such-flag", "dpsgd acount"]);
    assert_eq!(failures("here", &found).len(), 2);
    assert_eq!(failures("here", &["dpsgd train --data mnist --no-such-flag".to_string()]).len(), 1);
    assert!(failures("here", &["dpsgd train --data mnist --data-dir away".to_string()]).is_empty());
    let here = tempfile::tempdir().unwrap();
    assert_eq!(dpsgd(here.path(), &["acount"]).code, Some(2));
}
