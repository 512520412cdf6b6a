//! Checkpoints of PyTorch's `nn.MultiheadAttention`, which keeps the projections of queries, keys and values as one.

use candle_core::{Result, Tensor, bail};
use std::collections::HashMap;

/// Gives every `in_proj_weight` `(3 embed, embed)` and `in_proj_bias` `(3 embed)` the names that
/// [`multi_head_attention`](super::multi_head_attention) uses, in thirds: `q_proj.weight`, `k_proj.weight`, `v_proj.weight`
/// and the same with `bias`, under the path they were found at. Other tensors stay as they are.
///
/// # Errors
/// When the first dimension of one of these has no thirds; then nothing has been renamed.
pub fn split_in_proj(tensors: &mut HashMap<String, Tensor>) -> Result<()> {
    let mut parts = Vec::new();
    for (name, tensor) in tensors.iter() {
        let Some((path, kind)) = ["weight", "bias"]
            .iter()
            .find_map(|kind| Some((name.strip_suffix(&format!("in_proj_{kind}"))?, kind)))
            .filter(|(path, _)| path.is_empty() || path.ends_with('.'))
        else {
            continue;
        };
        let rows = tensor.dims().first().copied().unwrap_or(0);
        if rows == 0 || !rows.is_multiple_of(3) {
            bail!("attention: {name} has shape {:?}, and three projections of equal size are needed", tensor.dims());
        }
        for (i, projection) in ["q_proj", "k_proj", "v_proj"].iter().enumerate() {
            parts.push((format!("{path}{projection}.{kind}"), tensor.narrow(0, i * rows / 3, rows / 3)?.contiguous()?));
        }
    }
    let ours = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        last == "in_proj_weight" || last == "in_proj_bias"
    };
    tensors.retain(|name, _| !ours(name));
    tensors.extend(parts);
    Ok(())
}
