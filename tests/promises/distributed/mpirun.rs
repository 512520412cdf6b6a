//! Tests in processes of their own: this test program, run by `mpirun`.

use dpsgd::distributed::{Mpi, Transport};
use std::process::Command;

/// Set where this test program is run by `mpirun`.
const INSIDE: &str = "DPSGD_TEST_INSIDE_MPIRUN";
/// What a process says that has seen what it should.
const SAME: &str = "as four nodes of one process";

/// Runs `inside` in four processes of this program, as the test of this name, and asks that each says [`same`].
pub(crate) fn or_inside(name: &str, inside: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let output = Command::new("mpirun")
        .args(["-n", "4", "--allow-run-as-root", "--oversubscribe"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("mpirun of Open MPI (Debian: openmpi-bin)");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(SAME).count(), 4, "{said}");
}

/// Says whether this process has seen what it should; if not, the run ends in all processes.
pub(crate) fn same(mpi: &Mpi, same: bool) {
    let node = mpi.hosted().start;
    if !same {
        eprintln!("node {node} has something else than node {node} of one process");
        mpi.abort(1);
    }
    println!("node {node}: {SAME}");
}
