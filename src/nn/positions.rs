//! Learned embeddings of positions.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::{Bias, Cotangent, Rule, Tape, check_parameter};
use crate::kernel::add::sum;
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// A learned vector for every position, added to the inputs (Gehring et al. 2017).
///
/// `forward` maps `(batch, positions, embed)` to the same shape, for as many positions as the weight `(length, embed)` has or
/// fewer. An example's gradient is the cotangent itself.
#[derive(Debug, Clone)]
pub struct Positions {
    weight: Tensor,
}

/// Vectors for `length` positions with the parameter `weight` `(length, embed)` under `vb`, which starts normal with the
/// deviation 0.02 of Radford et al. (2018) and Devlin et al. (2019).
///
/// # Errors
/// When a dimension is zero, or `vb` has the name in another shape.
pub fn positions(length: usize, embed: usize, vb: VarBuilder<'_>) -> Result<Positions> {
    Positions::new(vb.get_with_hints((length, embed), "weight", Init::Randn { mean: 0.0, stdev: 0.02 })?)
}

impl Positions {
    /// From a weight `(length, embed)`.
    ///
    /// # Errors
    /// When it has another shape or no element, or is computed from others.
    pub fn new(weight: Tensor) -> Result<Self> {
        let (length, embed) = weight.dims2()?;
        if length == 0 || embed == 0 {
            bail!("positions: a weight of shape {:?}, and it takes at least one position and element", weight.dims());
        }
        check_parameter(&weight, "positions")?;
        Ok(Self { weight })
    }

    /// The weight `(length, embed)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    fn check(&self, xs: &Tensor) -> Result<()> {
        let (length, embed) = self.weight.dims2()?;
        if !matches!(xs.dims(), [_, positions, last] if *positions <= length && *last == embed) {
            let shape = xs.dims();
            bail!("positions: inputs of shape {shape:?}, and the layer takes (batch, at most {length}, {embed})");
        }
        Ok(())
    }

    /// Records cotangents `(batch, length embed)`.
    fn record(&self, cotangent: Cotangent, tape: &Tape) {
        tape.record(&self.weight, Rule::Bias(Bias { axis: 1 }), cotangent);
    }

    fn portable(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        let (batch, positions, embed) = xs.dims3()?;
        let weight = if tape.is_recording() { self.weight.detach() } else { self.weight.clone() };
        let ys = xs.broadcast_add(&weight.narrow(0, 0, positions)?)?;
        if !tape.is_recording() {
            return Ok(ys);
        }
        // A tap for all positions, of which the inputs may have fewer.
        let zero = Tensor::zeros((batch, self.weight.elem_count()), xs.dtype(), xs.device())?;
        let (zero, cotangent) = tape.tap(&zero)?;
        self.record(cotangent, tape);
        ys + zero.narrow(1, 0, positions * embed)?.reshape(xs.shape())?
    }
}

impl Layer for Positions {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.check(xs)?;
        if tape.uses_kernels(xs.device()) { on_graph(self, xs, tape) } else { self.portable(xs, tape) }
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for Positions {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        fn sums<T: Real>(xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
            let size = xs.dims()[1..].iter().product();
            let ys = read(xs, |xs: &[T]| read(weight, |weight: &[T]| Ok(sum(xs, 1.0, &weight[..size]))))?;
            Tensor::from_vec(ys, xs.shape(), xs.device())
        }
        self.check(xs)?;
        let ys = dispatch!(self.weight.dtype(), sums(xs, &self.weight.contiguous()?))?;
        let (layer, tape) = (self.clone(), tape.clone());
        Ok(Pulled::new(ys, xs, wanted || tape.trains([&self.weight]), move |cotangent| {
            let rows = cotangent.flatten_from(1)?;
            let missing = layer.weight.elem_count() - rows.dim(1)?;
            layer.record(Cotangent::Given(rows.pad_with_zeros(1, 0, missing)?), &tape);
            Ok(wanted.then_some(cotangent))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn every_position_has_its_vector_and_there_are_no_others() {
        let layer = Positions::new(Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap()).unwrap();
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let ys = layer.forward(&zeros(&[2, 1, 2]), &Tape::off()).unwrap();
        assert_eq!(ys.to_vec3::<f32>().unwrap(), [[[1.0, 2.0]], [[1.0, 2.0]]]);
        for shape in [&[2, 3, 2][..], &[2, 2, 3], &[2, 2]] {
            let error = layer.forward(&zeros(shape), &Tape::off()).unwrap_err().to_string();
            assert!(error.contains(&format!("{shape:?}")) && error.contains("(batch, at most 2, 2)"), "{error}");
        }
        assert!(Positions::new(zeros(&[0, 2])).is_err());
    }
}
