//! K-GT with one class on every node: local steps save rounds, where those of D-SGD stop away from the optimum.

use dpsgd::data::{Dataset, Partition, Reading, read};
use dpsgd::distributed::network::point_of;
use dpsgd::distributed::vector::norm;
use dpsgd::distributed::{
    Algorithm, Dsgd, Gossip, Kgt, Local, Network, Nodes, Oracle, Start, Topology, Width, vector::add,
};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::seed::Key;

const NODES: usize = 10;
/// Images of each digit.
const EACH: usize = 100;
/// The size of a local step.
const STEP: f64 = 0.2;
const ROUNDS: usize = 2000;
const EVERY: usize = 5;
/// The loss to reach.
const TARGET: f64 = 0.1;

pub(super) fn run() {
    let Some(images) = super::shared("mnist/train-images-idx3-ubyte.gz", "K-GT on MNIST") else { return };
    let data = some_of_each(&read(&images, &Reading::default()).unwrap());
    println!(
        "\nMNIST, {EACH} images of each digit, one digit on each of {NODES} nodes on a ring, logistic regression, whole \
         gradients, local steps of {STEP}: rounds until the mean point has the loss {TARGET} (in steps of {EVERY}, at most \
         {ROUNDS}), and the loss and the norm of the gradient there after {ROUNDS} rounds."
    );
    super::head(["method", "K", "rounds", "gradients of a node", "loss at the end", "gradient norm at the end"]);
    for local in [1, 2, 5, 10] {
        for method in ["K-GT", "D-SGD"] {
            let ended = descend(&data, method, local);
            let gradients = ended.reached.map(|rounds| rounds * local as usize);
            super::row([
                method.to_string(),
                local.to_string(),
                super::reached(ended.reached),
                gradients.map_or_else(String::new, |gradients| gradients.to_string()),
                format!("{:.4}", ended.loss),
                format!("{:.2e}", ended.slope),
            ]);
        }
    }
}

struct Ended {
    reached: Option<usize>,
    loss: f64,
    slope: f64,
}

fn descend(data: &Dataset, method: &str, steps: u32) -> Ended {
    let key = Key::from_seed(1);
    let shards = Partition::Label.shards(data.labels(), NODES, &key).unwrap();
    let build = |parameters: &Parameters| Architecture::Logistic.build_for(&data.form(), parameters.var_builder());
    let node = |rows: &Vec<usize>| Network::new(key.clone(), build, data, rows.clone()).unwrap();
    let networks: Vec<Network<'_>> = shards.iter().map(node).collect();
    let start = point_of(networks[0].parameters()).unwrap();
    let oracles = networks.into_iter().map(|network| Box::new(network) as Box<dyn Oracle>).collect();
    let (mut nodes, mut local) = (Nodes::new(0, oracles).unwrap(), Local::new(NODES).unwrap());

    let gossip = Gossip::new(Topology::Ring.mixing(NODES, &key).unwrap(), Width::F32);
    let mut algorithm: Box<dyn Algorithm> = match method {
        "K-GT" => Box::new(Kgt::new(start, NODES, (STEP, 1.0), steps, Start::Own, gossip).unwrap()),
        _ => Box::new(Dsgd::new(start, NODES, STEP, steps, gossip).unwrap()),
    };
    let mut reached = None;
    for round in 1..=ROUNDS {
        algorithm.round(&mut nodes, &mut local).unwrap();
        if round % EVERY == 0 && reached.is_none() {
            let point = algorithm.mean_point(&mut local).unwrap();
            reached = (mean(&nodes.losses(&point).unwrap()) <= TARGET).then_some(round);
        }
    }
    let point = algorithm.mean_point(&mut local).unwrap();
    let mut sum = vec![0.0; point.len()];
    nodes.gradients(&point).unwrap().iter().for_each(|gradient| add(&mut sum, 1.0 / NODES as f64, gradient));
    Ended { reached, loss: mean(&nodes.losses(&point).unwrap()), slope: norm(&sum) }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The first images of each digit.
fn some_of_each(data: &Dataset) -> Dataset {
    let mut taken = [0; NODES];
    let rows: Vec<usize> = (0..data.len())
        .filter(|row| {
            let count = &mut taken[data.labels()[*row] as usize];
            *count += 1;
            *count <= EACH
        })
        .collect();
    data.select(&rows).unwrap()
}
