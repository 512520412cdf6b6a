//! Models as oracles: answers are gradients of the records' mean loss.

mod private;

use candle_core::Tensor;
use dpsgd::data::Dataset;
use dpsgd::distributed::network::{point_of, set_point};
use dpsgd::distributed::vector::{difference, norm};
use dpsgd::distributed::{Network, Oracle};
use dpsgd::evaluate::Evaluation;
use dpsgd::grad::{PerExample, one_example_at_a_time};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::seed::Key;
use dpsgd::train::tensors;
use std::num::NonZeroUsize;

/// 23 records of five numbers, three classes.
fn records() -> Dataset {
    let features = (0..23 * 5).map(|i| (0.7 * i as f32).sin()).collect();
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    Dataset::from_dense("waves", &[5], features, classes, (0..23).map(|i| i % 3).collect()).unwrap()
}

fn mlp(data: &Dataset, rows: Vec<usize>) -> Network<'_> {
    let build = |parameters: &Parameters| Architecture::Mlp.build_for(&data.form(), parameters.var_builder());
    Network::new(Key::from_seed(1), build, data, rows).unwrap()
}

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn farthest(xs: &[f64], ys: &[f64]) -> f64 {
    assert_eq!(xs.len(), ys.len());
    difference(xs, ys).iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The mean of the gradients that candle's own operations give to every record alone.
fn one_by_one(parameters: &Parameters, data: &Dataset, rows: &[usize]) -> Vec<f64> {
    let named: Vec<_> = parameters.iter().collect();
    let var = |name: &str| named.iter().find(|(known, _)| known == name).unwrap().1.as_tensor().clone();
    let layer = |name: &str| candle_nn::Linear::new(var(&format!("{name}.weight")), Some(var(&format!("{name}.bias"))));
    let (xs, ys) = tensors(data, rows, parameters).unwrap();
    let variables: Vec<_> = named.iter().map(|(_, var)| var.clone()).collect();
    let gradients = one_example_at_a_time(&variables, &xs, &ys, |x, y| {
        let hidden = candle_nn::Module::forward(&layer("hidden"), x)?.tanh()?;
        candle_nn::loss::cross_entropy(&candle_nn::Module::forward(&layer("output"), &hidden)?, y)
    });
    let total = gradients.unwrap().total().unwrap();
    let numbers = |sum: &Tensor| sum.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    total.iter().flat_map(numbers).map(|sum| f64::from(sum) / rows.len() as f64).collect()
}

#[test]
fn answers_and_losses_are_means_over_the_shard() {
    let data = records();
    let rows: Vec<usize> = (0..23).step_by(2).collect();
    let mut network = mlp(&data, rows.clone()).with_physical_batch(size(5));
    // Somewhere else than where the node's parameters begin.
    let point: Vec<f64> = (0..network.dim()).map(|i| 0.3 * (1.3 * i as f64).cos()).collect();
    let twin = Parameters::new(Key::from_seed(9), candle_core::DType::F32, &candle_core::Device::Cpu);
    let model = Architecture::Mlp.build_for(&data.form(), twin.var_builder()).unwrap();
    set_point(&twin, &point).unwrap();

    let answer = network.gradient(&point).unwrap();
    let expected = one_by_one(&twin, &data, &rows);
    assert!(farthest(&answer, &expected) < 1e-5 && norm(&expected) > 0.1, "{}", farthest(&answer, &expected));
    // The control: with one record fewer it is another gradient.
    assert!(farthest(&answer, &one_by_one(&twin, &data, &rows[1..])) > 1e-3);

    let of_shard = Evaluation::new(&model, &data.select(&rows).unwrap(), &twin, size(5)).unwrap().loss().unwrap();
    assert!((network.loss(&point).unwrap() - of_shard).abs() < 1e-6, "{of_shard}");
    assert_eq!(network.answers(), 1, "a loss is no answer");

    let mut empty = mlp(&data, vec![]);
    assert_eq!((empty.gradient(&point).unwrap(), empty.loss(&point).unwrap()), (vec![0.0; point.len()], 0.0));
}

#[test]
fn points_hold_what_is_trained_in_name_order_and_nothing_else() {
    let data = records();
    let build = |frozen: Option<&'static str>| {
        Network::new(
            Key::from_seed(1),
            |parameters| {
                frozen.into_iter().for_each(|path| parameters.freeze(path));
                Architecture::Mlp.build_for(&data.form(), parameters.var_builder())
            },
            &data,
            vec![0, 1, 2],
        )
    };
    let network = build(None).unwrap();
    assert_eq!(network.dim(), 5 * 128 + 128 + 128 * 3 + 3);
    let point: Vec<f64> = (1..=network.dim()).map(|i| i as f64 + 1e-12).collect();
    set_point(network.parameters(), &point).unwrap();
    // Rounded to f32, and in the order hidden.bias, hidden.weight, output.bias, output.weight.
    let found = point_of(network.parameters()).unwrap();
    assert!(found.iter().zip(1..).all(|(x, i)| *x == f64::from(i)));
    let (name, var) = network.parameters().iter().nth(2).unwrap();
    assert_eq!((name.as_str(), var.to_vec1::<f32>().unwrap()), ("output.bias", vec![769.0, 770.0, 771.0]));
    for wrong in [&point[1..], &[]] {
        let error = set_point(network.parameters(), wrong).unwrap_err().to_string();
        assert!(error.starts_with(&format!("numbers of a point = {}", wrong.len())), "{error}");
    }
    assert_eq!(point_of(network.parameters()).unwrap(), found);

    let mut frozen = build(Some("hidden")).unwrap();
    assert_eq!(frozen.dim(), 128 * 3 + 3);
    let start = point_of(frozen.parameters()).unwrap();
    assert!(norm(&frozen.gradient(&start).unwrap()) > 0.0);
    assert!(build(Some("")).is_err(), "nothing is left to train");
    let model = |parameters: &Parameters| Architecture::Mlp.build_for(&data.form(), parameters.var_builder());
    for (rows, words) in [(vec![0, 23], "row of a shard = 23: allowed is below 23"), (vec![4, 2, 4], "4 twice")] {
        let error = Network::new(Key::from_seed(1), model, &data, rows).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn minibatches_follow_from_key_node_and_answer() {
    let data = records();
    let shard = || mlp(&data, (0..23).collect());
    let drawing = |seed: u64, node| shard().in_minibatches(size(6), &Key::from_seed(seed), node);
    let mut network = drawing(3, 0);
    let point = point_of(network.parameters()).unwrap();
    let answers = |network: &mut Network<'_>| (0..4).map(|_| network.gradient(&point).unwrap()).collect::<Vec<_>>();
    let first = answers(&mut network);
    assert!((1..4).all(|i| first[i] != first[0]), "every answer has records of its own");
    assert_eq!(answers(&mut drawing(3, 0)), first);
    for mut other in [drawing(4, 0), drawing(3, 1)] {
        assert_ne!(answers(&mut other)[0], first[0]);
    }
    let mut resumed = drawing(3, 0);
    resumed.resume(2);
    assert_eq!(resumed.gradient(&point).unwrap(), first[2]);
    assert_eq!(resumed.answers(), 3);
    // A minibatch of all is the shard.
    let whole = shard().gradient(&point).unwrap();
    for enough in [23, 24] {
        let mut all = shard().in_minibatches(size(enough), &Key::from_seed(3), 0);
        assert_eq!(all.gradient(&point).unwrap(), whole);
    }
    // Single records are the shard on average.
    let mut one = shard().in_minibatches(size(1), &Key::from_seed(3), 0);
    let drawn: Vec<Vec<f64>> = (0..2000).map(|_| one.gradient(&point).unwrap()).collect();
    // With L the longest, the mean is off by L / sqrt(2000) at most, on average, and one draw moves that by at most 2 L / 2000: it
    // is off by 6.3 L / sqrt(2000) less than once in a million times (McDiarmid 1989). The control: single draws are.
    let most = 6.3 * drawn.iter().map(|g| norm(g)).fold(0.0, f64::max) / 2000.0_f64.sqrt();
    assert!(norm(&difference(&super::mean(&drawn), &whole)) < most);
    assert!(drawn.iter().all(|g| norm(&difference(g, &whole)) > most));
}
