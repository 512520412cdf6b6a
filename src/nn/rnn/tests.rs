use super::*;
use crate::grad::{Engine, Kernels};
use crate::nn::Parameters;
use crate::seed::Key;
use candle_core::{DType, Device, Var};

/// Tenths from -0.5 to 0.5 in an order given by `step`.
fn tenths(step: usize, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (((step * i + 3) % 11) as f64 - 5.0) / 10.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Two inputs, two hidden units.
fn small(cell: Cell) -> Recurrent {
    let width = 2 * cell.gates();
    let [w_ih, w_hh] = [7, 4].map(|step| tenths(step, &[width, 2]));
    let [b_ih, b_hh] = [2, 5].map(|step| Some(tenths(step, &[width])));
    Recurrent::new(cell, w_ih, w_hh, b_ih, b_hh).unwrap()
}

fn tapes() -> [Tape; 3] {
    let recording = |kernels| Tape::recording(Engine { kernels, ..Engine::default() });
    [Tape::off(), recording(Kernels::Auto), recording(Kernels::Portable)]
}

#[test]
fn two_steps_by_pytorchs_formulas() {
    // PyTorch's documented formulas of LSTM, GRU and RNN (torch.nn), worked in 40 digits with mpmath.
    let golden = [
        (Cell::Lstm, [-0.043990629852918836, 0.0254600973792195, -0.18969887354805334, 0.021062318789844266]),
        (Cell::Gru, [-0.07423870607256648, 0.031164535383862088, -0.3240876622572027, 0.00863113995904718]),
        (Cell::Tanh, [-0.7615941559557649, 0.5716699660851172, -0.29893271505813307, 0.60349751555192]),
        (Cell::Relu, [0.0, 0.65, 0.0, 0.31]),
    ];
    let xs = Tensor::from_vec(vec![0.5, -1.0, 1.5, 0.25], (1, 2, 2), &Device::Cpu).unwrap();
    for (cell, expected) in golden {
        for tape in tapes() {
            let ys: Vec<f64> = small(cell).forward(&xs, &tape).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (got, expected) in ys.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-15, "{cell:?}: {got} and not {expected}");
            }
        }
    }
}

#[test]
fn parameters_have_pytorchs_names_and_shapes() {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let vb = parameters.var_builder();
    lstm(3, 2, RecurrentConfig::default(), vb.pp("a")).unwrap();
    gru(3, 2, RecurrentConfig { layer_idx: 1, ..RecurrentConfig::default_no_bias() }, vb.pp("b")).unwrap();
    let found: Vec<(String, Vec<usize>)> = parameters.iter().map(|(name, var)| (name, var.dims().to_vec())).collect();
    let expected: [(&str, &[usize]); 6] = [
        ("a.bias_hh_l0", &[8]),
        ("a.bias_ih_l0", &[8]),
        ("a.weight_hh_l0", &[8, 2]),
        ("a.weight_ih_l0", &[8, 3]),
        ("b.weight_hh_l1", &[6, 2]),
        ("b.weight_ih_l1", &[6, 3]),
    ];
    assert_eq!(found, expected.map(|(name, shape)| (name.to_string(), shape.to_vec())));
}

#[test]
fn what_is_frozen_leaves_no_record_and_what_is_not_always_does() {
    let xs = tenths(3, &[2, 3, 2]);
    for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu] {
        for trained in 0..16 {
            for kernels in [Kernels::Auto, Kernels::Portable] {
                let tensors = small(cell).parameters().cloned().enumerate().collect::<Vec<_>>();
                let make = |(i, tensor): (usize, Tensor)| match trained >> i & 1 {
                    1 => Var::from_tensor(&tensor).unwrap().into_inner(),
                    _ => tensor,
                };
                let [w_ih, w_hh, b_ih, b_hh]: [Tensor; 4] =
                    tensors.into_iter().map(make).collect::<Vec<_>>().try_into().unwrap();
                let layer = Recurrent::new(cell, w_ih, w_hh, Some(b_ih), Some(b_hh)).unwrap();
                let tape = Tape::recording(Engine { kernels, ..Engine::default() });
                layer.forward(&xs, &tape).unwrap().sum_all().unwrap().backward().unwrap();
                let mut recorded: Vec<_> = tape.take().iter().map(|record| record.parameter).collect();
                let variables = layer.parameters().filter(|parameter| parameter.is_variable());
                let mut expected: Vec<_> = variables.map(Tensor::id).collect();
                recorded.sort_by_key(|id| format!("{id:?}"));
                expected.sort_by_key(|id| format!("{id:?}"));
                assert_eq!(recorded, expected, "{cell:?} {trained:04b} {kernels:?}");
            }
        }
    }
}

#[test]
fn a_frozen_layer_passes_the_same_cotangent_on_through_both_kernels() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu] {
        let cotangent = |tape: &Tape| -> Vec<f64> {
            let xs = Var::from_tensor(&tenths(3, &[2, 3, 2])).unwrap();
            let ys = small(cell).forward(xs.as_tensor(), tape).unwrap();
            let store = ys.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            store.get(xs.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let [_, kernels, portable] = tapes();
        for (a, b) in cotangent(&kernels).iter().zip(cotangent(&portable)) {
            assert!((a - b).abs() < 1e-14, "{cell:?}: {a} and {b}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refused = |result: Result<Tensor>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    for tape in tapes() {
        let forward = |shape: &[usize]| small(Cell::Gru).forward(&tenths(1, shape), &tape);
        refused(forward(&[4, 3, 5]), &["gru", "[4, 3, 5]", "(batch, time, 2)"]);
        refused(forward(&[4, 2]), &["gru", "[4, 2]"]);
        refused(forward(&[4, 0, 2]), &["gru", "at least one time step"]);
        refused(Last.forward(&tenths(1, &[4, 0, 2]), &tape), &["last", "[4, 0, 2]"]);
        refused(Last.forward(&tenths(1, &[4]), &tape), &["last", "[4]"]);
        assert_eq!(forward(&[0, 3, 2]).unwrap().dims(), [0, 3, 2]);
    }
    let new = |ih: &[usize], hh: &[usize], bias: &[usize]| {
        Recurrent::new(Cell::Lstm, tenths(1, ih), tenths(1, hh), None, Some(tenths(1, bias))).map(|layer| layer.w_ih)
    };
    refused(new(&[8, 3], &[6, 2], &[8]), &["lstm", "[6, 2]", "(4 hidden, hidden)"]);
    refused(new(&[0, 3], &[0, 0], &[0]), &["lstm", "at least one"]);
    refused(new(&[8, 3], &[8, 2], &[4]), &["lstm", "a bias of shape [4]"]);
    let (w_ih, w_hh) = (tenths(1, &[1, 1]), tenths(1, &[1, 1]).to_dtype(DType::F32).unwrap());
    refused(Rnn::new(w_ih, w_hh, None, None, Nonlinearity::Tanh).map(|rnn| rnn.0.w_ih), &["rnn", "F64", "F32"]);
}

#[test]
fn last_is_the_last_time_step() {
    let ys = Last.forward(&tenths(1, &[2, 3, 1]), &Tape::off()).unwrap();
    let all: Vec<f64> = tenths(1, &[6]).to_vec1().unwrap();
    assert_eq!(ys.to_vec2::<f64>().unwrap(), [[all[2]], [all[5]]]);
}
