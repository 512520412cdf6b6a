//! Softmax cross-entropy as a loss for each example.

use crate::grad::Tape;
use crate::kernel::cross_entropy::{logit_cotangents, losses};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};

/// `-ln softmax(logits)[target]`: logits `(batch, .., classes)` and targets `(batch, ..)` of u32 give losses `(batch, ..)`.
///
/// # Errors
/// When the shapes do not fit, or a target is not below the number of classes.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, tape: &Tape) -> Result<Tensor> {
    let Some((classes, rest)) = logits.dims().split_last() else { bail!("cross-entropy: logits without a shape") };
    if rest != targets.dims() || targets.dtype() != DType::U32 {
        bail!(
            "cross-entropy: targets of shape {:?} and type {:?} for logits of shape {:?}; one target of u32 for each row of logits",
            targets.dims(),
            targets.dtype(),
            logits.dims()
        );
    }
    let ids: Vec<u32> = targets.flatten_all()?.to_vec1()?;
    if let Some(wrong) = ids.iter().find(|id| **id as usize >= *classes) {
        bail!("cross-entropy: a target of {wrong}, and there are {classes} classes");
    }
    if ids.is_empty() {
        return logits.sum(D::Minus1);
    }
    if !tape.uses_kernels(logits.device()) {
        let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
        return log_probabilities.gather(&targets.unsqueeze(D::Minus1)?, D::Minus1)?.squeeze(D::Minus1)?.neg();
    }
    let op = CrossEntropyOp { targets: ids, classes: *classes };
    let logits = logits.contiguous()?;
    if tape.is_recording() { logits.apply_op1(op) } else { logits.apply_op1_no_bwd(&op) }
}

struct CrossEntropyOp {
    targets: Vec<u32>,
    classes: usize,
}

impl CustomOp1 for CrossEntropyOp {
    fn name(&self) -> &'static str {
        "dpsgd-cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<T: Real>(op: &CrossEntropyOp, logits: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
            Ok(T::to_cpu_storage_owned(losses::<T>(slice(logits, layout)?, &op.targets, op.classes)))
        }
        let rank = layout.dims().len();
        Ok((dispatch!(logits.dtype(), run(self, logits, layout))?, Shape::from(&layout.dims()[..rank - 1])))
    }

    fn bwd(&self, logits: &Tensor, _losses: &Tensor, cotangent: &Tensor) -> Result<Option<Tensor>> {
        fn run<T: Real>(op: &CrossEntropyOp, logits: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
            let out = read(logits, |logits: &[T]| {
                read(&cotangent.contiguous()?, |g| Ok(logit_cotangents(logits, &op.targets, g, op.classes)))
            })?;
            Tensor::from_vec(out, logits.shape(), logits.device())
        }
        if !logits.track_op() {
            return Ok(None);
        }
        Ok(Some(dispatch!(logits.dtype(), run(self, logits, cotangent))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::{Engine, Kernels};
    use candle_core::{Device, Var};

    #[test]
    fn the_kernel_equals_plain_operations_and_so_does_its_gradient() {
        for shape in [&[3, 4][..], &[2, 3, 5], &[0, 4], &[2, 1]] {
            let rows: usize = shape[..shape.len() - 1].iter().product();
            let classes = shape[shape.len() - 1];
            let ids: Vec<u32> = (0..rows).map(|i| (i % classes) as u32).collect();
            let targets = Tensor::from_vec(ids, &shape[..shape.len() - 1], &Device::Cpu).unwrap();
            let logits = Var::randn(0.0, 3.0, shape, &Device::Cpu).unwrap();
            let run = |kernels: Kernels| {
                let tape = Tape::recording(Engine { kernels, ..Engine::default() });
                let losses = cross_entropy(logits.as_tensor(), &targets, &tape).unwrap();
                let gradients = losses.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                assert_eq!(losses.dims(), targets.dims());
                let gradient = gradients.get(logits.as_tensor()).unwrap().flatten_all().unwrap();
                (losses.flatten_all().unwrap().to_vec1().unwrap(), gradient.to_vec1().unwrap())
            };
            let (kernel, plain): ((Vec<f64>, Vec<f64>), _) = (run(Kernels::Auto), run(Kernels::Portable));
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near(&kernel.0, &plain.0) && near(&kernel.1, &plain.1), "{shape:?}: {kernel:?} and {plain:?}");
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let refused = |targets: Tensor| cross_entropy(&logits, &targets, &Tape::off()).unwrap_err().to_string();
        let too_large = refused(Tensor::from_slice(&[0u32, 3], 2, &Device::Cpu).unwrap());
        assert!(too_large.contains("target of 3") && too_large.contains("3 classes"), "{too_large}");
        let shape = refused(Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap());
        assert!(shape.contains("[3]") && shape.contains("[2, 3]"), "{shape}");
    }
}
