//! Rows of the suite for layers that look rows up by token.

use super::{Row, Variables, check, dense};
use candle_core::{D, DType, Device, Result, Tensor};
use dpsgd::grad::Tape;
use dpsgd::nn::{
    BagMode, EmbeddingBagConfig, EmbeddingConfig, Layer, embedding, embedding_bag, embedding_with, linear,
};

pub(super) const VOCABULARY: usize = 7;

pub(super) fn rows() -> Vec<Row> {
    [lookups(), bags()].into_iter().flatten().collect()
}

/// A layer over tokens as one over the real numbers of the suite.
struct OverTokens<F>(F);

impl<F: Fn(&Tensor, &Tensor, &Tape) -> Result<Tensor> + Send + Sync> Layer for OverTokens<F> {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        (self.0)(&ids(xs)?, xs, tape)
    }
}

pub(super) fn over_tokens<F>(f: F) -> Result<Box<dyn Layer>>
where
    F: Fn(&Tensor, &Tensor, &Tape) -> Result<Tensor> + Send + Sync + 'static,
{
    Ok(Box::new(OverTokens(f)))
}

/// Tokens from numbers in [-1, 1), in memory as contiguous as these are.
pub(super) fn ids(xs: &Tensor) -> Result<Tensor> {
    let size = VOCABULARY as f64;
    let ids = ((xs.contiguous()? + 1.0)? * (size / 2.0))?.floor()?.clamp(0.0, size - 1.0)?.to_dtype(DType::U32)?;
    if xs.is_contiguous() { Ok(ids) } else { ids.transpose(0, 1)?.contiguous()?.transpose(0, 1) }
}

/// Rows times the numbers the tokens came from, so that equal tokens have other cotangents at other positions.
pub(super) fn weighted(ys: &Tensor, xs: &Tensor) -> Result<Tensor> {
    ys.broadcast_mul(&xs.unsqueeze(D::Minus1)?)
}

/// Bags times their mean number.
pub(super) fn weighted_bags(ys: &Tensor, xs: &Tensor) -> Result<Tensor> {
    ys.broadcast_mul(&(xs.mean_keepdim(1)? + 2.0)?)
}

/// Rows of a table by token.
pub(super) fn looked_up(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let shape: Vec<usize> = ids.dims().iter().copied().chain([table.dim(1)?]).collect();
    table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
}

pub(super) fn table(var: &Variables<'_>, path: &str) -> Tensor {
    var(&format!("{path}weight")).expect("a table")
}

/// The table with one row that autograd does not see.
fn padded(table: &Tensor, padding: u32) -> Result<Tensor> {
    let mask: Vec<f64> = (0..VOCABULARY as u32).map(|id| f64::from(u8::from(id != padding))).collect();
    let mask = Tensor::from_vec(mask, (VOCABULARY, 1), &Device::Cpu)?.to_dtype(table.dtype())?;
    table.broadcast_mul(&mask)? + table.detach().broadcast_mul(&mask.affine(-1.0, 1.0)?)?
}

fn lookups() -> Vec<Row> {
    vec![
        Row {
            name: "embedding",
            shape: &[9],
            build: |vb| {
                let layer = embedding(VOCABULARY, 3, vb)?;
                over_tokens(move |ids, xs, tape| weighted(&layer.forward(ids, tape)?, xs))
            },
            oracle: |var, xs| weighted(&looked_up(&table(var, ""), &ids(xs)?)?, xs),
        },
        Row {
            name: "embedding over two axes of positions with padding",
            shape: &[4, 3],
            build: |vb| {
                let config = EmbeddingConfig { padding_index: Some(2) };
                let layer = embedding_with(VOCABULARY, 3, config, vb)?;
                over_tokens(move |ids, xs, tape| weighted(&layer.forward(ids, tape)?, xs))
            },
            oracle: |var, xs| weighted(&looked_up(&padded(&table(var, ""), 2)?, &ids(xs)?)?, xs),
        },
        Row {
            name: "embedding below a network",
            shape: &[6],
            build: |vb| {
                let (layer, top) = (embedding(VOCABULARY, 4, vb.pp("table"))?, linear(4, 3, vb.pp("top"))?);
                over_tokens(move |ids, xs, tape| top.forward(&weighted(&layer.forward(ids, tape)?, xs)?.tanh()?, tape))
            },
            oracle: |var, xs| {
                let hidden = weighted(&looked_up(&table(var, "table."), &ids(xs)?)?, xs)?.tanh()?;
                dense(&hidden, var, "top.")
            },
        },
    ]
}

/// The sum over positions of rows, without those of padding, and how many there were.
pub(super) fn bag(var: &Variables<'_>, xs: &Tensor, padding: Option<u32>) -> Result<(Tensor, Tensor)> {
    let ids = ids(xs)?;
    let mask = match padding {
        Some(padding) => ids.ne(padding)?.to_dtype(xs.dtype())?,
        None => xs.ones_like()?,
    };
    let rows = looked_up(&table(var, ""), &ids)?.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?;
    Ok((rows.sum(1)?, mask.sum_keepdim(1)?))
}

fn bags() -> Vec<Row> {
    vec![
        Row {
            name: "embedding bag, summed",
            shape: &[9],
            build: |vb| {
                let config = EmbeddingBagConfig { mode: BagMode::Sum, padding_index: None };
                let layer = embedding_bag(VOCABULARY, 3, config, vb)?;
                over_tokens(move |ids, xs, tape| weighted_bags(&layer.forward(ids, tape)?, xs))
            },
            oracle: |var, xs| weighted_bags(&bag(var, xs, None)?.0, xs),
        },
        Row {
            name: "embedding bag, averaged, with padding",
            shape: &[9],
            build: |vb| {
                let config = EmbeddingBagConfig { mode: BagMode::Mean, padding_index: Some(4) };
                let layer = embedding_bag(VOCABULARY, 3, config, vb)?;
                over_tokens(move |ids, xs, tape| weighted_bags(&layer.forward(ids, tape)?, xs))
            },
            oracle: |var, xs| {
                let (sum, count) = bag(var, xs, Some(4))?;
                weighted_bags(&sum.broadcast_div(&count.maximum(1.0)?)?, xs)
            },
        },
    ]
}

#[test]
fn a_row_of_padding_that_is_trained_would_be_noticed() {
    // The negative control of these rows: an oracle that gives filler a gradient must fail its row.
    let oracle = |var: &Variables<'_>, xs: &Tensor| weighted(&looked_up(&table(var, ""), &ids(xs)?)?, xs);
    let row = Row { oracle, ..lookups().remove(1) };
    assert!(std::panic::catch_unwind(|| check(&row, DType::F64, 5, true)).is_err());
    check(&lookups()[1], DType::F64, 5, true);
}
