//! Rows of the normalisation layers.

use super::*;
use candle_nn::{Init, VarBuilder};
use dpsgd::nn::{
    GroupNorm, InstanceNorm, InstanceNormConfig, LayerNorm, RmsNorm, group_norm, instance_norm, layer_norm, rms_norm,
};

/// Large enough to be seen where it is forgotten.
const EPS: f64 = 0.1;

/// A weight that is not ones.
fn weight(vb: VarBuilder<'_>, size: usize) -> Result<Tensor> {
    vb.get_with_hints(size, "weight", Init::Randn { mean: 1.0, stdev: 0.7 })
}

/// A weight and a bias that are not ones and zeros.
fn affine(vb: VarBuilder<'_>, size: usize) -> Result<(Tensor, Tensor)> {
    let bias = vb.get_with_hints(size, "bias", Init::Randn { mean: 0.0, stdev: 0.7 })?;
    Ok((weight(vb, size)?, bias))
}

fn layer_of(size: usize, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    let (weight, bias) = affine(vb, size)?;
    LayerNorm::new(weight, bias, EPS)
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "layer norm",
            shape: &[6],
            build: |vb| Ok(Box::new(layer_of(6, vb)?)),
            oracle: |var, xs| scaled(&over_last(xs, true)?, var, ""),
        },
        Row {
            name: "layer norm over two axes of positions",
            shape: &[2, 3, 19],
            build: |vb| Ok(Box::new(layer_of(19, vb)?)),
            oracle: |var, xs| scaled(&over_last(xs, true)?, var, ""),
        },
        Row {
            name: "layer norm without bias",
            shape: &[3, 6],
            build: |vb| Ok(Box::new(LayerNorm::new_no_bias(weight(vb, 6)?, EPS)?)),
            oracle: |var, xs| scaled(&over_last(xs, true)?, var, ""),
        },
        Row {
            name: "rms norm over positions",
            shape: &[4, 6],
            build: |vb| Ok(Box::new(RmsNorm::new(weight(vb, 6)?, EPS)?)),
            oracle: |var, xs| scaled(&over_last(xs, false)?, var, ""),
        },
        Row {
            name: "group norm",
            shape: &[6, 3, 5],
            build: |vb| {
                let (weight, bias) = affine(vb, 6)?;
                Ok(Box::new(GroupNorm::new(weight, bias, 6, 2, EPS)?))
            },
            oracle: |var, xs| over_groups(xs, 2, var, ""),
        },
        Row {
            name: "group norm without positions",
            shape: &[6],
            build: |vb| {
                let (weight, bias) = affine(vb, 6)?;
                Ok(Box::new(GroupNorm::new(weight, bias, 6, 2, EPS)?))
            },
            oracle: |var, xs| over_groups(xs, 2, var, ""),
        },
        Row {
            name: "instance norm",
            shape: &[3, 7],
            build: |vb| Ok(Box::new(InstanceNorm::new(3, Some(affine(vb, 3)?), EPS)?)),
            oracle: |var, xs| over_groups(xs, 3, var, ""),
        },
        Row {
            name: "layer norm used twice",
            shape: &[3, 6],
            build: |vb| {
                let (once, again) = (layer_of(6, vb.clone())?, layer_of(6, vb)?);
                Ok(Box::new(Sequential::new().add(once).add(Activation::Tanh).add(again)))
            },
            oracle: |var, xs| {
                let layer = |xs: &Tensor| scaled(&over_last(xs, true)?, var, "");
                layer(&layer(xs)?.tanh()?)
            },
        },
        Row {
            name: "layer norm with a frozen weight",
            shape: &[3, 4],
            build: |vb| {
                let weight = frozen(vb.dtype())?;
                Ok(Box::new(LayerNorm::new(weight, vb.get_with_hints(4, "bias", Init::Const(0.5))?, EPS)?))
            },
            oracle: |var, xs| {
                let ys = over_last(xs, true)?.broadcast_mul(&frozen(xs.dtype())?)?;
                ys.broadcast_add(&var("bias").expect("a bias"))
            },
        },
        Row {
            name: "a network of dense layers with normalisation",
            shape: &[3, 5],
            build: |vb| {
                let network = Sequential::new()
                    .add(linear(5, 6, vb.pp("a"))?)
                    .add(layer_norm(6, EPS, vb.pp("b"))?)
                    .add(Activation::Tanh)
                    .add(linear(6, 4, vb.pp("c"))?)
                    .add(rms_norm(4, EPS, vb.pp("d"))?)
                    .add(linear(4, 3, vb.pp("e"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let xs = scaled(&over_last(&dense(xs, var, "a.")?, true)?, var, "b.")?.tanh()?;
                let xs = scaled(&over_last(&dense(&xs, var, "c.")?, false)?, var, "d.")?;
                dense(&xs, var, "e.")
            },
        },
        Row {
            name: "a network of convolutions with normalisation",
            shape: &[1, 5, 6],
            build: |vb| {
                let network = Sequential::new()
                    .add(conv2d(1, 4, 2, Conv2dConfig::default(), vb.pp("a"))?)
                    .add(group_norm(2, 4, EPS, vb.pp("b"))?)
                    .add(Activation::Tanh)
                    .add(conv2d_no_bias(4, 3, 2, Conv2dConfig::default(), vb.pp("c"))?)
                    .add(instance_norm(3, InstanceNormConfig::from(EPS), vb.pp("d"))?)
                    .add(Flatten)
                    .add(linear(3 * 3 * 4, 2, vb.pp("e"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let xs = shifted(xs, var, "a.", Conv2dConfig::default())?;
                let xs = over_groups(&xs, 2, var, "b.")?.tanh()?;
                let xs = over_groups(&shifted(&xs, var, "c.", Conv2dConfig::default())?, 3, var, "d.")?;
                dense(&xs.flatten_from(1)?, var, "e.")
            },
        },
    ]
}

fn frozen(dtype: DType) -> Result<Tensor> {
    Tensor::new(&[0.5f64, -2.0, 1.0, 3.0], &Device::Cpu)?.to_dtype(dtype)
}

/// The last axis over its deviation, from first and second moments.
fn over_last(xs: &Tensor, remove_mean: bool) -> Result<Tensor> {
    let mean = xs.mean_keepdim(D::Minus1)?;
    let square = xs.sqr()?.mean_keepdim(D::Minus1)?;
    if remove_mean {
        let deviation = ((square - mean.sqr()?)? + EPS)?.sqrt()?;
        xs.broadcast_sub(&mean)?.broadcast_div(&deviation)
    } else {
        xs.broadcast_div(&(square + EPS)?.sqrt()?)
    }
}

/// With a weight and, where there is one, a bias along the last axis.
fn scaled(xs: &Tensor, var: &Variables<'_>, path: &str) -> Result<Tensor> {
    let ys = xs.broadcast_mul(&var(&format!("{path}weight")).expect("a weight"))?;
    var(&format!("{path}bias")).map_or(Ok(ys.clone()), |bias| ys.broadcast_add(&bias))
}

/// Group after group, and channel after channel inside it.
fn over_groups(xs: &Tensor, groups: usize, var: &Variables<'_>, path: &str) -> Result<Tensor> {
    let (channels, mut parts) = (xs.dim(1)?, Vec::new());
    let size = channels / groups;
    let (weight, bias) = (var(&format!("{path}weight")), var(&format!("{path}bias")));
    for group in 0..groups {
        let part = xs.narrow(1, group * size, size)?;
        let rows = over_last(&part.contiguous()?.flatten_from(1)?, true)?.reshape(part.shape())?;
        for channel in 0..size {
            let mut values = rows.narrow(1, channel, 1)?;
            let one = vec![1; xs.rank()];
            if let (Some(weight), Some(bias)) = (&weight, &bias) {
                let of = |parameter: &Tensor| parameter.narrow(0, group * size + channel, 1)?.reshape(one.as_slice());
                values = values.broadcast_mul(&of(weight)?)?.broadcast_add(&of(bias)?)?;
            }
            parts.push(values);
        }
    }
    Tensor::cat(&parts, 1)
}

#[test]
fn no_examples_have_outputs_without_values() {
    for row in rows() {
        let parameters = Parameters::new(Key::from_seed(4), DType::F32, &Device::Cpu);
        let network = (row.build)(parameters.var_builder()).unwrap();
        let xs = records(0, row.shape, DType::F32, true);
        for tape in engines().map(Tape::recording).chain([Tape::off()]) {
            let ys = network.forward(&xs, &tape).unwrap();
            assert_eq!((ys.dim(0).unwrap(), ys.elem_count()), (0, 0), "{}", row.name);
        }
    }
}
