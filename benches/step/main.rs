//! What privacy costs: a DP step and the same model's step without clipping and noise.
//!
//! `cargo bench --bench step` times both for every model, interleaved, one JSON line for each; `-- mnist` for those whose name
//! contains it. Both steps go through the same micro-batches, forward, backward and optimiser; the plain one sums the gradients
//! without measuring them. Three more questions, each with its own flag:
//!
//! - `-- --profile`: where the time of a DP step goes, on one thread, beside the peak of `gemm`;
//! - `-- --threads`: two threads against one;
//! - `-- --memory`: the largest memory of a process that takes steps of the one kind, against the other.
#![allow(clippy::unwrap_used)]

mod models;

use candle_core::{DType, Device, Tensor};
use dp_accountant::NoiseMultiplier;
use dpsgd::clip::{Clip, ClipNorm, ClippedSum, Flat, Unclipped};
use dpsgd::grad::{Engine, Recorded};
use dpsgd::model::{Classifier, Model};
use dpsgd::nn::{Parameters, Sequential};
use dpsgd::noise::{Gaussian, Mechanism, Noiseless};
use dpsgd::optim::{Optimizer, Sgd, SgdConfig};
use dpsgd::profile::{self, Part};
use dpsgd::run::Run;
use dpsgd::seed::Key;
use models::Case;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

/// Steps are repeated for so long, and at least so often.
const TIME: Duration = Duration::from_secs(6);
const LEAST: usize = 7;

/// A model with its parameters and a batch.
struct Setup {
    parameters: Parameters,
    model: Classifier<Sequential>,
    xs: Tensor,
    ys: Tensor,
    batch: usize,
}

impl Setup {
    fn new(case: &Case, batch: usize) -> Self {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        let model = Classifier::new((case.network)(parameters.var_builder()).unwrap());
        let full: Vec<usize> = std::iter::once(batch).chain(case.shape.iter().copied()).collect();
        let xs = match case.tokens {
            None => Tensor::rand(0.0_f32, 1.0, full, &Device::Cpu),
            Some(size) => Tensor::rand(0.0_f32, size as f32, full, &Device::Cpu).and_then(|xs| xs.to_dtype(DType::U32)),
        };
        let ys: Vec<u32> = (0..batch).map(|i| (i % case.classes) as u32).collect();
        let ys = Tensor::from_vec(ys, batch, &Device::Cpu).unwrap();
        Self { parameters, model, xs: xs.unwrap(), ys, batch }
    }

    fn training(&self, private: bool) -> Training<'_> {
        let batch = self.batch as f64;
        let (clip, mechanism): (Box<dyn Clip>, Box<dyn Mechanism>) = if private {
            let noise = Gaussian::new(NoiseMultiplier::new(1.0).unwrap(), batch, Key::from_seed(1), 0).unwrap();
            (Box::new(Flat::new(ClipNorm::new(0.1).unwrap())), Box::new(noise))
        } else {
            (Box::new(Unclipped), Box::new(Noiseless::new(batch).unwrap()))
        };
        let optimizer = Sgd::new(SgdConfig { learning_rate: 1e-3, ..SgdConfig::default() }).unwrap();
        Training { setup: self, clip, mechanism, optimizer }
    }
}

/// One model on the way, with its optimiser and mechanism.
struct Training<'a> {
    setup: &'a Setup,
    clip: Box<dyn Clip>,
    mechanism: Box<dyn Mechanism>,
    optimizer: Sgd,
}

impl Training<'_> {
    /// One step in the trainer's micro-batches, in milliseconds.
    fn step(&mut self) -> f64 {
        let start = Instant::now();
        let Setup { parameters, model, xs, ys, batch } = self.setup;
        let physical = Run::default().physical_batch.get();
        let gradients = (0..*batch).step_by(physical).map(|first| {
            let count = physical.min(batch - first);
            let (xs, ys) = (xs.narrow(0, first, count)?, ys.narrow(0, first, count)?);
            Recorded::new(model as &dyn Model, parameters, &xs, &ys, Engine::default())
        });
        let sum = ClippedSum::new(parameters, self.clip.as_ref(), gradients).unwrap();
        let (release, _) = self.mechanism.release(sum).unwrap();
        self.optimizer.step(parameters, release).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    }
}

/// The DP step and the plain one in turn.
fn ratio(case: &Case, batch: usize) {
    let setup = Setup::new(case, batch);
    let (mut private, mut plain) = (setup.training(true), setup.training(false));
    private.step();
    plain.step();
    let (start, mut dp, mut twin) = (Instant::now(), Vec::new(), Vec::new());
    while dp.len() < LEAST || start.elapsed() < TIME {
        dp.push(private.step());
        twin.push(plain.step());
    }
    // Side by side in time, so that what else the machine does enters both.
    let ratios = dp.iter().zip(&twin).map(|(dp, twin)| dp / twin).collect();
    let (dp, twin) = (median(dp), median(twin));
    println!(
        "{}",
        json!({"bench": "step", "model": case.name, "batch": batch, "threads": rayon::current_num_threads(),
               "parameters": setup.parameters.elements(), "dp_ms": dp, "plain_ms": twin, "ratio": median(ratios),
               "dp_examples_per_second": batch as f64 / dp * 1e3, "plain_examples_per_second": batch as f64 / twin * 1e3})
    );
}

/// Where the time of a step goes. To be run on one thread.
fn parts(case: &Case, batch: usize) {
    let setup = Setup::new(case, batch);
    let peak = [DType::F32, DType::F64].map(peak);
    for private in [true, false] {
        let mut training = setup.training(private);
        training.step();
        let (start, mut steps) = (Instant::now(), 0.0);
        profile::start();
        while steps < LEAST as f64 || start.elapsed() < TIME / 2 {
            training.step();
            steps += 1.0;
        }
        let (profile, all) = (profile::stop(), start.elapsed().as_secs_f64());
        let share = |part: Part| profile.time(part).as_secs_f64() / all;
        let shares: serde_json::Map<String, serde_json::Value> = Part::ALL
            .iter()
            .filter(|(part, _)| share(*part) > 0.0)
            .map(|(part, name)| ((*name).to_string(), json!((share(*part) * 1e3).round() / 10.0)))
            .collect();
        let speed = |wide: bool, part: Part| {
            profile.operations()[usize::from(wide)] as f64 / profile.time(part).as_secs_f64().max(1e-9) / 1e9
        };
        println!(
            "{}",
            json!({"bench": "profile", "model": case.name, "batch": batch, "private": private, "ms": all / steps * 1e3,
                   "percent": shares, "elsewhere_percent": (1.0 - profile.total().as_secs_f64() / all) * 100.0,
                   "f32_gflops": speed(false, Part::Products), "f32_peak_gflops": peak[0],
                   "f64_gflops": speed(true, Part::WideProducts), "f64_peak_gflops": peak[1]})
        );
    }
}

/// Operations a second, in 10^9, of a product of two large square matrices.
fn peak(dtype: DType) -> f64 {
    const SIZE: usize = 768;
    let matrix = Tensor::rand(0.0_f32, 1.0, (SIZE, SIZE), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let times = (0..15).map(|_| {
        let start = Instant::now();
        matrix.matmul(&matrix).unwrap();
        start.elapsed().as_secs_f64()
    });
    2.0 * (SIZE as f64).powi(3) / times.fold(f64::INFINITY, f64::min) / 1e9
}

/// Milliseconds and examples of this process alone: what another process asks it for.
fn alone(case: &Case, batch: usize, private: bool) {
    let setup = Setup::new(case, batch);
    // What building took is not what a step takes.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let mut training = setup.training(private);
    training.step();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || start.elapsed() < TIME / 6 {
        times.push(training.step());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    println!("{}", json!({"ms": median(times), "peak_kb": peak}));
}

/// What [`alone`] says in a process of its own.
fn ask(case: &Case, batch: usize, private: bool, threads: usize) -> (f64, Option<f64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--alone", case.name, &batch.to_string(), if private { "dp" } else { "plain" }]);
    let out = command.env("RAYON_NUM_THREADS", threads.to_string()).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    (answer["ms"].as_f64().unwrap(), answer["peak_kb"].as_f64())
}

fn memory(case: &Case, batch: usize) {
    let of = |private| ask(case, batch, private, rayon::current_num_threads());
    let ((dp_ms, dp), (plain_ms, plain)) = (of(true), of(false));
    let ratio = dp.zip(plain).map(|(dp, plain)| dp / plain);
    println!(
        "{}",
        json!({"bench": "memory", "model": case.name, "batch": batch, "dp_peak_kb": dp, "plain_peak_kb": plain,
               "ratio": ratio, "dp_ms": dp_ms, "plain_ms": plain_ms})
    );
}

fn threads(case: &Case, batch: usize) {
    let rounds = |private| {
        let times = (0..5).map(|_| (ask(case, batch, private, 1).0, ask(case, batch, private, 2).0));
        times.collect::<Vec<_>>()
    };
    for private in [true, false] {
        let times = rounds(private);
        let ratios = times.iter().map(|(one, two)| one / two).collect();
        let (one, two): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
        println!(
            "{}",
            json!({"bench": "threads", "model": case.name, "batch": batch, "private": private, "one_ms": median(one),
                   "two_ms": median(two), "speed_up": median(ratios)})
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    dpsgd::keep_freed_memory();
    if let [flag, name, batch, kind] = arguments.as_slice()
        && flag == "--alone"
    {
        let cases = models::timed().into_iter().chain([models::large()]).find(|case| case.name == name);
        return dpsgd::awake(|| alone(&cases.unwrap(), batch.parse().unwrap(), kind == "dp"));
    }
    let (flags, wanted): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|argument| argument.starts_with("--"));
    let (question, large): (fn(&Case, usize), _) = match flags.as_slice() {
        [] => (ratio, false),
        ["--profile"] => (parts, false),
        ["--threads"] => (threads, false),
        ["--memory"] => (memory, true),
        other => {
            eprintln!("one of --profile, --threads and --memory, and not {other:?}");
            std::process::exit(2);
        }
    };
    let cases = models::timed().into_iter().chain(large.then(models::large));
    for case in cases.filter(|case| wanted.is_empty() || wanted.iter().any(|name| case.name.contains(name))) {
        for batch in case.batches {
            dpsgd::awake(|| question(&case, *batch));
        }
    }
}
