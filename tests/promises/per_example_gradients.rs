//! Law 3: every layer rule equals the one-example-at-a-time loop, for both routes and both implementations, in f32 and
//! f64, contiguous or not, with empty and single-row batches.
//!
//! A new layer is a new row of [`rows`].

mod attention;
mod convolutions;
mod copies;
mod norm;
mod recurrent;
mod shared;
mod tables;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use dpsgd::clip::Perturbation;
use dpsgd::grad::{Engine, Kernels, Norms, PerExample, Recorded, Route, Tape, Weights, one_example_at_a_time};
use dpsgd::model::Model;
use dpsgd::nn::{
    Activation, AvgPool2d, Conv2dConfig, Flatten, Layer, MaxPool2d, Padding, Parameters, Sequential, conv2d,
    conv2d_no_bias, linear, linear_no_bias,
};
use dpsgd::seed::Key;
use std::num::NonZeroUsize;

/// A network through our layers, and the same function through candle's own operations.
struct Row {
    name: &'static str,
    /// The shape of one record.
    shape: &'static [usize],
    build: fn(candle_nn::VarBuilder<'static>) -> Result<Box<dyn Layer>>,
    oracle: fn(&Variables<'_>, &Tensor) -> Result<Tensor>,
}

/// Variables by name.
type Variables<'a> = dyn Fn(&str) -> Option<Tensor> + 'a;

fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row {
            name: "linear",
            shape: &[6],
            build: |vb| Ok(Box::new(linear(6, 4, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "linear without bias",
            shape: &[6],
            build: |vb| Ok(Box::new(linear_no_bias(6, 4, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "linear over positions",
            shape: &[5, 6],
            build: |vb| Ok(Box::new(linear(6, 4, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "linear over two axes of positions",
            shape: &[2, 3, 6],
            build: |vb| Ok(Box::new(linear(6, 4, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "linear used twice",
            shape: &[6],
            build: |vb| {
                let (once, again) = (linear(6, 6, vb.clone())?, linear(6, 6, vb)?);
                Ok(Box::new(Sequential::new().add(once).add(Activation::Tanh).add(again)))
            },
            oracle: |var, xs| {
                let layer = |xs: &Tensor| dense(xs, var, "");
                layer(&layer(xs)?.tanh()?)
            },
        },
        Row {
            name: "linear with more outputs than are summed in f64",
            shape: &[5],
            build: |vb| Ok(Box::new(linear(5, 20, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "linear with so many inputs that the forward pass measures them",
            shape: &[1030],
            build: |vb| Ok(Box::new(linear(1030, 3, vb)?)),
            oracle: |var, xs| dense(xs, var, ""),
        },
        Row {
            name: "convolution",
            shape: &[3, 5, 6],
            build: |vb| Ok(Box::new(conv2d(3, 4, 3, Conv2dConfig::default(), vb)?)),
            oracle: |var, xs| shifted(xs, var, "", Conv2dConfig::default()),
        },
        Row {
            name: "convolution with stride and padding",
            shape: &[2, 7, 6],
            build: |vb| {
                Ok(Box::new(conv2d(2, 3, 3, Conv2dConfig { stride: 2, padding: 2.into(), ..Default::default() }, vb)?))
            },
            oracle: |var, xs| shifted(xs, var, "", Conv2dConfig { stride: 2, padding: 2.into(), ..Default::default() }),
        },
        Row {
            name: "convolution in groups",
            shape: &[4, 5, 5],
            build: |vb| {
                Ok(Box::new(conv2d(4, 6, 2, Conv2dConfig { groups: 2, padding: 1.into(), ..Default::default() }, vb)?))
            },
            oracle: |var, xs| shifted(xs, var, "", Conv2dConfig { groups: 2, padding: 1.into(), ..Default::default() }),
        },
        Row {
            name: "convolution in depth",
            shape: &[3, 4, 4],
            build: |vb| Ok(Box::new(conv2d(3, 6, 3, Conv2dConfig { groups: 3, ..Default::default() }, vb)?)),
            oracle: |var, xs| shifted(xs, var, "", Conv2dConfig { groups: 3, ..Default::default() }),
        },
        Row {
            name: "convolution with dilation",
            shape: &[2, 7, 7],
            build: |vb| {
                Ok(Box::new(conv2d(
                    2,
                    3,
                    3,
                    Conv2dConfig { dilation: 2, padding: 1.into(), ..Default::default() },
                    vb,
                )?))
            },
            oracle: |var, xs| {
                shifted(xs, var, "", Conv2dConfig { dilation: 2, padding: 1.into(), ..Default::default() })
            },
        },
        Row {
            name: "convolution of one pixel without bias",
            shape: &[3, 2, 2],
            build: |vb| Ok(Box::new(conv2d_no_bias(3, 5, 1, Conv2dConfig::default(), vb)?)),
            oracle: |var, xs| shifted(xs, var, "", Conv2dConfig::default()),
        },
        Row {
            name: "a network with pooling",
            shape: &[1, 9, 9],
            build: |vb| {
                let network = Sequential::new()
                    .add(conv2d(1, 4, 3, Conv2dConfig { padding: 1.into(), ..Default::default() }, vb.pp("a"))?)
                    .add(Activation::Tanh)
                    .add(MaxPool2d { kernel: (2, 2), stride: 1 })
                    .add(conv2d(4, 4, 3, Conv2dConfig { groups: 2, ..Default::default() }, vb.pp("b"))?)
                    .add(Activation::Relu)
                    .add(AvgPool2d { kernel: (3, 2), stride: 2 })
                    .add(Flatten)
                    .add(linear(4 * 2 * 3, 3, vb.pp("c"))?);
                Ok(Box::new(network))
            },
            oracle: |var, xs| {
                let xs = shifted(xs, var, "a.", Conv2dConfig { padding: 1.into(), ..Default::default() })?.tanh()?;
                let xs = windows(&xs, (2, 2), 1)?.max(D::Minus1)?;
                let xs = shifted(&xs, var, "b.", Conv2dConfig { groups: 2, ..Default::default() })?.relu()?;
                let xs = windows(&xs, (3, 2), 2)?.mean(D::Minus1)?;
                dense(&xs.flatten_from(1)?, var, "c.")
            },
        },
    ];
    let families =
        [attention::rows(), convolutions::rows(), norm::rows(), recurrent::rows(), tables::rows(), shared::rows()];
    rows.extend(families.into_iter().flatten());
    rows
}

fn dense(xs: &Tensor, var: &Variables<'_>, path: &str) -> Result<Tensor> {
    let weight = var(&format!("{path}weight")).expect("a weight");
    let ys = xs.broadcast_matmul(&weight.t()?)?;
    var(&format!("{path}bias")).map_or(Ok(ys.clone()), |bias| ys.broadcast_add(&bias))
}

/// Every `stride`-th of `count` rows or columns from `start`.
fn every(xs: &Tensor, axis: usize, start: usize, stride: usize, count: usize) -> Result<Tensor> {
    let index: Vec<u32> = (0..count).map(|i| (start + i * stride) as u32).collect();
    xs.contiguous()?.index_select(&Tensor::from_vec(index, count, xs.device())?, axis)
}

/// A convolution as a sum over kernel elements of shifted images: nothing in common with patches and products.
fn shifted(xs: &Tensor, var: &Variables<'_>, path: &str, config: Conv2dConfig) -> Result<Tensor> {
    let weight = var(&format!("{path}weight")).expect("a weight");
    let (out, channels, kh, kw) = weight.dims4()?;
    let (batch, _, height, width) = xs.dims4()?;
    let Conv2dConfig { padding: Padding::Each(padding), stride, dilation, groups } = config else {
        panic!("this oracle pads every side alike, not by {:?}", config.padding)
    };
    let size = |size: usize, kernel: usize| (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
    let (rows, cols) = (size(height, kh), size(width, kw));
    let padded = xs.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    let mut parts = Vec::new();
    for group in 0..groups {
        let images = padded.narrow(1, group * channels, channels)?;
        let weight = weight.narrow(0, group * out / groups, out / groups)?;
        let mut sum = Tensor::zeros((batch, out / groups, rows * cols), xs.dtype(), xs.device())?;
        for ky in 0..kh {
            for kx in 0..kw {
                let pixels = every(&every(&images, 2, ky * dilation, stride, rows)?, 3, kx * dilation, stride, cols)?;
                let weight = weight.narrow(2, ky, 1)?.narrow(3, kx, 1)?.reshape((out / groups, channels))?;
                sum = (sum + weight.broadcast_matmul(&pixels.reshape((batch, channels, rows * cols))?)?)?;
            }
        }
        parts.push(sum);
    }
    let ys = Tensor::cat(&parts, 1)?.reshape((batch, out, rows, cols))?;
    let bias = var(&format!("{path}bias"));
    bias.map_or(Ok(ys.clone()), |bias| ys.broadcast_add(&bias.reshape((1, out, 1, 1))?))
}

/// `(batch, channels, rows, cols, window)`.
fn windows(xs: &Tensor, kernel: (usize, usize), stride: usize) -> Result<Tensor> {
    let (_, _, height, width) = xs.dims4()?;
    let (rows, cols) = ((height - kernel.0) / stride + 1, (width - kernel.1) / stride + 1);
    let mut parts = Vec::new();
    for ky in 0..kernel.0 {
        for kx in 0..kernel.1 {
            parts.push(every(&every(xs, 2, ky, stride, rows)?, 3, kx, stride, cols)?);
        }
    }
    Tensor::stack(&parts, 4)
}

/// The squared length of the output as loss: it reaches every output of every layer.
struct SquaredLength(Box<dyn Layer>);

fn squared_length(ys: &Tensor) -> Result<Tensor> {
    ys.flatten_from(1)?.sqr()?.sum(D::Minus1)
}

impl Model for SquaredLength {
    fn losses(&self, xs: &Tensor, _: &Tensor, tape: &Tape) -> Result<Tensor> {
        squared_length(&self.0.forward(xs, tape)?)
    }
}

/// Numbers without a pattern, the same on every machine.
fn numbers(count: usize, salt: u64) -> Vec<f64> {
    let mix = |i: u64| (i.wrapping_add(salt)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    (0..count as u64).map(|i| mix(mix(i)) as f64 / f64::from(1u32 << 30) - 1.0).collect()
}

fn records(batch: usize, shape: &[usize], dtype: DType, contiguous: bool) -> Tensor {
    let full: Vec<usize> = std::iter::once(batch).chain(shape.iter().copied()).collect();
    let count = full.iter().product();
    let xs = Tensor::from_vec(numbers(count, 7), full.clone(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    if contiguous || batch == 0 {
        return xs;
    }
    let last = full.len() - 1;
    let turned = xs.transpose(0, last).unwrap().contiguous().unwrap().transpose(0, last).unwrap();
    assert!(!turned.is_contiguous() || batch == 1);
    turned
}

fn flat(tensors: &[Tensor]) -> Vec<f64> {
    tensors.iter().flat_map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
}

#[track_caller]
fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let scale = expected.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance * scale, "{what}: {got} and not {expected}");
    }
}

fn engines() -> impl Iterator<Item = Engine> {
    [Kernels::Auto, Kernels::Portable].into_iter().flat_map(|kernels| {
        [Route::Auto, Route::Ghost, Route::Instantiate].into_iter().map(move |route| Engine {
            kernels,
            route,
            together: None,
        })
    })
}

fn check(row: &Row, dtype: DType, batch: usize, contiguous: bool) {
    let parameters = Parameters::new(Key::from_seed(3), dtype, &Device::Cpu);
    let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
    let (names, variables): (Vec<String>, Vec<Var>) = parameters.iter().unzip();
    let var = |name: &str| {
        let j = names.iter().position(|known| known == name)?;
        Some(variables[j].as_tensor().clone())
    };
    let xs = records(batch, row.shape, dtype, contiguous);
    let ys = Tensor::zeros(batch, DType::U32, &Device::Cpu).unwrap();
    let naive = || one_example_at_a_time(&variables, &xs, &ys, |x, _| squared_length(&(row.oracle)(&var, x)?)).unwrap();
    let (groups, tolerance) = (vec![0; names.len()], if dtype == DType::F64 { 1e-10 } else { 2e-5 });
    let mut values = numbers(batch, 5);
    if batch > 2 {
        values[1] = 0.0;
    }
    let weights = Weights::flat(values, names.len());
    let truth = naive().norms(&groups).unwrap();
    let sum = flat(&naive().weighted_sum(&weights).unwrap());
    let total = flat(&naive().total().unwrap());
    for engine in engines() {
        let what = format!("{} in {dtype:?}, batch {batch}, contiguous {contiguous}, {engine:?}", row.name);
        let mut recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).expect(&what);
        let norms = recorded.norms(&groups).unwrap();
        for (got, truth) in norms.rows().flatten().zip(truth.rows().flatten()) {
            // The naive norm has its own slack of a few roundings; the bound must not be below the norm, nor far above.
            let lowest = truth * (1.0 - 30.0 * tolerance);
            assert!(*got >= lowest && *got <= truth * (1.0 + 100.0 * tolerance), "{what}: norm {got} of {truth}");
        }
        assert_eq!(norms.rows().count(), batch);
        for (i, bound) in norms.rows().enumerate() {
            // What an example really adds to a sum is never above its bound, not by a bit.
            let mut one = vec![0.0; batch];
            one[i] = 1.0;
            let mut recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap();
            recorded.norms(&groups).unwrap();
            let added = flat(&recorded.weighted_sum(&Weights::flat(one, names.len())).unwrap());
            let norm = added.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(norm <= bound[0], "{what}: example {i} adds {norm} and is bounded by {}", bound[0]);
        }
        assert_close(&flat(&recorded.weighted_sum(&weights).unwrap()), &sum, tolerance, &what);
        check_parts(&model, &parameters, (&xs, &ys), engine, (&norms, &weights, &sum, tolerance), &what);
        // Noise too small to be seen: what is formed for it are the gradients.
        let recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap();
        let mut perturbed = Perturbation::new(1e-20).unwrap().of(recorded, &Key::from_seed(6), 0, 0);
        let formed: Vec<f64> = perturbed.norms(&groups).unwrap().rows().flatten().copied().collect();
        assert_close(&formed, &truth.rows().flatten().copied().collect::<Vec<_>>(), tolerance, &what);
        assert_close(&flat(&perturbed.weighted_sum(&weights).unwrap()), &sum, tolerance, &what);
        let recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap();
        assert_close(&flat(&recorded.total().unwrap()), &total, tolerance, &what);
    }
}

/// Two examples at a time have the same norms and, together, the same sum.
fn check_parts(
    model: &dyn Model,
    parameters: &Parameters,
    (xs, ys): (&Tensor, &Tensor),
    engine: Engine,
    (norms, weights, sum, tolerance): (&Norms, &Weights, &[f64], f64),
    what: &str,
) {
    let together = NonZeroUsize::new(2);
    let recorded = Recorded::new(model, parameters, xs, ys, Engine { together, ..engine }).unwrap();
    let (batch, weights) = (recorded.batch(), weights.of_parameter(0));
    let mut parts = recorded.parts().unwrap();
    assert_eq!(parts.len(), batch.div_ceil(2).max(1), "{what}");
    let (mut found, mut added, mut first) = (Vec::new(), vec![0.0; sum.len()], 0);
    for mut part in parts.drain(..) {
        let weights = Weights::flat(weights[first..][..part.batch()].to_vec(), parameters.len());
        first += part.batch();
        found.extend(part.norms(&vec![0; parameters.len()]).unwrap().rows().flatten().copied());
        let part = flat(&part.weighted_sum(&weights).unwrap());
        added.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    let norms: Vec<f64> = norms.rows().flatten().copied().collect();
    assert_close(&found, &norms, tolerance, what);
    assert_close(&added, sum, tolerance, what);
}

#[test]
fn every_rule_equals_the_loop_over_single_examples() {
    for row in rows() {
        for dtype in [DType::F32, DType::F64] {
            for batch in [0, 1, 5] {
                for contiguous in [true, false] {
                    check(&row, dtype, batch, contiguous);
                }
            }
        }
    }
}

#[test]
fn a_wrong_rule_would_be_noticed() {
    // The negative control of the suite: an oracle that sees slightly other inputs must fail its row.
    let row = Row { oracle: |var, xs| dense(&(xs * 1.01)?, var, ""), ..rows().remove(0) };
    let failed = std::panic::catch_unwind(|| check(&row, DType::F64, 5, true));
    assert!(failed.is_err(), "an oracle that is one per cent off passed");
}

#[test]
fn evaluation_equals_training_and_leaves_no_graph() {
    for row in rows() {
        let parameters = Parameters::new(Key::from_seed(4), DType::F64, &Device::Cpu);
        let network = (row.build)(parameters.var_builder()).unwrap();
        let xs = records(3, row.shape, DType::F64, true);
        let evaluated = network.forward(&xs, &Tape::off()).unwrap();
        for kernels in [Kernels::Auto, Kernels::Portable] {
            let tape = Tape::recording(Engine { kernels, ..Engine::default() });
            let trained = network.forward(&xs, &tape).unwrap();
            assert_close(&flat(&[trained]), &flat(std::slice::from_ref(&evaluated)), 1e-12, row.name);
        }
    }
}

#[test]
fn an_example_of_weight_zero_is_not_read() {
    for row in rows() {
        let parameters = Parameters::new(Key::from_seed(3), DType::F32, &Device::Cpu);
        let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
        let good = records(3, row.shape, DType::F32, true);
        let bad = (records(1, row.shape, DType::F32, true) * f64::NAN).unwrap();
        let xs = Tensor::cat(&[&bad, &good], 0).unwrap();
        let ys = Tensor::zeros(4, DType::U32, &Device::Cpu).unwrap();
        for engine in engines() {
            let mut recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap();
            let norms = recorded.norms(&vec![0; parameters.len()]).unwrap();
            let finite: Vec<bool> = norms.rows().map(|row| row[0].is_finite()).collect();
            assert_eq!(finite, [false, true, true, true], "{} {engine:?}", row.name);
            let weights = Weights::flat(vec![0.0, 1.0, 1.0, 1.0], parameters.len());
            let sum = flat(&recorded.weighted_sum(&weights).unwrap());
            assert!(sum.iter().all(|x| x.is_finite()), "{} {engine:?}", row.name);
        }
    }
}

/// Norms of the first `n` of `m` records through `build`, part by part, and how many records each part has.
fn norms_in_company(row: &Row, m: usize, kernels: Kernels) -> (Vec<f64>, Vec<usize>) {
    let parameters = Parameters::new(Key::from_seed(3), DType::F32, &Device::Cpu);
    let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
    let xs = records(m, row.shape, DType::F32, true);
    let ys = Tensor::zeros(m, DType::U32, &Device::Cpu).unwrap();
    let engine = Engine { kernels, ..Engine::default() };
    let (mut norms, mut sizes) = (Vec::new(), Vec::new());
    for mut part in Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap().parts().unwrap() {
        sizes.push(part.batch());
        let found = part.norms(&vec![0; parameters.len()]).unwrap();
        norms.extend(found.rows().flatten().copied());
    }
    (norms, sizes)
}

#[test]
fn one_example_more_moves_no_norm_by_more_than_a_rounding() {
    // Decision 11: the sum changes by what the example adds, so neither the route nor the cuts may depend on how many there are. The
    // last row has gradients of 2^18 elements, which 256 examples and no more could keep in 256 MiB: there the routes' bounds differ.
    let large = Row {
        name: "a large linear layer over positions",
        shape: &[17, 512],
        build: |vb| Ok(Box::new(linear_no_bias(512, 512, vb)?)),
        oracle: |var, xs| dense(xs, var, ""),
    };
    let small = rows().into_iter().flat_map(|row| [(row, 5)]);
    for (row, n) in small.chain([(large, 256)]) {
        let (with, with_sizes) = norms_in_company(&row, n + 1, Kernels::Auto);
        let (without, sizes) = norms_in_company(&row, n, Kernels::Auto);
        for (with, without) in with.iter().zip(&without) {
            assert!((with / without - 1.0).abs() < 1e-7, "{}: {with} and {without}", row.name);
        }
        let whole = sizes.len() - 1;
        assert_eq!(with_sizes[..whole], sizes[..whole], "{}", row.name);
        assert!(sizes[..whole].iter().all(|size| size % 32 == 0), "{}: {sizes:?}", row.name);
    }
}
