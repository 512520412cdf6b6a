//! One time step of one example: gates from pre-activations, and cotangents of pre-activations from cotangents of states.
//!
//! A step is given the pre-activations in two parts, `x` from the inputs (`W_ih x_t + b_ih`) and `r` from the previous hidden
//! state (`W_hh h_{t-1} + b_hh`), gate after gate in PyTorch's order. What the backward step reads is kept by the forward step.

use crate::kernel::Real;

/// The cells there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Gates i, f, g, o: `c_t = f c_{t-1} + i g`, `h_t = o tanh(c_t)` (Hochreiter and Schmidhuber 1997, with the forget gate of
    /// Gers, Schmidhuber and Cummins 2000).
    Lstm,
    /// Gates r, z, n: `n = tanh(x_n + r r_n)`, `h_t = (1 - z) n + z h_{t-1}` (Cho et al. 2014, with the reset gate after the
    /// product, as PyTorch and cuDNN have it).
    Gru,
    /// `h_t = tanh(x + r)` (Elman 1990).
    Tanh,
    /// `h_t = max(x + r, 0)`, with derivative one at zero, as candle's own.
    Relu,
}

impl Cell {
    /// What errors call the layer.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lstm => "lstm",
            Self::Gru => "gru",
            Self::Tanh | Self::Relu => "rnn",
        }
    }

    /// Pre-activations for each hidden unit.
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Tanh | Self::Relu => 1,
        }
    }

    /// Whether the cotangents of the two parts of the pre-activations differ: where they are not simply added.
    pub(crate) fn parts_differ(self) -> bool {
        self == Self::Gru
    }

    /// Numbers kept for the backward step for each hidden unit.
    pub(super) fn kept(self) -> usize {
        match self {
            Self::Lstm => 6,
            Self::Gru => 5,
            Self::Tanh | Self::Relu => 1,
        }
    }

    /// Writes the hidden state to `out` and what the backward step needs to `kept`, and moves `state` on: the cell state of an
    /// LSTM, the hidden state of a GRU.
    pub(super) fn forward<T: Real>(self, x: &[T], r: &[T], state: &mut [T], out: &mut [T], kept: &mut [T]) {
        let h = out.len();
        match self {
            Self::Lstm => {
                let (gates, rest) = kept.split_at_mut(4 * h);
                let (tanh_c, before) = rest.split_at_mut(h);
                gates.iter_mut().zip(x).zip(r).for_each(|((gate, x), r)| *gate = *x + *r);
                T::sigmoid_of(&mut gates[..2 * h]);
                T::tanh_of(&mut gates[2 * h..3 * h]);
                T::sigmoid_of(&mut gates[3 * h..]);
                let [i, f, g, o] = parts(gates);
                before.copy_from_slice(state);
                for j in 0..h {
                    state[j] = f[j] * before[j] + i[j] * g[j];
                }
                tanh_c.copy_from_slice(state);
                T::tanh_of(tanh_c);
                for j in 0..h {
                    out[j] = o[j] * tanh_c[j];
                }
            }
            Self::Gru => {
                let (gates, rest) = kept.split_at_mut(2 * h);
                let (n, rest) = rest.split_at_mut(h);
                let (r_n, before) = rest.split_at_mut(h);
                gates.iter_mut().zip(x).zip(r).for_each(|((gate, x), r)| *gate = *x + *r);
                T::sigmoid_of(gates);
                let [reset, z] = parts(gates);
                r_n.copy_from_slice(&r[2 * h..]);
                let x_n = &x[2 * h..];
                for j in 0..h {
                    n[j] = x_n[j] + reset[j] * r_n[j];
                }
                T::tanh_of(n);
                before.copy_from_slice(state);
                for j in 0..h {
                    out[j] = (T::one() - z[j]) * n[j] + z[j] * before[j];
                }
                state.copy_from_slice(out);
            }
            Self::Tanh => {
                out.iter_mut().zip(x).zip(r).for_each(|((out, x), r)| *out = *x + *r);
                T::tanh_of(out);
                kept.iter_mut().zip(out).for_each(|(slope, y)| *slope = T::one() - *y * *y);
            }
            Self::Relu => {
                for j in 0..h {
                    let sum = x[j] + r[j];
                    // Asked this way round, NaN stays NaN.
                    (out[j], kept[j]) = if sum < T::zero() { (T::zero(), T::zero()) } else { (sum, T::one()) };
                }
            }
        }
    }

    /// Writes the cotangents of the pre-activations: of `x` to `g_x`, and to `g_r` those of `r` if they differ (else it is not
    /// touched).
    ///
    /// `d_h` holds the cotangent of `h_t` and is left with the part of that of `h_{t-1}` that does not come through `r`;
    /// `d_state` carries the cotangent of an LSTM's cell state from step to step.
    pub(super) fn backward<T: Real>(self, kept: &[T], d_h: &mut [T], d_state: &mut [T], g_x: &mut [T], g_r: &mut [T]) {
        let (h, one) = (d_h.len(), T::one());
        match self {
            Self::Lstm => {
                let [i, f, g, o, tanh_c, before] = parts(kept);
                let [g_i, g_f, g_g, g_o] = parts_mut(g_x);
                for j in 0..h {
                    let d_c = d_state[j] + d_h[j] * o[j] * (one - tanh_c[j] * tanh_c[j]);
                    g_i[j] = d_c * g[j] * i[j] * (one - i[j]);
                    g_f[j] = d_c * before[j] * f[j] * (one - f[j]);
                    g_g[j] = d_c * i[j] * (one - g[j] * g[j]);
                    g_o[j] = d_h[j] * tanh_c[j] * o[j] * (one - o[j]);
                    d_state[j] = d_c * f[j];
                    d_h[j] = T::zero();
                }
            }
            Self::Gru => {
                let [reset, z, n, r_n, before] = parts(kept);
                let [x_r, x_z, x_n] = parts_mut(g_x);
                let [r_r, r_z, r_n_cotangent] = parts_mut(g_r);
                for j in 0..h {
                    let d_n = d_h[j] * (one - z[j]) * (one - n[j] * n[j]);
                    x_r[j] = d_n * r_n[j] * reset[j] * (one - reset[j]);
                    x_z[j] = d_h[j] * (before[j] - n[j]) * z[j] * (one - z[j]);
                    x_n[j] = d_n;
                    r_n_cotangent[j] = d_n * reset[j];
                    d_h[j] *= z[j];
                }
                r_r.copy_from_slice(x_r);
                r_z.copy_from_slice(x_z);
            }
            Self::Tanh | Self::Relu => {
                for j in 0..h {
                    g_x[j] = d_h[j] * kept[j];
                    d_h[j] = T::zero();
                }
            }
        }
    }
}

/// Equal parts of a slice whose length is a multiple of their number.
fn parts<const N: usize, T>(xs: &[T]) -> [&[T]; N] {
    let size = xs.len() / N;
    std::array::from_fn(|part| &xs[part * size..(part + 1) * size])
}

fn parts_mut<const N: usize, T>(xs: &mut [T]) -> [&mut [T]; N] {
    let mut chunks = xs.chunks_exact_mut(xs.len() / N);
    std::array::from_fn(|_| chunks.next().unwrap_or_default())
}
