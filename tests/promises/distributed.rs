//! Distributed algorithms do what their papers prove, on problems whose answers are known to the last digit: the checks of the
//! reproduction suite, through the product's own code.

mod apart;
mod celgc;
mod clip21;
mod clip_gd;
mod compression;
mod compressors;
mod contract;
mod data_parallel;
mod decentralised;
mod dice;
mod episode;
mod guarantee;
mod members;
#[cfg(feature = "mpi")]
mod mpirun;
mod network;
mod norm_ec;
mod real_data;
mod sgd2m;
mod topology;
mod transport;

use dp_accountant::NoiseMultiplier;
use dpsgd::Result;
use dpsgd::clip::ClipNorm;
use dpsgd::distributed::objective::{Exact, Logistic, Objective, Quadratic};
use dpsgd::distributed::uplink::{NodeNoise, Trust};
use dpsgd::distributed::vector::{add, dot, norm, scaled};
use dpsgd::distributed::{Algorithm, Local, Nodes, Oracle, Radius, Uplink, Width};
use dpsgd::seed::Key;

/// An algorithm before its first round, with all its nodes in this process.
struct Member {
    algorithm: Box<dyn Algorithm>,
    nodes: usize,
    /// Whether the algorithm's messages carry noise.
    private: bool,
}

fn radius(t: f64) -> Radius {
    Radius::new(ClipNorm::new(t).unwrap())
}

fn uplink(t: f64) -> Uplink {
    Uplink::new(Box::new(radius(t)), Width::F64, Key::from_seed(0))
}

/// Messages of norm t with noise of `noise_multiplier` t on them or on their sum.
fn private(t: f64, noise_multiplier: f64, trust: Trust, key: Key) -> Uplink {
    let noise = NodeNoise {
        radius: ClipNorm::new(t).unwrap(),
        noise_multiplier: NoiseMultiplier::new(noise_multiplier).unwrap(),
        trust,
    };
    Uplink::private(noise, Width::F64, key)
}

/// Nodes with these objectives, all in one process.
fn nodes<F: Objective + 'static>(objectives: Vec<F>) -> (Nodes<'static>, Local) {
    let local = Local::new(objectives.len()).unwrap();
    let oracles = objectives.into_iter().map(|f| Box::new(Exact::new(f)) as Box<dyn Oracle>).collect();
    (Nodes::new(0, oracles).unwrap(), local)
}

/// A node that answers with a function of the point and the number of the answer.
struct Formula<F> {
    dim: usize,
    answer: F,
    answers: u32,
}

impl<F: FnMut(&[f64], u32) -> Vec<f64> + Send> Oracle for Formula<F> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        self.answers += 1;
        Ok((self.answer)(point, self.answers - 1))
    }

    fn loss(&mut self, _: &[f64]) -> Result<f64> {
        Ok(0.0)
    }

    fn answers(&self) -> u32 {
        self.answers
    }

    fn resume(&mut self, answers: u32) {
        self.answers = answers;
    }
}

fn formula<'a>(dim: usize, answer: impl FnMut(&[f64], u32) -> Vec<f64> + Send + 'a) -> Box<dyn Oracle + 'a> {
    Box::new(Formula { dim, answer, answers: 0 })
}

/// Nodes with these oracles, all in one process.
fn hosted(oracles: Vec<Box<dyn Oracle + '_>>) -> (Nodes<'_>, Local) {
    let local = Local::new(oracles.len()).unwrap();
    (Nodes::new(0, oracles).unwrap(), local)
}

/// Runs on a thread of rayon's, where a round of few nodes needs no other thread.
fn at_once<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::join(run, || ()).0
}

/// So many rounds; where they end.
fn run(algorithm: &mut dyn Algorithm, nodes: &mut Nodes<'_>, local: &mut Local, rounds: usize) -> Vec<f64> {
    for _ in 0..rounds {
        algorithm.round(nodes, local).unwrap();
    }
    algorithm.points()[0].to_vec()
}

/// Quadratics about these centres, one number each.
fn centres(centres: &[f64]) -> Vec<Quadratic> {
    centres.iter().map(|centre| Quadratic::around(&[*centre], 1.0)).collect()
}

/// The mean of vectors.
fn mean(vectors: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors[0].len()];
    vectors.iter().for_each(|v| add(&mut sum, 1.0, v));
    scaled(1.0 / vectors.len() as f64, &sum)
}

/// The norm of the mean gradient at a point.
fn slope(nodes: &mut Nodes<'_>, point: &[f64]) -> f64 {
    norm(&mean(&nodes.gradients(point).unwrap()))
}

/// The closed-form logistic problem of R4: ten nodes, twelve records each, twenty features.
fn logistic() -> Vec<Logistic> {
    records().iter().map(|(features, labels)| Logistic::new(features, labels, 0.1).unwrap()).collect()
}

/// Its features and labels, node by node.
fn records() -> Vec<(Vec<f64>, Vec<f64>)> {
    let node = |i: usize| {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for j in 0..12 {
            let (fi, fj) = (i as f64, j as f64);
            features.extend((0..20).map(|t| {
                let t = f64::from(t);
                (1.0 + fi) * (1.0 + 1.7 * fi * fj + 0.9 * fj * t + 2.3 * t + 0.31 * fi * t).sin()
            }));
            labels.push(match i {
                5.. => {
                    if (i + 3 * j) % 5 < 2 {
                        1.0
                    } else {
                        -1.0
                    }
                }
                _ => {
                    if j % 4 == 0 {
                        -1.0
                    } else {
                        1.0
                    }
                }
            });
        }
        (features, labels)
    };
    (0..10).map(node).collect()
}

/// The smoothness of the mean of [`logistic`].
const SMOOTHNESS: f64 = 9.2051;

/// The same to the last digit, for what is compared far from where it settles.
fn smoothness() -> f64 {
    let all: Vec<f64> = records().into_iter().flat_map(|(features, _)| features).collect();
    largest_eigenvalue(&all) / 480.0 + 0.2
}

/// The largest eigenvalue of X^T X, X `(records, 20)`.
fn largest_eigenvalue(features: &[f64]) -> f64 {
    power_method(features, 20, 5000)
}

/// What so many iterations of the power method make of the largest eigenvalue of X^T X, X `(records, dim)`: never more.
fn power_method(features: &[f64], dim: usize, iterations: usize) -> f64 {
    let mut v: Vec<f64> = (0..dim).map(|i| 1.0 + i as f64).collect();
    let mut value = 0.0;
    for _ in 0..iterations {
        let mut next = vec![0.0; dim];
        features.chunks_exact(dim).for_each(|row| add(&mut next, dot(row, &v), row));
        value = norm(&next) / norm(&v);
        v = scaled(1.0 / norm(&next), &next);
    }
    value
}
