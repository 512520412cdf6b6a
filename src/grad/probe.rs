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
/// another gradient in company than alone. Each example is also put into the company of records of NaN, which come through a
/// statistic that is zero for now, because a weight still is.
///
/// The records are uniform in [0, 2) from the key's probe stream, so that most differ where they are read as token ids too: no
/// private data is read.
///
/// A model that passes is not proven to keep examples apart: influence that begins with more than three examples, that other
/// records bring about, or that changes a gradient by less than a thousandth is not seen.
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
    let features: Vec<f32> = (0..EXAMPLES * width).map(|_| rng.random_range(0.0..2.0)).collect();
    // Equal examples have the loss of their mean: their labels differ, as far as there are different ones.
    let (classes, first) = (classes.max(1), rng.random::<u32>() as usize);
    let labels: Vec<u32> = (0..EXAMPLES).map(|example| ((first + example) % classes) as u32).collect();
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
    for example in 0..EXAMPLES {
        let (x, y) = (xs.narrow(0, example, 1)?, ys.narrow(0, example, 1)?);
        let nan = x.affine(0.0, f64::NAN)?;
        let company: Vec<&Tensor> = (0..EXAMPLES).map(|other| if other == example { &x } else { &nan }).collect();
        let of_alone = (losses(model, &x, &y, engine)?[0], gradient(&x, &y, 0)?);
        for xs in [&xs, &Tensor::cat(&company, 0)?] {
            let (together, alone) = (losses(model, xs, &ys, engine)?[example], of_alone.0);
            if !close(together, alone, alone.abs()) {
                return Err(Error::NotIsolated {
                    reason: format!("an example's loss is {together} in a batch and {alone} alone"),
                });
            }
            let pairs = gradient(xs, &ys, example)?.into_iter().zip(&of_alone.1);
            for ((name, _), (in_batch, alone)) in parameters.iter().zip(pairs) {
                let (in_batch, alone) = (values(&in_batch)?, values(alone)?);
                let scale = alone.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
                if let Some((a, b)) = in_batch.iter().zip(&alone).find(|(a, b)| !close(**a, **b, scale)) {
                    return Err(Error::NotIsolated {
                        reason: format!("an element of the gradient of {name} is {a} in a batch and {b} alone"),
                    });
                }
            }
        }
    }
    Ok(())
}

/// The losses in f64; a model's training-time forward, so that batch statistics show.
fn losses(model: &dyn Model, xs: &Tensor, ys: &Tensor, engine: Engine) -> Result<Vec<f64>> {
    values(&super::recorded::losses(model, xs, ys, &super::Tape::recording(engine))?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Equal up to the rounding of other block sizes in matrix products; batch statistics differ by far more.
fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-3 * scale + 1e-6
}
