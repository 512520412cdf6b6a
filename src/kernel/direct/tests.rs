//! Against the definitions, computed in f64 one product at a time.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernel::to_f64;
use std::ops::Range;

/// All that this processor has, to be compared with the definitions.
fn processors() -> Vec<pulp::Arch> {
    let mut all = vec![pulp::Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    all.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
    #[cfg(target_arch = "x86_64")]
    all.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
    if !all.iter().any(|arch| format!("{arch:?}") == format!("{:?}", pulp::Arch::new())) {
        all.push(pulp::Arch::new());
    }
    if all.len() < 3 {
        eprintln!("SKIPPED: this processor has only {all:?}: kernels of wider vectors are not checked");
    }
    all
}

/// A convolution, its batch, and what the definitions say of it.
struct Case {
    patches: Patches,
    groups: usize,
    channels: usize,
    outs: usize,
    images: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    cotangents: Vec<f64>,
    outputs: Vec<f64>,
    inputs: Vec<f64>,
    gradients: Vec<f64>,
}

const BATCH: usize = 3;

/// Multiples of 1/8 that repeat at no distance that matters here.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| (((i + seed) * 7919 % 1009) % 33) as f64 / 8.0 - 2.0).collect()
}

impl Case {
    fn new(patches: Patches, groups: usize, channels: usize, outs: usize) -> Self {
        let Patches { height, width, kernel: (kh, kw), stride, padding: [(top, _), (left, _)], dilation } = patches;
        let ((rows, cols), d) = (patches.output().unwrap(), channels * kh * kw);
        let images = numbers(BATCH * groups * channels * height * width, 1);
        let (weight, bias) = (numbers(groups * outs * d, 2), numbers(groups * outs, 3));
        let cotangents = numbers(BATCH * groups * outs * rows * cols, 4);
        let mut outputs = vec![0.0; cotangents.len()];
        let (mut inputs, mut gradients) = (vec![0.0; images.len()], vec![0.0; BATCH * weight.len()]);
        for (i, output) in outputs.iter_mut().enumerate() {
            let (example, channel, y, x) =
                (i / (groups * outs * rows * cols), i / (rows * cols) % (groups * outs), i / cols % rows, i % cols);
            *output = bias[channel];
            for k in 0..d {
                let (iy, ix) = (y * stride + k / kw % kh * dilation, x * stride + k % kw * dilation);
                if (top..top + height).contains(&iy) && (left..left + width).contains(&ix) {
                    let plane = (example * groups + channel / outs) * channels + k / (kh * kw);
                    let pixel = (plane * height + iy - top) * width + ix - left;
                    *output += weight[channel * d + k] * images[pixel];
                    inputs[pixel] += weight[channel * d + k] * cotangents[i];
                    gradients[example * weight.len() + channel * d + k] += cotangents[i] * images[pixel];
                }
            }
        }
        Self { patches, groups, channels, outs, images, weight, bias, cotangents, outputs, inputs, gradients }
    }

    /// Computes everything in type `T`: sums of multiples of 1/64 that stay below 2^17 are exact even in f32, in any order.
    fn check<T: Real>(&self, arch: pulp::Arch) {
        let direct = Direct::on::<T>(arch, self.patches, self.groups, self.channels, self.outs).unwrap();
        let typed = |values: &[f64]| values.iter().map(|x| T::from_f64(*x)).collect::<Vec<T>>();
        let (images, weight, bias) = (typed(&self.images), typed(&self.weight), typed(&self.bias));
        let cotangents = typed(&self.cotangents);
        let same = |what: &str, got: &[T], expected: &[f64]| {
            assert_eq!(got.len(), expected.len(), "{what}");
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                assert!(
                    to_f64(*got) == *expected,
                    "{what} {i} of {:?}, {} groups of {} to {} on {arch:?}: {}, not {expected}",
                    self.patches,
                    self.groups,
                    self.channels,
                    self.outs,
                    to_f64(*got)
                );
            }
        };
        same("output", &direct.outputs(&images, &weight, Some(&bias)), &self.outputs);
        same("input", &direct.inputs(&cotangents, &weight), &self.inputs);
        let (image, g, size) = (images.len() / BATCH, cotangents.len() / BATCH, weight.len());
        let (mut scratch, mut gradients) = (Scratch::default(), Vec::new());
        for example in 0..BATCH {
            // What another example leaves behind must not be seen.
            let poison = vec![T::nan(); image.max(g)];
            let mut out = vec![MaybeUninit::new(T::nan()); size];
            direct.gradient(false, &poison[..image], &poison[..g], &mut out, &mut scratch);
            let (image, g) = (&images[example * image..][..image], &cotangents[example * g..][..g]);
            let gradient = direct.gradient(false, image, g, &mut out, &mut scratch).to_vec();
            if let Some(arrangement) = direct.arrangement() {
                let mut out = vec![MaybeUninit::new(T::nan()); size];
                assert!(arrangement.undone(direct.gradient(true, image, g, &mut out, &mut scratch)) == gradient);
            }
            gradients.extend(gradient);
        }
        same("gradient", &gradients, &self.gradients);
        let sum: Vec<f64> = (0..size).map(|i| self.gradients[i..].iter().step_by(size).sum()).collect();
        same("sum", &direct.sum(&images, &cotangents, &mut scratch), &sum);
    }

    fn check_all(&self) {
        for arch in processors() {
            self.check::<f64>(arch);
            self.check::<f32>(arch);
        }
    }
}

fn square(size: usize, kernel: usize, stride: usize, padding: usize) -> Patches {
    Patches {
        height: size,
        width: size,
        kernel: (kernel, kernel),
        stride,
        padding: [(padding, padding); 2],
        dilation: 1,
    }
}

#[test]
fn products_are_those_of_the_definitions_for_every_geometry() {
    let mut count = 0;
    for (height, width) in [(1, 1), (1, 9), (5, 7), (6, 4)] {
        for kernel in [(1, 1), (1, 4), (2, 3), (3, 3), (4, 4)] {
            for stride in [1, 2, 3] {
                for padding in [[(0, 0); 2], [(1, 1); 2], [(2, 2); 2], [(0, 1), (3, 0)], [(2, 0), (0, 2)]] {
                    for dilation in [1, 2] {
                        let patches = Patches { height, width, kernel, stride, padding, dilation };
                        if patches.output().is_some() {
                            count += 1;
                            Case::new(patches, 1 + count % 2, 1 + count % 5, 1 + count % 7).check_all();
                        }
                    }
                }
            }
        }
    }
    assert!(count > 60);
}

#[test]
fn products_are_those_of_the_definitions_for_every_number_of_channels() {
    for (size, channels, outs) in
        [(8, 1, 1), (8, 3, 2), (8, 5, 7), (13, 16, 16), (8, 33, 32), (5, 16, 40), (8, 5, 64), (4, 33, 81), (3, 65, 50)]
    {
        for groups in [1, 2] {
            Case::new(square(size, 3, 1, 1), groups, channels, outs).check_all();
        }
    }
}

#[test]
fn products_are_those_of_the_definitions_for_the_layers_of_usual_models() {
    for (patches, channels, outs) in [
        (square(28, 8, 2, 2), 1, 16),
        (square(12, 4, 2, 0), 16, 32),
        (square(32, 3, 1, 1), 3, 32),
        (square(16, 3, 1, 1), 32, 16),
        // More positions and patch elements than are kept in cache at once.
        (square(56, 1, 1, 0), 2, 3),
        (square(4, 5, 1, 2), 96, 5),
    ] {
        Case::new(patches, 1, channels, outs).check_all();
    }
}

#[test]
#[should_panic(expected = "output 17 of")]
fn an_output_that_is_not_of_the_image_is_noticed() {
    let mut case = Case::new(square(5, 3, 1, 1), 1, 2, 8);
    case.outputs[17] += 0.125;
    case.check::<f32>(pulp::Arch::new());
}

#[test]
fn examples_do_not_mix_and_threads_change_no_bit() {
    let (patches, channels, outs) = (square(9, 3, 2, 1), 4, 19);
    let direct = Direct::on::<f32>(pulp::Arch::new(), patches, 1, channels, outs).unwrap();
    let batch = 40;
    let single = |count: usize, seed: usize| numbers(count, seed).iter().map(|x| *x as f32 / 3.0).collect::<Vec<f32>>();
    let (image, g) = (channels * 81, outs * patches.positions());
    let (mut images, weight) = (single(batch * image, 1), single(outs * channels * 9, 2));
    let mut cotangents = single(batch * g, 3);
    let compute = |images: &[f32], cotangents: &[f32], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (direct.outputs(images, &weight, None), direct.inputs(cotangents, &weight)))
    };
    let one = compute(&images, &cotangents, 1);
    assert!(one == compute(&images, &cotangents, 3));
    // One example that is not a number stays alone.
    images[7 * image..8 * image].fill(f32::NAN);
    cotangents[7 * g..8 * g].fill(f32::NAN);
    let poisoned = compute(&images, &cotangents, 2);
    let apart = |all: &[f32], size: usize, range: Range<usize>| all[range.start * size..range.end * size].to_vec();
    for others in [0..7, 8..batch] {
        assert_eq!(apart(&poisoned.0, g, others.clone()), apart(&one.0, g, others.clone()));
        assert_eq!(apart(&poisoned.1, image, others.clone()), apart(&one.1, image, others));
    }
    assert!(poisoned.0[7 * g..8 * g].iter().all(|y| y.is_nan()));
}

#[test]
fn what_fills_no_vectors_is_left_to_patches() {
    let lanes = Vectors::of::<f32>(pulp::Arch::new()).lanes;
    if lanes == 1 {
        return assert!(Direct::to_outputs::<f32>(square(8, 3, 1, 1), 1, 64, 64).is_none());
    }
    let suits = |channels: usize, outs: usize, stride: usize| {
        let patches = square(8, 3, stride, 1);
        [
            Direct::to_outputs::<f32>(patches, 1, channels, outs).is_some(),
            Direct::to_inputs::<f32>(patches, 1, channels, outs).is_some(),
        ]
    };
    assert_eq!(suits(lanes / 2, lanes / 2 - 1, 1), [false, true]);
    assert_eq!(suits(lanes / 2 - 1, lanes / 2, 1), [true, false]);
    assert_eq!(suits(lanes, lanes, 5), [true, false]);
    // A patch of 9 pixels is little to sum, and many positions are not.
    let few = square(8, 3, 1, 1);
    assert!(Direct::to_outputs::<f32>(few, 1, 1, lanes).is_none());
    assert!(Direct::to_gradients::<f32>(few, 1, 1, lanes).is_some());
}
