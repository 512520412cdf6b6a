//! Data-parallel DP-SGD is DP-SGD on one machine: the same batches, noise and cost, and the same parameters up to the rounding of sums.

use super::apart::Apart;
use candle_core::{DType, Device};
use dp_accountant::{Delta, Ledger, NoiseMultiplier};
use dpsgd::clip::{ClipNorm, ClipRule, Clipping};
use dpsgd::data::Dataset;
use dpsgd::distributed::{Local, Shards, Transport};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::noise::NoiseRule;
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::{Draft, Plan};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};

const RECORDS: usize = 60;

/// Made-up records in two classes, one of them far outside the others.
fn data() -> Dataset {
    let feature = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - if i / 16 == 3 { 1e4 } else { 1.0 };
    let features = (0..RECORDS * 16).map(feature).collect();
    let labels = (0..RECORDS as u32).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[16], features, vec!["a".into(), "b".into()], labels).unwrap()
}

fn draft() -> Draft {
    Draft::new(RECORDS, 20, 6, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap())
}

fn plan(draft: Draft) -> Plan {
    draft.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap()
}

/// What a run leaves: its ledger, what clipping did in its steps, the bits of its parameters.
#[derive(Debug, PartialEq)]
struct Left {
    ledger: Ledger,
    clipping: Vec<Clipping>,
    parameters: Vec<f64>,
}

/// Trains a perceptron in f64, on one machine or on the nodes of a transport.
fn trained(plan: &Plan, nodes: Option<(&mut dyn Transport, &[Vec<usize>])>, private: bool) -> dpsgd::Result<Left> {
    let (key, data, run) = (Key::from_seed(9), data(), Run::default());
    let parameters = Parameters::new(Key::from_seed(5), DType::F64, &Device::Cpu);
    let model = Architecture::Mlp.build(&[16], 2, parameters.var_builder())?;
    let sgd = Box::new(Sgd::new(SgdConfig { learning_rate: 0.2, momentum: 0.9, ..SgdConfig::default() })?);
    let mut trainer = Trainer::new(plan, &run, &key, &data, &model, &parameters, sgd)?;
    if let Some((transport, shards)) = nodes {
        trainer = trainer.among(Shards::new(transport, shards, data.len())?)?;
    }
    if !private {
        trainer = trainer.without_privacy();
    }
    let mut clipping = Vec::new();
    trainer.train(|progress| {
        clipping.push(progress.clipping);
        Ok(Wish::Continue)
    })?;
    let values = |var: &candle_core::Var| var.flatten_all()?.to_vec1::<f64>();
    let parameters = parameters.iter().map(|(_, var)| values(&var)).collect::<candle_core::Result<Vec<_>>>()?.concat();
    Ok(Left { ledger: trainer.ledger().clone(), clipping, parameters })
}

/// Unequal shards of all records, the third of them empty.
fn shards(nodes: usize) -> Vec<Vec<usize>> {
    let mut shards = vec![Vec::new(); nodes];
    for row in 0..RECORDS {
        let node = (row * row + row / 7) % nodes;
        shards[if node == 2 { 0 } else { node }].push(row);
    }
    shards
}

fn assert_alike(one: &Left, many: &Left, what: &str) {
    assert_eq!(many.ledger, one.ledger, "{what}");
    assert_eq!(many.clipping.len(), one.clipping.len(), "{what}");
    for (many, one) in many.clipping.iter().zip(&one.clipping) {
        assert_eq!((many.examples, many.clipped, many.dropped), (one.examples, one.clipped, one.dropped), "{what}");
        assert!((many.norms - one.norms).abs() <= 1e-9 * one.norms.abs(), "{what}");
    }
    let off = one.parameters.iter().zip(&many.parameters).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-9, "{what}: off by {off}");
}

#[test]
fn many_nodes_train_the_model_of_one_machine_at_its_cost() {
    for rule in ClipRule::ALL {
        let plan = plan(Draft { clipping: rule, ..draft() });
        let one = trained(&plan, None, true).unwrap();
        assert_eq!(one.ledger.event(), plan.event().unwrap());
        for nodes in [1, 2, 5] {
            let many = trained(&plan, Some((&mut Local::new(nodes).unwrap(), &shards(nodes))), true).unwrap();
            assert_alike(&one, &many, &format!("{} on {nodes} nodes", rule.name()));
        }
    }
}

#[test]
fn so_do_they_under_every_noise_and_without_privacy() {
    for noise in [NoiseRule::Independent, NoiseRule::Tree, NoiseRule::Banded { bands: 2.try_into().unwrap() }] {
        let plan = plan(Draft { noise, ..draft() });
        for private in [true, false] {
            let one = trained(&plan, None, private).unwrap();
            let many = trained(&plan, Some((&mut Local::new(4).unwrap(), &shards(4))), private).unwrap();
            assert_alike(&one, &many, &format!("{noise:?}, private {private}"));
        }
    }
}

#[test]
fn a_shard_that_is_left_out_is_noticed() {
    // The control of the tests above: a machine without the records of one node trains another model.
    let plan = plan(draft());
    let one = trained(&plan, None, true).unwrap();
    let mut elsewhere = shards(2);
    let gone = elsewhere[1].split_off(1);
    assert!(!gone.is_empty());
    assert!(trained(&plan, Some((&mut Local::new(2).unwrap(), &elsewhere)), true).is_err());
    let many = trained(&plan, Some((&mut Local::new(2).unwrap(), &shards(2))), false).unwrap();
    assert!(std::panic::catch_unwind(|| assert_alike(&one, &many, "without noise")).is_err());
}

/// On threads of its own, as a process has them: nodes that wait for each other must not wait for each other's threads.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(work)
}

#[test]
fn processes_of_their_own_give_the_bits_of_one() {
    let plan = &plan(draft());
    let together = trained(plan, Some((&mut Local::new(3).unwrap(), &shards(3))), true).unwrap();
    let apart = std::thread::scope(|scope| {
        let runs: Vec<_> = Apart::all(3)
            .into_iter()
            .map(|mut side| scope.spawn(move || alone(|| trained(plan, Some((&mut side, &shards(3))), true)).unwrap()))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(apart.iter().all(|left| *left == together));
}

#[test]
fn processes_with_other_plans_or_shards_are_refused() {
    let (plan, other) = (plan(draft()), plan(Draft { clip_norm: ClipNorm::new(7.0).unwrap(), ..draft() }));
    let refused = std::thread::scope(|scope| {
        let runs: Vec<_> = Apart::all(2)
            .into_iter()
            .zip([&plan, &other])
            .map(|(mut side, plan)| scope.spawn(move || alone(|| trained(plan, Some((&mut side, &shards(2))), true))))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap().map_err(|error| error.to_string())).collect::<Vec<_>>()
    });
    for said in &refused {
        assert!(said.as_ref().unwrap_err().contains("node 1 has another plan than node 0"), "{refused:?}");
    }
}

#[test]
fn shards_that_are_no_partition_are_refused() {
    for (shards, message) in [
        (vec![(0..RECORDS).collect()], "one for each of 2 nodes"),
        (vec![(0..RECORDS).collect(), vec![7]], "record = 7: allowed is in one shard"),
        (vec![(1..RECORDS).collect(), vec![]], "record = 0: allowed is in the shard of a node"),
        (vec![(0..RECORDS).collect(), vec![RECORDS]], "record = 60: allowed is below 60"),
    ] {
        let error = Shards::new(&mut Local::new(2).unwrap(), &shards, RECORDS).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::{Local, draft, plan, shards, trained};
    use crate::distributed::mpirun;
    use dpsgd::distributed::Mpi;

    #[test]
    fn four_processes_train_the_model_of_four_nodes_to_the_last_bit() {
        mpirun::or_inside(
            "distributed::data_parallel::mpi::four_processes_train_the_model_of_four_nodes_to_the_last_bit",
            || {
                let mut mpi = Mpi::start().unwrap();
                let plan = plan(draft());
                let expected = trained(&plan, Some((&mut Local::new(4).unwrap(), &shards(4))), true).unwrap();
                let seen = trained(&plan, Some((&mut mpi, &shards(4))), true).unwrap();
                mpirun::same(&mpi, seen == expected);
            },
        );
    }
}
