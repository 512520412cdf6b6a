//! Embedding: a row of a table for every token.

use super::Layer;
use super::pull::{Pull, Pulled, on_graph};
use crate::grad::{Cotangent, Rule, Table, Tape, Tokens, check_parameter};
use crate::kernel::scatter::Spread;
use crate::kernel::{Real, dispatch, read};
use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// What may be chosen about an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmbeddingConfig {
    /// A token whose row is never trained: it looks up the row as stored and has no gradient.
    pub padding_index: Option<u32>,
}

/// A table `(vocabulary, dim)` of rows by token, as in candle-nn and PyTorch.
///
/// `forward` maps ids `(batch, ..)` of type u32 to `(batch, .., dim)`. Work and memory of its per-example gradients follow
/// the tokens of the batch, not the vocabulary: each example has a gradient in the rows of its own tokens alone.
#[derive(Debug, Clone)]
pub struct Embedding {
    embeddings: Tensor,
    hidden_size: usize,
    config: EmbeddingConfig,
}

/// An embedding of `in_size` tokens in `out_size` dimensions with the parameter `weight` under `vb`, initialised as candle-nn
/// and PyTorch do.
///
/// # Errors
/// When `vb` has the name in another shape.
pub fn embedding(in_size: usize, out_size: usize, vb: VarBuilder<'_>) -> Result<Embedding> {
    embedding_with(in_size, out_size, EmbeddingConfig::default(), vb)
}

/// As [`embedding`], with a configuration.
///
/// # Errors
/// When `vb` has the name in another shape, or the padding index is outside the vocabulary.
pub fn embedding_with(
    in_size: usize,
    out_size: usize,
    config: EmbeddingConfig,
    vb: VarBuilder<'_>,
) -> Result<Embedding> {
    Embedding::new(vb.get_with_hints((in_size, out_size), "weight", INIT)?, config)
}

/// The initial rows of tables.
pub(super) const INIT: Init = Init::Randn { mean: 0.0, stdev: 1.0 };

impl Embedding {
    /// From a table `(vocabulary, dim)`.
    ///
    /// # Errors
    /// When it has another rank or no element, is computed from other parameters, or the padding index is outside it.
    pub fn new(embeddings: Tensor, config: EmbeddingConfig) -> Result<Self> {
        let (_, hidden_size) = check_table(&embeddings, config.padding_index, "embedding")?;
        Ok(Self { embeddings, hidden_size, config })
    }

    /// The table `(vocabulary, dim)`; handed to a [`Linear`](super::Linear) it is tied to it.
    pub fn embeddings(&self) -> &Tensor {
        &self.embeddings
    }

    /// The length of a row.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }
}

impl Embedding {
    fn table(&self, ids: &Tensor) -> Result<(Table, Shape)> {
        let (vocabulary, dim) = self.embeddings.dims2()?;
        let tokens = Tokens::new("embedding", ids, vocabulary)?;
        let shape: Vec<usize> = ids.dims().iter().copied().chain([dim]).collect();
        Ok((Table { tokens, dim, padding: self.config.padding_index, spread: Spread::Each }, Shape::from(shape)))
    }
}

impl Layer for Embedding {
    fn forward(&self, ids: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(self.embeddings.device()) {
            return on_graph(self, ids, tape);
        }
        let (table, shape) = self.table(ids)?;
        let weight = if tape.is_recording() { self.embeddings.detach() } else { self.embeddings.clone() };
        let ys = weight.index_select(&table.tokens.flat(weight.device())?, 0)?.reshape(shape)?;
        tapped(&self.embeddings, table, ys, tape)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        self.embeddings.device().is_cpu().then_some(self)
    }
}

impl Pull for Embedding {
    fn pull(&self, ids: &Tensor, _wanted: bool, tape: &Tape) -> Result<Pulled> {
        let (table, shape) = self.table(ids)?;
        look_up(&self.embeddings, table, shape, ids, tape)
    }
}

/// `(vocabulary, dim)`; refuses what is no table, and a padding index outside it.
pub(super) fn check_table(table: &Tensor, padding: Option<u32>, layer: &str) -> Result<(usize, usize)> {
    let (vocabulary, dim) = table.dims2()?;
    check_parameter(table, layer)?;
    if vocabulary == 0 || dim == 0 {
        bail!("{layer}: a table of shape {:?}, and it needs at least one token and one dimension", table.dims());
    }
    match padding {
        Some(index) if index as usize >= vocabulary => {
            bail!(
                "{layer}: padding index {index}, and the vocabulary has {vocabulary} tokens (0 to {})",
                vocabulary - 1
            )
        }
        _ => Ok((vocabulary, dim)),
    }
}

/// The outputs by the CPU kernels.
pub(super) fn look_up(weight: &Tensor, table: Table, shape: Shape, ids: &Tensor, tape: &Tape) -> Result<Pulled> {
    fn rows<T: Real>(weight: &Tensor, table: &Table, shape: Shape) -> Result<Tensor> {
        let rows = read(&weight.contiguous()?, |weight: &[T]| Ok(table.lookup().gather(weight)))?;
        Tensor::from_vec(rows, shape, weight.device())
    }
    let ys = dispatch!(weight.dtype(), rows(weight, &table, shape))?;
    let (weight, trains, tape) = (weight.clone(), tape.trains([weight]), tape.clone());
    Ok(Pulled::new(ys, ids, trains, move |cotangent| {
        tape.record(&weight, Rule::Table(table), Cotangent::Given(cotangent));
        // Tokens are no numbers: nothing before them is trained.
        Ok(None)
    }))
}

/// The outputs of the portable path, tapped if the tape records.
pub(super) fn tapped(weight: &Tensor, table: Table, ys: Tensor, tape: &Tape) -> Result<Tensor> {
    if !tape.is_recording() {
        return Ok(ys);
    }
    let (ys, cotangent) = tape.tap(&ys)?;
    tape.record(weight, Rule::Table(table), cotangent);
    Ok(ys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::{Engine, Kernels};
    use candle_core::{DType, Device, IndexOp};

    fn table() -> Tensor {
        Tensor::arange(0f32, 8.0, &Device::Cpu).and_then(|row| row.reshape((4, 2))).unwrap()
    }

    #[test]
    fn ids_of_any_rank_become_rows_on_both_paths() {
        let layer = Embedding::new(table(), EmbeddingConfig { padding_index: Some(3) }).unwrap();
        assert_eq!((layer.hidden_size(), layer.embeddings().dims()), (2, &[4, 2][..]));
        let portable = Tape::recording(Engine { kernels: Kernels::Portable, ..Engine::default() });
        for tape in [Tape::off(), portable] {
            let ids = Tensor::new(&[[[3u32, 0]], [[1, 1]]], &Device::Cpu).unwrap();
            let ys = layer.forward(&ids, &tape).unwrap();
            assert_eq!(ys.dims(), [2, 1, 2, 2]);
            assert_eq!(ys.i((0, 0)).unwrap().to_vec2::<f32>().unwrap(), [[6.0, 7.0], [0.0, 1.0]]);
            let one_each = Tensor::new(&[2u32], &Device::Cpu).unwrap();
            assert_eq!(layer.forward(&one_each, &tape).unwrap().to_vec2::<f32>().unwrap(), [[4.0, 5.0]]);
        }
    }

    #[test]
    fn what_is_no_table_or_no_token_is_refused() {
        let refusal = |padding_index| {
            Embedding::new(table(), EmbeddingConfig { padding_index }).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refusal(Some(4)).contains("padding index 4") && refusal(Some(4)).contains("(0 to 3)"));
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(Embedding::new(empty, EmbeddingConfig::default()).is_err());
        let layer = Embedding::new(table(), EmbeddingConfig::default()).unwrap();
        let ids = Tensor::new(&[[0u32, 4]], &Device::Cpu).unwrap();
        let error = layer.forward(&ids, &Tape::off()).unwrap_err().to_string();
        assert!(error.contains("id 4 at position 1 of example 0"), "{error}");
    }
}
