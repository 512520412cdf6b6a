//! One contract for every transport: the same bits and the same counts of bytes, whoever moves them.
//!
//! `Local` is the reference, and is held to what it should say; MPI runs the same in four processes beside it.

use dpsgd::distributed::transport::Traffic;
use dpsgd::distributed::wire::Message;
use dpsgd::distributed::{Local, Transport, Width};

/// Numbers without a pattern, of very different sizes: their sums depend on the order.
fn vector(node: usize, length: usize) -> Vec<f64> {
    let mix = |i: u64| (i ^ (i >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = |i: usize| {
        let bits = mix(mix((node * 1_000_003 + i + 1) as u64));
        ((bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 10_f64.powi((bits % 17) as i32 - 8)
    };
    (0..length).map(number).collect()
}

fn message(node: usize) -> Message {
    vec![node as u8; 3 * node].into()
}

/// Everything a process sees of one pass through the contract, its own traffic at the end.
#[derive(Debug, PartialEq)]
struct Seen {
    sums: Vec<Vec<u64>>,
    collected: Option<Vec<Message>>,
    broadcast: Message,
    exchanged: Vec<Vec<Message>>,
    moved: Vec<(u64, u64)>,
}

/// A ring and, where there are enough nodes, one more edge.
fn peers(nodes: usize) -> Vec<Vec<usize>> {
    let mut peers: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut edge = |a: usize, b: usize| {
        if a != b && !peers[a].contains(&b) {
            peers[a].push(b);
            peers[b].push(a);
        }
    };
    (0..nodes).for_each(|node| edge(node, (node + 1) % nodes));
    edge(0, nodes / 2);
    peers
}

fn pass(transport: &mut dyn Transport) -> Seen {
    let hosted = transport.hosted();
    let mut sums = Vec::new();
    for length in [0, 1, 3, 10_000] {
        for width in [Width::F32, Width::F64] {
            let vectors: Vec<Vec<f64>> = hosted.clone().map(|node| vector(node, length)).collect();
            let sum = transport.all_reduce_sum(&vectors, width).unwrap();
            sums.push(sum.iter().map(|x| x.to_bits()).collect());
        }
    }
    let collected = transport.collect(hosted.clone().map(message).collect()).unwrap();
    let said = hosted.contains(&0).then(|| Message::from(*b"from node 0"));
    let broadcast = transport.broadcast(said).unwrap();
    let peers = peers(transport.nodes());
    let exchanged = transport.exchange(&peers, hosted.map(message).collect()).unwrap();
    let moved = transport.traffic().iter().map(|traffic| (traffic.sent, traffic.received)).collect();
    Seen { sums, collected, broadcast, exchanged, moved }
}

#[test]
fn sums_are_taken_in_the_order_of_nodes_and_messages_arrive() {
    for nodes in [1, 2, 3, 4, 7] {
        let seen = pass(&mut Local::new(nodes).unwrap());
        for (k, (length, width)) in
            [0, 1, 3, 10_000].iter().flat_map(|n| [(*n, Width::F32), (*n, Width::F64)]).enumerate()
        {
            let mut sum = vec![0.0; length];
            for node in 0..nodes {
                sum.iter_mut().zip(vector(node, length)).for_each(|(sum, x)| *sum += width.rounded(x));
            }
            let expected: Vec<u64> = sum.iter().map(|x| width.rounded(*x).to_bits()).collect();
            assert!(seen.sums[k] == expected, "{length} numbers of {nodes} nodes at {width:?}");
        }
        assert_eq!(seen.collected.unwrap(), (0..nodes).map(message).collect::<Vec<_>>());
        assert_eq!(&*seen.broadcast, b"from node 0");
        for (of_node, peers) in seen.exchanged.iter().zip(peers(nodes)) {
            assert_eq!(*of_node, peers.into_iter().map(message).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_all_reduce_moves_no_more_than_the_least_that_is_possible() {
    // 2 (n - 1) / n vectors in and out of every node (Patarasuk and Yuan 2009), but for shares that are not equal.
    for (nodes, length) in [(2, 26_010), (4, 26_010), (10, 1000), (3, 2)] {
        let mut local = Local::new(nodes).unwrap();
        local.all_reduce_sum(&vec![vec![0.0; length]; nodes], Width::F64).unwrap();
        let least = 2.0 * (nodes - 1) as f64 / nodes as f64 * (8 * length) as f64;
        let sent: u64 = local.traffic().iter().map(|traffic| traffic.sent).sum();
        assert_eq!(sent as f64, least * nodes as f64);
        for Traffic { sent, received, .. } in local.traffic() {
            let off = (*sent as f64 - least).abs().max((*received as f64 - least).abs());
            assert!(off <= 8.0 * nodes as f64, "{off} of {least} bytes with {nodes} nodes");
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    assert!(Local::new(0).is_err());
    let mut local = Local::new(3).unwrap();
    let three = |n: usize| vec![message(1); n];
    assert!(local.all_reduce_sum(&vec![vec![0.0]; 2], Width::F64).is_err());
    assert!(local.all_reduce_sum(&[vec![0.0], vec![0.0], vec![0.0, 1.0]], Width::F64).is_err());
    assert!(local.collect(three(2)).is_err());
    assert!(local.broadcast(None).is_err());
    // Not of all nodes, not mutual, not there, oneself, twice.
    for peers in [
        vec![vec![1], vec![0]],
        vec![vec![1], vec![], vec![]],
        vec![vec![3], vec![], vec![]],
        vec![vec![0], vec![], vec![]],
        vec![vec![1, 1], vec![0], vec![]],
    ] {
        assert!(local.exchange(&peers, three(3)).is_err(), "{peers:?}");
    }
    assert!(local.traffic().iter().all(|traffic| traffic.sent == 0));
}

#[cfg(not(feature = "mpi"))]
#[test]
fn without_the_feature_mpi_says_which_feature_to_build_with() {
    let error = dpsgd::distributed::Mpi::start().unwrap_err().to_string();
    assert!(error.contains("--features mpi"), "{error}");
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::{Local, Seen, pass};
    use crate::distributed::mpirun;
    use dpsgd::distributed::{Mpi, Transport};

    #[test]
    fn four_processes_see_what_four_nodes_of_one_process_see() {
        mpirun::or_inside("distributed::transport::mpi::four_processes_see_what_four_nodes_of_one_process_see", || {
            let mut mpi = Mpi::start().unwrap();
            assert_eq!(mpi.nodes(), 4);
            let rank = mpi.hosted().start;
            let Seen { sums, collected, broadcast, exchanged, moved } = pass(&mut Local::new(4).unwrap());
            let expected = Seen {
                sums,
                collected: collected.filter(|_| rank == 0),
                broadcast,
                exchanged: vec![exchanged[rank].clone()],
                moved: vec![moved[rank]],
            };
            let seen = pass(&mut mpi);
            mpirun::same(&mpi, seen == expected);
        });
    }
}
