//! The way back through layers, without a graph.
//!
//! Autograd adds every cotangent into zeros and keeps every tensor of the forward pass until the end. Layers that stand one after
//! another need neither: each keeps what its own backward pass reads and hands one cotangent to the layer before it.

use crate::grad::Tape;
use crate::kernel::{Real, add, dispatch, read};
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, Var, bail};
use std::sync::{Mutex, PoisonError};

/// A layer that knows its own way back: a vector-Jacobian product in place of a graph.
pub trait Pull {
    /// The output for `xs`, and how its cotangent becomes that of `xs`.
    ///
    /// `xs` is contiguous, on the CPU, and has no graph behind it; the same is true of the output. `wanted` says whether the
    /// cotangent of `xs` is needed by somebody. A layer that leaves records on the tape does so on the way back.
    ///
    /// # Errors
    /// When the shape does not fit.
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled>;
}

/// What a layer computed, and the way back from it.
pub struct Pulled {
    /// The output.
    pub ys: Tensor,
    /// How cotangents come back; none if nobody before the output waits for one.
    pub pullback: Option<Pullback>,
}

/// From the cotangent of an output to that of the inputs, once.
pub struct Pullback {
    /// Of the inputs.
    shape: Shape,
    back: Box<Back>,
}

type Back = dyn FnOnce(Tensor) -> Result<Option<Tensor>> + Send;

impl Pulled {
    /// An output for `xs` from which `back` leads back if that is `needed`. `back` maps the contiguous cotangent of the output to
    /// the contiguous cotangent of `xs`, or to nothing if that was not wanted.
    pub fn new(
        ys: Tensor,
        xs: &Tensor,
        needed: bool,
        back: impl FnOnce(Tensor) -> Result<Option<Tensor>> + Send + 'static,
    ) -> Self {
        let pullback = needed.then(|| Pullback { shape: xs.shape().clone(), back: Box::new(back) });
        Self { ys, pullback }
    }
}

impl Pullback {
    /// The cotangent of the inputs, if it was wanted.
    ///
    /// # Errors
    /// When the layer's own way back refuses, or leads to another shape than that of the inputs.
    pub fn apply(self, cotangent: Tensor) -> Result<Option<Tensor>> {
        let Some(inputs) = (self.back)(cotangent.contiguous()?)? else { return Ok(None) };
        if inputs.shape() != &self.shape {
            bail!("a layer's way back led to a cotangent of shape {:?} for inputs of {:?}", inputs.shape(), self.shape);
        }
        Ok(Some(inputs))
    }
}

/// The cotangent of the inputs, if there is a way back and it was wanted.
pub(super) fn back(pullback: Option<Pullback>, cotangent: Tensor) -> Result<Option<Tensor>> {
    pullback.map_or(Ok(None), |pullback| pullback.apply(cotangent))
}

/// Layers one after another.
pub(super) struct Chain<'a>(pub(super) Vec<&'a dyn Pull>);

impl Pull for Chain<'_> {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let (mut ys, mut wanted, mut pullbacks) = (xs.clone(), wanted, Vec::new());
        for layer in &self.0 {
            let pulled = layer.pull(&ys, wanted || !pullbacks.is_empty(), tape)?;
            ys = pulled.ys;
            match pulled.pullback {
                Some(pullback) => pullbacks.push(pullback),
                None => {
                    // No cotangent comes by here: what lies before is a constant.
                    wanted = false;
                    pullbacks.clear();
                }
            }
        }
        Ok(Pulled::new(ys, xs, wanted || !pullbacks.is_empty(), move |cotangent| {
            let inputs =
                pullbacks.into_iter().rev().try_fold(Some(cotangent), |cotangent, pullback| match cotangent {
                    Some(cotangent) => pullback.apply(cotangent),
                    None => Ok(None),
                })?;
            Ok(inputs.filter(|_| wanted))
        }))
    }
}

/// `xs + factor ys`, of one shape and without a graph.
pub(super) fn sum(xs: &Tensor, factor: f64, ys: &Tensor) -> Result<Tensor> {
    fn run<T: Real>(xs: &Tensor, factor: f64, ys: &Tensor) -> Result<Tensor> {
        let sum = read(xs, |xs: &[T]| read(ys, |ys| Ok(add::sum(xs, factor, ys))))?;
        Tensor::from_vec(sum, xs.shape(), xs.device())
    }
    dispatch!(xs.dtype(), run(xs, factor, ys))
}

/// The sum of what there is.
pub(super) fn total<const N: usize>(terms: [Option<Tensor>; N]) -> Result<Option<Tensor>> {
    terms.into_iter().flatten().try_fold(None, |total, term| match total {
        Some(total) => sum(&total, 1.0, &term).map(Some),
        None => Ok(Some(term)),
    })
}

/// The output of `layer` as part of autograd's graph, for whatever stands around it. The output is copied once.
pub(super) fn on_graph(layer: &dyn Pull, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
    let wanted = tape.is_recording() && xs.track_op();
    let Pulled { ys, pullback } = layer.pull(&xs.detach().contiguous()?, wanted, tape)?;
    if pullback.is_none() {
        return Ok(ys);
    }
    // Autograd must come by even if nothing before the layer is trained: an empty variable calls it.
    let call = Var::zeros(0, DType::F32, &Device::Cpu)?;
    xs.apply_op2(call.as_tensor(), PullOp { ys: Mutex::new(Some(ys)), pullback: Mutex::new(pullback) })
}

/// A pullback as an operation over (inputs, an empty variable).
struct PullOp {
    ys: Mutex<Option<Tensor>>,
    pullback: Mutex<Option<Pullback>>,
}

/// What is there, once. A panic elsewhere cannot leave it half taken.
fn take<T>(once: &Mutex<Option<T>>) -> Option<T> {
    once.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl CustomOp2 for PullOp {
    fn name(&self) -> &'static str {
        "dpsgd-pull"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        fn copied<T: Real>(ys: &Tensor) -> Result<CpuStorage> {
            read(ys, |ys: &[T]| Ok(T::to_cpu_storage_owned(ys.to_vec())))
        }
        let Some(ys) = take(&self.ys) else { bail!("dpsgd-pull: a second forward pass of one operation") };
        Ok((dispatch!(ys.dtype(), copied(&ys.contiguous()?))?, ys.shape().clone()))
    }

    fn bwd(
        &self,
        _xs: &Tensor,
        _call: &Tensor,
        _ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(pullback) = take(&self.pullback) else { bail!("dpsgd-pull: a second backward pass of one graph") };
        Ok((pullback.apply(cotangent.contiguous()?)?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::Engine;

    /// Times a number; `pulls` says whether it finds its way back, and `shape` where to.
    struct Times {
        by: f64,
        pulls: bool,
        flat: bool,
    }

    impl Pull for Times {
        fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
            let (by, flat) = (self.by, self.flat);
            Ok(Pulled::new((xs * by)?, xs, wanted && self.pulls, move |g| {
                let g = (g * by)?;
                Ok(Some(if flat { g.flatten_all()? } else { g }))
            }))
        }
    }

    fn times(by: f64) -> Times {
        Times { by, pulls: true, flat: false }
    }

    fn gradient(layers: Vec<&dyn Pull>) -> Result<Option<Vec<f64>>> {
        let xs = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
        let tape = Tape::recording(Engine::default());
        let ys = on_graph(&Chain(layers), xs.as_tensor(), &tape)?;
        let store = ys.sqr()?.sum_all()?.backward()?;
        store.get(xs.as_tensor()).map(|g| g.flatten_all()?.to_vec1()).transpose()
    }

    #[test]
    fn a_chain_goes_back_through_all_its_layers_and_on_into_the_graph() {
        let (two, three) = (times(2.0), times(3.0));
        // 6^2 x^2 has the derivative 72 x.
        assert_eq!(gradient(vec![&two, &three]).unwrap(), Some(vec![72.0, 144.0]));
        assert_eq!(gradient(Vec::new()).unwrap(), Some(vec![2.0, 4.0]));
    }

    #[test]
    fn a_layer_without_a_way_back_is_a_constant() {
        let (two, wall) = (times(2.0), Times { pulls: false, ..times(1.0) });
        assert_eq!(gradient(vec![&two, &wall]).unwrap(), None);
        assert_eq!(gradient(vec![&two, &wall, &two]).unwrap(), None);
    }

    #[test]
    fn a_cotangent_of_another_shape_is_refused() {
        let (two, flat) = (times(2.0), Times { flat: true, ..times(2.0) });
        let error = gradient(vec![&two, &flat, &two]).unwrap_err().to_string();
        assert!(error.contains("[2]") && error.contains("[1, 2]"), "{error}");
    }

    #[test]
    fn a_graph_is_walked_back_once() {
        let xs = Var::new(&[1f64], &Device::Cpu).unwrap();
        let two = times(2.0);
        let loss = on_graph(&two, xs.as_tensor(), &Tape::recording(Engine::default())).unwrap().sum_all().unwrap();
        assert!(loss.backward().is_ok());
        assert!(loss.backward().unwrap_err().to_string().contains("second backward pass"));
    }
}
