//! Logistic regression on LIBSVM's files, its records sorted by label and dealt to nodes.

use dpsgd::data::{Dataset, Partition, Reading, read};
use dpsgd::distributed::objective::{Exact, Logistic};
use dpsgd::distributed::vector::{add, norm, scaled};
use dpsgd::distributed::{Local, Nodes, Oracle};
use dpsgd::seed::Key;

/// The weight of the nonconvex regulariser, as in EF21's experiments (Richtarik, Sokolov and Fatkhullin 2021).
const REGULARISATION: f64 = 0.1;

/// Iterations towards the largest eigenvalue: more change nothing in four digits.
const POWERS: usize = 60;

/// A binary problem on nodes.
pub(super) struct Problem {
    data: Dataset,
    shards: Vec<Vec<usize>>,
    /// L of all records together.
    pub(super) smoothness: f64,
    /// L of each node.
    pub(super) of_nodes: Vec<f64>,
}

impl Problem {
    /// One of LIBSVM's files on so many nodes, if it is here.
    pub(super) fn of(file: &str, nodes: usize, what: &str) -> Option<Self> {
        let path = super::shared(&format!("libsvm/{file}"), &format!("{what} on {file}"))?;
        let data = read(&path, &Reading::default()).unwrap();
        let shards = Partition::Label.shards(data.labels(), nodes, &Key::from_seed(0)).unwrap();
        let all: Vec<usize> = (0..data.len()).collect();
        let smoothness = smoothness(&data, &all);
        let of_nodes = shards.iter().map(|rows| self::smoothness(&data, rows)).collect();
        Some(Self { data, shards, smoothness, of_nodes })
    }

    /// How many numbers a point has.
    pub(super) fn dim(&self) -> usize {
        self.data.width()
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.data.len()
    }

    /// Its nodes, asked nothing yet.
    pub(super) fn nodes(&self) -> (Nodes<'static>, Local) {
        let oracles =
            self.shards.iter().map(|rows| Box::new(Exact::new(logistic(&self.data, rows))) as Box<dyn Oracle>);
        (Nodes::new(0, oracles.collect()).unwrap(), Local::new(self.shards.len()).unwrap())
    }

    /// The share of all records on the right side of a point.
    pub(super) fn accuracy(&self, point: &[f64]) -> f64 {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        let right = (0..self.data.len()).filter(|row| {
            self.data.gather(&[*row], &mut features, &mut labels).unwrap();
            let margin: f64 = features.iter().zip(point).map(|(x, w)| f64::from(*x) * w).sum();
            (margin > 0.0) == (labels[0] == 1)
        });
        right.count() as f64 / self.data.len() as f64
    }
}

/// Of these records; the second class is 1, the first -1.
fn logistic(data: &Dataset, rows: &[usize]) -> Logistic {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(rows, &mut features, &mut labels).unwrap();
    let features: Vec<f64> = features.into_iter().map(f64::from).collect();
    let labels: Vec<f64> = labels.into_iter().map(|label| 2.0 * f64::from(label) - 1.0).collect();
    Logistic::new(&features, &labels, REGULARISATION).unwrap()
}

/// `lambda_max(A^T A) / 4n + 2 lambda`, by the power method.
fn smoothness(data: &Dataset, rows: &[usize]) -> f64 {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    data.gather(rows, &mut features, &mut labels).unwrap();
    let (mut v, mut value) = (vec![1.0; data.width()], 0.0);
    for _ in 0..POWERS {
        let mut next = vec![0.0; v.len()];
        for row in features.chunks_exact(v.len()) {
            let product: f64 = row.iter().zip(&v).map(|(x, v)| f64::from(*x) * v).sum();
            next.iter_mut().zip(row).for_each(|(next, x)| *next += product * f64::from(*x));
        }
        value = norm(&next) / norm(&v);
        v = scaled(1.0 / norm(&next), &next);
    }
    value / (4.0 * rows.len() as f64) + 2.0 * REGULARISATION
}

/// The objective at a point: the mean of the nodes' own.
pub(super) fn loss(nodes: &mut Nodes<'_>, point: &[f64]) -> f64 {
    nodes.losses(point).unwrap().iter().sum::<f64>() / nodes.len() as f64
}

/// The norm of the mean gradient at a point.
pub(super) fn slope(nodes: &mut Nodes<'_>, point: &[f64]) -> f64 {
    let mut sum = vec![0.0; point.len()];
    nodes.gradients(point).unwrap().iter().for_each(|gradient| add(&mut sum, 1.0, gradient));
    norm(&sum) / nodes.len() as f64
}
