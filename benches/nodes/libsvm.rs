//! Clip-GD stalls where nodes disagree, and Clip21-GD reaches the gradient norm of unclipped descent.

use super::problem::{Problem, loss, slope};
use dpsgd::clip::ClipNorm;
use dpsgd::distributed::rate::Start;
use dpsgd::distributed::vector::norm;
use dpsgd::distributed::{Algorithm, Clip21, ClipGd, Local, Nodes, Radius, Uplink, Width};
use dpsgd::seed::Key;

const NODES: usize = 10;
/// Rounds of every run.
const ROUNDS: usize = 1000;
/// After so many rounds of gradient descent its gradient norm is what the others are to reach.
const DESCENT: usize = 100;
/// Norms are taken after every so many.
const EVERY: usize = 5;

/// Where a run ends.
struct Ended {
    slope: f64,
    loss: f64,
    accuracy: f64,
    reached: Option<usize>,
    /// After [`DESCENT`] rounds.
    then: f64,
}

pub(super) fn run() {
    println!(
        "\nNonconvex logistic regression, records sorted by label over {NODES} nodes, start 0, step size 1/L: the norm of the \
         mean gradient, loss and training accuracy after {ROUNDS} rounds, and the rounds to the norm of gradient descent \
         after {DESCENT} (in steps of {EVERY})."
    );
    for file in ["a9a", "w8a", "mushrooms", "ijcnn1.gz"] {
        let Some(problem) = Problem::of(file, NODES, "Clip21 beside Clip-GD") else { continue };
        table(file, &problem);
    }
}

fn table(file: &str, problem: &Problem) {
    let (start, step) = (vec![0.0; problem.dim()], 1.0 / problem.smoothness);
    let open = ClipGd::new(start.clone(), step, uplink(Radius::INFINITE)).unwrap();
    let descent = descend(problem, Box::new(open), f64::NEG_INFINITY);
    println!(
        "\n{file}: {} records, {} features, L = {:.4}; gradient descent has the norm {:.2e} after {DESCENT} rounds.",
        problem.records(),
        problem.dim(),
        problem.smoothness,
        descent.then
    );
    super::head(["method", "t", "gradient norm", "loss", "accuracy", "rounds", "proved step, times L"]);
    let line = |method: &str, t: &str, ended: &Ended, rounds: Option<usize>, proved: &str| {
        let ended = [
            format!("{:.2e}", ended.slope),
            format!("{:.5}", ended.loss),
            format!("{:.2} %", 100.0 * ended.accuracy),
            super::reached(rounds),
        ];
        super::row([method, t].into_iter().chain(ended.iter().map(String::as_str)).chain([proved]));
    };
    line("GD", "", &descent, Some(DESCENT), "1");
    for t in [1.0, 0.1, 0.01] {
        let radius = Radius::new(ClipNorm::new(t).unwrap());
        let clip_gd = ClipGd::new(start.clone(), step, uplink(radius)).unwrap();
        let clip21 = Clip21::new(start.clone(), NODES, step, uplink(radius)).unwrap();
        let proved = format!("{:.1e}", proved(problem, &start, t) * problem.smoothness);
        let runs: [(_, Box<dyn Algorithm>, _); 2] =
            [("Clip-GD", Box::new(clip_gd), ""), ("Clip21-GD", Box::new(clip21), proved.as_str())];
        for (name, algorithm, proved) in runs {
            let ended = descend(problem, algorithm, descent.then);
            line(name, &t.to_string(), &ended, ended.reached, proved);
        }
    }
}

fn uplink(radius: Radius) -> Uplink {
    Uplink::new(Box::new(radius), Width::F64, Key::from_seed(0))
}

fn descend(problem: &Problem, mut algorithm: Box<dyn Algorithm>, target: f64) -> Ended {
    let (mut nodes, mut local): (Nodes<'_>, Local) = problem.nodes();
    let (mut reached, mut then) = (None, f64::INFINITY);
    for round in 1..=ROUNDS {
        algorithm.round(&mut nodes, &mut local).unwrap();
        if round == DESCENT || (round % EVERY == 0 && reached.is_none()) {
            let slope = slope(&mut nodes, algorithm.points()[0]);
            // Where descent has come to what rounding leaves, so have they.
            reached = reached.or((slope <= target * (1.0 + 1e-6)).then_some(round));
            then = if round == DESCENT { slope } else { then };
        }
    }
    let point = algorithm.points()[0].to_vec();
    let (slope, loss) = (slope(&mut nodes, &point), loss(&mut nodes, &point));
    Ended { slope, loss, accuracy: problem.accuracy(&point), reached, then }
}

/// The step for which the rate is proved: no loss is below 0, so the loss at the start is the gap or more.
fn proved(problem: &Problem, start: &[f64], radius: f64) -> f64 {
    let (mut nodes, _) = problem.nodes();
    let distance = nodes.gradients(start).unwrap().iter().map(|gradient| norm(gradient)).fold(0.0, f64::max);
    let (smoothness, largest_smoothness) = (problem.smoothness, problem.of_nodes.iter().copied().fold(0.0, f64::max));
    let gap = loss(&mut nodes, start);
    Start { smoothness, largest_smoothness, gap, distance, radius }.proved().unwrap().step()
}
