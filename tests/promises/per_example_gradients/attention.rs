//! Rows of attention and of what a transformer needs beside it.

use super::{Row, Variables, check, dense};
use candle_core::{D, DType, Device, Result, Tensor};
use dpsgd::grad::Tape;
use dpsgd::nn::{
    Activation, AttentionConfig, Layer, LayerNormConfig, Mean, MultiHeadAttention, Residual, Sequential, layer_norm,
    linear, multi_head_attention, positions,
};

pub(super) fn rows() -> Vec<Row> {
    [attentions(), masked(), blocks()].into_iter().flatten().collect()
}

fn heads(heads: usize) -> AttentionConfig {
    AttentionConfig { heads, ..Default::default() }
}

fn attentions() -> Vec<Row> {
    vec![
        Row {
            name: "self-attention",
            shape: &[5, 6],
            build: |vb| Ok(Box::new(multi_head_attention(6, heads(2), vb)?)),
            oracle: |var, xs| attend(var, "", [xs, xs, xs], 2, &all(5, 5)),
        },
        Row {
            name: "self-attention, causal",
            shape: &[5, 6],
            build: |vb| Ok(Box::new(multi_head_attention(6, AttentionConfig { causal: true, ..heads(3) }, vb)?)),
            oracle: |var, xs| attend(var, "", [xs, xs, xs], 3, &earlier(5)),
        },
        Row {
            name: "self-attention of one head over one position without biases",
            shape: &[1, 4],
            build: |vb| Ok(Box::new(multi_head_attention(4, AttentionConfig { bias: false, ..heads(1) }, vb)?)),
            oracle: |var, xs| attend(var, "", [xs, xs, xs], 1, &all(1, 1)),
        },
        Row {
            name: "cross-attention",
            shape: &[7, 4],
            build: |vb| {
                let layer = multi_head_attention(4, heads(2), vb)?;
                Ok(Box::new(Using(move |xs: &Tensor, tape: &Tape| {
                    let [query, key, value] = parts(xs)?;
                    layer.attend(&query, &key, &value, None, tape)
                })))
            },
            oracle: |var, xs| {
                let [query, key, value] = parts(xs)?;
                attend(var, "", [&query, &key, &value], 2, &all(3, 4))
            },
        },
    ]
}

fn masked() -> Vec<Row> {
    vec![
        Row {
            name: "self-attention with padding",
            shape: &[5, 6],
            build: |vb| padded(multi_head_attention(6, heads(2), vb)?, &[0, 1, 0, 0, 1]),
            oracle: |var, xs| {
                let looks = all(5, 5).into_iter().map(|_| vec![true, false, true, true, false]).collect::<Vec<_>>();
                attend(var, "", [xs, xs, xs], 2, &looks)
            },
        },
        Row {
            // The first query looks at no key.
            name: "self-attention, causal, with padding",
            shape: &[4, 6],
            build: |vb| {
                padded(multi_head_attention(6, AttentionConfig { causal: true, ..heads(2) }, vb)?, &[1, 0, 1, 0])
            },
            oracle: |var, xs| {
                let looks: Vec<Vec<bool>> =
                    (0..4).map(|row| (0..4).map(|key| key <= row && key % 2 == 1).collect()).collect();
                attend(var, "", [xs, xs, xs], 2, &looks)
            },
        },
    ]
}

fn blocks() -> Vec<Row> {
    vec![
        Row {
            name: "positions",
            shape: &[3, 4],
            build: |vb| {
                let layer = positions(3, 4, vb)?;
                Ok(Box::new(Using(move |xs: &Tensor, tape: &Tape| xs * layer.forward(&xs.contiguous()?, tape)?)))
            },
            oracle: |var, xs| xs * xs.broadcast_add(&var("weight").expect("a weight"))?,
        },
        Row {
            name: "positions of which the last are not used",
            shape: &[3, 4],
            build: |vb| Ok(Box::new(positions(5, 4, vb)?)),
            oracle: |var, xs| xs.broadcast_add(&var("weight").expect("a weight").narrow(0, 0, 3)?),
        },
        Row {
            name: "a transformer block",
            shape: &[4, 6],
            build: |vb| {
                let norm = |vb| layer_norm(6, LayerNormConfig::default(), vb);
                let attention = Sequential::new().add(norm(vb.pp("norm1"))?).add(multi_head_attention(
                    6,
                    heads(2),
                    vb.pp("attention"),
                )?);
                let forward = Sequential::new()
                    .add(norm(vb.pp("norm2"))?)
                    .add(linear(6, 8, vb.pp("linear1"))?)
                    .add(Activation::Gelu)
                    .add(linear(8, 6, vb.pp("linear2"))?);
                let network = Sequential::new()
                    .add(positions(4, 6, vb.pp("positions"))?)
                    .add(Residual(attention))
                    .add(Residual(forward))
                    .add(Mean)
                    .add(linear(6, 2, vb.pp("output"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let norm = |xs: &Tensor, path: &str| {
                    let parameter = |name| var(&format!("{path}.{name}")).expect("a parameter");
                    let xs = xs.broadcast_sub(&xs.mean_keepdim(2)?)?;
                    let xs = xs.broadcast_div(&(xs.sqr()?.mean_keepdim(2)? + 1e-5)?.sqrt()?)?;
                    xs.broadcast_mul(&parameter("weight"))?.broadcast_add(&parameter("bias"))
                };
                let xs = xs.broadcast_add(&var("positions.weight").expect("a weight"))?;
                let normed = norm(&xs, "norm1")?;
                let xs = (&xs + attend(var, "attention.", [&normed, &normed, &normed], 2, &all(4, 4))?)?;
                let hidden = dense(&norm(&xs, "norm2")?, var, "linear1.")?;
                let erf = (&hidden * std::f64::consts::FRAC_1_SQRT_2)?.erf()?;
                let hidden = (hidden * ((erf + 1.0)? * 0.5)?)?;
                let xs = (xs + dense(&hidden, var, "linear2.")?)?;
                dense(&(xs.sum(1)? / 4.0)?, var, "output.")
            },
        },
    ]
}

/// A layer from a function.
struct Using<F>(F);

impl<F: Fn(&Tensor, &Tape) -> Result<Tensor> + Send + Sync> Layer for Using<F> {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        (self.0)(xs, tape)
    }
}

/// Self-attention with the same padding in all examples.
fn padded(layer: MultiHeadAttention, padding: &'static [u8]) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Using(move |xs: &Tensor, tape: &Tape| {
        let row = Tensor::new(padding, &Device::Cpu)?.unsqueeze(0)?;
        layer.attend(xs, xs, xs, Some(&row.repeat((xs.dim(0)?, 1))?), tape)
    })))
}

/// Queries, keys and values that differ, out of one record.
fn parts(xs: &Tensor) -> Result<[Tensor; 3]> {
    let (query, key) = (xs.narrow(1, 0, 3)?, xs.narrow(1, 3, 4)?);
    Ok([query, key.clone(), key.sin()?])
}

/// Whether a query looks at a key, `[query][key]`.
fn all(queries: usize, keys: usize) -> Vec<Vec<bool>> {
    vec![vec![true; keys]; queries]
}

fn earlier(length: usize) -> Vec<Vec<bool>> {
    (0..length).map(|row| (0..length).map(|key| key <= row).collect()).collect()
}

/// Attention head by head and query by query, from the keys that are looked at alone.
fn attend(
    var: &Variables<'_>,
    path: &str,
    [query, key, value]: [&Tensor; 3],
    heads: usize,
    looks: &[Vec<bool>],
) -> Result<Tensor> {
    let project = |xs: &Tensor, name: &str| dense(xs, var, &format!("{path}{name}."));
    let (q, k, v) = (project(query, "q_proj")?, project(key, "k_proj")?, project(value, "v_proj")?);
    let dim = q.dim(2)? / heads;
    let mut rows = Vec::new();
    for (row, looks) in looks.iter().enumerate() {
        let seen: Vec<u32> = (0..looks.len() as u32).filter(|key| looks[*key as usize]).collect();
        let mut parts = Vec::new();
        for head in 0..heads {
            let part = |xs: &Tensor| xs.narrow(2, head * dim, dim);
            let query = part(&q)?.narrow(1, row, 1)?;
            if seen.is_empty() {
                parts.push(query.zeros_like()?);
                continue;
            }
            let seen = Tensor::new(seen.as_slice(), q.device())?;
            let (keys, values) =
                (part(&k)?.contiguous()?.index_select(&seen, 1)?, part(&v)?.contiguous()?.index_select(&seen, 1)?);
            let powers = (query.broadcast_mul(&keys)?.sum_keepdim(D::Minus1)? / (dim as f64).sqrt())?.exp()?;
            let probabilities = powers.broadcast_div(&powers.sum_keepdim(1)?)?;
            parts.push(probabilities.broadcast_mul(&values)?.sum_keepdim(1)?);
        }
        rows.push(Tensor::cat(&parts, 2)?);
    }
    project(&Tensor::cat(&rows, 1)?, "out_proj")
}

#[test]
fn a_mask_that_is_forgotten_would_be_noticed() {
    // The negative control of these rows: an oracle that looks at padding, or ahead, must fail its row.
    for (row, heads) in [(masked().remove(0), 2), (attentions().remove(1), 3)] {
        check(&row, DType::F64, 5, true);
        let oracle: fn(&Variables<'_>, &Tensor) -> Result<Tensor> = if heads == 2 {
            |var, xs| attend(var, "", [xs, xs, xs], 2, &all(5, 5))
        } else {
            |var, xs| attend(var, "", [xs, xs, xs], 3, &all(5, 5))
        };
        let wrong = Row { oracle, ..row };
        assert!(std::panic::catch_unwind(|| check(&wrong, DType::F64, 5, true)).is_err(), "{}", wrong.name);
    }
}
