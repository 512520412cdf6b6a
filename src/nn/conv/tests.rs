use super::*;
use crate::grad::{Engine, Kernels};
use crate::nn::Parameters;
use crate::seed::Key;
use candle_core::{DType, Device};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn tapes() -> [Tape; 3] {
    let recording = |kernels| Tape::recording(Engine { kernels, ..Engine::default() });
    [Tape::off(), recording(Kernels::Auto), recording(Kernels::Portable)]
}

#[test]
fn outputs_are_as_long_as_pytorchs() {
    // floor((length + zeros - dilation (kernel - 1) - 1) / stride) + 1: the documentation of torch.nn.Conv1d and Conv2d.
    let mut grid = Vec::new();
    for (length, kernel) in (1..=6).flat_map(|length| (1..=4).map(move |kernel| (length, kernel))) {
        for (stride, dilation) in (1..=3).flat_map(|stride| (1..=2).map(move |dilation| (stride, dilation))) {
            grid.push((length, kernel, stride, dilation));
        }
    }
    let mut refused = 0;
    for (length, kernel, stride, dilation) in grid {
        for sides in [(0, 0), (1, 1), (0, 3), (2, 1)] {
            let free = (length + sides.0 + sides.1) as i64 - (dilation * (kernel - 1)) as i64 - 1;
            let wanted = free.div_euclid(stride as i64) + 1;
            let config = Conv1dConfig { padding: Padding::Sides([sides]), stride, dilation, groups: 1 };
            let sequences = Conv::new(zeros(&[2, 1, kernel]), None, config).unwrap();
            let config = Conv2dConfig { padding: Padding::Sides([(0, 0), sides]), stride, dilation, groups: 1 };
            let images = Conv::new(zeros(&[2, 1, 1, kernel]), None, config).unwrap();
            for tape in tapes() {
                let sequence = sequences.forward(&zeros(&[3, 1, length]), &tape);
                let image = images.forward(&zeros(&[3, 1, 5, length]), &tape);
                if free < 0 {
                    assert!(sequence.is_err() && image.is_err(), "{config:?}, {length} under {kernel}");
                    refused += 1;
                } else {
                    assert_eq!(
                        sequence.unwrap().dims(),
                        [3, 2, wanted as usize],
                        "{config:?}, {length} under {kernel}"
                    );
                    assert_eq!(image.unwrap().dims(), [3, 2, 4 / stride + 1, wanted as usize]);
                }
            }
        }
    }
    assert!(refused > 100, "only {refused} of the grid do not fit");
}

#[test]
fn the_same_padding_keeps_the_size_and_puts_the_odd_zero_last() {
    for (kernel, dilation, zeros_before) in [(1, 1, 0), (2, 1, 0), (3, 1, 1), (4, 1, 1), (4, 3, 4), (5, 2, 4)] {
        let config = Conv1dConfig { padding: Padding::Same, dilation, ..Default::default() };
        // The kernel's first element alone: what a position sees is the input so many places to the left.
        let weight: Vec<f32> = (0..kernel).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
        let weight = Tensor::from_vec(weight, (1, 1, kernel), &Device::Cpu).unwrap();
        let layer = Conv1d::new(weight, None, config).unwrap();
        let xs: Vec<f32> = (1..=6).map(|i| i as f32).collect();
        let expected: Vec<f32> = (0..6usize).map(|i| i.checked_sub(zeros_before).map_or(0.0, |i| xs[i])).collect();
        let xs = Tensor::from_vec(xs, (1, 1, 6), &Device::Cpu).unwrap();
        for tape in tapes() {
            let ys: Vec<f32> = layer.forward(&xs, &tape).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(ys, expected, "kernel {kernel}, dilation {dilation}");
        }
    }
}

#[test]
fn the_padding_of_candle_nn_is_that_of_each_side() {
    assert_eq!(Padding::<2>::from(2), Padding::Each(2));
    assert_eq!(Conv1dConfig::default(), Conv1dConfig { padding: 0.into(), stride: 1, dilation: 1, groups: 1 });
    let weight = zeros(&[1, 1, 3, 2]);
    let of = |padding| Conv2d::new(weight.clone(), None, Conv2dConfig { padding, ..Default::default() }).unwrap();
    assert_eq!(of(2.into()).0.geometry, of(Padding::Sides([(2, 2); 2])).0.geometry);
    assert_eq!(of(Padding::Same).0.geometry, of(Padding::Sides([(1, 1), (0, 1)])).0.geometry);
}

/// What is said of a layer over sequences that is not built.
fn refusal(sizes: (usize, usize, usize), config: Conv1dConfig) -> String {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let error = build(sizes, true, config, parameters.var_builder()).map(|_| ()).unwrap_err();
    assert!(parameters.is_empty(), "a refused layer left a parameter");
    error.to_string()
}

#[test]
fn what_cannot_be_a_convolution_is_refused_by_its_numbers() {
    let config = Conv1dConfig::default();
    for (error, parts) in [
        (refusal((4, 4, 3), Conv1dConfig { groups: 0, ..config }), ["conv1d", "4 input channels", "0 groups"]),
        (refusal((4, 4, 3), Conv1dConfig { groups: 3, ..config }), ["conv1d", "4 input channels", "3 groups"]),
        (refusal((3, 4, 3), Conv1dConfig { groups: 3, ..config }), ["conv1d", "4 output channels", "3 groups"]),
        (refusal((0, 4, 3), config), ["conv1d", "0 input", "4 output"]),
        (refusal((4, 0, 3), config), ["conv1d", "4 input", "0 output"]),
        (refusal((4, 4, 0), config), ["conv1d", "at least 1", "not 0, 1 and 1"]),
        (refusal((4, 4, 3), Conv1dConfig { stride: 0, ..config }), ["conv1d", "at least 1", "not 3, 0 and 1"]),
        (refusal((4, 4, 3), Conv1dConfig { dilation: 0, ..config }), ["conv1d", "at least 1", "not 3, 1 and 0"]),
        (
            refusal((4, 4, 3), Conv1dConfig { padding: 70_000.into(), ..config }),
            ["conv1d", "up to 70000", "up to 65536"],
        ),
        (refusal((4, 4, usize::MAX), config), ["conv1d", "sizes up to", "65536"]),
        (
            refusal((4, 4, 3), Conv1dConfig { padding: Padding::Same, stride: 2, ..config }),
            ["conv1d", "padding Same", "a stride of 2"],
        ),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let refusal = |shape: &[usize]| Conv1d::new(zeros(shape), None, config).map(|_| ()).unwrap_err().to_string();
    assert!(refusal(&[4, 2, 3, 3]).contains("[4, 2, 3, 3], and it has 3 axes") && refusal(&[4]).contains("[4]"));
    let bias = Conv2d::new(zeros(&[4, 1, 2, 2]), Some(zeros(&[3])), Conv2dConfig::default()).map(|_| ());
    assert!(bias.unwrap_err().to_string().contains("conv2d: a bias of shape [3]"));
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_their_shapes() {
    let config = Conv1dConfig { padding: Padding::Sides([(1, 0)]), dilation: 2, ..Default::default() };
    let sequences = Conv1d::new(zeros(&[4, 2, 3]), None, config).unwrap();
    let images =
        Conv2d::new(zeros(&[4, 2, 3, 4]), None, Conv2dConfig { padding: 2.into(), ..Default::default() }).unwrap();
    for tape in tapes() {
        let refusal = |layer: &dyn Layer, shape: &[usize]| layer.forward(&zeros(shape), &tape).unwrap_err().to_string();
        for (error, parts) in [
            (
                refusal(&sequences, &[1, 2, 3]),
                ["conv1d", "a kernel of 3 with dilation 2", "input of 3 with padding [(1, 0)]"],
            ),
            (refusal(&sequences, &[1, 2, 1, 9]), ["conv1d", "[1, 2, 1, 9]", "(batch, channels, length)"]),
            (refusal(&sequences, &[1, 3, 9]), ["conv1d", "3 input channels", "takes 2"]),
            (refusal(&images, &[1, 2, 9]), ["conv2d", "[1, 2, 9]", "(batch, channels, height, width)"]),
            (refusal(&images, &[1, 2, 0, 5]), ["conv2d", "input of 0x5", "no element"]),
        ] {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
    let small = Conv2d::new(zeros(&[4, 2, 3, 4]), None, Conv2dConfig::default()).unwrap();
    let error = small.forward(&zeros(&[1, 2, 2, 5]), &Tape::off()).unwrap_err().to_string();
    assert!(error.contains("a kernel of 3x4 with dilation 1 does not fit into an input of 2x5"), "{error}");
}
