//! What every algorithm promises: without clipping it is gradient descent, it goes on where it was interrupted, to
//! the last bit, it does not know how many processes there are, and it says which node failed.

use super::{Member, formula, hosted, private, radius};
use dp_accountant::{NoiseMultiplier, SamplingRate};
use dpsgd::distributed::algorithm::State;
use dpsgd::distributed::transport::Traffic;
use dpsgd::distributed::uplink::Trust;
use dpsgd::distributed::vector::{add, difference, norm};
use dpsgd::distributed::wire::Message;
use dpsgd::distributed::*;
use dpsgd::seed::{Key, Role};
use dpsgd::{Error, Result};
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex};

struct Row {
    /// For one node, with nothing clipped, at a step size.
    plain: Plain,
    /// Rounds before its first step.
    late: usize,
    /// Answers that a step asks for; it is along the last.
    asks: usize,
    /// With all it has, for so many nodes in this process.
    whole: Whole,
    /// Whether messages of `whole` carry noise.
    private: bool,
}

fn open() -> Uplink {
    Uplink::new(Box::new(Radius::INFINITE), Width::F64, Key::from_seed(0))
}

fn noisy(trust: Trust) -> Uplink {
    private(0.5, 0.7, trust, Key::from_seed(8))
}

fn step(size: f64) -> ClippedStep {
    ClippedStep::new(size, f64::INFINITY).unwrap()
}

fn coins() -> Participation {
    Participation::coins(SamplingRate::new(0.6).unwrap(), Key::from_seed(5))
}

fn clipped() -> ClippedStep {
    ClippedStep::new(0.1, 0.05).unwrap()
}

type Plain = fn(Vec<f64>, f64) -> Box<dyn Algorithm>;
type Whole = fn(Vec<f64>, usize) -> Box<dyn Algorithm>;

fn row(plain: Plain, whole: Whole, private: bool) -> Row {
    Row { plain, late: 0, asks: 1, whole, private }
}

fn rows() -> Vec<Row> {
    let normalised: Whole = |x, nodes| {
        let noise = (NoiseMultiplier::new(0.7).unwrap(), Trust::Local);
        let key = Key::from_seed(8);
        let uplink = Uplink::private_normalised(Normalised::new(0.1).unwrap(), noise, Width::F64, key);
        Box::new(NormEc::new(x, nodes, 0.1, 0.5, uplink).unwrap().normalised())
    };
    let hidden: Whole = |x, nodes| {
        let clip21 = Clip21::private(x, nodes, 0.1, noisy(Trust::Central), Visibility::Hidden);
        Box::new(clip21.unwrap().with(coins()))
    };
    let public: Whole =
        |x, nodes| Box::new(Clip21::private(x, nodes, 0.1, noisy(Trust::Local), Visibility::Public).unwrap());
    let clip21: Plain = |x, g| Box::new(Clip21::new(x, 1, g, open()).unwrap());
    vec![
        row(
            |x, g| Box::new(ClipGd::new(x, g, open()).unwrap()),
            |x, _| Box::new(ClipGd::new(x, 0.1, noisy(Trust::Local)).unwrap()),
            true,
        ),
        row(clip21, hidden, true),
        row(clip21, public, true),
        row(clip21, |x, nodes| Box::new(Clip21::new(x, nodes, 0.1, super::uplink(0.3)).unwrap()), false),
        Row {
            late: 1,
            ..row(
                |x, g| Box::new(Sgd2m::new(x, 1, g, (1.0, 1.0), open()).unwrap()),
                |x, nodes| Box::new(Sgd2m::new(x, nodes, 0.1, (0.3, 0.4), noisy(Trust::Local)).unwrap()),
                true,
            )
        },
        row(|x, g| Box::new(NormEc::new(x, 1, g, 1.0, open()).unwrap()), normalised, true),
        row(
            |x, g| Box::new(Dice::new(x, g, (Radius::INFINITE, Radius::INFINITE), Width::F64).unwrap()),
            |x, _| Box::new(Dice::new(x, 0.1, (radius(0.2), radius(0.3)), Width::F32).unwrap()),
            false,
        ),
        row(
            |x, g| Box::new(Celgc::new(x, 1, step(g), 1, Width::F64).unwrap()),
            |x, nodes| Box::new(Celgc::new(x, nodes, clipped(), 3, Width::F32).unwrap()),
            false,
        ),
        row(
            |x, g| Box::new(ParallelClip::new(x, step(g), Width::F64)),
            |x, _| Box::new(ParallelClip::new(x, clipped(), Width::F64)),
            false,
        ),
        Row {
            asks: 2,
            ..row(
                |x, g| Box::new(Episode::new(x, 1, step(g), 1, Width::F64).unwrap()),
                |x, nodes| Box::new(Episode::new(x, nodes, clipped(), 3, Width::F64).unwrap()),
                false,
            )
        },
    ]
}

const DIM: usize = 5;
const NODES: usize = 4;

/// With all they have.
pub(super) fn members() -> Vec<Member> {
    let member = |row: Row| Member { algorithm: (row.whole)(start(), NODES), nodes: NODES, private: row.private };
    rows().into_iter().map(member).collect()
}

fn start() -> Vec<f64> {
    (0..DIM).map(|i| 1.0 + i as f64).collect()
}

/// A node whose answers are sampled: the slope of a quadratic of its own, and noise that follows from the answer's
/// number.
fn sampled(node: usize) -> Box<dyn Oracle> {
    let key = Key::from_seed(20).derived(&format!("node {node}"));
    formula(DIM, move |x, answer| {
        let mut rng = key.stream(Role::Noise, answer);
        let noise = || -> f64 { StandardNormal.sample(&mut rng) };
        let noise: Vec<f64> = std::iter::repeat_with(noise).take(DIM).collect();
        let slope = |(i, (x, noise)): (usize, (&f64, &f64))| (1.0 + i as f64) * (x - node as f64) + 0.3 * noise;
        x.iter().zip(&noise).enumerate().map(slope).collect()
    })
}

#[test]
fn without_clipping_one_node_descends_along_its_answers() {
    for row in rows() {
        let mut algorithm = (row.plain)(start(), 0.05);
        let (mut nodes, mut local) = hosted(vec![sampled(0)]);
        let mut oracle = sampled(0);
        let mut point = start();
        for round in 0..40 {
            algorithm.round(&mut nodes, &mut local).unwrap();
            if round >= row.late {
                let gradient = (0..row.asks).map(|_| oracle.gradient(&point).unwrap()).last().unwrap();
                add(&mut point, -0.05, &gradient);
            }
            let apart = norm(&difference(algorithm.points()[0], &point));
            assert!(apart < 1e-12, "{} is {apart} away after round {round}", algorithm.name());
        }
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    for row in rows() {
        let rounds = |algorithm: &mut dyn Algorithm, nodes: &mut Nodes<'_>, local: &mut Local| {
            (0..7).for_each(|_| drop(algorithm.round(nodes, local).unwrap()));
        };
        let mut whole = (row.whole)(start(), NODES);
        let (mut nodes, mut local) = hosted((0..NODES).map(sampled).collect());
        rounds(whole.as_mut(), &mut nodes, &mut local);
        let (saved, answers) = (serde_json::to_string(&whole.state()).unwrap(), nodes.answers());
        rounds(whole.as_mut(), &mut nodes, &mut local);

        let mut resumed = (row.whole)(vec![0.0; DIM], NODES);
        let (mut nodes, mut local) = hosted((0..NODES).map(sampled).collect());
        resumed.resume(serde_json::from_str(&saved).unwrap()).unwrap();
        nodes.resume(&answers).unwrap();
        rounds(resumed.as_mut(), &mut nodes, &mut local);
        assert_eq!(resumed.points(), whole.points(), "{}", whole.name());
        assert_eq!(resumed.state(), whole.state(), "{}", whole.name());
        // The control: nodes that are not put back give other answers.
        let mut other = (row.whole)(vec![0.0; DIM], NODES);
        let (mut nodes, mut local) = hosted((0..NODES).map(sampled).collect());
        other.resume(serde_json::from_str(&saved).unwrap()).unwrap();
        rounds(other.as_mut(), &mut nodes, &mut local);
        assert_ne!(other.points(), whole.points(), "{}", whole.name());
    }
}

#[test]
fn a_state_of_another_algorithm_or_dimension_is_refused_and_changes_nothing() {
    let rows = rows();
    for row in &rows {
        let mut algorithm = (row.whole)(start(), NODES);
        let before = algorithm.state();
        let others = rows.iter().map(|other| (other.whole)(start(), NODES).state());
        let wrong = others.filter(|state| state.algorithm != algorithm.name()).chain([
            (row.whole)(vec![1.0; DIM + 1], NODES).state(),
            State::default(),
            State::of(algorithm.name(), 3),
        ]);
        for state in wrong.collect::<Vec<_>>() {
            let refused = algorithm.resume(state.clone());
            assert!(matches!(refused, Err(Error::Refused { .. })), "{} took {state:?}", algorithm.name());
            assert_eq!(algorithm.state(), before, "{}", algorithm.name());
        }
        let fewer = (row.whole)(start(), NODES - 1).state();
        let remembers = fewer.vectors.values().any(|of_nodes| of_nodes.len() > 1);
        assert_eq!(algorithm.resume(fewer).is_err(), remembers, "{} with a node less", algorithm.name());
    }
}

/// A node that fails: it dies, it refuses, or it answers with what is no number.
struct Failing(&'static str);

impl Oracle for Failing {
    fn dim(&self) -> usize {
        DIM
    }

    fn gradient(&mut self, _: &[f64]) -> Result<Vec<f64>> {
        match self.0 {
            "dies" => panic!("no memory left"),
            "refuses" => Err(Error::Model { reason: "no".into() }),
            "infinite" => Ok(vec![f64::INFINITY; DIM]),
            "short" => Ok(vec![0.0; DIM - 1]),
            "zero" => Ok(vec![0.0; DIM]),
            _ => Ok([vec![f64::NAN], vec![1.0; DIM - 1]].concat()),
        }
    }

    fn loss(&mut self, _: &[f64]) -> Result<f64> {
        Ok(0.0)
    }

    fn answers(&self) -> u32 {
        0
    }

    fn resume(&mut self, _: u32) {}
}

#[test]
fn a_node_that_fails_is_named_and_numbers_that_are_none_drown_in_noise() {
    let first_round = |row: &Row, failure: &'static str| {
        let mut algorithm = (row.whole)(start(), NODES);
        let oracle = |node| -> Box<dyn Oracle> { if node == 1 { Box::new(Failing(failure)) } else { sampled(node) } };
        let (mut nodes, mut local) = hosted((0..NODES).map(oracle).collect());
        algorithm.round(&mut nodes, &mut local).map(|_| algorithm.state())
    };
    // Node 1 is among those whose coin says yes in the first round.
    assert!(coins().includes(1, 0));
    for row in rows() {
        let name = (row.whole)(start(), NODES).name();
        for failure in ["dies", "refuses", "short"] {
            let ended = first_round(&row, failure);
            assert!(matches!(ended, Err(Error::Node { node: 1, .. })), "{name}, when node 1 {failure}: {ended:?}");
        }
        for failure in ["infinite", "nan"] {
            let ended = first_round(&row, failure);
            if row.private {
                // Nothing tells it from a node that has nothing to say.
                assert_eq!(ended.unwrap(), first_round(&row, "zero").unwrap(), "{name}, {failure}");
            } else {
                assert!(matches!(ended, Err(Error::Node { node: 1, .. })), "{name}, {failure}: {ended:?}");
            }
        }
    }
}

/// One node of several, in a process of its own: a thread.
struct Apart {
    node: usize,
    said: Arc<(Mutex<Vec<Vec<f64>>>, Barrier)>,
}

impl Transport for Apart {
    fn nodes(&self) -> usize {
        NODES
    }

    fn hosted(&self) -> Range<usize> {
        self.node..self.node + 1
    }

    fn all_reduce_sum(&mut self, vectors: &[Vec<f64>], width: Width) -> Result<Vec<f64>> {
        let (said, barrier) = self.said.as_ref();
        said.lock().unwrap()[self.node].clone_from(&vectors[0]);
        barrier.wait();
        let mut sum = vec![0.0; vectors[0].len()];
        for vector in said.lock().unwrap().iter() {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += width.rounded(*x));
        }
        barrier.wait();
        Ok(sum.into_iter().map(|x| width.rounded(x)).collect())
    }

    fn collect(&mut self, _: Vec<Message>) -> Result<Option<Vec<Message>>> {
        Err(Error::Refused { reason: "every message here is a whole vector".into() })
    }

    fn broadcast(&mut self, _: Option<Message>) -> Result<Message> {
        Err(Error::Refused { reason: "every message here is a whole vector".into() })
    }

    fn exchange(&mut self, _: &[Vec<usize>], _: Vec<Message>) -> Result<Vec<Vec<Message>>> {
        Err(Error::Refused { reason: "nobody has peers here".into() })
    }

    fn traffic(&self) -> &[Traffic] {
        &[]
    }
}

#[test]
fn nodes_in_processes_of_their_own_give_the_same_bits() {
    for row in rows() {
        let mut together = (row.whole)(start(), NODES);
        let (mut nodes, mut local) = hosted((0..NODES).map(sampled).collect());
        let costs: Vec<_> = (0..9).map(|_| together.round(&mut nodes, &mut local).unwrap()).collect();
        let said = Arc::new((Mutex::new(vec![Vec::new(); NODES]), Barrier::new(NODES)));
        let process = |node: usize| {
            let mut apart = Apart { node, said: Arc::clone(&said) };
            let mut algorithm = (row.whole)(start(), 1);
            let mut nodes = Nodes::new(node, vec![sampled(node)]).unwrap();
            let costs: Vec<_> = (0..9).map(|_| algorithm.round(&mut nodes, &mut apart).unwrap()).collect();
            (algorithm.points()[0].to_vec(), costs)
        };
        let ends: Vec<_> = std::thread::scope(|scope| {
            let process = &process;
            let processes: Vec<_> = (0..NODES).map(|node| scope.spawn(move || process(node))).collect();
            processes.into_iter().map(|process| process.join().unwrap()).collect()
        });
        for (node, (point, cost)) in ends.into_iter().enumerate() {
            assert_eq!(point, together.points()[0], "{} at node {node}", together.name());
            assert_eq!(cost, costs, "{} at node {node}", together.name());
        }
    }
}
