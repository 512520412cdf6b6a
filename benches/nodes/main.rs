//! Distributed runs on real data: what the papers claim of the algorithms, and what many nodes cost.
//!
//! `cargo bench --bench nodes` does every experiment, `-- NAME...` those of these names. Each prints a table in Markdown, and says
//! so where it leaves something out for want of data. Seeds are fixed: rounds, norms, bytes and losses are the same on every
//! machine, up to rounding; times are not, and stand in ratios. `docs/nodes-on-real-data.md` has the tables.
//!
//! `scaling` starts itself under `mpirun`: `cargo bench --features mpi --bench nodes -- scaling`.
#![allow(clippy::unwrap_used)]

mod bytes;
mod celgc;
mod kgt;
mod libsvm;
mod problem;
mod scaling;
mod thousand;

use std::path::{Path, PathBuf};

/// What it is called, and what does it.
const EXPERIMENTS: [(&str, fn()); 6] = [
    ("libsvm", libsvm::run),
    ("thousand", thousand::run),
    ("scaling", scaling::run),
    ("celgc", celgc::run),
    ("kgt", kgt::run),
    ("bytes", bytes::run),
];

/// A file of the published data sets, or `None` after saying loudly what is not done.
fn shared(path: &str, what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: {} is not here: {what} is not done", path.display());
    None
}

/// A row of a table.
fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.as_ref().to_string()).collect();
    println!("| {} |", cells.join(" | "));
}

/// The head of a table.
fn head<const N: usize>(cells: [&str; N]) {
    println!();
    row(cells);
    row(["---"; N]);
}

/// How many rounds it took, where it was reached.
fn reached(round: Option<usize>) -> String {
    round.map_or_else(|| "not reached".to_string(), |round| round.to_string())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // What an experiment asks a process of its own. Where memory is measured, what is free is given back.
    if let ["--alone", "thousand", nodes] = arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        return thousand::alone(nodes.parse().unwrap());
    }
    dpsgd::keep_freed_memory();
    if let ["--alone", "scaling", model, how] = arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        return scaling::alone(model, how);
    }
    if let Some(other) = arguments.iter().find(|name| EXPERIMENTS.iter().all(|(known, _)| known != name)) {
        let names: Vec<&str> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
        eprintln!("one of {}, and not {other}", names.join(", "));
        std::process::exit(2);
    }
    for (name, experiment) in EXPERIMENTS {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            println!("\n## {name}");
            experiment();
        }
    }
}
