//! `dpsgd train --nodes`: every algorithm keeps its budget, leaves what can be verified, and can be repeated, stopped and resumed.
#![cfg(all(feature = "cli", unix))]

mod algorithms;
mod answers;
mod clients;
mod faults;
mod files;
mod grounds;
#[cfg(feature = "mpi")]
mod mpi;
mod refusals;
mod shared_steps;

use serde_json::Value;
use std::path::Path;

/// An algorithm of the command line.
struct Row {
    name: &'static str,
    /// Its constants.
    flags: &'static str,
    /// The same with another one.
    others: &'static str,
    /// How many gradients a node is asked for in four rounds, counted by hand.
    answers: u64,
}

const fn row(name: &'static str, flags: &'static str, others: &'static str, answers: u64) -> Row {
    Row { name, flags, others, answers }
}

/// Every algorithm of the command line.
const ALGORITHMS: [Row; 17] = [
    row("dp-sgd", "--clip-norm 1", "--clip-norm 2", 4),
    row("clip-gd", "--message-clip 0.05", "--message-clip 0.06", 4),
    row("clip21", "--message-clip 0.05", "--message-clip 0.06", 4),
    row("clip21-sgd2m", "--client-momentum 0.3", "--client-momentum 0.4", 4),
    row("norm-ec", "--smoothing 0.5", "--smoothing 0.6", 4),
    row("dice-sgd", "--message-clip 0.1 --feedback-clip 0.05", "--message-clip 0.1 --feedback-clip 0.06", 4),
    row("celgc", "--longest-step 0.05 --local-steps 2", "--longest-step 0.06 --local-steps 2", 8),
    row("local-sgd", "--local-steps 2", "--local-steps 3", 8),
    row("parallel-clip", "--longest-step 0.05", "--longest-step 0.06", 4),
    row("episode", "--longest-step 0.05 --local-steps 2", "--longest-step 0.06 --local-steps 2", 12),
    row("dcgd", "--compress natural", "--compress rand-k:5%", 4),
    row("error-feedback", "--compress top-k:5%", "--compress top-k:6%", 4),
    row("ef21", "--compress top-k:5%", "--compress top-k:6%", 4),
    row("dsgd", "--topology path", "--topology complete", 4),
    row("gradient-tracking", "--local-steps 2 --topology path", "--local-steps 2 --topology complete", 9),
    row("kgt", "--local-steps 2 --outer-step 0.5", "--local-steps 2 --outer-step 0.6", 9),
    row("scaffold", "--local-steps 2 --variate gradient", "--local-steps 2 --variate steps", 13),
];

fn file(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn document(directory: &Path, name: &str) -> Value {
    serde_json::from_slice(&file(directory, name)).unwrap()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

/// The numbers of a model file, tensor after tensor in name order.
fn model(directory: &Path) -> Vec<f32> {
    let bytes = file(directory, "model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = tensors.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let numbers = tensors.iter().flat_map(|(_, view)| view.data().chunks_exact(4));
    numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The largest difference between the numbers of two models.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
