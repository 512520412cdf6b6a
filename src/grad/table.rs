//! The rule for tables of rows that are looked up by token: embeddings and bags of embeddings.
//!
//! An example touches only the rows of its own tokens, so its gradient is kept to those: neither norms nor sums ever form
//! `(batch, vocabulary dim)`, whatever the route. Both add the cotangents of equal tokens afresh, which costs no more
//! than reading kept sums would.

use crate::kernel::scatter::{Lookup, Spread};
use crate::kernel::{Real, dispatch, read};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::Arc;

/// Token ids that lie inside a vocabulary, `(batch, positions)`.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    ids: Arc<[u32]>,
    batch: usize,
    positions: usize,
    vocabulary: usize,
}

impl Tokens {
    /// From ids `(batch, ..)` of type u32.
    pub(crate) fn new(layer: &str, ids: &Tensor, vocabulary: usize) -> Result<Self> {
        let Some((batch, positions)) = ids.dims().split_first() else {
            bail!("{layer}: a single id, and the layer takes (batch, ..)")
        };
        if ids.dtype() != DType::U32 {
            bail!("{layer}: ids of type {:?}, and the layer takes u32", ids.dtype());
        }
        let (batch, positions) = (*batch, positions.iter().product());
        let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
        if let Some((place, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocabulary) {
            bail!(
                "{layer}: id {id} at position {} of example {}, and the vocabulary has {vocabulary} tokens (0 to {})",
                place % positions,
                place / positions,
                vocabulary - 1
            );
        }
        Ok(Self { ids: ids.into(), batch, positions, vocabulary })
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The tokens as a tensor `(batch positions)`.
    pub(crate) fn flat(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&self.ids, self.ids.len(), device)
    }

    /// The tokens of `count` examples from the `first` on.
    fn narrow(&self, first: usize, count: usize) -> Self {
        let ids = &self.ids[first * self.positions..][..count * self.positions];
        Self { ids: ids.into(), batch: count, ..*self }
    }

    /// Every `copies` examples as one, with the tokens of all of them.
    fn stacked(&self, copies: usize) -> Self {
        Self { batch: self.batch / copies, positions: self.positions * copies, ..self.clone() }
    }

    /// The positions of all, example by example; `None` if the batches or vocabularies differ.
    fn joined(all: &[&Self]) -> Option<Self> {
        let first = *all.first()?;
        if all.iter().any(|other| other.batch != first.batch || other.vocabulary != first.vocabulary) {
            return None;
        }
        let of = |example| {
            let of = move |one: &&Self| one.ids[example * one.positions..][..one.positions].to_vec();
            all.iter().flat_map(of)
        };
        let positions = all.iter().map(|one| one.positions).sum();
        Some(Self { ids: (0..first.batch).flat_map(of).collect(), positions, ..*first })
    }
}

/// What a table `(vocabulary, dim)` leaves on the tape.
///
/// Cotangents are `(batch, .., dim)` with one for each token, or `(batch, dim)` of sums and means.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) tokens: Tokens,
    /// At least one.
    pub(crate) dim: usize,
    pub(crate) padding: Option<u32>,
    pub(crate) spread: Spread,
}

impl Table {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        let Tokens { ids, batch, positions, .. } = &self.tokens;
        let &Self { dim, padding, spread, .. } = self;
        Lookup { ids, batch: *batch, positions: *positions, dim, padding, spread }
    }

    /// The record of `count` examples from the `first` on.
    pub(crate) fn narrow(&self, first: usize, count: usize) -> Self {
        Self { tokens: self.tokens.narrow(first, count), ..self.clone() }
    }

    /// Every `copies` examples as one, at the positions of all of them. None where an example has one cotangent for all its
    /// tokens.
    pub(super) fn stacked(&self, cotangents: &Tensor, copies: usize) -> Result<Option<(Self, Tensor)>> {
        if self.spread != Spread::Each {
            return Ok(None);
        }
        let tokens = self.tokens.stacked(copies);
        let cotangents = cotangents.contiguous()?.reshape((tokens.batch, tokens.positions, self.dim))?;
        Ok(Some((Self { tokens, ..self.clone() }, cotangents)))
    }

    /// Upper bounds on the gradient norms.
    pub(crate) fn norms(&self, cotangents: &Tensor) -> Result<Vec<f64>> {
        dispatch!(cotangents.dtype(), norms_on_cpu(self, cotangents))
    }

    /// Every example's gradient in full, `(batch, vocabulary dim)`: for a table that other rules share and that cannot be
    /// measured apart from them.
    pub(crate) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        dispatch!(cotangents.dtype(), instantiate_on_cpu(self, cotangents))
    }

    /// The weighted sum `(vocabulary, dim)`, in f64 on the CPU.
    pub(crate) fn weighted_sum(&self, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
        dispatch!(cotangents.dtype(), weighted_sum_on_cpu(self, cotangents, weights))
    }

    /// Uses of one table as a single use of it at the positions of all, if every position of each has a cotangent of its own
    /// and they agree about the filler.
    pub(crate) fn joined(uses: &[(&Self, &Tensor)]) -> Result<Option<(Self, Tensor)>> {
        let Some((first, _)) = uses.first() else { return Ok(None) };
        let alike = |table: &Self| table.spread == Spread::Each && table.padding == first.padding;
        if !uses.iter().all(|(table, _)| alike(table)) {
            return Ok(None);
        }
        let tokens: Vec<&Tokens> = uses.iter().map(|(table, _)| &table.tokens).collect();
        let Some(tokens) = Tokens::joined(&tokens) else { return Ok(None) };
        let rows = |(table, cotangents): &(&Self, &Tensor)| {
            cotangents.contiguous()?.reshape((table.tokens.batch, table.tokens.positions, table.dim))
        };
        let cotangents = Tensor::cat(&uses.iter().map(rows).collect::<Result<Vec<_>>>()?, 1)?;
        Ok(Some((Self { tokens, ..(*first).clone() }, cotangents)))
    }
}

/// Calls `f` with the cotangents, brought to the CPU: sums are due there, and only rows of tokens are worth computing.
fn on_cpu<T: Real, R>(cotangents: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    read(&cotangents.to_device(&Device::Cpu)?.contiguous()?, |cotangents| Ok(f(cotangents)))
}

fn norms_on_cpu<T: Real>(table: &Table, cotangents: &Tensor) -> Result<Vec<f64>> {
    on_cpu::<T, _>(cotangents, |cotangents| table.lookup().norms(cotangents))
}

fn instantiate_on_cpu<T: Real>(table: &Table, cotangents: &Tensor) -> Result<Tensor> {
    let vocabulary = table.tokens.vocabulary;
    let gradients = on_cpu::<T, _>(cotangents, |cotangents| table.lookup().instantiate(cotangents, vocabulary))?;
    Tensor::from_vec(gradients, (table.tokens.batch, vocabulary * table.dim), cotangents.device())
}

fn weighted_sum_on_cpu<T: Real>(table: &Table, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
    let vocabulary = table.tokens.vocabulary;
    let sum = on_cpu::<T, _>(cotangents, |cotangents| table.lookup().weighted_sum(cotangents, weights, vocabulary))?;
    Tensor::from_vec(sum, (vocabulary, table.dim), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(ids, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named_with_its_place() {
        let error = Tokens::new("embedding", &ids(&[0, 1, 2, 9, 1, 1], &[3, 2]), 4).unwrap_err().to_string();
        assert!(error.contains("id 9 at position 1 of example 1") && error.contains("4 tokens (0 to 3)"), "{error}");
        let floats = ids(&[0, 1], &[2]).to_dtype(DType::F32).unwrap();
        assert!(Tokens::new("embedding", &floats, 4).unwrap_err().to_string().contains("F32"));
        assert!(Tokens::new("embedding", &ids(&[1], &[]), 4).unwrap_err().to_string().contains("(batch, ..)"));
        assert!(Tokens::new("embedding", &ids(&[], &[3, 0]), 4).is_ok());
    }

    #[test]
    fn uses_are_joined_position_after_position() {
        let table = |of: &Tensor, padding| Table {
            tokens: Tokens::new("embedding", of, 5).unwrap(),
            dim: 1,
            padding,
            spread: Spread::Each,
        };
        let (a, b) = (table(&ids(&[0, 1, 2, 3], &[2, 2]), None), table(&ids(&[4, 2], &[2]), None));
        let g = |values: &[f64], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let (ga, gb) = (g(&[1.0, 2.0, 3.0, 4.0], &[2, 2, 1]), g(&[5.0, 6.0], &[2, 1]));
        let (joined, cotangents) = Table::joined(&[(&a, &ga), (&b, &gb)]).unwrap().unwrap();
        assert_eq!(joined.tokens.ids[..], [0, 1, 4, 2, 3, 2]);
        let sum = joined.weighted_sum(&cotangents, &[1.0, 10.0]).unwrap().flatten_all().unwrap();
        assert_eq!(sum.to_vec1::<f64>().unwrap(), [1.0, 2.0, 90.0, 40.0, 5.0]);
        let padded = table(&ids(&[4, 2], &[2]), Some(0));
        assert!(Table::joined(&[(&a, &ga), (&padded, &gb)]).unwrap().is_none());
    }
}
