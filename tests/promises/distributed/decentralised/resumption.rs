//! A run that was cut off goes on to the same bits, nodes may be anywhere, and what they say is counted.

use super::noise::Noisy;
use crate::distributed::Member;
use crate::distributed::apart::Apart;
use dpsgd::distributed::objective::Quadratic;
use dpsgd::distributed::transport::Traffic;
use dpsgd::distributed::{
    Algorithm, Dsgd, Gossip, GradientTracking, Kgt, Local, Nodes, Oracle, Scaffold, Start, Topology, Transport,
    Variate, Width,
};
use dpsgd::seed::Key;

const NODES: usize = 6;

/// Every algorithm with `hosted` nodes in a process; vectors have two numbers.
fn algorithms(hosted: usize, width: Width) -> Vec<Box<dyn Algorithm>> {
    let gossip = || Gossip::new(Topology::Torus.mixing(NODES, &Key::from_seed(0)).unwrap(), width);
    let start = || vec![0.5, -1.5];
    let mut all: Vec<Box<dyn Algorithm>> = vec![Box::new(Dsgd::new(start(), hosted, 0.1, 3, gossip()).unwrap())];
    for from in [Start::Mean, Start::Own] {
        all.push(Box::new(Kgt::new(start(), hosted, (0.1, 0.7), 3, from, gossip()).unwrap()));
        all.push(Box::new(GradientTracking::new(start(), hosted, 0.1, 3, from, gossip()).unwrap()));
        for variate in [Variate::Gradient, Variate::Steps] {
            all.push(Box::new(Scaffold::new(start(), hosted, (0.1, 0.7), 3, (variate, from), width).unwrap()));
        }
    }
    all
}

/// With all nodes in one process.
pub(crate) fn members() -> Vec<Member> {
    let member = |algorithm| Member { algorithm, nodes: NODES, private: false };
    algorithms(NODES, Width::F64).into_iter().map(member).collect()
}

fn oracle(node: usize) -> Box<dyn Oracle> {
    let objective = Quadratic::around(&[node as f64, -1.0 / 3.0], 0.25 + node as f64 / 7.0);
    Box::new(Noisy::new(objective, Key::from_seed(node as u64)))
}

fn together() -> (Nodes<'static>, Local) {
    (Nodes::new(0, (0..NODES).map(oracle).collect()).unwrap(), Local::new(NODES).unwrap())
}

fn rounds(algorithm: &mut dyn Algorithm, nodes: &mut Nodes<'_>, transport: &mut dyn Transport, rounds: u32) {
    (0..rounds).for_each(|_| drop(algorithm.round(nodes, transport).unwrap()));
}

#[test]
fn a_run_that_was_cut_off_goes_on_to_the_same_bits() {
    for width in [Width::F64, Width::F32] {
        for which in 0..algorithms(NODES, width).len() {
            let fresh = || algorithms(NODES, width).remove(which);
            let (mut whole, (mut nodes, mut local)) = (fresh(), together());
            rounds(whole.as_mut(), &mut nodes, &mut local, 5);
            for cut in [0, 1, 3] {
                let (mut first, (mut nodes, mut local)) = (fresh(), together());
                rounds(first.as_mut(), &mut nodes, &mut local, cut);
                let (state, answers) = (first.state(), nodes.answers());
                let text = serde_json::to_string(&state).unwrap();
                for known in [true, false] {
                    let (mut second, (mut nodes, mut local)) = (fresh(), together());
                    second.resume(serde_json::from_str(&text).unwrap()).unwrap();
                    if known {
                        nodes.resume(&answers).unwrap();
                    }
                    rounds(second.as_mut(), &mut nodes, &mut local, 5 - cut);
                    // Nodes that are not put back give other answers.
                    assert_eq!(second.state() == whole.state(), known || cut == 0, "{} cut at {cut}", whole.name());
                }
            }
        }
    }
}

#[test]
fn a_state_of_others_is_refused() {
    for which in 0..algorithms(NODES, Width::F64).len() {
        let mut algorithm = algorithms(NODES, Width::F64).remove(which);
        let names: Vec<String> = algorithm.state().vectors.keys().cloned().collect();
        for name in names {
            let (mut without, mut shorter) = (algorithm.state(), algorithm.state());
            without.vectors.remove(&name);
            shorter.vectors.get_mut(&name).unwrap()[0].pop();
            assert!(algorithm.resume(without).is_err() && algorithm.resume(shorter).is_err(), "{name}");
        }
        let mut full = algorithm.state();
        full.rounds = u32::MAX;
        algorithm.resume(full).unwrap();
        let (mut nodes, mut local) = together();
        assert!(algorithm.round(&mut nodes, &mut local).is_err(), "a round beyond the last that can be counted");
    }
}

/// Points of all nodes after four rounds, and what each node has moved, with a process for every node.
fn one_each(which: usize, width: Width) -> (Vec<Vec<f64>>, Vec<Traffic>) {
    let alone = |mut transport: Apart| {
        let node = transport.hosted().start;
        let mut algorithm = algorithms(1, width).remove(which);
        let mut nodes = Nodes::new(node, vec![oracle(node)]).unwrap();
        rounds(algorithm.as_mut(), &mut nodes, &mut transport, 4);
        (algorithm.points()[0].to_vec(), transport.traffic()[0])
    };
    std::thread::scope(|scope| {
        let processes: Vec<_> = Apart::all(NODES).into_iter().map(|t| scope.spawn(move || alone(t))).collect();
        processes.into_iter().map(|process| process.join().unwrap()).unzip()
    })
}

#[test]
fn a_process_for_every_node_gives_the_same_bits_as_one_for_all() {
    for width in [Width::F64, Width::F32] {
        for which in 0..algorithms(NODES, width).len() {
            let (mut algorithm, (mut nodes, mut local)) = (algorithms(NODES, width).remove(which), together());
            rounds(algorithm.as_mut(), &mut nodes, &mut local, 4);
            let (apart, _) = one_each(which, width);
            for (node, point) in apart.iter().enumerate() {
                let points = algorithm.points();
                let here = points.get(node).unwrap_or(&points[0]);
                assert_eq!(point, here, "node {node} of {} at {width:?}", algorithm.name());
            }
        }
    }
}

#[test]
fn tracking_says_twice_what_dsgd_says() {
    let sent = |algorithm: &mut dyn Algorithm, count: u32| {
        let (mut nodes, mut local) = together();
        rounds(algorithm, &mut nodes, &mut local, count);
        local.traffic().iter().map(|traffic| traffic.sent).collect::<Vec<_>>()
    };
    for width in [Width::F64, Width::F32] {
        let torus = Topology::Torus.mixing(NODES, &Key::from_seed(0)).unwrap();
        // Vectors have two numbers.
        let round =
            |vectors: usize| torus.peers().iter().map(move |peers| (peers.len() * vectors * 2 * width.bytes()) as u64);
        let [first, second] = [1, 2].map(|vectors| round(vectors).collect::<Vec<_>>());
        let per_round = |which: usize| {
            let of = |count| sent(algorithms(NODES, width).remove(which).as_mut(), count);
            of(3).into_iter().zip(of(2)).map(|(more, less)| more - less).collect::<Vec<_>>()
        };
        assert_eq!(per_round(0), first);
        for which in [1, 2, 5, 6] {
            assert_eq!(per_round(which), second, "{}", algorithms(NODES, width)[which].name());
        }
    }
}

#[test]
fn steps_that_are_none_and_nodes_that_do_not_mix_are_refused() {
    let gossip = || Gossip::new(Topology::Ring.mixing(NODES, &Key::from_seed(0)).unwrap(), Width::F64);
    let start = || vec![0.0; 2];
    let scaffold = |steps, count| Scaffold::new(start(), 6, steps, count, (Variate::Steps, Start::Own), Width::F64);
    for (step, count) in [(0.0, 1), (-0.1, 1), (f64::NAN, 1), (f64::INFINITY, 1), (0.1, 0)] {
        assert!(Dsgd::new(start(), 6, step, count, gossip()).is_err(), "{count} steps of {step}");
        assert!(GradientTracking::new(start(), 6, step, count, Start::Own, gossip()).is_err());
        assert!(Kgt::new(start(), 6, (step, 1.0), count, Start::Own, gossip()).is_err());
        assert!(scaffold((step, 1.0), count).is_err());
        // The outer step as well.
        let outer = if count == 0 { f64::NAN } else { step };
        assert!(Kgt::new(start(), 6, (0.1, outer), 1, Start::Own, gossip()).is_err());
        assert!(scaffold((0.1, outer), 1).is_err());
    }
    let (five, six, two) = (&mut Local::new(5).unwrap(), &mut Local::new(6).unwrap(), || vec![1.0, 2.0]);
    assert!(gossip().mix(&vec![[two()]; 6], six).is_ok());
    assert!(gossip().mix(&vec![[two()]; 5], six).is_err() && gossip().mix(&vec![[two()]; 5], five).is_err());
    assert!(gossip().mix(&vec![[two(), vec![1.0]]; 6], six).is_err());
}
