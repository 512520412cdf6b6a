//! How fast noise is drawn: one JSON line for each case on stdout, with one thread and with all.
//!
//! The draws of [`StandardNormals`] beside the ziggurat of `rand_distr` on the ChaCha20 of `rand_chacha`, cut into the same
//! blocks. Cases take turns, so that other work on the machine slows all of them; the median of the turns stands.
//! `cargo bench --bench noise`.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device};
use candle_nn::Init;
use dp_accountant::NoiseMultiplier;
use dpsgd::clip::{ClipNorm, ClippedSum, Flat};
use dpsgd::grad::Recorded;
use dpsgd::nn::Parameters;
use dpsgd::noise::{Gaussian, Mechanism, StandardNormals};
use dpsgd::seed::{Key, Role};
use rand::Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

/// Turns of every case.
const TURNS: u32 = 101;

/// Draws of a turn: short enough that most turns run without interruption where other work shares the cores.
const DRAWS: usize = 1 << 17;

fn rand_distr(key: &Key, step: u32, draws: &mut [f64]) {
    draws.par_chunks_mut(StandardNormals::BLOCK).enumerate().for_each(|(block, draws)| {
        let mut rng = key.stream(Role::Noise, step);
        rng.set_word_pos((block as u128) << 25);
        draws.iter_mut().for_each(|draw| *draw = rng.sample(StandardNormal));
    });
}

/// A sum of no gradients with `DRAWS` elements.
fn empty_sum() -> ClippedSum {
    let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
    parameters.var_builder().get_with_hints(DRAWS, "weight", Init::Const(0.0)).unwrap();
    let clip = Flat::new(ClipNorm::new(1.0).unwrap());
    ClippedSum::new::<Recorded>(&parameters, &clip, std::iter::empty()).unwrap()
}

fn seconds(case: impl FnOnce()) -> f64 {
    let start = Instant::now();
    case();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(threads: usize) {
    let key = Key::from_seed(1);
    let mut draws = vec![0.0; DRAWS];
    let mut times = [const { Vec::new() }; 3];
    for turn in 0..TURNS {
        times[0].push(seconds(|| StandardNormals::new(&key, turn).fill(black_box(&mut draws))));
        times[1].push(seconds(|| rand_distr(&key, turn, black_box(&mut draws))));
        let sum = empty_sum();
        let mut gaussian = Gaussian::new(NoiseMultiplier::new(1.0).unwrap(), 256.0, key.clone(), turn).unwrap();
        times[2].push(seconds(|| drop(black_box(gaussian.release(sum).unwrap()))));
    }
    let names = ["standard normals", "rand_distr on rand_chacha", "release of a sum, f64 to f32"];
    for (case, times) in names.into_iter().zip(times) {
        let rate = (DRAWS as f64 / median(times)).round();
        println!("{}", json!({"bench": "noise", "case": case, "threads": threads, "samples_per_second": rate}));
    }
}

fn main() {
    let all = std::thread::available_parallelism().unwrap().get();
    for threads in if all == 1 { vec![1] } else { vec![1, all] } {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| dpsgd::awake(|| run(threads)));
    }
}
