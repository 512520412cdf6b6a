//! Nodes on two hosts: network namespaces that share a cable, and nothing else of the network.

use super::{Job, PATIENCE, same_results};
use crate::command_line::{Ran, here, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Two namespaces joined by a pair of devices, which go away with it.
struct Hosts {
    names: [String; 2],
}

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split_whitespace()).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Hosts {
    fn new() -> Result<Self, String> {
        let process = std::process::id();
        let hosts = Self { names: ["a", "b"].map(|end| format!("dpsgd-{process}-{end}")) };
        // Names of devices have at most 15 letters.
        let devices = ["a", "b"].map(|end| format!("dps{process}{end}"));
        for name in &hosts.names {
            ip(&format!("netns add {name}"))?;
        }
        ip(&format!("link add {} type veth peer name {}", devices[0], devices[1]))?;
        for (at, (name, device)) in hosts.names.iter().zip(&devices).enumerate() {
            ip(&format!("link set {device} netns {name}"))?;
            ip(&format!("-n {name} link set {device} name cable"))?;
            ip(&format!("-n {name} addr add 10.77.0.{}/24 dev cable", at + 1))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set cable up"))?;
        }
        Ok(hosts)
    }

    /// What mpirun calls in the place of ssh: `SCRIPT HOST COMMAND...`.
    fn shell(&self, path: &Path) {
        let text = format!(
            "#!/bin/sh\nwhile true; do case \"$1\" in -*) shift;; *) break;; esac; done\nhost=$1; shift\ncase $host in\n  \
             10.77.0.1) name={};;\n  10.77.0.2) name={};;\n  *) echo \"no host $host\" >&2; exit 1;;\nesac\n\
             echo \"$host\" >> hosts-called.txt\nexec ip netns exec \"$name\" sh -c \"$*\"\n",
            self.names[0], self.names[1]
        );
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // What is still running there would keep the devices alive.
        for name in &self.names {
            if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
                for process in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                    Command::new("kill").args(["-KILL", process]).status().ok();
                }
            }
            ip(&format!("netns delete {name}")).ok();
        }
    }
}

/// `dpsgd LINE`, a process on each host, started on the first.
fn on_both(hosts: &Hosts, directory: &Path, line: &str) -> Ran {
    let shell = directory.join("shell");
    hosts.shell(&shell);
    let mpirun = Command::new("ip")
        .args(["netns", "exec", &hosts.names[0], "mpirun", "--allow-run-as-root", "-n", "2"])
        .args(["--host", "10.77.0.1:1,10.77.0.2:1", "--map-by", "node"])
        .args(["--mca", "plm_rsh_agent", shell.to_str().unwrap(), "--mca", "plm_rsh_no_tree_spawn", "1"])
        .args(["--mca", "btl", "tcp,self", "--mca", "pml", "ob1"])
        .args(["--mca", "btl_tcp_if_include", "cable", "--mca", "oob_tcp_if_include", "cable"])
        .args(["--wdir", directory.to_str().unwrap()])
        .args(["sh", "-c", "ip -o -4 addr show dev cable > address-$OMPI_COMM_WORLD_RANK.txt; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_dpsgd"))
        .args(line.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(directory.join("stdout.txt")).unwrap())
        .stderr(std::fs::File::create(directory.join("stderr.txt")).unwrap())
        .spawn()
        .unwrap();
    Job { mpirun, directory: directory.to_path_buf() }.ended()
}

#[test]
fn hosts_that_share_a_cable_alone_train_the_model_of_two_nodes() {
    let hosts = match Hosts::new() {
        Ok(hosts) => hosts,
        Err(reason) => {
            eprintln!("SKIPPED: no two hosts here, as this needs root and `ip netns`: {reason}");
            return;
        }
    };
    let (here, since) = (here(), Instant::now());
    for (at, flags) in ["--algorithm dp-sgd", "--algorithm kgt --local-steps 2", "--algorithm dcgd --compress top-k:5%"]
        .into_iter()
        .enumerate()
    {
        let line = format!("train --quiet --threads 1 --steps 4 --partition label --seed 8 {flags}");
        json(here.path(), &format!("{line} --nodes 2 --out one-{at}"));
        on_both(&hosts, here.path(), &format!("{line} --transport mpi --out both-{at}")).well();
        same_results(here.path(), &format!("one-{at}"), &format!("both-{at}"), flags);
        let address = |rank| std::fs::read_to_string(here.path().join(format!("address-{rank}.txt"))).unwrap();
        assert!(
            address(0).contains("10.77.0.1/") && address(1).contains("10.77.0.2/"),
            "{} {}",
            address(0),
            address(1)
        );
    }
    assert!(since.elapsed() < PATIENCE * 3);
}
