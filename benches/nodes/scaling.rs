//! Weak scaling of data-parallel DP-SGD: two processes of one thread with twice the batch beside one.

use candle_core::{DType, Device};
use dp_accountant::{Delta, NoiseMultiplier};
use dpsgd::clip::ClipNorm;
use dpsgd::data::{Dataset, Partition, Reading, read};
use dpsgd::distributed::{Local, Mpi, Shards, Transport};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::optim::{Sgd, SgdConfig};
use dpsgd::plan::Draft;
use dpsgd::run::Run;
use dpsgd::seed::Key;
use dpsgd::train::{Trainer, Wish};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

const IMAGES: &str = "mnist/train-images-idx3-ubyte.gz";
/// Records and expected batch of each process.
const RECORDS: usize = 10_000;
const BATCH: usize = 512;
/// The first ones are not timed.
const STEPS: u32 = 42;
const UNTIMED: usize = 2;
const TURNS: usize = 11;

/// What the processes of a run say together.
struct Said {
    /// The time of every step, in milliseconds.
    steps: Vec<f64>,
    /// What a process has sent in a step.
    bytes: f64,
    parameters: f64,
}

/// One process, two that share the work, and two runs of one process at once.
struct Turn {
    one: Said,
    two: Said,
    beside: Said,
}

impl Turn {
    fn of(model: &str) -> Self {
        Self { one: ask(model, 1, "together"), two: ask(model, 2, "together"), beside: ask(model, 2, "apart") }
    }
}

pub(super) fn run() {
    if !cfg!(feature = "mpi") {
        println!("SKIPPED: this build has no MPI: cargo bench --features mpi --bench nodes -- scaling");
        return;
    }
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("SKIPPED: there is no mpirun here (Debian: openmpi-bin)");
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("SKIPPED: two processes of one thread need two processors, and here is one");
        return;
    }
    if super::shared(IMAGES, "weak scaling").is_none() {
        return;
    }
    println!(
        "\nDP-SGD on MNIST, {RECORDS} records and an expected batch of {BATCH} for every process of one thread; {TURNS} turns, \
         each with one process, two that share the work, and two that do not talk. Efficiency is the time of a step of one \
         process over that of two with twice the batch: the median over turns, and, for machines that do other work, with \
         every step as quick as it was in any turn (its batch is the same in all). The optimum is `2 (n - 1) / n` times 8 \
         bytes for every parameter."
    );
    super::head([
        "model",
        "parameters",
        "1 process, ms a step",
        "2 processes, ms a step",
        "efficiency, median",
        "quickest",
        "of two that do not talk, median",
        "quickest",
        "bytes a step",
        "over the optimum",
    ]);
    ["cnn", "mlp"].into_iter().for_each(line);
}

fn line(model: &str) {
    let turns: Vec<Turn> = (0..TURNS).map(|_| Turn::of(model)).collect();
    let median = |number: &dyn Fn(&Turn) -> f64| super::median(turns.iter().map(number).collect());
    let step = |said: &Said| super::median(said.steps.clone());
    let quickest = |of: &dyn Fn(&Turn) -> &Said| {
        let step = |at: usize| turns.iter().map(|turn| of(turn).steps[at]).fold(f64::INFINITY, f64::min);
        (0..of(&turns[0]).steps.len()).map(step).sum::<f64>()
    };
    let (bytes, parameters) = (turns[0].two.bytes, turns[0].two.parameters);
    let one = quickest(&|turn| &turn.one);
    super::row([
        model.to_string(),
        parameters.to_string(),
        format!("{:.1}", median(&|turn| step(&turn.one))),
        format!("{:.1}", median(&|turn| step(&turn.two))),
        format!("{:.3}", median(&|turn| step(&turn.one) / step(&turn.two))),
        format!("{:.3}", one / quickest(&|turn| &turn.two)),
        format!("{:.3}", median(&|turn| step(&turn.one) / step(&turn.beside))),
        format!("{:.3}", one / quickest(&|turn| &turn.beside)),
        format!("{bytes:.0}"),
        format!("{:.4}", bytes / (8.0 * parameters)),
    ]);
}

/// So many processes of one thread each, which share the work, or do as much each by themselves.
fn ask(model: &str, processes: usize, how: &str) -> Said {
    let out = Command::new("mpirun")
        .args(["-n", &processes.to_string(), "--allow-run-as-root", "--bind-to", "none"])
        .arg(std::env::current_exe().unwrap())
        .args(["--alone", "scaling", model, how])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| {
        eprintln!("mpirun gave no answer ({error}): {}", String::from_utf8_lossy(&out.stderr));
        std::process::exit(1)
    });
    let number = |name: &str| said[name].as_f64().unwrap();
    let steps = said["steps"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    Said { steps, bytes: number("bytes"), parameters: number("parameters") }
}

/// Steps of this process and those that `mpirun` has started with it.
pub(super) fn alone(model: &str, how: &str) {
    let (mut mpi, mut local) = (Mpi::start().unwrap(), Local::new(1).unwrap());
    let first = mpi.hosted().start == 0;
    let transport: &mut dyn Transport = if how == "together" { &mut mpi } else { &mut local };
    let processes = transport.nodes();
    let data = records(processes * RECORDS);
    let key = Key::from_seed(1);
    let shards = Partition::Iid.shards(data.labels(), processes, &key).unwrap();
    let (parameters, run) = (Parameters::new(key.clone(), DType::F32, &Device::Cpu), Run::default());
    let network = model.parse::<Architecture>().unwrap();
    let network = network.build(data.shape(), data.classes().len(), parameters.var_builder()).unwrap();
    let sgd = Sgd::new(SgdConfig { learning_rate: 0.5, ..SgdConfig::default() }).unwrap();
    let (clip_norm, delta) = (ClipNorm::new(0.1).unwrap(), Delta::new(1e-5).unwrap());
    let plan = Draft::new(data.len(), processes * BATCH, STEPS, clip_norm, delta)
        .with_noise(NoiseMultiplier::new(1.0).unwrap())
        .unwrap();

    let trainer = Trainer::new(&plan, &run, &key, &data, &network, &parameters, Box::new(sgd)).unwrap();
    let mut trainer = trainer.among(Shards::new(&mut *transport, &shards, data.len()).unwrap()).unwrap();
    let mut ends = Vec::new();
    trainer
        .train(|_| {
            ends.push(Instant::now());
            Ok(Wish::Continue)
        })
        .unwrap();
    drop(trainer);
    let times = ends[UNTIMED - 1..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3);
    if first {
        let (steps, bytes) = (times.collect::<Vec<f64>>(), transport.traffic()[0].sent as f64 / f64::from(STEPS));
        println!("{}", json!({"steps": steps, "bytes": bytes, "parameters": parameters.elements()}));
    }
}

/// The first records of MNIST.
fn records(count: usize) -> Dataset {
    let data = read(&super::shared(IMAGES, "weak scaling").unwrap(), &Reading::default()).unwrap();
    data.select(&(0..count).collect::<Vec<_>>()).unwrap()
}
