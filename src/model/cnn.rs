//! Small convolutional networks for images.

use crate::nn::{Activation, Conv2dConfig, Flatten, Layer, MaxPool2d, Sequential, conv2d, linear};
use crate::{Error, Result};
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// `(batch, ..shape)` to logits, for images `[height, width]` or `[channels, height, width]`.
///
/// From 20 x 20 pixels on, the network of Papernot et al. 2021 and Tramer and Boneh 2021: 16 filters 8 x 8 with stride 2 and
/// padding 2, max-pooling 2 x 2 with stride 1, 32 filters 4 x 4 with stride 2, the same pooling, 32 units (26,010 parameters on
/// 28 x 28 grey pixels and ten classes). Below that, filters of 3 x 3 with padding 1 and pooling of stride 2.
pub(super) fn network(
    shape: &[usize],
    classes: usize,
    activation: Activation,
    vb: VarBuilder<'_>,
) -> Result<Sequential> {
    let (channels, height, width) = match *shape {
        [height, width] => (1, height, width),
        [channels, height, width] => (channels, height, width),
        _ => {
            let reason = format!(
                "cnn takes images, and records have the shape {shape:?}; declare one with --shape HEIGHTxWIDTH or choose --model mlp"
            );
            return Err(Error::Model { reason });
        }
    };
    let small = height.min(width) < 20;
    if height.min(width) < 4 {
        return Err(Error::Model { reason: format!("cnn needs images of at least 4x4 pixels, not {height}x{width}") });
    }
    // Kernel, padding and stride of both convolutions.
    let (first, second, pool) = if small {
        ((3, 1, 1), (3, 1, 1), MaxPool2d { kernel: (2, 2), stride: 2 })
    } else {
        ((8, 2, 2), (4, 0, 2), MaxPool2d { kernel: (2, 2), stride: 1 })
    };
    let size = |size: usize| {
        let after = |size: usize, (kernel, padding, stride): (usize, usize, usize)| {
            let size = (size + 2 * padding - kernel) / stride + 1;
            (size - pool.kernel.0) / pool.stride + 1
        };
        after(after(size, first), second)
    };
    let convolution = |ins, outs, (kernel, padding, stride): (usize, usize, usize), name| {
        conv2d(ins, outs, kernel, Conv2dConfig { padding: padding.into(), stride, ..Default::default() }, vb.pp(name))
    };
    let features = 32 * size(height) * size(width);
    let network = Sequential::new()
        .add(Channels(channels))
        .add(convolution(channels, 16, first, "conv1")?)
        .add(activation)
        .add(pool)
        .add(convolution(16, 32, second, "conv2")?)
        .add(activation)
        .add(pool)
        .add(Flatten)
        .add(linear(features, 32, vb.pp("hidden"))?)
        .add(activation)
        .add(linear(32, classes, vb.pp("output"))?);
    Ok(network)
}

/// Gives grey images their channel: `(batch, height, width)` to `(batch, 1, height, width)`.
struct Channels(usize);

impl Layer for Channels {
    fn forward(&self, xs: &Tensor, _: &crate::grad::Tape) -> candle_core::Result<Tensor> {
        if xs.rank() == 3 && self.0 == 1 { xs.unsqueeze(1) } else { Ok(xs.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::Tape;
    use crate::nn::Parameters;
    use crate::seed::Key;
    use candle_core::{DType, Device};

    #[test]
    fn the_published_network_has_26010_parameters_and_every_size_fits() {
        for (shape, elements) in
            [(vec![28, 28], Some(26_010)), (vec![8, 8], None), (vec![3, 32, 32], None), (vec![1, 5, 4], None)]
        {
            let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
            let network = network(&shape, 10, Activation::Tanh, parameters.var_builder()).unwrap();
            let full: Vec<usize> = std::iter::once(2).chain(shape.iter().copied()).collect();
            let xs = Tensor::zeros(full, DType::F32, &Device::Cpu).unwrap();
            assert_eq!(network.forward(&xs, &Tape::off()).unwrap().dims(), [2, 10]);
            if let Some(elements) = elements {
                assert_eq!(parameters.elements(), elements);
            }
        }
        let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
        let refusal = network(&[123], 2, Activation::Tanh, parameters.var_builder()).err().unwrap().to_string();
        assert!(refusal.contains("--shape") && refusal.contains("[123]"), "{refusal}");
    }
}
