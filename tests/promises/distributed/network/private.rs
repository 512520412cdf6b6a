//! Models as oracles that protect records: answers are releases of DP-SGD, each with its price.

use super::super::{hosted, run, uplink};
use super::{farthest, mlp, records, size};
use candle_core::Tensor;
use dp_accountant::{Auto, Delta, Event, Ledger, NoiseMultiplier, Relation, SamplingRate};
use dpsgd::clip::{ClipNorm, ClipRule};
use dpsgd::data::{Dataset, embedded::optdigits};
use dpsgd::distributed::network::point_of;
use dpsgd::distributed::private_network::of_all;
use dpsgd::distributed::vector::{difference, dot, norm};
use dpsgd::distributed::{
    Algorithm, Celgc, ClippedStep, Episode, Gossip, Kgt, Network, Oracle, PrivateNetwork, RecordNoise, Sgd2m, Start,
    Topology, Width,
};
use dpsgd::grad::Tape;
use dpsgd::model::{Architecture, Classifier};
use dpsgd::nn::{Layer, Parameters, Sequential, linear};
use dpsgd::noise::StandardNormals;
use dpsgd::seed::Key;

fn noise(rate: f64, clip_norm: f64, noise_multiplier: f64) -> RecordNoise {
    RecordNoise {
        rate: SamplingRate::new(rate).unwrap(),
        clip_norm: ClipNorm::new(clip_norm).unwrap(),
        clipping: ClipRule::Flat,
        noise_multiplier: NoiseMultiplier::new(noise_multiplier).unwrap(),
    }
}

/// As node 0 of a run with this seed.
fn private(network: Network<'_>, noise: RecordNoise, seed: u64) -> PrivateNetwork<'_> {
    PrivateNetwork::new(network, noise, &Key::from_seed(seed), 0).unwrap()
}

#[test]
fn without_noise_clipping_and_sampling_a_private_answer_is_the_gradient() {
    let data = records();
    let shard = || mlp(&data, (0..20).collect()).with_physical_batch(size(6));
    let mut network = private(shard(), noise(1.0, 1e4, 1e-9), 5);
    let point = point_of(shard().parameters()).unwrap();
    let (answer, whole) = (network.gradient(&point).unwrap(), shard().gradient(&point).unwrap());
    assert!(farthest(&answer, &whole) < 1e-3 * norm(&whole), "{}", farthest(&answer, &whole));
    assert_eq!(network.loss(&point).unwrap(), shard().loss(&point).unwrap());
    // The control: a clip norm below the gradients' norms is felt.
    let clipped = private(shard(), noise(1.0, 1e-2, 1e-9), 5).gradient(&point).unwrap();
    assert!(norm(&clipped) <= 1.0001e-2 && norm(&whole) > 0.05, "{} of {}", norm(&clipped), norm(&whole));
}

#[test]
fn every_answer_is_paid_for_and_none_twice() {
    let data = records();
    let (rate, z) = (SamplingRate::new(0.25).unwrap(), NoiseMultiplier::new(2.0).unwrap());
    let mut network = private(mlp(&data, (0..20).collect()), noise(0.25, 1.0, 2.0), 5);
    let point = vec![0.0; network.dim()];
    let event = Event::gaussian(z).poisson_sampled(rate);
    assert_eq!((network.event_per_answer(), network.spent()), (event.clone(), Event::nothing()));
    let mut ledger = Ledger::new();
    let answers: Vec<Vec<f64>> = (1..=5)
        .map(|n| {
            let answer = network.gradient(&point).unwrap();
            ledger.record(network.event_per_answer());
            assert_eq!((network.spent(), ledger.event()), (event.clone().repeated(n), event.clone().repeated(n)));
            answer
        })
        .collect();
    assert!((1..5).all(|i| answers[i] != answers[0]), "every answer has a sample and noise of its own");
    // What is repeated is the same release, so it is not paid for again.
    network.resume(3);
    assert_eq!(network.spent(), event.clone().repeated(3));
    assert_eq!(network.gradient(&point).unwrap(), answers[3]);
    // Where nobody is, nothing is spent; noise would hide nothing, the number of records is public.
    let mut empty = private(mlp(&data, vec![]), noise(0.25, 1.0, 2.0), 5);
    assert_eq!(empty.gradient(&point).unwrap(), point);
    assert_eq!((empty.answers(), empty.event_per_answer(), empty.spent()), (1, Event::nothing(), Event::nothing()));
}

#[test]
fn the_epsilon_of_a_run_is_the_largest_of_its_nodes() {
    let (accountant, delta) = (Auto::new(Relation::AddRemove), Delta::new(1e-5).unwrap());
    let event = |z: f64, n| {
        let gaussian = Event::gaussian(NoiseMultiplier::new(z).unwrap());
        gaussian.poisson_sampled(SamplingRate::new(0.25).unwrap()).repeated(n)
    };
    let alone = |event: Event| of_all(&[event], &accountant, delta).unwrap();
    let (few, many) = (alone(event(2.0, 5)), alone(event(2.0, 9)));
    assert!(few.upper() < many.upper());
    let all = [event(2.0, 5), event(2.0, 9), Event::nothing(), event(2.0, 5)];
    assert_eq!(of_all(&all, &accountant, delta).unwrap(), many);
    assert_eq!(of_all(&[], &accountant, delta).unwrap().upper(), 0.0);
    assert!(of_all(&[event(2.0, 5), Event::non_private("plain")], &accountant, delta).is_err());
}

/// Below 0 it gives NaN.
struct Root;

impl Layer for Root {
    fn forward(&self, xs: &Tensor, _: &Tape) -> candle_core::Result<Tensor> {
        xs.sqrt()
    }
}

#[test]
fn a_record_of_nan_is_dropped_before_the_noise() {
    let mut features: Vec<f32> = (0..40).map(|i| i as f32 / 40.0).collect();
    features[12] = -1.0;
    let classes = ["a", "b"].map(str::to_owned).to_vec();
    let data = Dataset::from_dense("roots", &[4], features, classes, (0..10).map(|i| i % 2).collect()).unwrap();
    let network = |rows: Vec<usize>| {
        let build = |parameters: &Parameters| {
            Ok(Classifier::new(Sequential::new().add(Root).add(linear(4, 2, parameters.var_builder())?)))
        };
        Network::new(Key::from_seed(1), build, &data, rows).unwrap()
    };
    let (all, others) = ((0..10).collect::<Vec<_>>(), (0..10).filter(|row| *row != 3).collect::<Vec<_>>());
    let point = point_of(network(vec![]).parameters()).unwrap();
    let plain = network(all.clone()).gradient(&point).unwrap();
    assert!(plain.iter().any(|g| g.is_nan()), "the control: the record is felt where nothing drops it");
    let answer = private(network(all), noise(1.0, 1e4, 1e-9), 5).gradient(&point).unwrap();
    // The sum is over nine records, and divided by ten, the public number.
    let expected: Vec<f64> = network(others).gradient(&point).unwrap().iter().map(|g| 0.9 * g).collect();
    assert!(farthest(&answer, &expected) < 1e-4 && norm(&expected) > 1e-2, "{answer:?} and not {expected:?}");
}

/// The noise of a node's answer `answer` at q = 0.5, z = 3, C = 0.2 and 20 records: what it is without noise taken off. The records
/// drawn are the same.
fn noise_of(data: &Dataset, node: usize, answer: u32) -> Vec<f64> {
    let of = |noise_multiplier| {
        let network = mlp(data, (0..20).collect());
        let key = Key::from_seed(11);
        let mut network = PrivateNetwork::new(network, noise(0.5, 0.2, noise_multiplier), &key, node).unwrap();
        network.resume(answer);
        network.gradient(&vec![0.0; network.dim()]).unwrap()
    };
    difference(&of(3.0), &of(1e-9))
}

#[test]
fn noise_has_its_deviation_and_is_nobody_elses() {
    let data = records();
    let noise = noise_of(&data, 0, 0);
    let dim = noise.len() as f64;
    // 1,155 draws, their deviation is known to 1 / sqrt(2 * 1155) = 2.1 %: five of these are a false alarm of 6e-7.
    let near = |deviation: f64| (norm(&noise) / dim.sqrt() / deviation - 1.0).abs() < 5.0 / (2.0 * dim).sqrt();
    assert!(near(3.0 * 0.2 / (0.5 * 20.0)), "{}", norm(&noise) / dim.sqrt());
    // The control: divided by the records and not by those expected.
    assert!(!near(3.0 * 0.2 / 20.0));
    // What an uplink with the same key adds at the same node in the round of the same number.
    let mut of_uplink = vec![0.0; noise.len()];
    StandardNormals::new(&Key::from_seed(11).derived("node 0"), 0).fill(&mut of_uplink);
    let correlation = |other: &[f64]| dot(&noise, other) / norm(&noise) / norm(other);
    for other in [noise_of(&data, 1, 0), noise_of(&data, 0, 1), of_uplink] {
        // Five standard errors, three times: a false alarm below 2e-6.
        assert!(correlation(&other).abs() < 5.0 / dim.sqrt(), "{}", correlation(&other));
    }
    assert!((correlation(&noise_of(&data, 0, 0)) - 1.0).abs() < 1e-9, "the control: the same node and answer");
}

#[test]
fn what_would_void_the_guarantee_is_refused() {
    let data = records();
    let refusal = |network: Network<'_>, noise: RecordNoise| {
        PrivateNetwork::new(network, noise, &Key::from_seed(5), 0).unwrap_err().to_string()
    };
    let shard = || mlp(&data, (0..20).collect());
    let adaptive = RecordNoise { clipping: ClipRule::ALL[6], ..noise(0.5, 1.0, 1.0) };
    assert!(refusal(shard(), adaptive).contains("clipping of a node = adaptive"));
    let drawing = shard().in_minibatches(size(4), &Key::from_seed(5), 0);
    assert!(refusal(drawing, noise(0.5, 1.0, 1.0)).contains("minibatches of a private node"));
    let mut asked = shard();
    asked.gradient(&vec![0.0; asked.dim()]).unwrap();
    assert!(refusal(asked, noise(0.5, 1.0, 1.0)).contains("answers without privacy = 1"));
    // Statistics of a batch let records influence each other.
    struct Centred;
    impl Layer for Centred {
        fn forward(&self, xs: &Tensor, _: &Tape) -> candle_core::Result<Tensor> {
            xs.broadcast_sub(&xs.mean_keepdim(0)?)
        }
    }
    let build = |parameters: &Parameters| {
        Ok(Classifier::new(Sequential::new().add(Centred).add(linear(5, 3, parameters.var_builder())?)))
    };
    let centred = Network::new(Key::from_seed(1), build, &data, (0..20).collect()).unwrap();
    assert!(refusal(centred, noise(0.5, 1.0, 1.0)).contains("influence each other"));
}

/// Three rounds of an algorithm over two private nodes with 200 digits each: the mean loss before and after, and how many answers
/// each node has paid for.
fn three_rounds(algorithm: impl FnOnce(Vec<f64>) -> Box<dyn Algorithm>) -> (f64, f64, u64) {
    let (data, _) = optdigits().unwrap();
    let build = |parameters: &Parameters| Architecture::Logistic.build_for(&data.form(), parameters.var_builder());
    let node = |node: usize| {
        let rows = (0..200).map(|j| 2 * j + node).collect();
        let network = Network::new(Key::from_seed(1), build, &data, rows).unwrap();
        PrivateNetwork::new(network, noise(0.5, 1.0, 0.5), &Key::from_seed(7), node).unwrap()
    };
    let mut oracles = [node(0), node(1)];
    let event = oracles[0].event_per_answer();
    let start = vec![0.0; oracles[0].dim()];
    let lent = oracles.iter_mut().map(|oracle| Box::new(oracle) as Box<dyn Oracle + '_>).collect();
    let (mut nodes, mut local) = hosted(lent);
    let mut algorithm = algorithm(start.clone());
    run(algorithm.as_mut(), &mut nodes, &mut local, 3);
    let end = algorithm.mean_point(&mut local).unwrap();
    let mut loss = |point: &[f64]| nodes.losses(point).unwrap().iter().sum::<f64>() / 2.0;
    let (before, after) = (loss(&start), loss(&end));
    let answers = u64::from(nodes.answers()[0]);
    assert_eq!(nodes.answers(), [answers as u32; 2]);
    drop(nodes);
    assert!(oracles.iter().all(|oracle| oracle.spent() == event.clone().repeated(answers)));
    (before, after, answers)
}

#[test]
fn algorithms_learn_from_private_answers_and_pay_for_all_of_them() {
    let step = ClippedStep::new(1.0, f64::INFINITY).unwrap();
    let complete = || Gossip::new(Topology::Complete.mixing(2, &Key::from_seed(0)).unwrap(), Width::F64);
    type Made = fn(Vec<f64>, ClippedStep, Gossip) -> Box<dyn Algorithm>;
    let algorithms: [(Made, u64); 4] = [
        (|x, step, _| Box::new(Celgc::new(x, 2, step, 2, Width::F64).unwrap()), 3 * 2),
        // One more for every node, before the first round.
        (|x, _, gossip| Box::new(Kgt::new(x, 2, (0.5, 1.0), 2, Start::Mean, gossip).unwrap()), 3 * 2 + 1),
        (|x, _, _| Box::new(Sgd2m::new(x, 2, 1.0, (0.9, 0.9), uplink(10.0)).unwrap()), 3),
        // I + 1 in every round.
        (|x, step, _| Box::new(Episode::new(x, 2, step, 2, Width::F64).unwrap()), 3 * 3),
    ];
    for (made, expected) in algorithms {
        let (before, after, answers) = three_rounds(|x| made(x, step, complete()));
        assert!((before - 10.0_f64.ln()).abs() < 1e-6 && after < 0.97 * before, "{before} to {after}");
        assert_eq!(answers, expected);
    }
}
