//! A node that fails in the middle of a run takes nothing with it.

use super::grounds::{data, methods, plan, run, setting, until};
use dpsgd::Error;
use dpsgd::data::{Dataset, Reading, read};
use dpsgd::train::Wish;
use std::fmt::Write;
use std::path::Path;

/// The made-up records in a file, and read from it when they are needed.
fn on_disk(path: &Path) -> (Dataset, String) {
    let (data, mut text) = (data(), String::new());
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(&(0..data.len()).collect::<Vec<_>>(), &mut features, &mut labels).unwrap();
    for (features, label) in features.chunks(6).zip(&labels) {
        features.iter().for_each(|feature| write!(text, "{feature},").unwrap());
        writeln!(text, "{label}").unwrap();
    }
    std::fs::write(path, &text).unwrap();
    (read(path, &Reading { on_disk: true, ..Reading::default() }).unwrap(), text)
}

#[test]
fn a_node_that_fails_in_a_round_is_named_and_the_round_before_it_is_there_to_go_on_from() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("records.csv");
    // All that is read is read by node 2: others would notice too that the file has changed.
    let shards = [Vec::new(), Vec::new(), (0..data().len()).collect()];
    for method in methods() {
        let plan = plan(&method, 5);
        let with = || (&plan, setting(method.clone()));
        let (data, text) = on_disk(&path);
        let whole = run(with(), (&data, &shards), None, &mut until(9)).unwrap();
        let second = run(with(), (&data, &shards), None, &mut until(2)).unwrap().checkpoint.unwrap();

        // After the second round the last records are no longer there.
        let cut: String = text.split_inclusive('\n').take(36).collect();
        let broken = run(with(), (&data, &shards), None, &mut |round| {
            if round == 2 {
                std::fs::write(&path, &cut).unwrap();
            }
            Wish::Continue
        })
        .unwrap();
        assert!(matches!(broken.ended, Err(Error::Node { node: 2, .. })), "{method:?}: {:?}", broken.ended);
        assert_eq!(broken.round, 2, "{method:?}");
        assert!(u64::from(broken.spent) >= method.answers(3), "{method:?}: {} of round 3 are spent", broken.spent);
        assert!(broken.checkpoint.is_none(), "{method:?}: half a round is nothing to go on from");

        let (data, _) = on_disk(&path);
        let rest = run(with(), (&data, &shards), Some(&second), &mut until(9)).unwrap();
        assert_eq!(rest.point, whole.point, "{method:?}");
        assert_eq!(rest.ledger, whole.ledger, "{method:?}");
    }
}
