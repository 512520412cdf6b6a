//! A step of Adam: parameter and both moments in one pass.

use super::team::Shared;
use super::{Real, dispatch, once, slice};
use crate::profile::{self, Part};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// The numbers of one step, all corrections for the start included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Adam {
    /// How much of the mean and of the mean square is kept.
    pub(crate) keep: (f64, f64),
    /// The step length over 1 - beta1^t.
    pub(crate) rate: f64,
    /// 1 / (1 - beta2^t).
    pub(crate) square_scale: f64,
    /// What is taken off the mean square, and the least that is left of it.
    pub(crate) correction: (f64, f64),
    /// What is added to the root.
    pub(crate) epsilon: f64,
    /// The multiple of the parameter that is added to its gradient.
    pub(crate) l2: f64,
    /// The share of the parameter that is left before the step.
    pub(crate) left: f64,
}

/// Moves `parameter` along `gradient` by one step, and `moments`, which hold the mean and then the mean square, with it. In f64,
/// each result rounded once.
///
/// On the CPU nothing is allocated. All three own their storage: whoever shares it sees the new values.
pub(crate) fn step(adam: &Adam, parameter: &Tensor, gradient: &Tensor, moments: &Tensor) -> Result<()> {
    let _time = profile::time(Part::Updates);
    if !parameter.device().is_cpu() {
        return portable(adam, parameter, gradient, moments);
    }
    parameter.inplace_op2(&gradient.contiguous()?, &OfParameter { adam, moments })
}

/// The same in plain tensor operations, each rounded to the type of the tensors.
fn portable(adam: &Adam, parameter: &Tensor, gradient: &Tensor, moments: &Tensor) -> Result<()> {
    let (parameter, gradient) = (parameter.flatten_all()?, gradient.flatten_all()?);
    let gradient = if adam.l2 == 0.0 { gradient } else { (gradient + (&parameter * adam.l2)?)? };
    let kept = |i: usize, keep: f64, new: &Tensor| (moments.get(i)? * keep)? + (new * (1.0 - keep))?;
    let (mean, square) = (kept(0, adam.keep.0, &gradient)?, kept(1, adam.keep.1, &gradient.sqr()?)?);
    let (off, least) = adam.correction;
    let root = (((&square * adam.square_scale)? - off)?.maximum(least)?.sqrt()? + adam.epsilon)?;
    let moved = ((&parameter * adam.left)? - ((&mean * adam.rate)? / root)?)?;
    moments.slice_set(&Tensor::stack(&[mean, square], 0)?, 0, 0)?;
    parameter.slice_set(&moved, 0, 0)
}

/// The operation on the parameter. Moments are written too, so theirs runs inside it.
struct OfParameter<'a> {
    adam: &'a Adam,
    moments: &'a Tensor,
}

/// The operation on the moments, with the elements of parameter and gradient.
struct OfMoments<'a, T> {
    adam: &'a Adam,
    parameter: Mutex<&'a mut [T]>,
    gradient: &'a [T],
}

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 12;

impl InplaceOp2 for OfParameter<'_> {
    fn name(&self) -> &'static str {
        "dpsgd-adam"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        fn run<T: Real>(
            op: &OfParameter<'_>,
            parameter: &mut CpuStorage,
            layout: &Layout,
            gradient: &CpuStorage,
            of_gradient: &Layout,
        ) -> Result<()> {
            let parameter = Mutex::new(elements::<T>(parameter, layout)?);
            op.moments.inplace_op1(&OfMoments { adam: op.adam, parameter, gradient: slice(gradient, of_gradient)? })
        }
        dispatch!(s2.dtype(), run(self, s1, l1, s2, l2))
    }
}

impl<T: Real> InplaceOp1 for OfMoments<'_, T> {
    fn name(&self) -> &'static str {
        "dpsgd-adam-moments"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Ok(mut parameter) = self.parameter.lock() else { bail!("a step of Adam that had failed before") };
        let (moments, count) = (elements::<T>(storage, layout)?, parameter.len());
        if self.gradient.len() != count || moments.len() != 2 * count {
            bail!("Adam on {count} elements with {} gradients and {} moments", self.gradient.len(), moments.len());
        }
        let (means, squares) = moments.split_at_mut(count);
        let values = parameter.par_chunks_mut(CHUNK).zip(self.gradient.par_chunks(CHUNK));
        let moments = means.par_chunks_mut(CHUNK).zip(squares.par_chunks_mut(CHUNK));
        values.zip(moments).each(|((parameter, gradient), (means, squares))| {
            self.adam.apply(parameter, gradient, means, squares);
        });
        Ok(())
    }
}

impl Adam {
    /// The step for some elements. No operation is fused with another, so that every processor has the same bits.
    fn apply<T: Real>(&self, parameter: &mut [T], gradient: &[T], means: &mut [T], squares: &mut [T]) {
        let Self { keep, rate, square_scale, correction: (off, least), epsilon, l2, left } = *self;
        let new = (1.0 - keep.0, 1.0 - keep.1);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let moments = means.iter_mut().zip(squares);
                for ((parameter, gradient), (mean, square)) in once(parameter).iter_mut().zip(gradient).zip(moments) {
                    let gradient = gradient.wide() + l2 * parameter.wide();
                    let first = keep.0 * mean.wide() + new.0 * gradient;
                    let second = keep.1 * square.wide() + new.1 * (gradient * gradient);
                    let root = (second * square_scale - off).max(least).sqrt() + epsilon;
                    *parameter = T::from_f64(left * parameter.wide() - rate * first / root);
                    *mean = T::from_f64(first);
                    *square = T::from_f64(second);
                }
            },
        );
    }
}

/// The elements of a contiguous piece of storage, to be changed.
fn elements<'a, T: Real>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut T::elements_of(storage)?[start..end]),
        None => bail!("a step of Adam on a tensor that is not contiguous"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    const ADAM: Adam = Adam {
        keep: (0.9, 0.99),
        rate: 0.3,
        square_scale: 1.5,
        correction: (0.02, 0.3),
        epsilon: 1e-3,
        l2: 0.1,
        left: 0.95,
    };

    fn tensors(count: usize, dtype: DType) -> [Tensor; 3] {
        let wave = |n: usize, f: f64| {
            let values = (0..n).map(|i| (f * i as f64).sin()).collect::<Vec<_>>();
            Tensor::from_vec(values, n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let moments = wave(2 * count, 0.3).abs().unwrap().reshape((2, count)).unwrap();
        [wave(count, 0.7), wave(count, 1.1), moments]
    }

    fn flat(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_portable_twin_agrees_and_threads_change_no_bit() {
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let run = |step: fn(&Adam, &Tensor, &Tensor, &Tensor) -> Result<()>, threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let [parameter, gradient, moments] = tensors(3 * CHUNK + 7, dtype);
                    step(&ADAM, &parameter, &gradient, &moments).unwrap();
                    [flat(&parameter), flat(&moments)].concat()
                })
            };
            let (one, twin) = (run(step, 1), run(portable, 1));
            assert_eq!(run(step, 3), one);
            let far = one.iter().zip(&twin).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max);
            assert!(far < tolerance, "{dtype:?}: {far}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let [parameter, gradient, moments] = tensors(6, DType::F32);
        let short = gradient.narrow(0, 0, 5).unwrap();
        assert!(step(&ADAM, &parameter, &short, &moments).is_err());
        assert!(step(&ADAM, &parameter, &gradient, &moments.narrow(0, 0, 1).unwrap()).is_err());
        assert!(step(&ADAM, &parameter, &gradient.to_dtype(DType::F64).unwrap(), &moments).is_err());
        assert!(step(&ADAM, &parameter, &gradient, &moments).is_ok());
    }
}
