//! The isolation probe: before any budget is spent, does one example's loss or gradient depend on another's?

use super::{Engine, PerExample, Recorded, Weights};
use crate::model::Model;
use crate::nn::Parameters;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rand::Rng;

const EXAMPLES: usize = 3;

/// Runs the model on made-up records, together and each alone, and compares losses and per-example gradients.
///
/// A model with batch statistics, or one that reshapes the batch dimension away, gives an example another loss or
/// another gradient in company than alone. The records are uniform in [0, 1) from the key's probe stream: no private
/// data is read.
///
/// # Errors
/// [`Error::NotIsolated`] if an example's loss or gradient changes with its company; [`Error::Uncovered`] if a parameter has
/// no per-example rule; whatever the model itself refuses.
pub fn probe_isolation(
    model: &dyn Model,
    parameters: &Parameters,
    shape: &[usize],
    classes: usize,
    engine: Engine,
    key: &Key,
) -> Result<()> {
    let mut rng = key.stream(Role::Probe, 0);
    let width: usize = shape.iter().product();
    let features: Vec<f32> = (0..EXAMPLES * width).map(|_| rng.random()).collect();
    let labels: Vec<u32> = (0..EXAMPLES).map(|_| rng.random_range(0..classes.max(1) as u32)).collect();
    let full: Vec<usize> = std::iter::once(EXAMPLES).chain(shape.iter().copied()).collect();
    let xs =
        Tensor::from_vec(features, full, &Device::Cpu)?.to_dtype(parameters.dtype())?.to_device(parameters.device())?;
    let ys = Tensor::from_vec(labels, EXAMPLES, parameters.device())?;

    let gradient = |xs: &Tensor, ys: &Tensor, example: usize| -> Result<Vec<Tensor>> {
        let recorded = Recorded::new(model, parameters, xs, ys, engine)?;
        let mut weights = vec![0.0; xs.dim(0)?];
        weights[example] = 1.0;
        recorded.weighted_sum(&Weights::flat(weights, parameters.len()))
    };
    let together = losses(model, &xs, &ys)?;
    for (example, together) in together.into_iter().enumerate() {
        let (x, y) = (xs.narrow(0, example, 1)?, ys.narrow(0, example, 1)?);
        let alone = losses(model, &x, &y)?;
        if !close(together, alone[0], together.abs()) {
            return Err(Error::NotIsolated {
                reason: format!("an example's loss is {} in a batch and {} alone", together, alone[0]),
            });
        }
        let pairs = gradient(&xs, &ys, example)?.into_iter().zip(gradient(&x, &y, 0)?);
        for ((name, _), (in_batch, alone)) in parameters.iter().zip(pairs) {
            let (in_batch, alone) = (values(&in_batch)?, values(&alone)?);
            let scale = alone.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
            if let Some((a, b)) = in_batch.iter().zip(&alone).find(|(a, b)| !close(**a, **b, scale)) {
                return Err(Error::NotIsolated {
                    reason: format!("an element of the gradient of {name} is {a} in a batch and {b} alone"),
                });
            }
        }
    }
    Ok(())
}

/// The losses in f64; a model's training-time forward, so that batch statistics show.
fn losses(model: &dyn Model, xs: &Tensor, ys: &Tensor) -> Result<Vec<f64>> {
    values(&super::recorded::losses(model, xs, ys, &super::Tape::recording(Engine::default()))?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Equal up to the rounding of other block sizes in matrix products; batch statistics differ by far more.
fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-3 * scale + 1e-6
}
