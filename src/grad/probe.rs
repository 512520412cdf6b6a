//! The isolation probe: before any budget is spent, does one example's loss or gradient depend on another's?

use super::{Engine, PerExample, Recorded, Weights};
use crate::data::{Domain, Form, Target};
use crate::model::Model;
use crate::nn::Parameters;
use crate::seed::{Key, Role};
use crate::train::token_tensors;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

const EXAMPLES: usize = 3;

/// [`probe_isolation_of`] records of numbers of a `shape` and `classes` classes.
///
/// # Errors
/// As [`probe_isolation_of`].
pub fn probe_isolation(
    model: &dyn Model,
    parameters: &Parameters,
    shape: &[usize],
    classes: usize,
    engine: Engine,
    key: &Key,
) -> Result<()> {
    probe_isolation_of(model, parameters, &Form::numbers(shape, classes), engine, key)
}

/// Runs the model on made-up records of a form, together and each alone, and compares losses and per-example gradients.
///
/// A model with batch statistics, or one that reshapes the batch dimension away, gives an example another loss or
/// another gradient in company than alone.
///
/// Numbers are uniform in [0, 2) from the key's probe stream, so that most differ where they are read as token ids too: no
/// private data is read. Each example is also put into the company of records of NaN, which come through a statistic that is
/// zero for now, because a weight still is.
///
/// Texts of tokens are of different lengths, and each is also put into the company of empty texts: a model that cuts a batch to
/// its longest text, or counts the filler of others, shows. No token is like NaN. So the comparison is made once more with every
/// parameter moved by a random number, where no weight is zero; then they are what they were, to the bit.
///
/// A model that passes is not proven to keep examples apart: influence that begins with more than three examples, that other
/// records bring about, or that changes a gradient by less than a thousandth is not seen.
///
/// # Errors
/// [`Error::NotIsolated`] if an example's loss or gradient changes with its company; [`Error::Uncovered`] if a parameter has
/// no per-example rule; whatever the model itself refuses.
pub fn probe_isolation_of(
    model: &dyn Model,
    parameters: &Parameters,
    form: &Form,
    engine: Engine,
    key: &Key,
) -> Result<()> {
    let mut rng = key.stream(Role::Probe, 0);
    let company = Company { model, parameters, engine };
    let Domain::Tokens { vocabulary } = form.domain else {
        let (xs, ys) = numbers(form, parameters, &mut rng)?;
        return company.compare(&xs, &ys, |x| Ok(x.affine(0.0, f64::NAN)?));
    };
    let (texts, labels) = (texts(form, vocabulary, &mut rng), labels(form, &mut rng));
    let (xs, ys) = token_tensors(form, texts, labels, parameters)?;
    let padding = vocabulary.saturating_sub(1) as u32;
    let compare = || company.compare(&xs, &ys, |x| Ok(Tensor::full(padding, x.shape(), x.device())?));
    compare()?;
    let moved = Moved::new(parameters, &mut rng)?;
    let compared = compare();
    moved.back()?;
    compared
}

/// Made-up records of numbers, and their classes.
fn numbers(form: &Form, parameters: &Parameters, rng: &mut impl Rng) -> Result<(Tensor, Tensor)> {
    let width: usize = form.shape.iter().product();
    let features: Vec<f32> = (0..EXAMPLES * width).map(|_| rng.random_range(0.0..2.0)).collect();
    let full: Vec<usize> = std::iter::once(EXAMPLES).chain(form.shape.iter().copied()).collect();
    let xs =
        Tensor::from_vec(features, full, &Device::Cpu)?.to_dtype(parameters.dtype())?.to_device(parameters.device())?;
    Ok((xs, Tensor::from_vec(labels(form, rng), EXAMPLES, parameters.device())?))
}

/// Equal examples have the loss of their mean: their labels differ, as far as there are different ones.
fn labels(form: &Form, rng: &mut impl Rng) -> Vec<u32> {
    let classes = match form.target {
        Target::Class(classes) => classes.max(1),
        Target::NextToken => 1,
    };
    let first = rng.random::<u32>() as usize;
    (0..EXAMPLES).map(|example| ((first + example) % classes) as u32).collect()
}

/// Made-up texts: as long as can be, half as long, and of one token; where tokens are foretold, all as long as can be.
fn texts(form: &Form, vocabulary: usize, rng: &mut impl Rng) -> Vec<u32> {
    let length: usize = form.shape.iter().product();
    let padding = vocabulary.saturating_sub(1) as u32;
    let lengths = match form.target {
        Target::Class(_) => [length, length.div_ceil(2), 1],
        Target::NextToken => [length; EXAMPLES],
    };
    let mut texts = Vec::with_capacity(EXAMPLES * length);
    for tokens in lengths {
        let token = |at| if at < tokens { rng.random_range(0..padding.max(1)) } else { padding };
        texts.extend((0..length).map(token));
    }
    texts
}

/// Every trained parameter moved by a random number, until it goes [back](Moved::back).
struct Moved(Vec<(Var, Tensor)>);

impl Moved {
    fn new(parameters: &Parameters, rng: &mut impl Rng) -> Result<Self> {
        let mut moved = Self(Vec::new());
        for (_, var) in parameters.iter() {
            let by: Vec<f64> = (0..var.elem_count()).map(|_| rng.random_range(-0.5..0.5)).collect();
            let by = Tensor::from_vec(by, var.shape(), &Device::Cpu)?.to_dtype(var.dtype())?.to_device(var.device())?;
            let (before, after) = (var.as_detached_tensor().copy()?, (var.as_detached_tensor() + by)?);
            moved.0.push((var.clone(), before));
            var.set(&after)?;
        }
        Ok(moved)
    }

    /// Puts the parameters back to what they were.
    fn back(mut self) -> Result<()> {
        while let Some((var, before)) = self.0.last() {
            var.set(before)?;
            self.0.pop();
        }
        Ok(())
    }
}

impl Drop for Moved {
    /// For a panic, or an error half-way: what was not put back is tried once more, and nobody can be told.
    fn drop(&mut self) {
        self.0.iter().for_each(|(var, before)| drop(var.set(before)));
    }
}

/// A model among examples.
struct Company<'a> {
    model: &'a dyn Model,
    parameters: &'a Parameters,
    engine: Engine,
}

impl Company<'_> {
    fn gradient(&self, xs: &Tensor, ys: &Tensor, example: usize) -> Result<Vec<Tensor>> {
        let recorded = Recorded::new(self.model, self.parameters, xs, ys, self.engine)?;
        let mut weights = vec![0.0; xs.dim(0)?];
        weights[example] = 1.0;
        recorded.weighted_sum(&Weights::flat(weights, self.parameters.len()))
    }

    /// Compares each example alone with the same among the others, and among those that `other` makes of it.
    fn compare(&self, xs: &Tensor, ys: &Tensor, other: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let losses = |xs: &Tensor, ys: &Tensor| losses(self.model, xs, ys, self.engine);
        for example in 0..EXAMPLES {
            let (x, y) = (xs.narrow(0, example, 1)?, ys.narrow(0, example, 1)?);
            let other = other(&x)?;
            let company: Vec<&Tensor> = (0..EXAMPLES).map(|at| if at == example { &x } else { &other }).collect();
            let of_alone = (losses(&x, &y)?[0], self.gradient(&x, &y, 0)?);
            for xs in [xs, &Tensor::cat(&company, 0)?] {
                let (together, alone) = (losses(xs, ys)?[example], of_alone.0);
                if !close(together, alone, alone.abs()) {
                    return Err(Error::NotIsolated {
                        reason: format!("an example's loss is {together} in a batch and {alone} alone"),
                    });
                }
                let pairs = self.gradient(xs, ys, example)?.into_iter().zip(&of_alone.1);
                for ((name, _), (in_batch, alone)) in self.parameters.iter().zip(pairs) {
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
