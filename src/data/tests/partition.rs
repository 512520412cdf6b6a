//! Every record is on one node, and nodes are as alike or as different as the partition says.

use super::super::Partition;
use crate::seed::Key;
use std::collections::BTreeSet;

const WORDS: [&str; 9] = [
    "iid",
    "label",
    "sequential",
    "dirichlet:0.000001",
    "dirichlet:0.5",
    "dirichlet:1000000000",
    "similarity:0",
    "similarity:0.3",
    "similarity:1",
];

/// Ten classes of 100 records, in turn.
fn balanced() -> Vec<u32> {
    (0..1000).map(|row| row % 10).collect()
}

/// Classes of very different sizes, whose numbers have gaps.
fn unbalanced() -> Vec<u32> {
    (0..1237).map(|row: u32| [0, 3, 3, 3, 70_000, u32::MAX][(row * row % 101 % 6) as usize]).collect()
}

fn shards(word: &str, labels: &[u32], nodes: usize, seed: u64) -> Vec<Vec<usize>> {
    word.parse::<Partition>().unwrap().shards(labels, nodes, &Key::from_seed(seed)).unwrap()
}

/// How many records of each of ten classes a node has.
fn counts(rows: &[usize], labels: &[u32]) -> Vec<usize> {
    (0..10).map(|class| rows.iter().filter(|row| labels[**row] == class).count()).collect()
}

#[test]
fn every_record_is_on_one_node() {
    for word in WORDS {
        for (labels, nodes) in [(balanced(), 10), (unbalanced(), 7), (unbalanced(), 1), (vec![4, 4, 2], 5), (vec![], 2)]
        {
            let shards = shards(word, &labels, nodes, 1);
            assert_eq!(shards.len(), nodes, "{word}");
            assert!(shards.iter().all(|rows| rows.is_sorted()), "{word}");
            let mut rows = shards.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..labels.len()).collect::<Vec<_>>(), "{word}, {nodes} nodes");
        }
    }
}

#[test]
fn shards_follow_from_the_key_where_they_are_random() {
    for word in WORDS {
        let (labels, first) = (unbalanced(), shards(word, &unbalanced(), 7, 1));
        assert_eq!(first, shards(word, &labels, 7, 1), "{word}");
        let random = !["label", "sequential", "similarity:0"].contains(&word);
        assert_eq!(first != shards(word, &labels, 7, 2), random, "{word}");
    }
}

#[test]
fn slices_are_equal_but_for_one_record() {
    for word in ["iid", "label", "sequential", "similarity:1", "similarity:0.3"] {
        for nodes in [1, 7, 10, 1236, 1300] {
            let sizes: Vec<usize> = shards(word, &unbalanced(), nodes, 3).iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{word} on {nodes} nodes: {least} to {most}");
        }
    }
}

#[test]
fn sorted_by_label_ten_nodes_have_a_class_each() {
    let labels = balanced();
    for (node, rows) in shards("label", &labels, 10, 1).iter().enumerate() {
        assert_eq!(rows.iter().map(|row| labels[*row]).collect::<BTreeSet<_>>(), BTreeSet::from([node as u32]));
    }
    // On five, two each; without similarity it is the same partition.
    assert!(
        shards("label", &labels, 5, 1).iter().all(|rows| {
            counts(rows, &labels).iter().filter(|count| **count == 100).count() == 2 && rows.len() == 200
        })
    );
    assert_eq!(shards("similarity:0", &unbalanced(), 7, 1), shards("label", &unbalanced(), 7, 1));
    assert_eq!(shards("sequential", &[9, 1, 9, 1, 5], 2, 1), [vec![0, 1, 2], vec![3, 4]]);
}

#[test]
fn a_large_concentration_gives_every_node_its_share_and_a_small_one_every_class_to_a_node() {
    let labels = balanced();
    // A tenth of 100 records each. Cuts are wrong by 100 * 5e-6 records at one standard deviation: never by a half.
    let alike = shards("dirichlet:1000000000", &labels, 10, 4);
    assert!(alike.iter().all(|rows| counts(rows, &labels) == [10; 10]), "{alike:?}");
    // A second node has a record with a chance of 5e-5 for each class: false alarm below 1e-3.
    let apart = shards("dirichlet:0.000001", &labels, 10, 4);
    assert!(apart.iter().all(|rows| counts(rows, &labels).iter().all(|count| [0, 100].contains(count))), "{apart:?}");
    // The control: between the two, some class is on several nodes and not in equal parts.
    let between = shards("dirichlet:0.5", &labels, 10, 4);
    assert!(between.iter().any(|rows| counts(rows, &labels).iter().any(|count| ![0, 10, 100].contains(count))));
}

#[test]
fn similar_nodes_are_alike() {
    let labels = balanced();
    // Pearson's statistic of nodes against classes: chi-square with 81 degrees of freedom is above 160 with a chance of
    // 5e-7.
    let unlike = |word: &str| {
        let counts = shards(word, &labels, 10, 5).iter().flat_map(|rows| counts(rows, &labels)).collect::<Vec<_>>();
        counts.iter().map(|count| (*count as f64 - 10.0).powi(2) / 10.0).sum::<f64>()
    };
    assert!(unlike("iid") < 160.0 && unlike("similarity:1") < 160.0, "{} {}", unlike("iid"), unlike("similarity:1"));
    // The controls. With a share s alike, a node has about 10 s records of nine classes and 100 - 90 s of one: the
    // statistic is near 9000 (1 - s)^2.
    assert_eq!(unlike("label"), 9000.0);
    let half = unlike("similarity:0.5");
    assert!((half / 2250.0 - 1.0).abs() < 0.2, "{half}");
}

#[test]
fn words_read_back_and_others_are_refused() {
    for word in ["iid", "label", "sequential", "dirichlet:0.5", "similarity:0.3"] {
        let partition: Partition = word.parse().unwrap();
        assert_eq!(partition.to_string(), word);
        let json = serde_json::to_string(&partition).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str::<Partition>(&json).unwrap()),
            (&*format!("{word:?}"), partition)
        );
    }
    for word in ["", "Iid", "random", "dirichlet", "dirichlet:", "dirichlet:x", "similarity:many", "iid:3"] {
        let error = word.parse::<Partition>().unwrap_err().to_string();
        assert!(error.contains("iid, label, sequential, dirichlet:CONCENTRATION, similarity:SHARE"), "{error}");
    }
    for word in ["dirichlet:0", "dirichlet:-1", "dirichlet:NaN", "dirichlet:inf", "similarity:1.1", "similarity:NaN"] {
        let error = word.parse::<Partition>().unwrap_err().to_string();
        assert!(error.contains("allowed is") && error.contains(" to 1"), "{error}");
    }
    for nodes in [0, usize::MAX] {
        assert!(Partition::Iid.shards(&[1, 2], nodes, &Key::from_seed(1)).is_err());
    }
}
