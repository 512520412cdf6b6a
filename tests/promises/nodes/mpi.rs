//! The same runs with a process for every node, over MPI.

mod hosts;

use super::{document, file, number};
use crate::command_line::{Ran, here, json, ok, small_csv};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long for any run here: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// Algorithms that reduce, collect, broadcast and exchange.
const RUNS: [&str; 5] = [
    "--algorithm dp-sgd",
    "--algorithm clip21-sgd2m",
    "--algorithm celgc --longest-step 0.5 --local-steps 4",
    "--algorithm kgt --local-steps 2",
    "--algorithm ef21 --compress top-k:5%",
];

/// Processes of dpsgd that mpirun has started. Dropped before its end, it is ended.
struct Job {
    mpirun: Child,
    directory: PathBuf,
}

impl Job {
    /// Starts `dpsgd LINE` in so many processes.
    fn start(directory: &Path, processes: usize, line: &str) -> Self {
        let mpirun = Command::new("mpirun")
            .args(["-n", &processes.to_string(), "--allow-run-as-root", "--oversubscribe"])
            .arg(env!("CARGO_BIN_EXE_dpsgd"))
            .args(line.split_whitespace())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(directory.join("stdout.txt")).unwrap())
            .stderr(std::fs::File::create(directory.join("stderr.txt")).unwrap())
            .spawn()
            .expect("mpirun of Open MPI (Debian: openmpi-bin)");
        Self { mpirun, directory: directory.to_path_buf() }
    }

    /// Waits until it ends by itself.
    fn ended(mut self) -> Ran {
        let since = Instant::now();
        let code = loop {
            match self.mpirun.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => assert!(since.elapsed() < PATIENCE, "it hangs: {}", self.said("stderr.txt")),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ran { code, stdout: self.said("stdout.txt"), stderr: self.said("stderr.txt") }
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap()
    }

    /// Waits until there is a file.
    fn until_there_is(&mut self, name: &str) {
        let since = Instant::now();
        while !self.directory.join(name).exists() {
            let ended = self.mpirun.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} before there was {name}: {}", self.said("stderr.txt"));
            assert!(since.elapsed() < PATIENCE, "there is no {name}: {}", self.said("stderr.txt"));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process of a node: the one with that rank and the directory of this job.
    fn process(&self, node: usize) -> u32 {
        let rank = format!("OMPI_COMM_WORLD_RANK={node}");
        let here = self.directory.canonicalize().unwrap();
        let is_it = |process: &PathBuf| {
            std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == here)
                && std::fs::read(process.join("environ"))
                    .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == rank.as_bytes()))
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let process = all.into_iter().find(is_it).unwrap_or_else(|| panic!("no process of node {node}"));
        process.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }

    fn signal(&self, node: usize, signal: &str) {
        let process = self.process(node).to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Politely: it ends the others.
        if matches!(self.mpirun.try_wait(), Ok(None)) {
            Command::new("kill").arg(self.mpirun.id().to_string()).status().ok();
            self.mpirun.wait().ok();
        }
    }
}

/// `dpsgd LINE` in four processes, ended well.
fn four(directory: &Path, line: &str) -> Ran {
    Job::start(directory, 4, line).ended().well()
}

fn same_results(here: &Path, one: &str, other: &str, what: &str) {
    let (one, other) = (here.join(one), here.join(other));
    for name in ["model.safetensors", "ledger.json"] {
        assert_eq!(file(&one, name), file(&other, name), "{what}: {name}");
    }
    let (one, other) = (document(&one, "report.json"), document(&other, "report.json"));
    assert_eq!(one["privacy"], other["privacy"], "{what}");
    assert_eq!(one["nodes"]["promise"], other["nodes"]["promise"], "{what}");
}

fn bytes(report: &Value) -> Vec<f64> {
    let costs = report["nodes"]["costs"].as_array().unwrap();
    costs.iter().map(|cost| number(cost, "/sent_bytes")).collect()
}

#[test]
fn four_processes_are_four_nodes_of_one_process() {
    let here = here();
    for (at, flags) in RUNS.iter().enumerate() {
        let line =
            format!("train --quiet --threads 1 --partition dirichlet:0.5 --steps 5 --epsilon 3 --seed 6 {flags}");
        json(here.path(), &format!("{line} --nodes 4 --out one-{at}"));
        let ran = four(here.path(), &format!("{line} --transport mpi --out many-{at} --format json"));
        same_results(here.path(), &format!("one-{at}"), &format!("many-{at}"), flags);
        let [one, many] = ["one", "many"].map(|run| document(&here.path().join(format!("{run}-{at}")), "report.json"));
        assert_eq!(ran.json(), many, "{flags}: what is shown is what is kept, once");
        assert_eq!(one["nodes"]["rounds"], many["nodes"]["rounds"], "{flags}");
        assert_eq!((bytes(&one), bytes(&one).len()), (bytes(&many), 4), "{flags}");
        assert!(bytes(&one).iter().all(|bytes| *bytes > 0.0), "{flags}");
        assert_eq!(
            (many["nodes"]["transport"].as_str(), one["nodes"]["transport"].as_str()),
            (Some("mpi"), Some("local"))
        );
        let left = |run: &str| crate::command_line::entries(&here.path().join(format!("{run}-{at}")));
        assert_eq!(left("many"), left("one"), "{flags}: nodes leave nothing of their own");
        // A seed is no secret among processes that were all given it.
        let statement = String::from_utf8(file(&here.path().join(format!("many-{at}")), "statement.txt")).unwrap();
        assert_eq!(statement.contains("All processes were given one seed"), at > 0, "{flags}: {statement}");
        ok(here.path(), &format!("verify many-{at}"));
    }
    // Clients that trust whoever adds up, some of whom take part.
    let line = "train --quiet --threads 1 --steps 5 --seed 6 --unit client --trust central --algorithm clip21 --participants 2";
    json(here.path(), &format!("{line} --nodes 4 --out one"));
    four(here.path(), &format!("{line} --transport mpi --nodes 4 --out many"));
    same_results(here.path(), "one", "many", line);
}

/// Starts a run that keeps a checkpoint after every round, waits until some are done, ends it with `end`, and resumes it.
fn ended_and_resumed(end: &str, node: usize) {
    let here = here();
    for (at, flags) in [RUNS[0], RUNS[3]].into_iter().enumerate() {
        let line = format!(
            "train --quiet --threads 1 --steps 150 --batch-size 64 --evaluations 0 --epsilon 3 --checkpoint-every 0 {flags}"
        );
        json(here.path(), &format!("{line} --nodes 4 --seed 6 --out whole-{at}"));
        let started = format!("{line} --transport mpi --out parts-{at}");
        let mut job = Job::start(here.path(), 4, &format!("{started} --seed 6"));
        job.until_there_is(&format!("parts-{at}/metrics.csv"));
        if at == 1 {
            job.until_there_is(&format!("parts-{at}/node-3/checkpoint.last"));
        }
        job.signal(node, end);
        let ran = job.ended();
        assert!(ran.code.is_some_and(|code| code != 0), "{flags}: {:?} {}", ran.code, ran.stderr);
        // A process that is killed while it writes the newest has the one before.
        let left = ["checkpoint", "checkpoint.last"].map(|name| here.path().join(format!("parts-{at}/{name}")));
        assert!(left.iter().any(|checkpoint| checkpoint.exists()), "{flags}: {}", ran.stderr);
        assert!(
            !here.path().join(format!("parts-{at}/report.json")).exists(),
            "{flags}: it ended before it was caught"
        );
        four(here.path(), &format!("{started} --resume --nodes 4"));
        same_results(here.path(), &format!("whole-{at}"), &format!("parts-{at}"), flags);
        ok(here.path(), &format!("verify parts-{at}"));
    }
}

#[test]
fn a_run_that_is_interrupted_at_node_0_stops_everywhere_and_goes_on_to_the_same_bits() {
    ended_and_resumed("-INT", 0);
}

#[test]
fn a_process_that_is_killed_ends_the_run_and_it_goes_on_to_the_same_bits() {
    ended_and_resumed("-KILL", 2);
}

#[test]
fn so_does_one_whose_first_process_is_killed() {
    ended_and_resumed("-KILL", 0);
}

/// The state in the header of a checkpoint.
fn state(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    serde_json::from_str(header["__metadata__"]["dpsgd"].as_str().unwrap()).unwrap()
}

#[test]
fn nodes_that_trust_nobody_have_keys_of_their_own_which_are_gone_at_the_end() {
    let here = here();
    let line = "train --quiet --threads 1 --transport mpi --algorithm clip21 --unit client --steps 150 --checkpoint-every 0 --out run";
    let mut job = Job::start(here.path(), 4, line);
    for node in 1..4 {
        job.until_there_is(&format!("run/node-{node}/checkpoint.last"));
    }
    job.signal(0, "-INT");
    let ran = job.ended();
    assert!(ran.code.is_some_and(|code| code != 0), "{}", ran.stderr);
    let places = ["run", "run/node-1", "run/node-2", "run/node-3"].map(|place| here.path().join(place));
    let states = places.each_ref().map(|place| state(&place.join("checkpoint")));
    let mut own: Vec<&str> = states.iter().map(|state| state["nodes"]["own_key"].as_str().unwrap()).collect();
    own.extend(states[0]["key"].as_str());
    assert!(states.iter().all(|state| state["key"] == states[0]["key"]), "the shared one is shared");
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), 5, "four of their own, and the one that is shared");
    four(here.path(), &format!("{line} --resume"));
    assert!(places[0].join("model.safetensors").exists());
    for place in &places[1..] {
        assert!(!place.exists(), "{} is left", place.display());
    }
    assert!(!places[0].join("checkpoint").exists());
    ok(here.path(), "verify run");
    let statement = String::from_utf8(file(&places[0], "statement.txt")).unwrap();
    assert!(!statement.contains("was simulated") && !statement.contains("given one seed"), "{statement}");
}

#[test]
fn a_number_of_nodes_that_mpirun_has_not_started_is_refused_once() {
    let here = here();
    for (line, code, word) in [
        ("train --transport mpi --nodes 3 --out run", 2, "--nodes = 3"),
        ("train --transport mpi --algorithm clip21 --local-steps 2 --out run", 2, "--local-steps"),
        ("train --transport mpi --data absent.csv --out run", 2, "absent.csv"),
        ("train --transport mpi --algorithm kgt --unit client --out run", 1, "kgt"),
    ] {
        let ran = Job::start(here.path(), 4, line).ended();
        let said = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>();
        assert!(said.len() == 1 && said[0].contains(word), "{line}: {}", ran.stderr);
        assert_eq!(ran.code, Some(code), "{line}: {}", ran.stderr);
        assert!(!here.path().join("run").exists(), "{line} left something behind");
    }
}

#[test]
fn a_process_reads_the_file_of_its_own_node_alone() {
    let here = here();
    let all = small_csv();
    let lines: Vec<&str> = all.lines().collect();
    for (node, lines) in lines.chunks(15).enumerate() {
        std::fs::write(here.path().join(format!("part-{node}.csv")), lines.join("\n")).unwrap();
    }
    let line =
        "train --quiet --steps 4 --epsilon 6 --partition files --data part-{node}.csv --classes 0,1 --algorithm clip21";
    let together = json(here.path(), &format!("{line} --nodes 4 --seed 2"));
    let apart = four(here.path(), &format!("{line} --transport mpi --seed 2 --format json"));
    let apart: serde_json::Value = serde_json::from_str(&apart.stdout).unwrap();
    assert_eq!(apart["model"]["sha256"], together["model"]["sha256"]);
    assert_eq!(apart["nodes"]["records"], together["nodes"]["records"]);
    assert_eq!((&apart["nodes"]["apart"], &together["nodes"]["apart"]), (&true.into(), &serde_json::Value::Null));
    // Every owner has a budget of their own, which node 0 does not see.
    let ran = Job::start(here.path(), 4, &format!("{line} --transport mpi --ledger owner.json")).ended();
    assert!(ran.code != Some(0) && ran.stderr.contains("budget of one owner"), "{}", ran.stderr);
}

#[test]
fn one_process_where_several_were_meant_is_refused() {
    let here = here();
    let ran = Job::start(here.path(), 1, "train --quiet --data small.csv --steps 2 --transport mpi").ended();
    assert!(ran.code == Some(1) && ran.stderr.contains("give --nodes 1"), "{}", ran.stderr);
}
