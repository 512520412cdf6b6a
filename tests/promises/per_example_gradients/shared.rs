//! Rows of the suite for parameters that are used more than once, and for layers with frozen ones.

use super::tables::{VOCABULARY, bag, ids, looked_up, over_tokens, table, weighted, weighted_bags};
use super::{Row, dense, numbers, shifted};
use candle_core::{DType, Device, Result, Tensor};
use dpsgd::grad::Tape;
use dpsgd::nn::{
    Activation, BagMode, Conv2d, Conv2dConfig, Embedding, EmbeddingBagConfig, EmbeddingConfig, Layer, Linear, Residual,
    Sequential, conv2d, embedding, embedding_bag, linear, linear_no_bias, lora_linear,
};

pub(super) fn rows() -> Vec<Row> {
    [shared(), frozen()].into_iter().flatten().collect()
}

fn shared() -> Vec<Row> {
    vec![
        Row {
            name: "linear over positions used twice",
            shape: &[5, 6],
            build: |vb| {
                let (once, again) = (linear_no_bias(6, 6, vb.clone())?, linear_no_bias(6, 6, vb)?);
                Ok(Box::new(Sequential::new().add(once).add(Activation::Tanh).add(again)))
            },
            oracle: |var, xs| dense(&dense(xs, var, "")?.tanh()?, var, ""),
        },
        Row {
            name: "linear used at two and at one position",
            shape: &[2, 6],
            build: |vb| {
                let layer = linear_no_bias(6, 4, vb)?;
                struct Twice(Linear);
                impl Layer for Twice {
                    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
                        let (all, mean) = (self.0.forward(xs, tape)?, self.0.forward(&xs.mean(1)?, tape)?);
                        all.broadcast_mul(&mean.unsqueeze(1)?)
                    }
                }
                Ok(Box::new(Twice(layer)))
            },
            oracle: |var, xs| dense(xs, var, "")?.broadcast_mul(&dense(&xs.mean_keepdim(1)?, var, "")?),
        },
        Row {
            name: "layers with operations of candle between them",
            shape: &[3, 6],
            build: |vb| {
                // Without a way back of its own: autograd's graph leads through it.
                struct Wave;
                impl Layer for Wave {
                    fn forward(&self, xs: &Tensor, _: &Tape) -> Result<Tensor> {
                        xs.sin()
                    }
                }
                let inner = Sequential::new().add(linear(6, 6, vb.pp("inner"))?).add(Wave);
                let outer = Sequential::new().add(Activation::Tanh).add(linear(6, 6, vb.pp("outer"))?);
                let network = Sequential::new().add(linear(6, 6, vb.pp("first"))?).add(Activation::Tanh).add(Wave);
                Ok(Box::new(network.add(Residual(inner)).add(Residual(outer)).add(linear(6, 2, vb.pp("last"))?)))
            },
            oracle: |var, xs| {
                let xs = dense(xs, var, "first.")?.tanh()?.sin()?;
                let xs = (dense(&xs, var, "inner.")?.sin()? + xs)?;
                let xs = (dense(&xs.tanh()?, var, "outer.")? + xs)?;
                dense(&xs, var, "last.")
            },
        },
        Row {
            name: "convolution used twice",
            shape: &[2, 4, 4],
            build: |vb| {
                let config = Conv2dConfig { padding: 1.into(), ..Default::default() };
                let make = |vb| conv2d(2, 2, 3, config, vb);
                Ok(Box::new(Sequential::new().add(make(vb.clone())?).add(Activation::Tanh).add(make(vb)?)))
            },
            oracle: |var, xs| {
                let config = Conv2dConfig { padding: 1.into(), ..Default::default() };
                shifted(&shifted(xs, var, "", config)?.tanh()?, var, "", config)
            },
        },
        Row {
            name: "embedding used twice",
            shape: &[6],
            build: |vb| {
                let (once, again) = (embedding(VOCABULARY, 3, vb.clone())?, embedding(VOCABULARY, 3, vb)?);
                over_tokens(move |ids, xs, tape| {
                    let (rows, first) = (once.forward(ids, tape)?, again.forward(&ids.narrow(1, 0, 1)?, tape)?);
                    weighted(&rows, xs)?.broadcast_add(&first)
                })
            },
            oracle: |var, xs| {
                let (table, ids) = (table(var, ""), ids(xs)?);
                weighted(&looked_up(&table, &ids)?, xs)?.broadcast_add(&looked_up(&table, &ids.narrow(1, 0, 1)?)?)
            },
        },
        Row {
            name: "embedding tied to the output layer",
            shape: &[5],
            build: |vb| {
                let layer = embedding(VOCABULARY, 4, vb)?;
                let output = Linear::new(layer.embeddings().clone(), None)?;
                over_tokens(move |ids, xs, tape| {
                    output.forward(&weighted(&layer.forward(ids, tape)?, xs)?.tanh()?, tape)
                })
            },
            oracle: |var, xs| {
                let table = table(var, "");
                weighted(&looked_up(&table, &ids(xs)?)?, xs)?.tanh()?.broadcast_matmul(&table.t()?)
            },
        },
        Row {
            name: "bag with padding, embedding and output layer over one table",
            shape: &[5],
            build: |vb| {
                let config = EmbeddingBagConfig { mode: BagMode::Mean, padding_index: Some(1) };
                let (bag, rows) = (embedding_bag(VOCABULARY, 4, config, vb.clone())?, embedding(VOCABULARY, 4, vb)?);
                let output = Linear::new(rows.embeddings().clone(), None)?;
                over_tokens(move |ids, xs, tape| {
                    let hidden = weighted(&rows.forward(ids, tape)?, xs)?;
                    let hidden = hidden.broadcast_add(&bag.forward(ids, tape)?.unsqueeze(1)?)?.tanh()?;
                    output.forward(&hidden, tape)
                })
            },
            oracle: |var, xs| {
                let ((sum, count), table) = (bag(var, xs, Some(1))?, table(var, ""));
                let hidden = weighted(&looked_up(&table, &ids(xs)?)?, xs)?;
                let mean = sum.broadcast_div(&count.maximum(1.0)?)?;
                hidden.broadcast_add(&mean.unsqueeze(1)?)?.tanh()?.broadcast_matmul(&table.t()?)
            },
        },
        Row {
            name: "bag tied to the output layer",
            shape: &[6],
            build: |vb| {
                let config = EmbeddingBagConfig { mode: BagMode::Sum, padding_index: Some(1) };
                let layer = embedding_bag(VOCABULARY, 4, config, vb)?;
                let output = Linear::new(layer.embeddings().clone(), None)?;
                over_tokens(move |ids, xs, tape| {
                    output.forward(&weighted_bags(&layer.forward(ids, tape)?, xs)?.tanh()?, tape)
                })
            },
            oracle: |var, xs| {
                let hidden = weighted_bags(&bag(var, xs, Some(1))?.0, xs)?.tanh()?;
                hidden.broadcast_matmul(&table(var, "").t()?)
            },
        },
    ]
}

/// Numbers that are nobody's parameter.
fn constant(shape: &[usize], salt: u64, dtype: DType) -> Result<Tensor> {
    Tensor::from_vec(numbers(shape.iter().product(), salt), shape, &Device::Cpu)?.to_dtype(dtype)
}

fn frozen() -> Vec<Row> {
    vec![
        Row {
            name: "bias of a linear layer alone",
            shape: &[6],
            build: |vb| {
                let weight = constant(&[4, 6], 21, vb.dtype())?;
                Ok(Box::new(Linear::new(weight, Some(vb.get_with_hints(4, "bias", candle_nn::init::ONE)?))?))
            },
            oracle: |var, xs| {
                let ys = xs.matmul(&constant(&[4, 6], 21, xs.dtype())?.t()?)?;
                ys.broadcast_add(&var("bias").expect("a bias"))
            },
        },
        Row {
            name: "bias of a convolution alone",
            shape: &[2, 4, 4],
            build: |vb| {
                let weight = constant(&[3, 2, 2, 2], 22, vb.dtype())?;
                let bias = vb.get_with_hints(3, "bias", candle_nn::init::ONE)?;
                Ok(Box::new(Conv2d::new(weight, Some(bias), Conv2dConfig::default())?))
            },
            oracle: |var, xs| {
                let weight = constant(&[3, 2, 2, 2], 22, xs.dtype())?;
                let own = |name: &str| if name == "weight" { Some(weight.clone()) } else { var(name) };
                shifted(xs, &own, "", Conv2dConfig::default())
            },
        },
        Row {
            name: "frozen layers below, between and above trained ones",
            shape: &[2, 6],
            build: |vb| {
                let fixed = |salt| Linear::new(constant(&[6, 6], salt, vb.dtype())?, None);
                let network = Sequential::new()
                    .add(fixed(23)?)
                    .add(linear(6, 6, vb.pp("a"))?)
                    .add(Activation::Tanh)
                    .add(fixed(24)?)
                    .add(linear_no_bias(6, 6, vb.pp("b"))?)
                    .add(fixed(25)?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let fixed = |xs: &Tensor, salt| xs.broadcast_matmul(&constant(&[6, 6], salt, xs.dtype())?.t()?);
                let hidden = dense(&fixed(xs, 23)?, var, "a.")?.tanh()?;
                fixed(&dense(&fixed(&hidden, 24)?, var, "b.")?, 25)
            },
        },
        Row {
            name: "frozen table below a trained layer",
            shape: &[5],
            build: |vb| {
                let table = constant(&[VOCABULARY, 4], 26, vb.dtype())?;
                let (table, top) = (Embedding::new(table, EmbeddingConfig::default())?, linear(4, 3, vb)?);
                over_tokens(move |ids, xs, tape| top.forward(&weighted(&table.forward(ids, tape)?, xs)?, tape))
            },
            oracle: |var, xs| {
                let table = constant(&[VOCABULARY, 4], 26, xs.dtype())?;
                dense(&weighted(&looked_up(&table, &ids(xs)?)?, xs)?, var, "")
            },
        },
        Row {
            name: "low-rank adapter over a frozen layer, above a trained one",
            shape: &[3, 6],
            build: |vb| {
                let dtype = vb.dtype();
                let base = Linear::new(constant(&[5, 6], 27, dtype)?, Some(constant(&[5], 28, dtype)?))?;
                // Asked for first, so that the adapter does not start at zero.
                vb.get_with_hints((5, 2), "lora_b.weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?;
                let adapter = lora_linear(base, 2, 3.0, vb.clone())?;
                Ok(Box::new(Sequential::new().add(linear(6, 6, vb.pp("below"))?).add(Activation::Tanh).add(adapter)))
            },
            oracle: |var, xs| {
                let xs = dense(xs, var, "below.")?.tanh()?;
                let base = xs.broadcast_matmul(&constant(&[5, 6], 27, xs.dtype())?.t()?)?;
                let base = base.broadcast_add(&constant(&[5], 28, xs.dtype())?)?;
                base + (dense(&dense(&xs, var, "lora_a.")?, var, "lora_b.")? * 1.5)?
            },
        },
    ]
}
