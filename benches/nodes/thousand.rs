//! A thousand nodes in one process: what they take in time and memory, and in threads nothing.

use super::problem::Problem;
use dpsgd::clip::ClipNorm;
use dpsgd::distributed::{Algorithm, Clip21, Radius, Uplink, Width};
use dpsgd::report::peak_memory;
use dpsgd::seed::Key;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

const NODES: usize = 1000;
const ROUNDS: u32 = 50;
const TURNS: usize = 5;

/// What a run of [`alone`] says.
struct Said {
    seconds: f64,
    /// The largest memory, and by how much it is more than before the first round; nothing where the system does not say.
    peak: Option<f64>,
    grown: Option<f64>,
    threads: Option<u64>,
    pool: u64,
    dim: u64,
}

pub(super) fn run() {
    if super::shared("libsvm/a9a", "a thousand nodes").is_none() {
        return;
    }
    let cases = [(1, 1), (NODES, 1), (NODES, 2)];
    let turns: Vec<[Said; 3]> = (0..TURNS).map(|_| cases.map(|(nodes, threads)| ask(nodes, threads))).collect();
    println!("\nClip21 on a9a, t = 0.1, {ROUNDS} rounds; medians of {TURNS} turns.");
    super::head([
        "nodes",
        "threads of the pool",
        "threads",
        "rounds a second",
        "time of a round, 1 for one node",
        "peak memory, MB",
        "of which in the rounds, MB",
    ]);
    for (place, (nodes, _)) in cases.into_iter().enumerate() {
        let median = |number: &dyn Fn(&[Said; 3]) -> f64| super::median(turns.iter().map(number).collect());
        let megabytes = |number: &dyn Fn(&Said) -> Option<f64>| match number(&turns[0][place]) {
            Some(_) => format!("{:.2}", median(&|turn| number(&turn[place]).unwrap_or(f64::NAN)) / 1e6),
            None => "not told".into(),
        };
        let first = &turns[0][place];
        super::row([
            nodes.to_string(),
            first.pool.to_string(),
            first.threads.map_or_else(|| "not told".into(), |threads| threads.to_string()),
            format!("{:.0}", median(&|turn| f64::from(ROUNDS) / turn[place].seconds)),
            format!("{:.2}", median(&|turn| turn[place].seconds / turn[0].seconds)),
            megabytes(&|said| said.peak),
            megabytes(&|said| said.grown),
        ]);
    }
    let more = |turn: &[Said; 3]| Some((turn[1].peak? - turn[0].peak?) / (NODES - 1) as f64);
    if let Some(more) = turns.iter().map(more).collect::<Option<Vec<f64>>>() {
        let (bytes, dim) = (super::median(more), turns[0][0].dim);
        println!("\nA node more takes {bytes:.0} bytes: {:.1} vectors of {dim} numbers.", bytes / (8.0 * dim as f64));
    }
}

/// So many nodes in a process of their own, whose allocator gives back what is free.
fn ask(nodes: usize, threads: usize) -> Said {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--alone", "thousand", &nodes.to_string()]).env("RAYON_NUM_THREADS", threads.to_string());
    let out = command.env("MALLOC_MMAP_THRESHOLD_", "65536").env("MALLOC_TRIM_THRESHOLD_", "65536").output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    Said {
        seconds: said["seconds"].as_f64().unwrap(),
        peak: said["peak"].as_f64(),
        grown: said["grown"].as_f64(),
        threads: said["threads"].as_u64(),
        pool: said["pool"].as_u64().unwrap(),
        dim: said["dim"].as_u64().unwrap(),
    }
}

/// Rounds of so many nodes, and what they take beyond the problem itself.
pub(super) fn alone(count: usize) {
    let problem = Problem::of("a9a", count, "a thousand nodes").unwrap();
    let ((mut nodes, mut local), dim, step) = (problem.nodes(), problem.dim(), 1.0 / problem.smoothness);
    drop(problem);
    let uplink = Uplink::new(Box::new(Radius::new(ClipNorm::new(0.1).unwrap())), Width::F64, Key::from_seed(0));
    // What reading took is not what rounds take: the peak begins again from here.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_memory();
    let mut clip21 = Clip21::new(vec![0.0; dim], count, step, uplink).unwrap();
    let since = Instant::now();
    for _ in 0..ROUNDS {
        clip21.round(&mut nodes, &mut local).unwrap();
    }
    let (seconds, peak) = (since.elapsed().as_secs_f64(), peak_memory());
    let grown = peak.zip(before).map(|(peak, before)| peak - before);
    println!(
        "{}",
        json!({"seconds": seconds, "peak": peak, "grown": grown, "threads": threads(), "dim": dim,
               "pool": rayon::current_num_threads()})
    );
}

/// Threads of this process, beside the one that waits for rayon's.
fn threads() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let all: u64 = status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()?;
    Some(all - 1)
}
