//! Freezing: parameters that a model computes with, saves and loads, and that training leaves alone.

use super::Parameters;
use crate::{Error, Result};

/// The paths under which parameters are frozen.
#[derive(Debug, Clone, Default)]
pub(super) struct Frozen(Vec<String>);

impl Frozen {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.0.iter().any(|path| under(path, name))
    }
}

/// Whether `name` is `path` itself or lies below it; everything lies below the empty path.
pub(crate) fn under(path: &str, name: &str) -> bool {
    path.is_empty() || name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Parameters {
    /// Leaves the parameter of the name `path`, and all whose names begin with `path` and a dot, out of training; the empty
    /// path freezes everything. `encoder` covers `encoder.0.weight` and not `encoder2.weight`.
    ///
    /// Frozen parameters are saved with the model and loaded like the others, and are not among [`Parameters::iter`]: they have
    /// no gradient, cost no privacy and no optimiser moves them. Their initial values are what they would have been.
    ///
    /// Freeze before the model is built where possible: a model then gets plain tensors in place of variables, its layers
    /// leave no records of them, and the backward pass ends where nothing trained lies below. What a model asked for earlier
    /// is frozen just as well, and only its records are made in vain.
    ///
    /// A path that no parameter is under is an error once gradients are asked for, so that a slip of the pen trains nothing.
    pub fn freeze(&self, path: &str) {
        self.lock().frozen.0.push(path.to_string());
    }

    /// Whether a parameter of this name is, or would be, frozen.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.lock().frozen.covers(name)
    }

    /// Refuses paths that freeze nothing, and a model of which nothing is left to train.
    pub(crate) fn check_frozen(&self) -> Result<()> {
        let named = self.lock();
        let names: Vec<&str> = named.variables.keys().map(String::as_str).collect();
        if let Some(path) = named.frozen.0.iter().find(|path| !names.iter().any(|name| under(path, name))) {
            let reason = format!("{path:?} is to be frozen, and the model's parameters are {}", names.join(", "));
            return Err(Error::Model { reason });
        }
        if !names.is_empty() && names.iter().all(|name| named.frozen.covers(name)) {
            return Err(Error::Model { reason: "all its parameters are frozen: nothing is left to train".into() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Key;
    use candle_core::{DType, Device, Tensor};

    fn parameters(frozen: &[&str]) -> Parameters {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        frozen.iter().for_each(|path| parameters.freeze(path));
        for name in ["encoder.weight", "encoder2.weight", "head"] {
            let tensor = parameters.var_builder().get(2, name).unwrap();
            assert_eq!(tensor.is_variable(), !parameters.is_frozen(name));
        }
        parameters
    }

    fn names(parameters: &Parameters) -> Vec<String> {
        parameters.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_path_covers_what_is_below_it_and_not_what_begins_alike() {
        assert_eq!(names(&parameters(&["encoder"])), ["encoder2.weight", "head"]);
        assert_eq!(names(&parameters(&["encoder2", "head"])), ["encoder.weight"]);
        assert!(parameters(&[""]).is_empty());
        let late = parameters(&[]);
        late.freeze("encoder.weight");
        assert_eq!((late.len(), late.elements(), late.zeros().unwrap().len()), (2, 6, 2));
    }

    #[test]
    fn frozen_parameters_are_saved_and_loading_reaches_the_models_tensors() {
        let parameters = parameters(&["encoder"]);
        let vb = parameters.var_builder();
        let (given, unchecked) = (vb.get(2, "encoder.weight").unwrap(), vb.get_unchecked("encoder.weight").unwrap());
        assert!(!given.is_variable() && !given.track_op() && !unchecked.is_variable());
        let copy = |(name, tensor): (String, Tensor)| (name, tensor.copy().unwrap());
        let mut tensors: std::collections::HashMap<String, Tensor> =
            parameters.tensors().into_iter().map(copy).collect();
        assert_eq!(tensors.len(), 3);
        tensors.insert("encoder.weight".into(), Tensor::new(&[5f32, 6.0], &Device::Cpu).unwrap());
        parameters.load(&tensors, std::path::Path::new("m")).unwrap();
        assert_eq!(given.to_vec1::<f32>().unwrap(), [5.0, 6.0]);
    }

    #[test]
    fn a_path_of_nothing_and_a_model_without_anything_to_train_are_refused() {
        let refusal = |frozen: &[&str]| parameters(frozen).check_frozen().unwrap_err().to_string();
        assert!(refusal(&["encodr"]).contains("\"encodr\"") && refusal(&["encodr"]).contains("encoder.weight"));
        assert!(refusal(&["encoder", "encoder2", "head"]).contains("nothing is left to train"));
        parameters(&["encoder"]).check_frozen().unwrap();
        Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu).check_frozen().unwrap();
    }
}
