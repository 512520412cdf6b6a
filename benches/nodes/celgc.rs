//! CELGC on a language model: rounds against local steps, and against nodes.

use dpsgd::data::{Dataset, Format, Partition, Reading, Vocabulary, read};
use dpsgd::distributed::network::point_of;
use dpsgd::distributed::{Algorithm, Celgc, ClippedStep, Local, Network, Nodes, Oracle, Transport, Width};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::seed::Key;
use std::num::NonZeroUsize;

/// Windows of so many bytes, and how many of them there are.
const LENGTH: usize = 16;
const WINDOWS: usize = 4096;
/// Windows of a minibatch, and windows that the loss is taken over.
const BATCH: usize = 2;
const JUDGED: usize = 256;
/// Step size and longest step: clipping at norm gamma / eta = 0.25, as in the paper's language models.
const ETA: f64 = 4.0;
const GAMMA: f64 = 1.0;
/// The loss to reach, in nats for a byte.
const TARGET: f64 = 2.1;
/// Local steps of a node after which a run is given up, and from one look at the loss to the next.
const STEPS: u32 = 8000;
const EVERY: u32 = 16;

pub(super) fn run() {
    let Some(text) = super::shared("text/tinyshakespeare/input.txt", "CELGC with an LSTM") else { return };
    let reading = Reading {
        format: Some(Format::Text),
        language_model: true,
        vocabulary: Some(Vocabulary::bytes()),
        length: Some(LENGTH),
        ..Reading::default()
    };
    let data = read(&text, &reading).unwrap().select(&(0..WINDOWS).collect::<Vec<_>>()).unwrap();
    println!(
        "\nAn LSTM of 128 units foretells the bytes of tinyshakespeare, {WINDOWS} windows of {LENGTH}, dealt out at random; \
         minibatches of {BATCH}, eta = {ETA}, gamma = {GAMMA}: what it takes to the loss {TARGET} on {JUDGED} windows of \
         the training data, looked at every {EVERY} local steps, at most {STEPS}."
    );
    super::head(["nodes", "I", "rounds", "local steps of a node", "MB sent by a node", "loss there"]);
    for (nodes, local) in [(4, 1), (4, 2), (4, 4), (4, 8), (4, 16), (1, 4), (2, 4), (8, 4)] {
        descend(&data, nodes, local);
    }
}

fn descend(data: &Dataset, count: usize, steps: u32) {
    let key = Key::from_seed(1);
    let shards = Partition::Iid.shards(data.labels(), count, &key).unwrap();
    let build = |parameters: &Parameters| Architecture::Lstm.build_for(&data.form(), parameters.var_builder());
    let network = |rows: Vec<usize>| Network::new(key.clone(), build, data, rows).unwrap();
    let size = NonZeroUsize::new(BATCH).unwrap();
    let networks: Vec<Network<'_>> =
        shards.into_iter().enumerate().map(|(node, rows)| network(rows).in_minibatches(size, &key, node)).collect();
    let start = point_of(networks[0].parameters()).unwrap();
    let oracles = networks.into_iter().map(|network| Box::new(network) as Box<dyn Oracle>).collect();
    let (mut nodes, mut local) = (Nodes::new(0, oracles).unwrap(), Local::new(count).unwrap());
    let mut judge = network((0..JUDGED).map(|window| window * (WINDOWS / JUDGED)).collect());

    let step = ClippedStep::new(ETA, GAMMA).unwrap();
    let mut celgc = Celgc::new(start, count, step, steps, Width::F32).unwrap();
    let mut loss = f64::INFINITY;
    let mut reached = None;
    for done in (steps..=STEPS).step_by(steps as usize) {
        celgc.round(&mut nodes, &mut local).unwrap();
        if done % EVERY == 0 {
            loss = judge.loss(celgc.points()[0]).unwrap();
            reached = (loss <= TARGET).then_some(done);
        }
        if reached.is_some() {
            break;
        }
    }
    super::row([
        count.to_string(),
        steps.to_string(),
        super::reached(reached.map(|done| (done / steps) as usize)),
        reached.map_or_else(String::new, |done| done.to_string()),
        format!("{:.1}", local.traffic()[0].sent as f64 / 1e6),
        format!("{loss:.4}"),
    ]);
}
