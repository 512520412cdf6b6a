//! Bytes to a loss: what compressors save, and what they need for it.

use super::problem::{Problem, loss};
use dpsgd::distributed::compress::{Contractive, Exponential, RandK, ScaledSign, TopK};
use dpsgd::distributed::{
    Algorithm, Compress, CompressedDescent, Ef21, ErrorFeedback, FirstMemory, Radius, Transport, Uplink, Width,
};
use dpsgd::seed::Key;

const NODES: usize = 10;
/// A tenth of a9a's 123 features.
const KEPT: usize = 12;
/// Rounds after which a run is given up, and rounds from one look at the loss to the next.
const ROUNDS: usize = 1000;
const EVERY: usize = 5;
/// Rounds of gradient descent to the least loss.
const DESCENT: usize = 1000;
/// The share of the first gap that is to be left.
const LEFT: f64 = 1e-3;
/// Step sizes, times 1/L.
const STEPS: [f64; 4] = [1.0, 0.25, 0.0625, 0.015_625];

type Make = fn() -> Box<dyn Compress>;
const COMPRESSORS: [(&str, Make); 4] = [
    ("Top-k", || Box::new(TopK::new(KEPT).unwrap())),
    ("Rand-k", || Box::new(RandK::unbiased(KEPT).unwrap())),
    ("scaled sign", || Box::new(ScaledSign)),
    ("natural", || Box::new(Exponential::natural())),
];
const METHODS: [&str; 3] = ["DCGD", "EF", "EF21"];

/// A run that has come to the loss.
struct Arrived {
    /// Times 1/L.
    step: f64,
    rounds: usize,
    /// Bytes that node 1 has sent, which is as all but node 0, and all nodes together.
    one: u64,
    all: u64,
}

/// What a run leads to: the loss, or the least it came to.
type Outcome = Result<Arrived, f64>;

pub(super) fn run() {
    let Some(problem) = Problem::of("a9a", NODES, "bytes to a loss") else { return };
    let least = least(&problem);
    let first = at_start(&problem);
    let target = least + LEFT * (first - least);
    println!(
        "\nNonconvex logistic regression on a9a, records sorted by label over {NODES} nodes, numbers of 4 bytes, k = {KEPT} \
         of {}: bytes until {LEFT} of the gap of {:.5} to the least loss, {least:.5}, is left, with the best step of 1, \
         1/4, 1/16 and 1/64 over L, within {ROUNDS} rounds (in steps of {EVERY}). Where it is not reached: the least \
         share of the gap.",
        problem.dim(),
        first - least
    );
    super::head(["compressor", "method", "step, times L", "rounds", "bytes sent by a node", "by all", "gap left"]);
    let line = |compressor: &str, method: &str, outcome: Outcome| match outcome {
        Ok(Arrived { step, rounds, one, all }) => super::row([
            compressor.to_string(),
            method.to_string(),
            step.to_string(),
            rounds.to_string(),
            one.to_string(),
            all.to_string(),
            String::new(),
        ]),
        Err(reached) => {
            let left = format!("{:.4}", (reached - least) / (first - least));
            super::row([compressor, method, "", "not reached", "", "", &left]);
        }
    };
    line("none", "GD", best(&problem, "DCGD", || Box::new(Radius::INFINITE), target));
    for (name, compressor) in COMPRESSORS {
        for method in METHODS {
            line(name, method, best(&problem, method, compressor, target));
        }
    }
}

/// The step size that takes the fewest rounds; every round of a method has as many bytes as the others, to some bits.
fn best(problem: &Problem, method: &str, compressor: Make, target: f64) -> Outcome {
    let mut best: Outcome = Err(f64::INFINITY);
    for step in STEPS {
        // No more rounds than the best has taken.
        let most = best.as_ref().map_or(ROUNDS, |arrived| arrived.rounds);
        let outcome = descend(problem, algorithm(problem, method, compressor(), step), step, target, most);
        best = match (best, outcome) {
            (Err(least), Err(other)) => Err(least.min(other)),
            (Ok(best), Ok(other)) if best.rounds <= other.rounds => Ok(best),
            (Ok(best), Err(_)) => Ok(best),
            (_, Ok(other)) => Ok(other),
        };
    }
    best
}

fn algorithm(problem: &Problem, method: &str, compress: Box<dyn Compress>, step: f64) -> Box<dyn Algorithm> {
    let (start, step) = (vec![0.0; problem.dim()], step / problem.smoothness);
    // Methods with memory take contractions.
    let compress = if method == "DCGD" { compress } else { Box::new(Contractive::new(compress)) };
    let uplink = Uplink::new(compress, Width::F32, Key::from_seed(0));
    match method {
        "DCGD" => Box::new(CompressedDescent::new(start, step, uplink).unwrap()),
        "EF" => Box::new(ErrorFeedback::new(start, NODES, step, uplink).unwrap()),
        _ => Box::new(Ef21::new(start, NODES, step, FirstMemory::Compressed, uplink).unwrap()),
    }
}

fn descend(problem: &Problem, mut algorithm: Box<dyn Algorithm>, step: f64, target: f64, most: usize) -> Outcome {
    let (mut nodes, mut local) = problem.nodes();
    let mut least = f64::INFINITY;
    for rounds in 1..=most {
        if algorithm.round(&mut nodes, &mut local).is_err() {
            // Numbers that are none any more.
            break;
        }
        if rounds % EVERY != 0 {
            continue;
        }
        let loss = loss(&mut nodes, algorithm.points()[0]);
        least = least.min(loss);
        if loss <= target {
            let sent: Vec<u64> = local.traffic().iter().map(|traffic| traffic.sent).collect();
            return Ok(Arrived { step, rounds, one: sent[1], all: sent.iter().sum() });
        }
    }
    Err(least)
}

fn at_start(problem: &Problem) -> f64 {
    let (mut nodes, _) = problem.nodes();
    loss(&mut nodes, &vec![0.0; problem.dim()])
}

/// Where gradient descent ends in full width.
fn least(problem: &Problem) -> f64 {
    let (mut nodes, mut local) = problem.nodes();
    let uplink = Uplink::new(Box::new(Radius::INFINITE), Width::F64, Key::from_seed(0));
    let mut descent = CompressedDescent::new(vec![0.0; problem.dim()], 1.0 / problem.smoothness, uplink).unwrap();
    for _ in 0..DESCENT {
        descent.round(&mut nodes, &mut local).unwrap();
    }
    loss(&mut nodes, descent.points()[0])
}
