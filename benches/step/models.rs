//! The models of the published comparisons.

use candle_nn::VarBuilder;
use dpsgd::nn::{
    Activation, AttentionConfig, Conv2dConfig, EmbeddingBagConfig, Flatten, Last, LayerNormConfig, MaxPool2d, Mean,
    RecurrentConfig, Residual, Sequential, conv2d, embedding, embedding_bag, layer_norm, linear, lstm,
    multi_head_attention, positions,
};

/// A model with the batches it is measured at.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) shape: &'static [usize],
    pub(super) classes: usize,
    pub(super) batches: &'static [usize],
    pub(super) network: fn(VarBuilder<'_>) -> candle_core::Result<Sequential>,
    /// The size of the vocabulary, where records are tokens.
    pub(super) tokens: Option<u32>,
}

const VOCABULARY: u32 = 5000;
const LARGE_VOCABULARY: u32 = 1_000_000;

/// The models whose steps are timed.
pub(super) fn timed() -> Vec<Case> {
    let dense = |name, shape, classes, batches, network| Case { name, shape, classes, batches, network, tokens: None };
    let words =
        |name, shape, batches, network| Case { name, shape, classes: 2, batches, network, tokens: Some(VOCABULARY) };
    vec![
        dense("mnist-cnn", &[1, 28, 28], 10, &[64, 256, 1024], mnist_cnn),
        dense("cifar-cnn", &[3, 32, 32], 10, &[256], cifar_cnn),
        dense("mlp", &[784], 10, &[256], mlp),
        words("lstm", &[64], &[64], lstm_classifier),
        words("transformer", &[128], &[32, 128], transformer),
        dense("logistic", &[123], 2, &[512], |vb| Ok(Sequential::new().add(linear(123, 2, vb)?))),
        dense("wide-linear", &[12_500], 10, &[512], |vb| Ok(Sequential::new().add(linear(12_500, 10, vb)?))),
    ]
}

/// The model whose memory is measured besides: 100 million parameters, nearly all of them a table.
pub(super) fn large() -> Case {
    Case {
        name: "large-table",
        shape: &[64],
        classes: 2,
        batches: &[64],
        network: |vb| {
            let bag = embedding_bag(LARGE_VOCABULARY as usize, 100, EmbeddingBagConfig::default(), vb.pp("bag"))?;
            Ok(Sequential::new().add(bag).add(linear(100, 2, vb.pp("output"))?))
        },
        tokens: Some(LARGE_VOCABULARY),
    }
}

/// 16 filters 8 x 8, 32 filters 4 x 4, pooling of stride 1, tanh: 26,010 parameters (Papernot et al. 2021).
fn mnist_cnn(vb: VarBuilder<'_>) -> candle_core::Result<Sequential> {
    let stride = Conv2dConfig { stride: 2, ..Default::default() };
    let pool = MaxPool2d { kernel: (2, 2), stride: 1 };
    Ok(Sequential::new()
        .add(conv2d(1, 16, 8, Conv2dConfig { padding: 2.into(), ..stride }, vb.pp("conv1"))?)
        .add(Activation::Tanh)
        .add(pool)
        .add(conv2d(16, 32, 4, stride, vb.pp("conv2"))?)
        .add(Activation::Tanh)
        .add(pool)
        .add(Flatten)
        .add(linear(512, 32, vb.pp("hidden"))?)
        .add(Activation::Tanh)
        .add(linear(32, 10, vb.pp("output"))?))
}

/// Six 3 x 3 convolutions with pooling after every second one, tanh: 550,570 parameters (Papernot et al. 2021).
fn cifar_cnn(vb: VarBuilder<'_>) -> candle_core::Result<Sequential> {
    let same = Conv2dConfig { padding: 1.into(), ..Default::default() };
    let mut network = Sequential::new();
    let mut ins = 3;
    for (i, outs) in [32, 32, 64, 64, 128, 128].into_iter().enumerate() {
        network = network.add(conv2d(ins, outs, 3, same, vb.pp(format!("conv{i}")))?).add(Activation::Tanh);
        if i % 2 == 1 {
            network = network.add(MaxPool2d { kernel: (2, 2), stride: 2 });
        }
        ins = outs;
    }
    network = network.add(Flatten).add(linear(128 * 16, 128, vb.pp("hidden"))?).add(Activation::Tanh);
    Ok(network.add(linear(128, 10, vb.pp("output"))?))
}

fn mlp(vb: VarBuilder<'_>) -> candle_core::Result<Sequential> {
    Ok(Sequential::new()
        .add(linear(784, 1000, vb.pp("first"))?)
        .add(Activation::Relu)
        .add(linear(1000, 1000, vb.pp("second"))?)
        .add(Activation::Relu)
        .add(linear(1000, 10, vb.pp("output"))?))
}

/// An embedding of 64, an LSTM of 128 whose last state is classified: a text classifier over 5,000 words.
fn lstm_classifier(vb: VarBuilder<'_>) -> candle_core::Result<Sequential> {
    Ok(Sequential::new()
        .add(embedding(VOCABULARY as usize, 64, vb.pp("embedding"))?)
        .add(lstm(64, 128, RecurrentConfig::default(), vb.pp("lstm"))?)
        .add(Last)
        .add(linear(128, 2, vb.pp("output"))?))
}

/// Two pre-norm blocks of 4 heads over 128 words in 128 dimensions, averaged and classified: 1,053,442 parameters.
fn transformer(vb: VarBuilder<'_>) -> candle_core::Result<Sequential> {
    let (length, embed) = (128, 128);
    let norm = |vb| layer_norm(embed, LayerNormConfig::default(), vb);
    let words = embedding(VOCABULARY as usize, embed, vb.pp("embedding"))?;
    let mut network = Sequential::new().add(words).add(positions(length, embed, vb.pp("positions"))?);
    for block in 0..2 {
        let vb = vb.pp(format!("block{block}"));
        let config = AttentionConfig { heads: 4, ..Default::default() };
        let attention = multi_head_attention(embed, config, vb.pp("attention"))?;
        let attention = Sequential::new().add(norm(vb.pp("norm1"))?).add(attention);
        let forward = Sequential::new()
            .add(norm(vb.pp("norm2"))?)
            .add(linear(embed, 4 * embed, vb.pp("linear1"))?)
            .add(Activation::Gelu)
            .add(linear(4 * embed, embed, vb.pp("linear2"))?);
        network = network.add(Residual(attention)).add(Residual(forward));
    }
    Ok(network.add(norm(vb.pp("norm"))?).add(Mean).add(linear(embed, 2, vb.pp("output"))?))
}
