//! What every algorithm of every family does with answers that are no numbers, and with states that are not its own.

use super::{Member, compression, contract, decentralised, formula, hosted};
use dpsgd::distributed::Nodes;
use dpsgd::distributed::algorithm::State;
use dpsgd::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

fn members() -> Vec<Member> {
    [contract::members(), compression::contract::members(), decentralised::resumption::members()]
        .into_iter()
        .flatten()
        .collect()
}

/// How many types below a directory are algorithms.
fn algorithms(directory: &Path) -> usize {
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return algorithms(&path);
        }
        std::fs::read_to_string(path).unwrap().lines().filter(|line| line.starts_with("impl Algorithm for ")).count()
    };
    std::fs::read_dir(directory).unwrap().map(count).sum()
}

#[test]
fn every_algorithm_is_a_member_and_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = members().iter().map(|member| member.algorithm.name()).collect();
    let all = algorithms(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/distributed"));
    assert_eq!(names.len(), all, "{names:?}");
}

/// The state after six rounds in which node 1 gives the answer number `which` as `answer`, if that is said, or the error.
fn run(member: &mut Member, wrong: Option<(u32, f64)>) -> Result<State> {
    let dim = member.algorithm.points()[0].len();
    let oracle = |node: usize| {
        formula(dim, move |x, answer| match wrong {
            Some((which, value)) if (node, answer) == (1, which) => vec![value; dim],
            _ => x.iter().map(|x| 0.3 * (x - node as f64 - 0.25)).collect(),
        })
    };
    let (mut nodes, mut local): (Nodes<'_>, _) = hosted((0..member.nodes).map(oracle).collect());
    for _ in 0..6 {
        member.algorithm.round(&mut nodes, &mut local)?;
    }
    // The answer was asked for.
    assert!(wrong.is_none_or(|(which, _)| nodes.answers()[1] > which), "{}", member.algorithm.name());
    Ok(member.algorithm.state())
}

const NO_NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

#[test]
fn an_answer_that_is_no_number_ends_the_round_and_its_node_is_named() {
    for which in 0..members().len() {
        let member = || members().remove(which);
        if member().private {
            continue;
        }
        let name = member().algorithm.name();
        run(&mut member(), None).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The first answer may be that of a start, the second a local step.
        for answer in [0, 1, 2] {
            for value in NO_NUMBERS {
                let ended = run(&mut member(), Some((answer, value)));
                let named = matches!(&ended, Err(Error::Node { node: 1, reason }) if reason.contains("finite"));
                assert!(named, "{name}, answer {answer} of {value}: {ended:?}");
            }
        }
    }
}

#[test]
fn under_noise_an_answer_that_is_no_number_leaves_no_trace_that_is_none() {
    for which in (0..members().len()).filter(|which| members()[*which].private) {
        let member = || members().remove(which);
        let name = member().algorithm.name();
        let usual = run(&mut member(), None).unwrap();
        for answer in [0, 1, 2] {
            for value in NO_NUMBERS {
                let state = run(&mut member(), Some((answer, value))).unwrap();
                let finite = state.vectors.values().flatten().flatten().all(|x| x.is_finite());
                assert!(finite, "{name}, answer {answer} of {value}: {state:?}");
                assert_ne!(state, usual, "{name} has not seen answer {answer}");
            }
        }
    }
}

#[test]
fn the_state_of_another_algorithm_is_refused_and_changes_nothing() {
    let names: BTreeSet<&str> = members().iter().map(|member| member.algorithm.name()).collect();
    for mut member in members() {
        let mut state = run(&mut member, None).unwrap();
        let name = member.algorithm.name();
        for other in names.iter().filter(|other| **other != name) {
            // All else is as it must be.
            state.algorithm = other.to_string();
            state.rounds += 1;
            let before = member.algorithm.state();
            let refused = member.algorithm.resume(state.clone());
            let named = matches!(&refused, Err(Error::Refused { reason }) if reason.contains(*other));
            assert!(named, "{name} from {other}: {refused:?}");
            assert_eq!(member.algorithm.state(), before, "{name} from {other}");
        }
        state.algorithm = name.to_string();
        member.algorithm.resume(state.clone()).unwrap();
        assert_eq!(member.algorithm.state(), state, "{name}");
    }
}
