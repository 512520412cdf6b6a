//! Per-example gradients read off a tape.

use super::copies::averaged;
use super::tape::{Cotangent, Record};
use super::weight::{Kept, kept_by, norms_of_rows, zero_unless};
use super::{Engine, Norms, PerExample, Rule, Tape, Weights, tied};
use crate::kernel::blocks::CROSSTALK;
use crate::model::Model;
use crate::nn::Parameters;
use crate::profile::{self, Part};
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Shape, Tensor, Var};
use std::num::NonZeroUsize;

/// The gradients of one physical batch: for each parameter, in name order, the records its uses left.
#[derive(Debug)]
pub struct Recorded {
    batch: usize,
    parameters: Vec<Records>,
    together: Option<NonZeroUsize>,
}

/// Elements of gradients that are kept at a time: 16 MiB in f32, which stay in the last cache of most processors.
const KEPT: usize = 1 << 22;

/// Examples that are always measured together: for fewer the products of a part are too thin.
pub(super) const LEAST: usize = 32;

#[derive(Debug)]
struct Records {
    var: Var,
    uses: Vec<(Rule, Tensor)>,
    /// Once formed.
    gradients: Option<Kept>,
}

impl Recorded {
    /// One forward and one backward of the summed losses of `xs` `(batch, ..)` with targets `ys` `(batch)`.
    ///
    /// # Errors
    /// When the model does not return a loss per example, when a parameter's gradient did not come through a
    /// per-example rule (law 11: the error names the parameter), when a layer saw another number of examples, or when
    /// what was frozen is not there or leaves nothing to train.
    pub fn new(model: &dyn Model, parameters: &Parameters, xs: &Tensor, ys: &Tensor, engine: Engine) -> Result<Self> {
        let _time = profile::time(Part::Graph);
        parameters.check_frozen()?;
        let batch = xs.dim(0)?;
        if batch == 0 {
            // Nobody to record: a sum over no examples is zero.
            let records = |(_, var)| Records { var, uses: Vec::new(), gradients: None };
            let parameters = parameters.iter().map(records).collect();
            return Ok(Self { batch, parameters, together: engine.together });
        }
        let tape = Tape::recording(engine);
        let store = losses(model, xs, ys, &tape)?.sum_all()?.backward()?;
        let mut records = tape.take();
        let parameters = parameters
            .iter()
            .map(|(name, var)| {
                let (mine, others) = records.drain(..).partition(|record| record.parameter == var.id());
                records = others;
                Records::new(&name, var, mine, &store, batch)
            })
            .collect::<Result<_>>()?;
        Ok(Self { batch, parameters, together: engine.together })
    }

    /// The gradients of examples with `copies` rows each, one after another: of every example the mean over its rows. Whatever is
    /// measured, clipped and summed afterwards is that mean, once for each example.
    ///
    /// # Errors
    /// When the rows are not a multiple of `copies`, or were measured before.
    pub fn averaged(self, copies: NonZeroUsize) -> Result<Self> {
        let refused = |reason: String| Err(Error::Model { reason });
        if self.batch % copies != 0 {
            return refused(format!("{} rows are not {copies} for each of some examples", self.batch));
        }
        if self.parameters.iter().any(|records| records.gradients.is_some()) {
            return refused("rows that have been measured are no longer apart: average first".into());
        }
        if copies == NonZeroUsize::MIN {
            return Ok(self);
        }
        let parameters = self.parameters.into_iter().map(|records| records.averaged(copies.get()));
        Ok(Self { batch: self.batch / copies, parameters: parameters.collect::<Result<_>>()?, ..self })
    }

    /// The shapes of the parameters.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        self.parameters.iter().map(|records| records.var.shape().clone()).collect()
    }

    /// Every example's gradient for each parameter, `(batch, size)`.
    pub(crate) fn instantiated(&self) -> Result<Vec<Tensor>> {
        let all = |records: &Records| match records.instantiated()? {
            Some(gradients) => Ok(gradients),
            None => Ok(Tensor::zeros((self.batch, records.var.elem_count()), records.var.dtype(), &Device::Cpu)?),
        };
        self.parameters.iter().map(all).collect()
    }

    /// As [`PerExample::parts`], for who forms every gradient.
    pub(crate) fn formed_in_parts(self) -> Result<Vec<Self>> {
        let per_example = self.parameters.iter().map(|records| records.var.elem_count()).sum();
        let most = self.together.map_or_else(|| KEPT.checked_div(per_example).unwrap_or(1).max(1), NonZeroUsize::get);
        self.in_parts(most)
    }

    /// So many examples together, and in the last part the rest: where a batch is cut does not depend on its size, or one record
    /// more would put all others into other blocks (decision 11).
    fn in_parts(self, size: usize) -> Result<Vec<Self>> {
        if self.batch <= size {
            return Ok(vec![self]);
        }
        let part = |first: usize| {
            let batch = size.min(self.batch - first);
            let parameters =
                self.parameters.iter().map(|records| records.narrow(first, batch)).collect::<Result<_>>()?;
            Ok(Self { batch, parameters, together: self.together })
        };
        (0..self.batch).step_by(size).map(part).collect()
    }
}

/// The model's losses, which must be one for each example.
pub(super) fn losses(model: &dyn Model, xs: &Tensor, ys: &Tensor, tape: &Tape) -> Result<Tensor> {
    let (losses, batch) = (model.losses(xs, ys, tape)?, xs.dim(0)?);
    if losses.dims() == [batch] {
        return Ok(losses);
    }
    let reason = format!("the losses have shape {:?}, and one loss per example is needed: [{batch}]", losses.dims());
    Err(Error::Model { reason })
}

impl Records {
    fn new(name: &str, var: Var, records: Vec<Record>, store: &GradStore, batch: usize) -> Result<Self> {
        let uncovered = |reason: String| Err(Error::Uncovered { parameter: name.to_string(), reason });
        if store.get(var.as_tensor()).is_some() {
            return uncovered("autograd has a gradient for it that came through no per-example rule".into());
        }
        let mut uses = Vec::new();
        for record in records {
            let cotangent = match record.cotangent {
                Cotangent::Given(cotangent) => cotangent,
                Cotangent::Tap(zero) => match store.get(zero.as_tensor()) {
                    Some(cotangent) => cotangent.clone(),
                    None => continue,
                },
            };
            if cotangent.dim(0)? != batch {
                return uncovered(format!(
                    "its layer saw {} examples in a batch of {batch}: the batch dimension must stay first and whole",
                    cotangent.dim(0)?
                ));
            }
            uses.push((record.rule, cotangent));
        }
        if uses.is_empty() {
            return uncovered("the loss does not depend on it".into());
        }
        Ok(Self { var, uses: tied::joined(uses)?, gradients: None })
    }

    fn averaged(self, copies: usize) -> Result<Self> {
        let size = self.var.elem_count();
        let mean = |(rule, cotangents)| Ok(averaged(rule, &cotangents, copies, size)?);
        Ok(Self { uses: self.uses.into_iter().map(mean).collect::<Result<_>>()?, ..self })
    }

    /// Upper bounds on the norms. A parameter used more than once has the norm of its summed gradient, never
    /// the sum of the norms of its uses.
    fn measure(&mut self) -> Result<Vec<f64>> {
        match self.uses.as_slice() {
            [(rule, cotangent)] => {
                let (norms, gradients) = rule.measure(cotangent)?;
                return Ok(self.keep(norms, gradients));
            }
            [(Rule::Table(table), of_table), (Rule::Weight(weight), of_weight)] if self.uses_stay_apart() => {
                return Ok(tied::norms((table, of_table), (weight, of_weight))?);
            }
            _ => {}
        }
        let sum = self.instantiated()?;
        let norms = sum.as_ref().map_or(Ok(Vec::new()), norms_of_rows)?;
        Ok(self.keep(norms, sum.map(Kept::of)))
    }

    /// Every example's gradient, `(batch, size)`, if there is a use.
    fn instantiated(&self) -> Result<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        for (rule, cotangent) in &self.uses {
            let gradient = rule.instantiate(cotangent)?;
            sum = Some(match sum {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            });
        }
        Ok(sum)
    }

    /// Gradients that were formed replace the records they came from, whose memory is needed no longer.
    fn keep(&mut self, norms: Vec<f64>, gradients: Option<Kept>) -> Vec<f64> {
        if gradients.is_some() {
            self.uses.clear();
        }
        self.gradients = gradients;
        norms
    }

    /// Elements that measuring an example leaves behind until it is summed, but for small ones.
    fn kept(&self) -> usize {
        self.uses.iter().map(|(rule, _)| rule.kept()).sum()
    }

    /// The records of `count` examples from the `first` on.
    fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        let some =
            |(rule, cotangent): &(Rule, Tensor)| Ok((rule.narrow(first, count)?, cotangent.narrow(0, first, count)?));
        Ok(Self { var: self.var.clone(), uses: self.uses.iter().map(some).collect::<Result<_>>()?, gradients: None })
    }

    /// Whether some of the sum is taken in f32 over blocks of examples.
    fn sums_in_blocks(&self) -> bool {
        let in_blocks = |(rule, cotangent): &(Rule, Tensor)| match rule {
            Rule::Weight(weight) => weight.sums_in_blocks(cotangent.dtype()),
            _ => false,
        };
        self.uses.iter().any(in_blocks)
    }

    /// Whether a sum of the uses' own sums is due, and not one of instantiated gradients.
    fn uses_stay_apart(&self) -> bool {
        match self.uses.as_slice() {
            [] | [_] => true,
            [(Rule::Table(table), _), (Rule::Weight(weight), _)] => tied::measured_apart(table, weight),
            _ => false,
        }
    }

    fn weighted_sum(mut self, weights: &[f64]) -> Result<Tensor> {
        if self.gradients.is_none() && !self.uses_stay_apart() {
            self.measure()?;
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Ok(Tensor::zeros(self.var.shape(), DType::F64, &Device::Cpu)?);
        }
        // Selection, not multiplication: zero times NaN is NaN.
        let kept = kept_by(weights, self.var.device())?;
        let only = |tensor: &Tensor| kept.as_ref().map_or_else(|| Ok(tensor.clone()), |kept| zero_unless(kept, tensor));
        if let Some(gradients) = &self.gradients {
            return Ok(gradients.weighted_sum(only, weights)?.reshape(self.var.shape())?);
        }
        let mut sum: Option<Tensor> = None;
        for (rule, cotangent) in &self.uses {
            let rule = kept.as_ref().map_or_else(|| Ok(rule.clone()), |kept| rule.without(kept))?;
            let part = rule.weighted_sum(&only(cotangent)?, weights)?;
            let part = part.to_device(&Device::Cpu)?.reshape(self.var.shape())?;
            sum = Some(match sum {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        sum.map_or_else(|| Ok(Tensor::zeros(self.var.shape(), DType::F64, &Device::Cpu)?), Ok)
    }
}

impl Records {
    /// The sum over examples; one use has it in whatever type it comes in.
    fn total(self) -> Result<Tensor> {
        let part = |(rule, cotangent): &(Rule, Tensor)| {
            rule.total(cotangent)?.to_device(&Device::Cpu)?.reshape(self.var.shape())
        };
        if let [one] = self.uses.as_slice() {
            return Ok(part(one)?);
        }
        let zeros = Tensor::zeros(self.var.shape(), DType::F64, &Device::Cpu)?;
        self.uses.iter().try_fold(zeros, |sum, one| Ok((sum + part(one)?.to_dtype(DType::F64)?)?))
    }
}

impl PerExample for Recorded {
    fn batch(&self) -> usize {
        self.batch
    }

    fn parts(self) -> Result<Vec<Self>> {
        let per_example: usize = self.parameters.iter().map(|records| records.kept()).sum();
        let multiple = |most: usize| (most / LEAST).max(1) * LEAST;
        let size = || KEPT.checked_div(per_example).map_or(usize::MAX, multiple);
        let size = self.together.map_or_else(size, NonZeroUsize::get);
        self.in_parts(size)
    }

    fn norms(&mut self, groups: &[usize]) -> Result<Norms> {
        let in_blocks = self.parameters.iter().any(Records::sums_in_blocks);
        let norms = self.parameters.iter_mut().map(Records::measure).collect::<Result<Vec<_>>>()?;
        let norms = Norms::new(self.batch, groups, &norms)?;
        // What one example does to the rounding of others is taken out of what it may add itself.
        Ok(if in_blocks { norms.scaled(1.0 + CROSSTALK) } else { norms })
    }

    fn weighted_sum(self, weights: &Weights) -> Result<Vec<Tensor>> {
        self.parameters
            .into_iter()
            .enumerate()
            .map(|(j, records)| records.weighted_sum(&weights.of_parameter(j)))
            .collect()
    }

    fn total(self) -> Result<Vec<Tensor>> {
        self.parameters.into_iter().map(Records::total).collect()
    }
}

/// Gradients that were written down one by one: the form the naive oracle and analytic objectives have them in.
#[derive(Debug, Clone)]
pub struct Written {
    /// For each parameter, in name order, `(batch, ..shape of the parameter)`.
    gradients: Vec<Tensor>,
    batch: usize,
}

impl Written {
    /// From a tensor `(batch, ..shape)` for each parameter, in name order.
    ///
    /// # Errors
    /// When the tensors disagree about the batch.
    pub fn new(batch: usize, gradients: Vec<Tensor>) -> Result<Self> {
        for gradient in &gradients {
            if gradient.dim(0)? != batch {
                return Err(Error::Model {
                    reason: format!("a gradient of shape {:?} in a batch of {batch}", gradient.dims()),
                });
            }
        }
        Ok(Self { gradients, batch })
    }
}

impl PerExample for Written {
    fn batch(&self) -> usize {
        self.batch
    }

    fn norms(&mut self, groups: &[usize]) -> Result<Norms> {
        let norms = |gradient: &Tensor| match self.batch {
            0 => Ok(Vec::new()),
            batch => Ok(norms_of_rows(&gradient.reshape((batch, ()))?)?),
        };
        Norms::new(self.batch, groups, &self.gradients.iter().map(norms).collect::<Result<Vec<_>>>()?)
    }

    fn weighted_sum(self, weights: &Weights) -> Result<Vec<Tensor>> {
        let sum = |(j, gradient): (usize, &Tensor)| -> Result<Tensor> {
            let mut total = Tensor::zeros(&gradient.dims()[1..], DType::F64, &Device::Cpu)?;
            for (i, weight) in weights.of_parameter(j).into_iter().enumerate().filter(|(_, weight)| *weight != 0.0) {
                let example = gradient.get(i)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
                total = (total + (example * weight)?)?;
            }
            Ok(total)
        };
        self.gradients.iter().enumerate().map(sum).collect()
    }

    fn total(self) -> Result<Vec<Tensor>> {
        let total = |gradient: &Tensor| Ok(gradient.to_device(&Device::Cpu)?.sum(0)?);
        self.gradients.iter().map(total).collect()
    }
}
