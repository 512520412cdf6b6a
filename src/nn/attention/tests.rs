use super::*;
use crate::nn::Parameters;
use crate::seed::Key;
use candle_core::{Device, IndexOp};
use std::collections::HashMap;
use std::path::Path;

fn parameters() -> Parameters {
    Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu)
}

#[test]
fn parameters_have_the_names_of_the_projections() {
    let (with, without) = (parameters(), parameters());
    multi_head_attention(4, AttentionConfig { heads: 2, ..Default::default() }, with.var_builder().pp("a")).unwrap();
    multi_head_attention(4, AttentionConfig { bias: false, ..Default::default() }, without.var_builder()).unwrap();
    let names = |parameters: &Parameters| parameters.iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&with).len(), 8);
    assert!(names(&with).contains(&"a.q_proj.bias".to_string()));
    assert_eq!(names(&without), ["k_proj.weight", "out_proj.weight", "q_proj.weight", "v_proj.weight"]);
}

#[test]
fn a_head_that_looks_evenly_averages_the_values() {
    let eye = Tensor::eye(2, DType::F32, &Device::Cpu).unwrap();
    let zero = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    let linear = |weight: &Tensor| Linear::new(weight.clone(), None).unwrap();
    let make =
        |causal| MultiHeadAttention::new([linear(&zero), linear(&eye), linear(&eye)], linear(&eye), 2, causal).unwrap();
    let xs = Tensor::new(&[[[1f32, 2.0], [3.0, 6.0], [8.0, 1.0]]], &Device::Cpu).unwrap();
    let ys = make(false).forward(&xs, &Tape::off()).unwrap();
    let ys = ys.i((0, 1)).unwrap().to_vec1::<f32>().unwrap();
    assert!((ys[0] - 4.0).abs() < 1e-6 && (ys[1] - 3.0).abs() < 1e-6, "{ys:?}");
    let ys = make(true).forward(&xs, &Tape::off()).unwrap().i((0, 1)).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(ys, [2.0, 4.0]);
    let padding = Tensor::new(&[[1u8, 0, 1]], &Device::Cpu).unwrap();
    let ys = make(false).attend(&xs, &xs, &xs, Some(&padding), &Tape::off()).unwrap();
    assert_eq!(ys.i((0, 2)).unwrap().to_vec1::<f32>().unwrap(), [3.0, 6.0]);
}

#[test]
fn what_does_not_fit_is_an_error_that_names_it() {
    for heads in [0, 3] {
        let config = AttentionConfig { heads, ..Default::default() };
        let error = multi_head_attention(4, config, parameters().var_builder()).unwrap_err().to_string();
        assert!(error.contains(&format!("{heads} heads for an embedding of 4")), "{error}");
    }
    let layer = multi_head_attention(4, AttentionConfig::default(), parameters().var_builder()).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for (query, key) in [
        (&[2, 3, 5][..], &[2, 3, 4][..]),
        (&[2, 4], &[2, 4]),
        (&[2, 3, 4], &[1, 3, 4]),
        (&[2, 3, 4], &[2, 0, 4]),
        (&[], &[]),
    ] {
        let (query, key) = (zeros(query), zeros(key));
        let error = layer.attend(&query, &key, &key, None, &Tape::off()).unwrap_err().to_string();
        assert!(error.contains(&format!("{:?}, {:?}", query.dims(), key.dims())), "{error}");
    }
    let xs = zeros(&[2, 3, 4]);
    let floats = zeros(&[2, 3]);
    for padding in [floats.clone(), floats.to_dtype(DType::U8).unwrap().t().unwrap()] {
        let error = layer.attend(&xs, &xs, &xs, Some(&padding), &Tape::off()).unwrap_err().to_string();
        assert!(error.contains("u8 and (2, 3)"), "{error}");
    }
}

#[test]
fn a_checkpoint_of_one_projection_for_three_loads_after_it_was_split() {
    let parameters = parameters();
    let layer = multi_head_attention(2, AttentionConfig::default(), parameters.var_builder().pp("block.attention"));
    let rows = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((6, 2)).unwrap();
    let bias = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap();
    let mut tensors = HashMap::from([
        ("block.attention.in_proj_weight".to_string(), rows),
        ("block.attention.in_proj_bias".to_string(), bias.clone()),
        ("block.attention.out_proj.weight".to_string(), Tensor::eye(2, DType::F32, &Device::Cpu).unwrap()),
        ("block.attention.out_proj.bias".to_string(), Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap()),
        ("main_proj_weight".to_string(), bias.clone()),
    ]);
    split_in_proj(&mut tensors).unwrap();
    assert_eq!(tensors.len(), 9);
    assert!(tensors.contains_key("main_proj_weight"));
    parameters.load(&tensors, Path::new("m.safetensors")).unwrap();
    let k = layer.unwrap().k_proj;
    assert_eq!(k.weight().to_vec2::<f32>().unwrap(), [[4.0, 5.0], [6.0, 7.0]]);
    assert_eq!(k.bias().unwrap().to_vec1::<f32>().unwrap(), [2.0, 3.0]);
    let mut tensors =
        HashMap::from([("in_proj_bias".to_string(), Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap())]);
    assert!(split_in_proj(&mut tensors).unwrap_err().to_string().contains("in_proj_bias has shape [4]"));
    assert!(tensors.contains_key("in_proj_bias"));
}
