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
            // The gates and the cell state.
            Self::Lstm => 5,
            Self::Gru => 5,
            Self::Tanh | Self::Relu => 1,
        }
    }

    /// Writes the hidden state to `out` and what the backward step needs to `kept`, and moves `state` on: the cell state of an
    /// LSTM, the hidden state of a GRU.
    ///
    /// Loops are many and each has few operands: so compilers vectorise them, and all the operands are in the nearest cache.
    #[inline(always)]
    pub(super) fn forward<T: Real>(self, x: &[T], r: &[T], state: &mut [T], out: &mut [T], kept: &mut [T]) {
        let h = out.len();
        match self {
            Self::Lstm => {
                let (gates, c) = kept.split_at_mut(4 * h);
                set2(&mut gates[..2 * h], x, r, |_, x, r| (x + r).logistic());
                set2(&mut gates[2 * h..3 * h], &x[2 * h..], &r[2 * h..], |_, x, r| (x + r).hyperbolic_tangent());
                set2(&mut gates[3 * h..], &x[3 * h..], &r[3 * h..], |_, x, r| (x + r).logistic());
                let [i, f, g, o] = parts(gates);
                set3(state, i, f, g, |c, i, f, g| f * c + i * g);
                c.copy_from_slice(state);
                set1(out, c, |_, c| c.hyperbolic_tangent());
                set1(out, o, |tanh_c, o| o * tanh_c);
            }
            Self::Gru => {
                let (gates, rest) = kept.split_at_mut(2 * h);
                let (n, rest) = rest.split_at_mut(h);
                let (r_n, before) = rest.split_at_mut(h);
                set2(gates, x, r, |_, x, r| (x + r).logistic());
                let [reset, z] = parts(gates);
                r_n.copy_from_slice(&r[2 * h..]);
                set2(n, reset, r_n, |_, reset, r_n| reset * r_n);
                set1(n, &x[2 * h..], |r, x| (x + r).hyperbolic_tangent());
                before.copy_from_slice(state);
                set2(state, z, n, |before, z, n| (T::one() - z) * n + z * before);
                out.copy_from_slice(state);
            }
            Self::Tanh => {
                set2(out, x, r, |_, x, r| (x + r).hyperbolic_tangent());
                set1(kept, out, |_, y| T::one() - y * y);
            }
            Self::Relu => {
                // Asked this way round, NaN stays NaN.
                set2(out, x, r, |_, x, r| if x + r < T::zero() { T::zero() } else { x + r });
                set2(kept, x, r, |_, x, r| if x + r < T::zero() { T::zero() } else { T::one() });
            }
        }
    }

    /// Writes the cotangents of the pre-activations: of `x` to `g_x`, and to `g_r` those of `r` if they differ (else it is not
    /// touched).
    ///
    /// `d_h` holds the cotangent of `h_t` and is left with the part of that of `h_{t-1}` that does not come through `r`;
    /// `d_state` carries the cotangent of an LSTM's cell state from step to step, and `before` is what the step before kept;
    /// nothing at the first.
    #[inline(always)]
    pub(super) fn backward<T: Real>(
        self,
        (kept, before): (&[T], &[T]),
        d_h: &mut [T],
        d_state: &mut [T],
        g_x: &mut [T],
        g_r: &mut [T],
    ) {
        let (h, one) = (d_h.len(), T::one());
        match self {
            Self::Lstm => {
                let [i, f, g, o, c] = parts(kept);
                let [g_i, g_f, g_g, g_o] = parts_mut(g_x);
                // Computed again: that is less work than to keep it.
                let tanh_c = g_o;
                set1(tanh_c, c, |_, c| c.hyperbolic_tangent());
                set3(d_state, d_h, o, tanh_c, |d_c, d_h, o, tanh_c| d_c + d_h * o * (one - tanh_c * tanh_c));
                set3(g_i, d_state, g, i, |_, d_c, g, i| d_c * g * i * (one - i));
                match before {
                    // The cell state before the first step is zero.
                    [] => set1(g_f, d_state, |_, d_c| d_c * T::zero()),
                    before => set2(g_f, d_state, &before[4 * h..], |_, d_c, before| d_c * before),
                }
                set1(g_f, f, |g, f| g * f * (one - f));
                set3(g_g, d_state, i, g, |_, d_c, i, g| d_c * i * (one - g * g));
                let g_o = tanh_c;
                set2(g_o, d_h, o, |tanh_c, d_h, o| d_h * tanh_c * o * (one - o));
                set1(d_state, f, |d_c, f| d_c * f);
                d_h.fill(T::zero());
            }
            Self::Gru => {
                let [reset, z, n, r_n, before] = parts(kept);
                let [x_r, x_z, x_n] = parts_mut(g_x);
                let [r_r, r_z, r_n_cotangent] = parts_mut(g_r);
                set3(x_n, d_h, z, n, |_, d_h, z, n| d_h * (one - z) * (one - n * n));
                set3(x_r, x_n, r_n, reset, |_, d_n, r_n, reset| d_n * r_n * reset * (one - reset));
                set3(x_z, d_h, before, n, |_, d_h, before, n| d_h * (before - n));
                set1(x_z, z, |g, z| g * z * (one - z));
                set2(r_n_cotangent, x_n, reset, |_, d_n, reset| d_n * reset);
                set1(d_h, z, |d_h, z| d_h * z);
                r_r.copy_from_slice(x_r);
                r_z.copy_from_slice(x_z);
            }
            Self::Tanh | Self::Relu => {
                set2(g_x, d_h, kept, |_, d_h, slope| d_h * slope);
                d_h.fill(T::zero());
            }
        }
    }
}

/// Sets every element to `f` of what it was and what lies there in `a`.
#[inline(always)]
pub(super) fn set1<T: Copy>(out: &mut [T], a: &[T], f: impl Fn(T, T) -> T) {
    for (out, a) in out.iter_mut().zip(a) {
        *out = f(*out, *a);
    }
}

/// The same with two slices.
#[inline(always)]
fn set2<T: Copy>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(T, T, T) -> T) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = f(*out, *a, *b);
    }
}

/// The same with three slices.
#[inline(always)]
fn set3<T: Copy>(out: &mut [T], a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T, T) -> T) {
    for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = f(*out, *a, *b, *c);
    }
}

/// Equal parts of a slice whose length is a multiple of their number.
#[inline(always)]
fn parts<const N: usize, T>(xs: &[T]) -> [&[T]; N] {
    let size = xs.len() / N;
    std::array::from_fn(|part| &xs[part * size..(part + 1) * size])
}

#[inline(always)]
fn parts_mut<const N: usize, T>(xs: &mut [T]) -> [&mut [T]; N] {
    let mut chunks = xs.chunks_exact_mut(xs.len() / N);
    std::array::from_fn(|_| chunks.next().unwrap_or_default())
}
