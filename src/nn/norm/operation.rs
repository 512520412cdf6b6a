//! The operation that all normalisation layers are.

use crate::grad::{Bias, Cotangent, Rule, Scale, Tape, check_parameter};
use crate::kernel::norm::{Cotangents, Moments, Norm, moments};
use crate::kernel::{Real, dispatch, read};
use crate::nn::pull::{Pull, Pulled, on_graph};
use candle_core::{Result, Tensor, bail};

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
        self.check_type(xs)?;
        if !tape.uses_kernels(xs.device()) {
            return self.portable(xs, tape);
        }
        on_graph(self, xs, tape)
    }

    fn check_type(&self, xs: &Tensor) -> Result<()> {
        for parameter in self.weight.into_iter().chain(self.bias) {
            if parameter.dtype() != xs.dtype() {
                bail!("{}: inputs of {:?}, and parameters of {:?}", self.layer, xs.dtype(), parameter.dtype());
            }
        }
        Ok(())
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

impl Pull for Normalisation<'_> {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.check_type(xs)?;
        let (size, dtype) = (self.norm.scales(), xs.dtype());
        // A parameter the layer does not have is a constant: not a variable, so nothing is recorded for it.
        let weight = self.weight.map_or_else(|| Tensor::ones(size, dtype, xs.device()), |weight| Ok(weight.clone()))?;
        let bias = self.bias.map_or_else(|| Tensor::zeros(size, dtype, xs.device()), |bias| Ok(bias.clone()))?;
        let moments = dispatch!(dtype, moments(&self.norm, xs))?;
        let ys = dispatch!(dtype, outputs(&self.norm, xs, &moments, &weight, &bias))?;
        let (norm, tape, inputs) = (self.norm, tape.clone(), xs.clone());
        Ok(Pulled::new(ys, xs, wanted || tape.trains([&weight, &bias]), move |cotangent| {
            let found = dispatch!(dtype, cotangents(&norm, &inputs, &moments, &weight, &cotangent))?;
            let [inputs, scale, shift] = found;
            tape.record(&weight, Rule::Scale(Scale::Summed), Cotangent::Given(scale));
            // Summed over positions already, as the scale's.
            tape.record(&bias, Rule::Bias(Bias { axis: 1 }), Cotangent::Given(shift));
            Ok(wanted.then_some(inputs))
        }))
    }
}

fn outputs<T: Real>(norm: &Norm, xs: &Tensor, moments: &[Moments], weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let ys =
        read(xs, |xs: &[T]| read(&weight, |weight| read(&bias, |bias| Ok(norm.forward(xs, moments, weight, bias)))))?;
    Tensor::from_vec(ys, xs.shape(), xs.device())
}

/// The cotangents of the inputs, and every example's gradients `(batch, size)` of scale and shift.
fn cotangents<T: Real>(
    norm: &Norm,
    xs: &Tensor,
    moments: &[Moments],
    weight: &Tensor,
    cotangent: &Tensor,
) -> Result<[Tensor; 3]> {
    let (batch, weight) = (xs.dim(0)?, weight.contiguous()?);
    let Cotangents { inputs, scale, shift } = read(xs, |xs: &[T]| {
        read(&weight, |weight| read(cotangent, |g| Ok(norm.backward(batch, xs, moments, weight, g))))
    })?;
    let gradient = |values| Tensor::from_vec(values, (batch, norm.scales()), xs.device());
    Ok([Tensor::from_vec(inputs, xs.shape(), xs.device())?, gradient(scale)?, gradient(shift)?])
}
