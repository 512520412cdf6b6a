//! Models as oracles: a network's mean loss over the records of a node.

use super::Oracle;
use super::vector::{add, scaled};
use crate::clip::Clipping;
use crate::data::Dataset;
use crate::grad::{Engine, PerExample, Recorded, Tape};
use crate::model::Model;
use crate::nn::Parameters;
use crate::run::Run;
use crate::sample::below;
use crate::seed::{Key, Role};
use crate::train::tensors;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rand_chacha::rand_core::RngCore;
use std::borrow::Cow;
use std::collections::HashSet;
use std::num::NonZeroUsize;

/// The mean loss of a model over a node's shard, some rows of a data set.
///
/// A point is every number that is trained, parameter after parameter in name order. The node's parameters are f32 on the CPU: a
/// point is rounded to that before the model sees it. Answers are mean gradients over the whole shard or over a minibatch of it,
/// and nothing in them is private: [`super::PrivateNetwork`] is the oracle that is. A shard without records has the loss 0
/// everywhere.
pub struct Network<'a> {
    model: Box<dyn Model + 'a>,
    parameters: Parameters,
    data: &'a Dataset,
    rows: Vec<usize>,
    minibatch: Option<Minibatch>,
    physical_batch: NonZeroUsize,
    dim: usize,
    answers: u32,
    /// Of the answers since it was last asked for.
    clipping: Clipping,
}

/// How many records answer, and the key they are drawn from.
struct Minibatch {
    size: NonZeroUsize,
    key: Key,
}

impl std::fmt::Debug for Network<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut network = f.debug_struct("Network");
        network.field("dim", &self.dim).field("records", &self.rows.len()).field("answers", &self.answers);
        network.finish_non_exhaustive()
    }
}

impl<'a> Network<'a> {
    /// The model that `build` makes with the node's own parameters, over the records `rows` of `data`. Every answer is the gradient
    /// over all of them, and as many as [`Run`] has by default are in memory at a time.
    ///
    /// `build` is called once, with no parameters yet whose initial values follow from `key`; it may load and freeze some. Nodes
    /// must be given the same key: what is frozen is no part of a point.
    ///
    /// # Errors
    /// That of `build`, when it leaves nothing to train, and when a row is not in the data or named twice.
    pub fn new<M: Model + 'a>(
        key: Key,
        build: impl FnOnce(&Parameters) -> Result<M>,
        data: &'a Dataset,
        rows: Vec<usize>,
    ) -> Result<Self> {
        if let Some(row) = rows.iter().find(|row| **row >= data.len()) {
            return Err(Error::value(
                "row of a shard",
                row,
                format!("below {}, the records of {}", data.len(), data.name()),
            ));
        }
        let mut seen = HashSet::new();
        if let Some(row) = rows.iter().find(|row| !seen.insert(**row)) {
            return Err(Error::value("row of a shard", format!("{row} twice"), "each record at most once"));
        }
        let parameters = Parameters::new(key, DType::F32, &Device::Cpu);
        let model = Box::new(build(&parameters)?);
        let dim = dim(&parameters);
        if dim == 0 {
            return Err(Error::Model { reason: "it has nothing to train among the parameters it was given".into() });
        }
        let physical_batch = Run::default().physical_batch;
        let clipping = Clipping::default();
        Ok(Self { model, parameters, data, rows, minibatch: None, physical_batch, dim, answers: 0, clipping })
    }

    /// Answers with gradients over `size` records, fresh for every answer, every set of so many with the same probability: the
    /// answer is right on average. A smaller shard answers whole.
    ///
    /// Which records these are is a function of the key, the number of the node and that of the answer.
    #[must_use]
    pub fn in_minibatches(self, size: NonZeroUsize, key: &Key, node: usize) -> Self {
        let key = key.derived(&format!("node {node}"));
        Self { minibatch: Some(Minibatch { size, key }), ..self }
    }

    /// With so many records in memory at a time. It changes answers by float rounding only.
    #[must_use]
    pub fn with_physical_batch(self, physical_batch: NonZeroUsize) -> Self {
        Self { physical_batch, ..self }
    }

    /// The node's own parameters, which stand where it was last asked.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How many records the shard has.
    pub fn records(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    pub(super) fn data(&self) -> &Dataset {
        self.data
    }

    pub(super) fn physical_batch(&self) -> NonZeroUsize {
        self.physical_batch
    }

    pub(super) fn draws_minibatches(&self) -> bool {
        self.minibatch.is_some()
    }

    /// The per-example gradients of the records at these places of the shard, where the parameters stand.
    pub(super) fn at_places(&self, places: &[usize]) -> Result<Recorded> {
        let rows: Vec<usize> = places.iter().map(|place| self.rows[*place]).collect();
        self.recorded(&rows)
    }

    /// Counts an answer and what was done to its examples.
    pub(super) fn answered(&mut self, clipping: Clipping) -> Result<()> {
        self.clipping += clipping;
        let next = self.answers.checked_add(1);
        self.answers = next.ok_or_else(|| Error::value("answer", self.answers, "fewer than 2^32"))?;
        Ok(())
    }

    fn recorded(&self, rows: &[usize]) -> Result<Recorded> {
        let (xs, ys) = tensors(self.data, rows, &self.parameters)?;
        Recorded::new(self.model.as_ref(), &self.parameters, &xs, &ys, Engine::default())
    }

    /// The rows whose gradients are the answer to come.
    fn asked(&self) -> Cow<'_, [usize]> {
        match &self.minibatch {
            Some(minibatch) if minibatch.size.get() < self.rows.len() => {
                let mut rng = minibatch.key.stream(Role::Minibatch, self.answers);
                Cow::Owned(drawn(self.rows.clone(), minibatch.size.get(), &mut rng))
            }
            _ => Cow::Borrowed(&self.rows),
        }
    }
}

/// `size` of `rows`, every set of so many with the same probability: the first steps of Fisher and Yates' shuffle.
fn drawn(mut rows: Vec<usize>, size: usize, rng: &mut impl RngCore) -> Vec<usize> {
    for place in 0..size {
        let left = (rows.len() - place) as u64;
        rows.swap(place, place + below(left, rng) as usize);
    }
    rows.truncate(size);
    rows
}

impl Oracle for Network<'_> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        set_point(&self.parameters, point)?;
        let rows = self.asked();
        let mut sum = vec![0.0; self.dim];
        for rows in rows.chunks(self.physical_batch.get()) {
            let total = flattened(&self.recorded(rows)?.total()?)?;
            add(&mut sum, 1.0, &total);
        }
        let mean = scaled(1.0 / rows.len().max(1) as f64, &sum);
        let clipping = Clipping { examples: rows.len(), ..Clipping::default() };
        self.answered(clipping)?;
        Ok(mean)
    }

    fn loss(&mut self, point: &[f64]) -> Result<f64> {
        set_point(&self.parameters, point)?;
        let mut sum = 0.0;
        for rows in self.rows.chunks(self.physical_batch.get()) {
            let (xs, ys) = tensors(self.data, rows, &self.parameters)?;
            let losses = self.model.losses(&xs, &ys, &Tape::off())?;
            sum += flattened(&[losses])?.iter().sum::<f64>();
        }
        Ok(sum / self.rows.len().max(1) as f64)
    }

    fn answers(&self) -> u32 {
        self.answers
    }

    fn resume(&mut self, answers: u32) {
        self.answers = answers;
    }

    fn take_clipping(&mut self) -> Clipping {
        std::mem::take(&mut self.clipping)
    }
}

/// Where parameters stand: every number that is trained, parameter after parameter in name order.
///
/// # Errors
/// When the tensors cannot be read from their device.
pub fn point_of(parameters: &Parameters) -> Result<Vec<f64>> {
    flattened(&parameters.iter().map(|(_, var)| var.as_tensor().clone()).collect::<Vec<_>>())
}

/// Puts parameters where `point` is, rounded to their type. Those that are frozen stay.
///
/// # Errors
/// When the point has another number of numbers than [`point_of`] gives; then nothing has been set.
pub fn set_point(parameters: &Parameters, point: &[f64]) -> Result<()> {
    let dim = dim(parameters);
    if point.len() != dim {
        return Err(Error::value("numbers of a point", point.len(), format!("{dim}, as are trained")));
    }
    let mut rest = point;
    for (_, var) in parameters.iter() {
        let (own, others) = rest.split_at(var.elem_count());
        let values = Tensor::from_slice(own, var.shape(), &Device::Cpu)?.to_dtype(var.dtype())?;
        var.set(&values.to_device(var.device())?)?;
        rest = others;
    }
    Ok(())
}

fn dim(parameters: &Parameters) -> usize {
    parameters.iter().map(|(_, var)| var.elem_count()).sum()
}

/// The numbers of tensors one after another.
pub(super) fn flattened(tensors: &[Tensor]) -> Result<Vec<f64>> {
    let mut numbers = Vec::new();
    for tensor in tensors {
        numbers.extend(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the six pairs of four rows come equally often: chi-square with 5 degrees of freedom above 45 has a probability of
    /// 1.5e-8.
    fn is_uniform(mut draw: impl FnMut(u32) -> Vec<usize>) -> bool {
        let (mut counts, draws) = (std::collections::HashMap::new(), 12_000);
        for answer in 0..draws {
            let mut pair = draw(answer);
            pair.sort_unstable();
            *counts.entry(pair).or_insert(0.0) += 1.0;
        }
        let expected = f64::from(draws) / 6.0;
        let missing = (6 - counts.len()) as f64 * expected;
        counts.values().map(|count: &f64| (count - expected).powi(2) / expected).sum::<f64>() + missing < 45.0
    }

    #[test]
    fn every_minibatch_is_equally_likely_and_the_check_can_fail() {
        let key = Key::from_seed(2);
        assert!(is_uniform(|answer| drawn(vec![5, 6, 7, 8], 2, &mut key.stream(Role::Minibatch, answer))));
        // A well-known mistake: every place is swapped with any other.
        assert!(!is_uniform(|answer| {
            let (mut rows, mut rng) = (vec![5, 6, 7, 8], key.stream(Role::Minibatch, answer));
            (0..2).for_each(|place| rows.swap(place, below(4, &mut rng) as usize));
            rows.truncate(2);
            rows
        }));
    }
}
