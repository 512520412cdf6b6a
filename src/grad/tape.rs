//! The tape: where layers leave their records during the backward pass.

use super::Rule;
use candle_core::{DType, Device, Result, Tensor, TensorId, Var, bail};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which implementation of an operation to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// CPU kernels on the CPU, plain tensor operations elsewhere.
    #[default]
    Auto,
    /// Plain tensor operations everywhere.
    Portable,
}

/// How per-example gradient norms of weights are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// Whichever costs less, by counted operations.
    #[default]
    Auto,
    /// From Gram matrices, without forming the gradients.
    Ghost,
    /// From the gradients themselves, which are then kept for the sum.
    Instantiate,
}

/// How the engine does its work; no choice here changes what is computed beyond float rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Engine {
    /// Which implementation of an operation to run.
    pub kernels: Kernels,
    /// How norms are computed.
    pub route: Route,
    /// How many examples of a physical batch are measured and summed together, which decides how many gradients are kept at a
    /// time: by default as many as have 16 MiB of gradients in f32, and at least 32.
    pub together: Option<NonZeroUsize>,
}

/// Where the layers of a model leave what their per-example rules need.
///
/// Cheap to clone: clones write to the same tape. An evaluation uses [`Tape::off`], which records nothing and builds no
/// graph.
#[derive(Debug, Clone)]
pub struct Tape {
    engine: Engine,
    records: Option<Arc<Mutex<Vec<Record>>>>,
}

/// What one use of one parameter left behind.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) parameter: TensorId,
    pub(crate) rule: Rule,
    pub(crate) cotangent: Cotangent,
}

/// The cotangent of a layer's output.
#[derive(Debug, Clone)]
pub(crate) enum Cotangent {
    /// Handed over by the backward of a CPU operation.
    Given(Tensor),
    /// The gradient of this zero, which was added to the output: how the portable path learns it.
    Tap(Var),
}

impl Tape {
    /// Records nothing: for evaluation.
    pub fn off() -> Self {
        Self { engine: Engine::default(), records: None }
    }

    /// An empty tape.
    pub fn recording(engine: Engine) -> Self {
        Self { engine, records: Some(Arc::default()) }
    }

    /// Whether layers must leave records.
    pub fn is_recording(&self) -> bool {
        self.records.is_some()
    }

    /// How the engine does its work.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Whether the CPU kernels serve tensors on `device`.
    pub(crate) fn uses_kernels(&self, device: &Device) -> bool {
        device.is_cpu() && self.engine.kernels == Kernels::Auto
    }

    /// Whether one of the parameters has records to leave here.
    pub(crate) fn trains<'a>(&self, parameters: impl IntoIterator<Item = &'a Tensor>) -> bool {
        self.is_recording() && parameters.into_iter().any(Tensor::is_variable)
    }

    /// Keeps what a use of `parameter` left; of a parameter that is frozen, nothing.
    pub(crate) fn record(&self, parameter: &Tensor, rule: Rule, cotangent: Cotangent) {
        if !parameter.is_variable() {
            return;
        }
        if let Some(mut records) = self.lock() {
            records.push(Record { parameter: parameter.id(), rule, cotangent });
        }
    }

    /// The output of a portable forward with a zero added whose gradient will be the output's cotangent.
    pub(crate) fn tap(&self, output: &Tensor) -> Result<(Tensor, Cotangent)> {
        let zero = Var::zeros(output.shape(), output.dtype(), output.device())?;
        Ok(((output + zero.as_tensor())?, Cotangent::Tap(zero)))
    }

    pub(crate) fn take(&self) -> Vec<Record> {
        self.lock().map(|mut records| std::mem::take(&mut *records)).unwrap_or_default()
    }

    fn lock(&self) -> Option<MutexGuard<'_, Vec<Record>>> {
        // A panic elsewhere cannot leave a half-written record: pushing is the last thing done under the lock.
        self.records.as_ref().map(|records| records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Refuses a parameter whose gradient a rule could not give to its owner: one computed from other parameters, or of a
/// type the engine does not sum in.
pub(crate) fn check_parameter(parameter: &Tensor, layer: &str) -> Result<()> {
    if !parameter.is_variable() && parameter.track_op() {
        bail!(
            "{layer}: its parameter is computed from other parameters, and no per-example rule covers that; give the layer a variable of its own"
        );
    }
    match parameter.dtype() {
        DType::F32 | DType::F64 => Ok(()),
        other => bail!("{layer}: parameters are f32 or f64 under per-example gradients, not {other:?}"),
    }
}
