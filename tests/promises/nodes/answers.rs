//! A node is asked as often as is counted.

use super::grounds::{NODES, data, methods, plan, run, setting, shards, until};
use candle_core::{DType, Device};
use dp_accountant::{NoiseMultiplier, SamplingRate};
use dpsgd::clip::{ClipNorm, ClipRule};
use dpsgd::distributed::method::Site;
use dpsgd::distributed::{Local, Network, Nodes, Oracle, PrivateNetwork, RecordNoise, Width, point_of};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::seed::Key;

#[test]
fn a_node_is_asked_as_often_as_its_algorithm_says() {
    let (data, key) = (data(), Key::from_seed(4));
    let noise = RecordNoise {
        rate: SamplingRate::new(0.5).unwrap(),
        clip_norm: ClipNorm::new(1.0).unwrap(),
        clipping: ClipRule::Flat,
        noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
    };
    let build = |parameters: &Parameters| Architecture::Logistic.build_for(&data.form(), parameters.var_builder());
    for method in methods() {
        for rounds in [1, 2, 5] {
            let mut local = Local::new(NODES).unwrap();
            let oracle = |(node, rows)| -> Box<dyn Oracle + '_> {
                let network = Network::new(key.clone(), build, &data, rows).unwrap();
                Box::new(PrivateNetwork::new(network, noise, &key, node).unwrap())
            };
            let mut nodes = Nodes::new(0, shards().into_iter().enumerate().map(oracle).collect()).unwrap();
            let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
            build(&parameters).unwrap();
            let (point, width) = (point_of(&parameters).unwrap(), Width::F32);
            let site = Site { point, transport: &local, width, shared: &key, own: &key, noise: None };
            let mut algorithm = method.build(site).unwrap();
            assert_eq!(algorithm.name(), method.name());
            for _ in 0..rounds {
                algorithm.round(&mut nodes, &mut local).unwrap();
            }
            let asked: Vec<u64> = nodes.answers().into_iter().map(u64::from).collect();
            assert_eq!(asked, [method.answers(rounds); NODES], "{method:?} in {rounds} rounds");
            assert!(method.rounds_within(method.answers(rounds)) >= rounds, "{method:?}");
            assert!(method.answers(method.rounds_within(7)) <= 7, "{method:?}");
            assert!(method.answers(method.rounds_within(7) + 1) > 7, "{method:?}");
        }
    }
}

#[test]
fn a_run_of_the_library_goes_on_from_any_round_to_the_same_bits() {
    let data = data();
    for method in methods() {
        let plan = plan(&method, 5);
        let with = || (&plan, setting(method.clone()));
        let whole = run(with(), (&data, &shards()), None, &mut until(9)).unwrap();
        assert_eq!((whole.round, u64::from(whole.spent)), (5, method.answers(5)), "{method:?}");
        assert_eq!(whole.ledger.event(), plan.event().unwrap(), "{method:?}");
        for last in 1..=5 {
            let part = run(with(), (&data, &shards()), None, &mut until(last)).unwrap();
            assert_eq!(u64::from(part.spent), method.answers(last), "{method:?}");
            // A checkpoint that is read from a file.
            let here = tempfile::tempdir().unwrap();
            let path = here.path().join("checkpoint");
            part.checkpoint.unwrap().write(&path).unwrap();
            let checkpoint = dpsgd::checkpoint::Checkpoint::read(&path).unwrap();
            let rest = run(with(), (&data, &shards()), Some(&checkpoint), &mut until(9)).unwrap();
            assert_eq!(rest.point, whole.point, "{method:?} after round {last}");
            assert_eq!(rest.ledger, whole.ledger, "{method:?} after round {last}");
            // Records that are dealt otherwise would put other sums under the same noise.
            let mut dealt = shards();
            dealt.swap(0, 1);
            let other = run(with(), (&data, &dealt), Some(&checkpoint), &mut until(9));
            assert!(other.err().unwrap().to_string().contains("dealt"), "{method:?}");
        }
    }
}
