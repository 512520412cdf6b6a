//! Rows of convolutions over sequences, and of padding that is not alike on every side, beside candle's own convolutions of
//! one example that was padded by hand.

use super::{Row, Variables, assert_close, check, dense, flat, records};
use candle_core::{DType, Device, Result, Tensor};
use dpsgd::grad::Tape;
use dpsgd::nn::{
    Activation, Conv1dConfig, Conv2d, Conv2dConfig, Flatten, Layer, Padding, Parameters, Sequential, conv1d,
    conv1d_no_bias, conv2d, conv2d_no_bias, linear,
};
use dpsgd::seed::Key;

pub(super) fn rows() -> Vec<Row> {
    [sequences(), images(), networks()].into_iter().flatten().collect()
}

const SAME: Conv1dConfig = Conv1dConfig { padding: Padding::Same, stride: 1, dilation: 1, groups: 1 };
const SAME_2D: Conv2dConfig = Conv2dConfig { padding: Padding::Same, stride: 1, dilation: 1, groups: 1 };

fn sequences() -> Vec<Row> {
    vec![
        Row {
            name: "convolution over sequences",
            shape: &[3, 7],
            build: |vb| Ok(Box::new(conv1d(3, 4, 3, Conv1dConfig::default(), vb)?)),
            oracle: |var, xs| candles(xs, var, "", &[(0, 0)], Move::default()),
        },
        Row {
            name: "convolution over sequences with stride, padded alike, without bias",
            shape: &[2, 9],
            build: |vb| {
                let config = Conv1dConfig { padding: 2.into(), stride: 3, ..Default::default() };
                Ok(Box::new(conv1d_no_bias(2, 3, 4, config, vb)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(2, 2)], Move { stride: 3, ..Move::default() }),
        },
        Row {
            name: "convolution over sequences with stride and dilation, padded on one side",
            shape: &[2, 10],
            build: |vb| {
                let padding = Padding::Sides([(4, 0)]);
                let config = Conv1dConfig { padding, stride: 2, dilation: 2, ..Default::default() };
                Ok(Box::new(conv1d(2, 3, 3, config, vb)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(4, 0)], Move { stride: 2, dilation: 2, groups: 1 }),
        },
        Row {
            name: "convolution over sequences in groups with dilation",
            shape: &[4, 8],
            build: |vb| {
                Ok(Box::new(conv1d(4, 6, 2, Conv1dConfig { dilation: 3, groups: 2, ..Default::default() }, vb)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(0, 0)], Move { stride: 1, dilation: 3, groups: 2 }),
        },
        Row {
            name: "convolution over sequences of the same length, an even kernel",
            shape: &[2, 5],
            build: |vb| Ok(Box::new(conv1d(2, 3, 4, SAME, vb)?)),
            oracle: |var, xs| candles(xs, var, "", &[(1, 2)], Move::default()),
        },
        Row {
            name: "convolution in depth over sequences of the same length, an even kernel wider than they are",
            shape: &[3, 4],
            build: |vb| Ok(Box::new(conv1d(3, 6, 4, Conv1dConfig { dilation: 3, groups: 3, ..SAME }, vb)?)),
            oracle: |var, xs| candles(xs, var, "", &[(4, 5)], Move { stride: 1, dilation: 3, groups: 3 }),
        },
        Row {
            name: "convolution over sequences used twice",
            shape: &[2, 5],
            build: |vb| {
                let make = |vb| conv1d(2, 2, 2, SAME, vb);
                Ok(Box::new(Sequential::new().add(make(vb.clone())?).add(Activation::Tanh).add(make(vb)?)))
            },
            oracle: |var, xs| {
                let layer = |xs: &Tensor| candles(xs, var, "", &[(0, 1)], Move::default());
                layer(&layer(xs)?.tanh()?)
            },
        },
    ]
}

fn images() -> Vec<Row> {
    vec![
        Row {
            name: "convolution of the same size, an even kernel",
            shape: &[2, 5, 4],
            build: |vb| Ok(Box::new(conv2d(2, 3, 4, SAME_2D, vb)?)),
            oracle: |var, xs| candles(xs, var, "", &[(1, 2), (1, 2)], Move::default()),
        },
        Row {
            name: "convolution of the same size, an even kernel with dilation",
            shape: &[2, 5, 6],
            build: |vb| Ok(Box::new(conv2d(2, 3, 4, Conv2dConfig { dilation: 2, ..SAME_2D }, vb)?)),
            oracle: |var, xs| candles(xs, var, "", &[(3, 3), (3, 3)], Move { dilation: 2, ..Move::default() }),
        },
        Row {
            name: "convolution of the same size, a kernel of two sizes with dilation, in groups, without bias",
            shape: &[4, 3, 5],
            build: |vb| {
                let weight = vb.get_with_hints((2, 2, 2, 3), "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?;
                let config = Conv2dConfig { dilation: 3, groups: 2, ..SAME_2D };
                Ok(Box::new(Conv2d::new(weight, None, config)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(1, 2), (3, 3)], Move { stride: 1, dilation: 3, groups: 2 }),
        },
        Row {
            name: "convolution padded side by side",
            shape: &[2, 4, 5],
            build: |vb| {
                let padding = Padding::Sides([(0, 2), (3, 1)]);
                Ok(Box::new(conv2d_no_bias(2, 3, 3, Conv2dConfig { padding, ..Default::default() }, vb)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(0, 2), (3, 1)], Move::default()),
        },
        Row {
            name: "convolution with stride, padded side by side",
            // Candle's backward takes what a stride leaves over to be as much in both axes: here 8 and 10 of 7 and 9.
            shape: &[2, 5, 7],
            build: |vb| {
                let padding = Padding::Sides([(2, 1), (0, 3)]);
                Ok(Box::new(conv2d(2, 3, 3, Conv2dConfig { padding, stride: 2, ..Default::default() }, vb)?))
            },
            oracle: |var, xs| candles(xs, var, "", &[(2, 1), (0, 3)], Move { stride: 2, ..Move::default() }),
        },
    ]
}

/// Layers above others: what they hand down is checked too.
fn networks() -> Vec<Row> {
    vec![
        Row {
            name: "a network of convolutions over sequences",
            shape: &[2, 9],
            build: |vb| {
                let padding = Padding::Sides([(0, 3)]);
                let strided = Conv1dConfig { padding, stride: 2, ..Default::default() };
                let network = Sequential::new()
                    .add(conv1d(2, 4, 3, Conv1dConfig::default(), vb.pp("a"))?)
                    .add(Activation::Tanh)
                    .add(conv1d(4, 4, 4, Conv1dConfig { groups: 2, ..SAME }, vb.pp("b"))?)
                    .add(Activation::Tanh)
                    .add(conv1d_no_bias(4, 3, 3, strided, vb.pp("c"))?)
                    .add(Activation::Relu)
                    .add(Flatten)
                    .add(linear(3 * 4, 2, vb.pp("d"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let xs = candles(xs, var, "a.", &[(0, 0)], Move::default())?.tanh()?;
                let xs = candles(&xs, var, "b.", &[(1, 2)], Move { groups: 2, ..Move::default() })?.tanh()?;
                let xs = candles(&xs, var, "c.", &[(0, 3)], Move { stride: 2, ..Move::default() })?.relu()?;
                dense(&xs.flatten_from(1)?, var, "d.")
            },
        },
        Row {
            name: "a network of convolutions padded side by side",
            shape: &[1, 4, 5],
            build: |vb| {
                let padding = Padding::Sides([(1, 0), (0, 2)]);
                let strided = Conv2dConfig { padding, stride: 2, ..Default::default() };
                let network = Sequential::new()
                    .add(conv2d(1, 2, 2, Conv2dConfig::default(), vb.pp("a"))?)
                    .add(Activation::Tanh)
                    .add(conv2d(2, 3, 2, Conv2dConfig { dilation: 3, ..SAME_2D }, vb.pp("b"))?)
                    .add(Activation::Tanh)
                    .add(conv2d(3, 2, 3, strided, vb.pp("c"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let xs = candles(xs, var, "a.", &[(0, 0), (0, 0)], Move::default())?.tanh()?;
                let dilated = Move { dilation: 3, ..Move::default() };
                let xs = candles(&xs, var, "b.", &[(1, 2), (1, 2)], dilated)?.tanh()?;
                candles(&xs, var, "c.", &[(1, 0), (0, 2)], Move { stride: 2, ..Move::default() })
            },
        },
    ]
}

struct Move {
    stride: usize,
    dilation: usize,
    groups: usize,
}

impl Default for Move {
    fn default() -> Self {
        Self { stride: 1, dilation: 1, groups: 1 }
    }
}

/// Candle's convolution, over as many axes as the example has, of the example with zeros (before, after) along each of them.
fn candles(xs: &Tensor, var: &Variables<'_>, path: &str, zeros: &[(usize, usize)], how: Move) -> Result<Tensor> {
    let weight = var(&format!("{path}weight")).expect("a weight");
    let Move { stride, dilation, groups } = how;
    let mut padded = xs.clone();
    for (axis, (before, after)) in zeros.iter().enumerate() {
        padded = padded.pad_with_zeros(axis + 2, *before, *after)?;
    }
    let ys = match zeros.len() {
        1 => padded.conv1d(&weight, 0, stride, dilation, groups)?,
        _ => padded.conv2d(&weight, 0, stride, dilation, groups)?,
    };
    let Some(bias) = var(&format!("{path}bias")) else { return Ok(ys) };
    let mut shape = vec![1; ys.rank()];
    shape[1] = bias.elem_count();
    ys.broadcast_add(&bias.reshape(shape)?)
}

#[test]
fn a_zero_on_the_wrong_side_would_be_noticed() {
    let row = |rows: Vec<Row>, name: &str| rows.into_iter().find(|row| row.name == name).expect("a row");
    let sequences = row(sequences(), "convolution over sequences of the same length, an even kernel");
    let images = row(images(), "convolution of the same size, an even kernel");
    for row in [
        Row { oracle: |var, xs| candles(xs, var, "", &[(2, 1)], Move::default()), ..sequences },
        Row { oracle: |var, xs| candles(xs, var, "", &[(1, 2), (2, 1)], Move::default()), ..images },
    ] {
        let failed = std::panic::catch_unwind(|| check(&row, DType::F64, 2, true));
        assert!(failed.is_err(), "{}: the odd zero before the input passed", row.name);
    }
}

#[test]
fn parameters_are_candle_nns_by_name_and_shape() {
    let parameters = Parameters::new(Key::from_seed(5), DType::F64, &Device::Cpu);
    let vb = parameters.var_builder();
    let (one, two) = (vb.pp("one"), vb.pp("two"));
    let config = Conv1dConfig { padding: 2.into(), stride: 2, dilation: 1, groups: 2 };
    let ours = conv1d(4, 6, 3, config, one.clone()).unwrap();
    let config = candle_nn::Conv1dConfig { padding: 2, stride: 2, groups: 2, ..Default::default() };
    let candles = candle_nn::conv1d(4, 6, 3, config, one).unwrap();
    let xs = records(3, &[4, 7], DType::F64, true);
    let pair = |ours: Result<Tensor>, candles: Result<Tensor>| (flat(&[ours.unwrap()]), flat(&[candles.unwrap()]));
    let (got, expected) = pair(ours.forward(&xs, &Tape::off()), candle_nn::Module::forward(&candles, &xs));
    assert_close(&got, &expected, 1e-12, "conv1d");
    let config = Conv2dConfig { padding: 1.into(), stride: 1, dilation: 2, groups: 1 };
    let ours = conv2d(2, 3, 3, config, two.clone()).unwrap();
    let config = candle_nn::Conv2dConfig { padding: 1, dilation: 2, ..Default::default() };
    let candles = candle_nn::conv2d(2, 3, 3, config, two).unwrap();
    let xs = records(3, &[2, 5, 6], DType::F64, true);
    let (got, expected) = pair(ours.forward(&xs, &Tape::off()), candle_nn::Module::forward(&candles, &xs));
    assert_close(&got, &expected, 1e-12, "conv2d");
    let names: Vec<String> = parameters.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one.bias", "one.weight", "two.bias", "two.weight"]);
}
