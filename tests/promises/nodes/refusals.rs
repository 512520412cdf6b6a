//! What does not belong together is refused, with the reason and a way out.

use crate::bad_input::faults;
use crate::command_line::{dpsgd, here};

/// Flags after `train --data small.csv --steps 2`, the exit code, words of the first line on stderr. Wrong values have 2, and what is
/// refused for a reason 1.
type Row = (&'static str, i32, &'static [&'static str]);

const REFUSED: &[Row] = &[
    ("--algorithm clip21", 2, &["--algorithm", "without --nodes"]),
    ("--trust local", 2, &["--trust", "without --nodes"]),
    ("--partition label", 2, &["--partition", "without --nodes"]),
    ("--unit client", 2, &["--unit", "without --nodes"]),
    ("--clipped examples", 2, &["--clipped", "without --nodes"]),
    ("--local-steps 2", 2, &["--local-steps", "nothing beside one machine"]),
    ("--nodes 0", 2, &["--nodes", "0"]),
    ("--nodes 3 --algorithm adam", 2, &["--algorithm", "adam"]),
    ("--nodes 3 --trust local", 1, &["refused", "trust each other", "clip21-sgd2m"]),
    ("--nodes 3 --trust local --algorithm dp-sgd", 1, &["refused", "trust each other"]),
    ("--nodes 3 --unit client", 1, &["refused", "dp-sgd clips the gradient of every example", "clip21"]),
    ("--nodes 3 --clipped messages", 1, &["refused", "dp-sgd"]),
    ("--nodes 3 --wire-width f64", 2, &["--wire-width", "dp-sgd"]),
    (
        "--nodes 3 --algorithm clip21 --unit client --clipped examples",
        1,
        &["refused", "clipping every example does not bound", "unit record"],
    ),
    (
        "--nodes 3 --algorithm clip21 --clipped messages",
        1,
        &["refused", "sampling records amplifies nothing", "unit client"],
    ),
    (
        "--nodes 3 --algorithm clip21 --clipped messages --batch-size 60",
        1,
        &["refused", "replaced client", "--unit client --relation replace"],
    ),
    ("--nodes 3 --algorithm kgt --unit client", 1, &["refused", "kgt", "no radius", "clip21-sgd2m"]),
    ("--nodes 3 --algorithm dice-sgd --unit client", 1, &["refused", "dice-sgd", "no radius"]),
    ("--nodes 3 --algorithm clip21 --unit client --trust central --memory public", 2, &["memory", "public", "hidden"]),
    (
        "--nodes 3 --algorithm clip21 --unit client --relation add-remove",
        2,
        &["relation", "add-remove", "zero-out", "replace"],
    ),
    (
        "--nodes 3 --algorithm clip21 --unit client --trust central --relation zero-out",
        2,
        &["relation", "zero-out", "add-remove", "replace"],
    ),
    (
        "--nodes 3 --algorithm clip21 --unit client --trust central --relation replace --participants 2",
        1,
        &["refused", "neighbour absent"],
    ),
    ("--nodes 3 --algorithm clip21 --unit client --clip-norm 1", 2, &["--clip-norm", "--message-clip"]),
    ("--nodes 3 --algorithm clip21 --unit client --batch-size 0", 2, &["batch", "0", "60"]),
    ("--nodes 3 --algorithm clip21 --unit client --batch-size 61", 2, &["batch", "61", "60"]),
    ("--nodes 3 --algorithm clip21 --batch-size 61", 2, &["batch", "61", "60"]),
    ("--nodes 3 --algorithm clip21 --unit client --batch-size 18446744073709551615", 2, &["batch", "60"]),
    (
        "--nodes 3 --algorithm clip21 --clipping adaptive --clipping-count-noise 30",
        1,
        &["refused", "adaptive", "dp-sgd"],
    ),
    ("--nodes 3 --algorithm clip21 --noise tree", 1, &["refused", "correlated noise", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --noise banded", 1, &["refused", "correlated noise", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --noise-schedule 1.2..0.8/4", 1, &["refused", "schedule", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --clip-schedule 1.2..0.8/4", 1, &["refused", "schedule", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --perturbation 0.5", 1, &["refused", "--perturbation", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --symmetry 8", 1, &["refused", "--symmetry", "dp-sgd"]),
    ("--nodes 3 --algorithm clip21 --optimizer adam", 1, &["refused", "optimiser", "dp-sgd", "--learning-rate"]),
    ("--nodes 3 --algorithm clip21 --momentum 0.5", 1, &["refused", "optimiser", "--learning-rate"]),
    ("--nodes 3 --algorithm clip21 --ema 0.9", 1, &["refused", "average", "--learning-rate"]),
    ("--nodes 3 --algorithm clip21 --schedule linear", 1, &["refused", "schedule", "--learning-rate"]),
    (
        "--nodes 3 --algorithm clip21 --shape 1x3 --augmentation 2 --augment flip",
        1,
        &["refused", "--augmentation", "dp-sgd"],
    ),
    ("--nodes 3 --algorithm clip21 --local-steps 2", 2, &["--local-steps", "nothing beside clip21"]),
    ("--nodes 3 --algorithm kgt --message-clip 1", 2, &["--message-clip", "nothing beside kgt"]),
    ("--nodes 3 --algorithm clip-gd --participants 2", 2, &["--participants", "nothing beside clip-gd"]),
    ("--nodes 3 --algorithm celgc", 2, &["--longest-step", "missing", "celgc"]),
    ("--nodes 3 --algorithm celgc --longest-step 0", 2, &["longest", "0"]),
    ("--nodes 3 --algorithm celgc --longest-step -1", 2, &["longest", "-1"]),
    ("--nodes 3 --algorithm local-sgd --longest-step 1", 2, &["--longest-step", "local-sgd"]),
    ("--nodes 3 --algorithm local-sgd --local-steps 0", 2, &["--local-steps", "0"]),
    ("--nodes 3 --algorithm clip21 --message-clip 0", 2, &["0", "above 0"]),
    ("--nodes 3 --algorithm clip21 --message-clip NaN", 2, &["NaN", "finite"]),
    ("--nodes 3 --algorithm clip21-sgd2m --client-momentum 2", 2, &["momentum", "2"]),
    ("--nodes 3 --algorithm norm-ec --smoothing -1", 2, &["-1"]),
    ("--nodes 3 --algorithm norm-ec --memory-rate -1", 2, &["rate", "-1"]),
    ("--nodes 3 --algorithm dcgd --compress best", 2, &["--compress", "best"]),
    ("--nodes 3 --algorithm dcgd --compress top-k:0", 2, &["0"]),
    ("--nodes 3 --algorithm clip21 --learning-rate -1", 2, &["-1"]),
    ("--nodes 3 --algorithm ef21 --steps 1 --first-memory zero", 2, &["--steps", "1", "2"]),
    ("--nodes 3 --algorithm clip21 --unit client --ledger shared.json", 1, &["refused", "--ledger and --extend count"]),
    ("--nodes 3 --algorithm clip21 --unit client --participants 4", 2, &["participants", "4", "3"]),
    ("--nodes 3 --algorithm clip21 --unit client --participants 0", 2, &["--participants", "0"]),
    ("--nodes 7 --algorithm kgt --topology torus", 2, &["torus", "7"]),
    ("--nodes 3 --algorithm kgt --topology moebius", 2, &["topology", "moebius", "ring"]),
    ("--nodes 3 --algorithm kgt --topology file:absent", 2, &["absent"]),
    ("--nodes 3 --partition files", 2, &["--partition", "files", "{node}"]),
    ("--nodes 3 --partition dirichlet:0", 2, &["Dirichlet", "0", "1e-9"]),
    ("--nodes 3 --partition similarity:2", 2, &["2", "0 to 1"]),
    ("--nodes 3 --partition fairly", 2, &["--partition", "fairly"]),
    ("--nodes 3 --algorithm clip21 --unit none --epsilon 1", 2, &["--epsilon", "--unit none"]),
    ("--nodes 3 --algorithm clip21 --unit none", 2, &["--out", "--unit none"]),
    ("--nodes 3 --algorithm clip21 --epsilon 0.0001 --noise-multiplier 1", 1, &["refused", "epsilon"]),
];

#[test]
fn what_does_not_belong_together_is_refused_with_its_reason() {
    let here = here();
    let mut all = Vec::new();
    for (flags, code, words) in REFUSED {
        let steps = if flags.contains("--steps") { "" } else { "--steps 2" };
        let line = format!("train --data small.csv {steps} --quiet --out new {flags}");
        all.extend(faults(here.path(), &line, *code, words));
    }
    let line = "train --quiet --out new --steps 2 --data part-{node}.csv --nodes 2";
    std::fs::write(here.path().join("part-0.csv"), "1,2,0\n3,4,1\n").unwrap();
    std::fs::write(here.path().join("part-1.csv"), "1,2,0\n3,4,1\n").unwrap();
    all.extend(faults(here.path(), line, 2, &["--data", "--partition files"]));
    let line = "train --quiet --out new --steps 2 --data part-{node}.csv";
    all.extend(faults(here.path(), line, 2, &["--data", "{node}", "--nodes"]));
    assert!(all.is_empty(), "\n{}", all.concat());
}

#[cfg(not(feature = "mpi"))]
#[test]
fn mpi_without_its_feature_names_the_feature() {
    let here = here();
    for line in ["train --transport mpi --out new", "train --transport mpi --nodes 4 --algorithm clip21 --out new"] {
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert!(ran.first_line().contains("--features mpi"), "{}", ran.stderr);
        assert!(matches!(ran.code, Some(1 | 2)) && !here.path().join("new").exists(), "{:?}", ran.code);
    }
}

#[test]
fn messages_of_clients_have_a_radius_only_where_they_are_clipped() {
    // The control of the rows above: what has a radius is not refused.
    let here = here();
    for algorithm in ["clip-gd", "clip21", "clip21-sgd2m", "norm-ec"] {
        let line = format!("train --quiet --data small.csv --nodes 3 --steps 2 --unit client --algorithm {algorithm}");
        let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ran.code, Some(0), "{algorithm}: {}", ran.stderr);
    }
}

#[test]
fn processes_of_mpirun_that_do_not_know_of_each_other_are_refused() {
    let here = here();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_dpsgd"))
        .args(["train", "--quiet", "--data", "small.csv", "--steps", "2"])
        .current_dir(here.path())
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(1) && said.contains("add --transport mpi"), "{said}");
}
