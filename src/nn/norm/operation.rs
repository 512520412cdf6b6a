//! The operation that all normalisation layers are.

use crate::grad::{Bias, Cotangent, Rule, Scale, Tape, check_parameter};
use crate::kernel::norm::{Cotangents, Moments, Norm, moments};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Refuses what no normalisation over parameters of `size` elements may have.
///
/// # Errors
/// When a parameter has another shape or is computed from others, `size` is zero, or `eps` is not positive.
pub(super) fn check(layer: &str, size: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<()> {
    if size == 0 {
        bail!("{layer}: 0 values or channels to normalise, and it takes at least 1");
    }
    if !(eps.is_finite() && eps > 0.0) {
        // Zero is refused too: a row of equal values would be divided by it.
        bail!("{layer}: eps is {eps}, and must be positive and finite");
    }
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        let Some(parameter) = parameter else { continue };
        check_parameter(parameter, layer)?;
        if parameter.dims() != [size] {
            bail!("{layer}: a {name} of shape {:?}, and the layer takes [{size}]", parameter.dims());
        }
    }
    Ok(())
}

/// A normalisation of inputs of one shape.
pub(super) struct Normalisation<'a> {
    /// For errors.
    pub(super) layer: &'a str,
    pub(super) weight: Option<&'a Tensor>,
    pub(super) bias: Option<&'a Tensor>,
    /// The axis that runs over the parameters; zero is the batch.
    pub(super) axis: usize,
    pub(super) norm: Norm,
}

impl Normalisation<'_> {
    /// The output for `xs`, of the same shape.
    pub(super) fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        for parameter in self.weight.into_iter().chain(self.bias) {
            if parameter.dtype() != xs.dtype() {
                bail!("{}: inputs of {:?}, and parameters of {:?}", self.layer, xs.dtype(), parameter.dtype());
            }
        }
        if !tape.uses_kernels(xs.device()) {
            return self.portable(xs, tape);
        }
        // A parameter the layer does not have is a constant: not a variable, so nothing is recorded for it.
        let (size, dtype) = (self.norm.scales(), xs.dtype());
        let weight = self.weight.map_or_else(|| Tensor::ones(size, dtype, xs.device()), Tensor::contiguous)?;
        let bias = self.bias.map_or_else(|| Tensor::zeros(size, dtype, xs.device()), Tensor::contiguous)?;
        let xs = xs.contiguous()?;
        let moments = dispatch!(dtype, moments(&self.norm, &xs))?;
        let op = NormOp { norm: self.norm, moments, tape: tape.clone() };
        if tape.is_recording() { xs.apply_op3(&weight, &bias, op) } else { xs.apply_op3_no_bwd(&weight, &bias, &op) }
    }

    fn portable(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        let &Self { axis, norm, .. } = self;
        let rows = xs.contiguous()?.reshape((xs.dim(0)?, norm.rows, norm.parameters * norm.run))?;
        let rows = if norm.remove_mean { rows.broadcast_sub(&rows.mean_keepdim(2)?)? } else { rows };
        let deviations = (rows.sqr()?.mean_keepdim(2)? + norm.eps)?.sqrt()?;
        let factors = rows.broadcast_div(&deviations)?.reshape(xs.shape())?;
        let mut along = vec![1; xs.rank()];
        along[axis] = norm.scales();
        let parameter = |parameter: &Tensor| {
            let parameter = if tape.is_recording() { parameter.detach() } else { parameter.clone() };
            parameter.reshape(along.as_slice())
        };
        let mut ys = factors.clone();
        if let Some(weight) = self.weight {
            ys = ys.broadcast_mul(&parameter(weight)?)?;
        }
        if let Some(bias) = self.bias {
            ys = ys.broadcast_add(&parameter(bias)?)?;
        }
        if !tape.is_recording() {
            return Ok(ys);
        }
        let (ys, cotangent) = tape.tap(&ys)?;
        if let Some(bias) = self.bias.filter(|bias| bias.is_variable()) {
            tape.record(bias, Rule::Bias(Bias { axis }), cotangent.clone());
        }
        if let Some(weight) = self.weight.filter(|weight| weight.is_variable()) {
            tape.record(weight, Rule::Scale(Scale::Factors { factors: factors.detach(), axis }), cotangent);
        }
        Ok(ys)
    }
}

/// The layer as an operation over (inputs, weight, bias). Both parameters are operands, so that the backward runs whenever
/// one of them is a variable.
struct NormOp {
    norm: Norm,
    moments: Vec<Moments>,
    tape: Tape,
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        "dpsgd-norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        type Operand<'a> = (&'a CpuStorage, &'a Layout);
        fn run<T: Real>(op: &NormOp, xs: Operand<'_>, weight: Operand<'_>, bias: Operand<'_>) -> Result<CpuStorage> {
            let (xs, weight, bias) = (slice::<T>(xs.0, xs.1)?, slice(weight.0, weight.1)?, slice(bias.0, bias.1)?);
            Ok(T::to_cpu_storage_owned(op.norm.forward(xs, &op.moments, weight, bias)))
        }
        Ok((dispatch!(xs.dtype(), run(self, (xs, xl), (weight, wl), (bias, bl)))?, xl.shape().clone()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [inputs, scale, shift] = dispatch!(xs.dtype(), cotangents(self, xs, weight, &cotangent.contiguous()?))?;
        if weight.is_variable() {
            self.tape.record(weight, Rule::Scale(Scale::Summed), Cotangent::Given(scale));
        }
        if bias.is_variable() {
            // Summed over positions already, as the scale's.
            self.tape.record(bias, Rule::Bias(Bias { axis: 1 }), Cotangent::Given(shift));
        }
        Ok((xs.track_op().then_some(inputs), None, None))
    }
}

/// The cotangents of the inputs, and every example's gradients `(batch, size)` of scale and shift.
fn cotangents<T: Real>(op: &NormOp, xs: &Tensor, weight: &Tensor, cotangent: &Tensor) -> Result<[Tensor; 3]> {
    let batch = xs.dim(0)?;
    let Cotangents { inputs, scale, shift } = read(xs, |xs: &[T]| {
        read(weight, |weight| read(cotangent, |g| Ok(op.norm.backward(batch, xs, &op.moments, weight, g))))
    })?;
    let gradient = |values| Tensor::from_vec(values, (batch, op.norm.scales()), xs.device());
    Ok([Tensor::from_vec(inputs, xs.shape(), xs.device())?, gradient(scale)?, gradient(shift)?])
}
