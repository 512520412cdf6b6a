//! The parameters of a model: named variables, initialised from a key.

use super::frozen::Frozen;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::NormalOrUniform;
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use rand::Rng;
use rand_distr::StandardNormal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Named variables in name order. Clones share the variables.
///
/// A model is built through [`Parameters::var_builder`], with candle-nn's paths, so that safetensors files from candle or
/// PyTorch load by name. The initial value of the n-th parameter asked for is drawn from the key's stream of role `Init` and
/// step n. A part of a model that is not to be trained is [frozen](Parameters::freeze).
#[derive(Clone)]
pub struct Parameters {
    key: Key,
    dtype: DType,
    device: Device,
    named: Arc<Mutex<Named>>,
}

/// The variables, and which of them training leaves alone.
#[derive(Default)]
pub(super) struct Named {
    pub(super) variables: BTreeMap<String, Var>,
    pub(super) frozen: Frozen,
}

impl Named {
    /// The variables that are trained, in name order.
    fn trained(&self) -> impl Iterator<Item = (&String, &Var)> {
        self.variables.iter().filter(|(name, _)| !self.frozen.covers(name))
    }
}

impl Parameters {
    /// No parameters yet; those a model asks for are of `dtype` (f32 or f64) on `device`.
    pub fn new(key: Key, dtype: DType, device: &Device) -> Self {
        Self { key, dtype, device: device.clone(), named: Arc::default() }
    }

    /// Where a model gets its parameters from.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device.clone())
    }

    /// The parameters that are trained, in name order: those that are not frozen. Gradients, sums, releases and optimisers hold
    /// one tensor for each of these, in this order.
    pub fn iter(&self) -> impl Iterator<Item = (String, Var)> {
        let trained: Vec<_> = self.lock().trained().map(|(name, var)| (name.clone(), var.clone())).collect();
        trained.into_iter()
    }

    /// All parameters by name, trained and frozen: what a model file holds. The tensors share their memory with the model's.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.lock().variables.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    /// How many parameters (tensors) are trained.
    pub fn len(&self) -> usize {
        self.lock().trained().count()
    }

    /// Whether there is no parameter to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many numbers all parameters hold together, trained and frozen.
    pub fn elements(&self) -> usize {
        self.lock().variables.values().map(|var| var.elem_count()).sum()
    }

    /// Whether every number is finite, of trained and frozen parameters.
    ///
    /// # Errors
    /// When the tensors cannot be read from their device.
    pub fn is_finite(&self) -> Result<bool> {
        for var in self.lock().variables.values() {
            let values: Vec<f64> = var.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
            if !values.iter().all(|value| value.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The element type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Zeros in the shape of every trained parameter, in name order, in f64 on the CPU: the start of a sum.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn zeros(&self) -> Result<Vec<Tensor>> {
        let zeros = |(_, var): (&String, &Var)| Tensor::zeros(var.shape(), DType::F64, &Device::Cpu);
        Ok(self.lock().trained().map(zeros).collect::<candle_core::Result<_>>()?)
    }

    /// Sets every parameter, trained or frozen, from the tensors of the same names.
    ///
    /// # Errors
    /// When a parameter has no tensor, or one of another shape; then nothing has been set.
    pub fn load(&self, tensors: &std::collections::HashMap<String, Tensor>, path: &Path) -> Result<()> {
        self.check(tensors, path)?;
        let named = self.lock();
        let mut found = Vec::new();
        for (name, var) in &named.variables {
            if let Some(tensor) = tensors.get(name) {
                found.push((var, tensor.to_dtype(self.dtype)?.to_device(&self.device)?));
            }
        }
        for (var, tensor) in found {
            var.set(&tensor)?;
        }
        Ok(())
    }

    /// Whether [`Parameters::load`] has a tensor of the right shape for every parameter.
    pub(crate) fn check(&self, tensors: &std::collections::HashMap<String, Tensor>, path: &Path) -> Result<()> {
        for (name, var) in &self.lock().variables {
            let place = crate::Place::file(path);
            let Some(tensor) = tensors.get(name) else {
                return Err(Error::data(place, format!("no tensor {name}"), format!("one of shape {:?}", var.dims())));
            };
            if tensor.dims() != var.dims() {
                let found = format!("{name} of shape {:?}", tensor.dims());
                return Err(Error::data(place, found, format!("shape {:?}", var.dims())));
            }
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, shape: &Shape, init: Init, number: u32) -> candle_core::Result<Var> {
        let mut rng = self.key.stream(Role::Init, number);
        let uniform = |low: f64, high: f64| Law::Uniform { low, high };
        let law = match init {
            Init::Const(value) => Law::Constant(value),
            Init::Uniform { lo, up } => uniform(lo, up),
            Init::Randn { mean, stdev } => Law::Normal { mean, stdev },
            Init::Kaiming { dist, fan, non_linearity } => {
                let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                match dist {
                    NormalOrUniform::Uniform => uniform(-3f64.sqrt() * stdev, 3f64.sqrt() * stdev),
                    NormalOrUniform::Normal => Law::Normal { mean: 0.0, stdev },
                }
            }
        };
        // Rounded one by one: a table of a hundred million elements is not held in f64 first.
        let values = (0..shape.elem_count()).map(|_| law.draw(&mut rng));
        let tensor = match self.dtype {
            DType::F32 => Tensor::from_vec(values.map(|value| value as f32).collect(), shape, &Device::Cpu)?,
            dtype => Tensor::from_vec(values.collect::<Vec<f64>>(), shape, &Device::Cpu)?.to_dtype(dtype)?,
        };
        Var::from_tensor(&tensor.to_device(&self.device)?)
    }
}

/// How an initial value is drawn.
enum Law {
    Constant(f64),
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, stdev: f64 },
}

impl Law {
    fn draw(&self, rng: &mut impl Rng) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Uniform { low, high } => low + (high - low) * rng.random::<f64>(),
            Self::Normal { mean, stdev } => mean + stdev * rng.sample::<f64, _>(StandardNormal),
        }
    }
}

impl SimpleBackend for Parameters {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, _: &Device) -> candle_core::Result<Tensor> {
        if dtype != self.dtype {
            candle_core::bail!("parameter {name} is asked for in {dtype:?}, and the parameters are {:?}", self.dtype);
        }
        let mut named = self.lock();
        // A frozen parameter is a plain tensor over the variable's memory: layers leave no record of it, autograd does not
        // reach it, and loading still sets it.
        let given = |var: &Var, frozen| if frozen { var.as_detached_tensor() } else { var.as_tensor().clone() };
        let frozen = named.frozen.covers(name);
        if let Some(var) = named.variables.get(name) {
            if var.shape() != &shape {
                candle_core::bail!("parameter {name} has shape {:?} and is asked for in {shape:?}", var.shape());
            }
            return Ok(given(var, frozen));
        }
        let var = self.draw(&shape, init, named.variables.len() as u32)?;
        let tensor = given(&var, frozen);
        named.variables.insert(name.to_string(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let named = self.lock();
        match named.variables.get(name) {
            Some(var) if named.frozen.covers(name) => Ok(var.as_detached_tensor()),
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("no parameter {name}, and none can be made without a shape"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().variables.contains_key(name)
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.tensors().into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        let vb = parameters.var_builder();
        vb.get_with_hints((4, 3), name, candle_nn::init::DEFAULT_KAIMING_UNIFORM)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .unwrap()
    }

    #[test]
    fn initial_values_follow_the_key_and_the_same_name_is_the_same_variable() {
        let make = |seed| Parameters::new(Key::from_seed(seed), DType::F32, &Device::Cpu);
        let (a, b, c) = (make(1), make(1), make(2));
        assert_eq!(values(&a, "w"), values(&b, "w"));
        assert_ne!(values(&a, "w"), values(&c, "w"));
        assert_ne!(values(&a, "w"), values(&a, "v"));
        assert_eq!(values(&a, "w"), values(&b, "w"));
        assert_eq!((a.len(), a.elements()), (2, 24));
        assert!(a.var_builder().get((3, 4), "w").is_err());
    }

    #[test]
    fn loading_checks_every_name_and_shape_before_it_sets_one() {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        let before = values(&parameters, "w");
        values(&parameters, "x");
        let ones = Tensor::ones((4, 3), DType::F32, &Device::Cpu).unwrap();
        let mut tensors = std::collections::HashMap::from([("w".to_string(), ones.clone())]);
        let error = parameters.load(&tensors, Path::new("m.safetensors")).unwrap_err().to_string();
        assert!(error.contains("m.safetensors") && error.contains("no tensor x"), "{error}");
        tensors.insert("x".into(), ones.t().unwrap());
        assert!(parameters.load(&tensors, Path::new("m")).unwrap_err().to_string().contains("[3, 4]"));
        assert_eq!(values(&parameters, "w"), before);
        tensors.insert("x".into(), ones);
        parameters.load(&tensors, Path::new("m")).unwrap();
        assert_eq!(values(&parameters, "w"), [1.0; 12]);
    }
}
