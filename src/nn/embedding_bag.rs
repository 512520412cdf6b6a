//! Bag of embeddings: the sum or mean of the rows of an example's tokens.

use super::Layer;
use super::embedding::{INIT, check_table, look_up, tapped};
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::{Table, Tape, Tokens};
use crate::kernel::scatter::Spread;
use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;

/// What a bag becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BagMode {
    /// The sum of its rows.
    Sum,
    /// The mean of its rows, PyTorch's choice.
    #[default]
    Mean,
}

/// What may be chosen about a bag of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmbeddingBagConfig {
    /// What a bag becomes.
    pub mode: BagMode,
    /// The filler that makes bags of different sizes one tensor: it counts for nothing, and its row has no gradient. A bag of
    /// filler alone gives zeros.
    pub padding_index: Option<u32>,
}

/// A table `(vocabulary, dim)` whose rows are summed or averaged over bags of tokens, as in PyTorch.
///
/// `forward` maps ids `(batch, bag)` of type u32 to `(batch, dim)`.
#[derive(Debug, Clone)]
pub struct EmbeddingBag {
    embeddings: Tensor,
    config: EmbeddingBagConfig,
}

/// Bags over `in_size` tokens in `out_size` dimensions with the parameter `weight` under `vb`.
///
/// # Errors
/// When `vb` has the name in another shape, or the padding index is outside the vocabulary.
pub fn embedding_bag(
    in_size: usize,
    out_size: usize,
    config: EmbeddingBagConfig,
    vb: VarBuilder<'_>,
) -> Result<EmbeddingBag> {
    EmbeddingBag::new(vb.get_with_hints((in_size, out_size), "weight", INIT)?, config)
}

impl EmbeddingBag {
    /// From a table `(vocabulary, dim)`.
    ///
    /// # Errors
    /// When it has another rank or no element, is computed from other parameters, or the padding index is outside it.
    pub fn new(embeddings: Tensor, config: EmbeddingBagConfig) -> Result<Self> {
        check_table(&embeddings, config.padding_index, "embedding bag")?;
        Ok(Self { embeddings, config })
    }

    /// The table `(vocabulary, dim)`.
    pub fn embeddings(&self) -> &Tensor {
        &self.embeddings
    }
}

impl EmbeddingBag {
    fn table(&self, ids: &Tensor) -> Result<Table> {
        let (vocabulary, dim) = self.embeddings.dims2()?;
        if ids.rank() != 2 {
            bail!("embedding bag: ids of shape {:?}, and the layer takes (batch, bag)", ids.dims())
        }
        let spread = match self.config.mode {
            BagMode::Sum => Spread::Sum,
            BagMode::Mean => Spread::Mean,
        };
        let tokens = Tokens::new("embedding bag", ids, vocabulary)?;
        Ok(Table { tokens, dim, padding: self.config.padding_index, spread })
    }
}

impl Layer for EmbeddingBag {
    fn forward(&self, ids: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(self.embeddings.device()) {
            return on_graph(self, ids, tape);
        }
        let (table, (batch, bag)) = (self.table(ids)?, ids.dims2()?);
        let weight = if tape.is_recording() { self.embeddings.detach() } else { self.embeddings.clone() };
        let (device, dtype) = (weight.device(), weight.dtype());
        let rows = weight.index_select(&table.tokens.flat(device)?, 0)?.reshape((batch, bag, table.dim))?;
        let share = Tensor::from_vec(table.lookup().shares(), (batch, bag, 1), device)?.to_dtype(dtype)?;
        let ys = rows.broadcast_mul(&share)?.sum(1)?;
        tapped(&self.embeddings, table, ys, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        self.embeddings.device().is_cpu().then_some(self)
    }
}

impl Pull for EmbeddingBag {
    fn pull(&self, ids: &Tensor, _wanted: bool, tape: &Tape) -> Result<Pulled> {
        let table = self.table(ids)?;
        let shape = Shape::from((ids.dim(0)?, table.dim));
        look_up(&self.embeddings, table, shape, ids, tape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::{Engine, Kernels};
    use candle_core::Device;

    #[test]
    fn bags_are_summed_or_averaged_without_their_filler() {
        let table = Tensor::new(&[[10f32, 20.0], [1.0, 2.0], [3.0, 5.0]], &Device::Cpu).unwrap();
        let ids = Tensor::new(&[[1u32, 2, 0], [0, 0, 0], [2, 2, 2]], &Device::Cpu).unwrap();
        let portable = Tape::recording(Engine { kernels: Kernels::Portable, ..Engine::default() });
        for (mode, expected) in [
            (BagMode::Sum, [[4.0, 7.0], [0.0, 0.0], [9.0, 15.0]]),
            (BagMode::Mean, [[2.0, 3.5], [0.0, 0.0], [3.0, 5.0]]),
        ] {
            let config = EmbeddingBagConfig { mode, padding_index: Some(0) };
            let layer = EmbeddingBag::new(table.clone(), config).unwrap();
            for tape in [&Tape::off(), &portable] {
                let ys = layer.forward(&ids, tape).unwrap().to_vec2::<f32>().unwrap();
                let near = ys.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near, "{mode:?}: {ys:?}");
            }
            let refusal = layer.forward(&ids.flatten_all().unwrap(), &Tape::off()).unwrap_err().to_string();
            assert!(refusal.contains("(batch, bag)"), "{refusal}");
        }
    }
}
