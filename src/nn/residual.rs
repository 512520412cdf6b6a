//! Residual connections (He et al. 2016).

use super::pull::{Pull, Pulled, back, on_graph, sum, total};
use super::{Layer, Sequential};
use crate::grad::Tape;
use candle_core::{Result, Tensor, bail};

/// `x + inner(x)`: the inner layers keep the shape.
#[derive(Default)]
pub struct Residual(
    /// What is added to its own inputs.
    pub Sequential,
);

impl Layer for Residual {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(xs.device()) && self.as_pull().is_some() {
            return on_graph(self, xs, tape);
        }
        let ys = self.0.forward(xs, tape)?;
        check(xs, &ys)?;
        xs + ys
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        self.0.as_pull().map(|_| self as &dyn Pull)
    }
}

impl Pull for Residual {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let Pulled { ys, pullback } = self.0.pull(xs, wanted, tape)?;
        check(xs, &ys)?;
        let needed = wanted || pullback.is_some();
        Ok(Pulled::new(sum(xs, 1.0, &ys)?, xs, needed, move |cotangent| {
            let through = back(pullback, cotangent.clone())?;
            if wanted { total([Some(cotangent), through]) } else { Ok(None) }
        }))
    }
}

fn check(xs: &Tensor, ys: &Tensor) -> Result<()> {
    if ys.dims() != xs.dims() {
        bail!("residual: outputs of shape {:?} for inputs of shape {:?}, and these are added", ys.dims(), xs.dims());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Flatten;
    use candle_core::Device;

    #[test]
    fn inputs_are_added_where_shapes_are_the_same() {
        let xs = Tensor::new(&[[[1f32, -2.0]]], &Device::Cpu).unwrap();
        let ys = Residual(Sequential::new()).forward(&xs, &Tape::off()).unwrap();
        assert_eq!(ys.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [2.0, -4.0]);
        let error = Residual(Sequential::new().add(Flatten)).forward(&xs, &Tape::off()).unwrap_err().to_string();
        assert!(error.contains("[1, 2]") && error.contains("[1, 1, 2]"), "{error}");
    }
}
