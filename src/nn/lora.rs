//! Low-rank adaptation: a frozen linear layer and a trained product of two small ones beside it.

use super::pull::{Chain, Pull, Pulled, back, on_graph, sum, total};
use super::{Layer, Linear};
use crate::grad::Tape;
use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// `y = base(x) + (alpha / rank) B (A x)` (Hu et al. 2022, equation 3): only A `(rank, in)` and B `(out, rank)` are trained.
///
/// Fewer trained parameters mean less noise in all at the same privacy.
#[derive(Debug, Clone)]
pub struct LoraLinear {
    base: Linear,
    a: Linear,
    b: Linear,
    scale: f64,
}

/// An adapter of rank `rank` over `base` with the parameters `lora_a.weight` `(rank, in)` and `lora_b.weight` `(out, rank)`
/// under `vb`. A is uniform in plus or minus `1 / sqrt(in)` (Kaiming uniform of slope sqrt 5) and B zero, so that the layer
/// starts as `base`.
///
/// The base is detached here. If it comes from the same [`Parameters`](super::Parameters), [freeze](super::Parameters::freeze)
/// its path, or the engine misses its gradients and says so.
///
/// # Errors
/// When the rank is zero, alpha is not finite and positive, or `vb` has the names in other shapes.
pub fn lora_linear(base: Linear, rank: usize, alpha: f64, vb: VarBuilder<'_>) -> Result<LoraLinear> {
    let (out, d) = base.weight().dims2()?;
    let bound = 1.0 / (d as f64).sqrt();
    let a = vb.pp("lora_a").get_with_hints((rank, d), "weight", Init::Uniform { lo: -bound, up: bound })?;
    let b = vb.pp("lora_b").get_with_hints((out, rank), "weight", candle_nn::init::ZERO)?;
    LoraLinear::new(base, a, b, alpha)
}

impl LoraLinear {
    /// From a base, A `(rank, in)` and B `(out, rank)`.
    ///
    /// # Errors
    /// When the shapes do not fit, the rank is zero, or alpha is not finite and positive.
    pub fn new(base: Linear, a: Tensor, b: Tensor, alpha: f64) -> Result<Self> {
        let ((out, d), (rank, _)) = (base.weight().dims2()?, a.dims2()?);
        if rank == 0 || a.dims() != [rank, d] || b.dims() != [out, rank] {
            bail!(
                "lora: A of shape {:?} and B of shape {:?} over a base of shape {:?}; A is (rank, {d}) and B ({out}, rank), with a rank of at least 1",
                a.dims(),
                b.dims(),
                base.weight().dims()
            );
        }
        if !(alpha.is_finite() && alpha > 0.0) {
            bail!("lora: alpha is {alpha}, and a finite number above 0 is allowed");
        }
        let base = Linear::new(base.weight().detach(), base.bias().map(Tensor::detach))?;
        let (a, b) = (Linear::new(a, None)?, Linear::new(b, None)?);
        Ok(Self { base, a, b, scale: alpha / rank as f64 })
    }

    /// The frozen layer.
    pub fn base(&self) -> &Linear {
        &self.base
    }

    /// The weight `(out, in)` of the one linear layer that computes the same: `base + (alpha / rank) B A`, with the base's
    /// bias.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn merge(&self) -> Result<Tensor> {
        let product = self.b.weight().detach().matmul(&self.a.weight().detach())?;
        self.base.weight() + (product * self.scale)?
    }
}

impl Layer for LoraLinear {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(xs.device()) {
            return on_graph(self, xs, tape);
        }
        let adapted = self.b.forward(&self.a.forward(xs, tape)?, tape)?;
        self.base.forward(xs, tape)? + (adapted * self.scale)?
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for LoraLinear {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let (base, adapter) =
            (self.base.pull(xs, wanted, tape)?, Chain(vec![&self.a, &self.b]).pull(xs, wanted, tape)?);
        let (ys, scale) = (sum(&base.ys, self.scale, &adapter.ys)?, self.scale);
        let (base, adapter) = (base.pullback, adapter.pullback);
        let needed = base.is_some() || adapter.is_some();
        Ok(Pulled::new(ys, xs, needed, move |cotangent| {
            let scaled = (&cotangent * scale)?;
            total([back(base, cotangent)?, back(adapter, scaled)?])
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Parameters, linear};
    use crate::seed::Key;
    use candle_core::{DType, Device};

    #[test]
    fn an_adapter_starts_as_its_base_and_merges_into_one_layer() {
        let parameters = Parameters::new(Key::from_seed(1), DType::F64, &Device::Cpu);
        parameters.freeze("base");
        let vb = parameters.var_builder();
        let base = linear(5, 3, vb.pp("base")).unwrap();
        let layer = lora_linear(base.clone(), 2, 8.0, vb).unwrap();
        let names: Vec<String> = parameters.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["lora_a.weight", "lora_b.weight"]);
        let xs = Tensor::rand(-1.0, 1.0, (4, 5), &Device::Cpu).unwrap();
        let apart = |a: &Tensor, b: &Tensor| {
            let apart = (a - b).and_then(|apart| apart.abs()?.max_all()?.to_scalar::<f64>());
            apart.unwrap()
        };
        let through = |layer: &dyn Layer| layer.forward(&xs, &Tape::off()).unwrap();
        assert_eq!(apart(&through(&layer), &through(&base)), 0.0);
        let (_, b) = parameters.iter().find(|(name, _)| name == "lora_b.weight").unwrap();
        b.set(&Tensor::ones((3, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let merged = Linear::new(layer.merge().unwrap(), layer.base().bias().cloned()).unwrap();
        assert!(apart(&through(&layer), &through(&base)) > 0.1);
        assert!(apart(&through(&layer), &through(&merged)) < 1e-12);
    }

    #[test]
    fn ranks_shapes_and_alphas_that_do_not_fit_are_refused() {
        let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let refusal = |a, b, alpha| {
            let base = Linear::new(zeros((3, 5)), None).unwrap();
            LoraLinear::new(base, zeros(a), zeros(b), alpha).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refusal((0, 5), (3, 0), 1.0).contains("at least 1"));
        assert!(refusal((2, 4), (3, 2), 1.0).contains("A is (rank, 5)"));
        assert!(refusal((2, 5), (3, 1), 1.0).contains("B (3, rank)"));
        assert!(refusal((2, 5), (3, 2), f64::NAN).contains("alpha is NaN"));
    }
}
