//! Updates in place.

use super::memory::{rounded, written};
use super::team::Shared;
use super::{Real, dispatch, once, slice, widen};
use crate::profile::{self, Part};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// `target = keep target + add source`, element by element and rounded as written.
///
/// On the CPU nothing is allocated. `target` must own its storage: whoever shares it sees the new values.
pub(crate) fn update(target: &Tensor, keep: f64, source: &Tensor, add: f64) -> Result<()> {
    let _time = profile::time(Part::Updates);
    if !target.device().is_cpu() {
        return target.slice_set(&((target * keep)? + (source * add)?)?, 0, 0);
    }
    target.inplace_op2(&source.contiguous()?, &Update { keep, add })
}

/// `target = target + share (source - target)`, element by element, in f64 and rounded once: a target that is the source stays
/// what it is, whatever the share.
///
/// On the CPU nothing is allocated. `target` must own its storage: whoever shares it sees the new values.
pub(crate) fn approach(target: &Tensor, source: &Tensor, share: f64) -> Result<()> {
    let _time = profile::time(Part::Updates);
    if !target.device().is_cpu() {
        return target.slice_set(&(target + ((source - target)? * share)?)?, 0, 0);
    }
    target.inplace_op2(&source.contiguous()?, &Approach { share })
}

/// The values in f64 as `f(number of the block, block)` maps them on all threads, at most `block` at a time, each rounded once.
pub(crate) fn mapped<S: Real, T: Real>(values: &[S], block: usize, f: impl Fn(usize, &mut [f64]) + Sync) -> Vec<T> {
    let (mapped, _) = written(values.len(), block, |i, out, wide: &mut Vec<f64>| {
        wide.resize(out.len(), 0.0);
        widen(&values[i * block..][..out.len()], wide);
        f(i, wide);
        (rounded(out, wide), ())
    });
    mapped
}

/// Replaces every value by what `f` makes of it.
pub(crate) fn in_place(values: &mut [f64], f: impl Fn(f64) -> f64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || once(values).iter_mut().for_each(|value| *value = f(*value)),
    );
}

/// Replaces every value by what `f` makes of it and its partner, as far as there are both.
pub(crate) fn in_place_with(values: &mut [f64], partners: &[f64], f: impl Fn(f64, f64) -> f64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || once(values).iter_mut().zip(partners).for_each(|(value, partner)| *value = f(*value, *partner)),
    );
}

struct Update {
    keep: f64,
    add: f64,
}

struct Approach {
    share: f64,
}

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 14;

impl InplaceOp2 for Update {
    fn name(&self) -> &'static str {
        "dpsgd-update"
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, tl: &Layout, source: &CpuStorage, sl: &Layout) -> Result<()> {
        fn run<T: Real>(
            op: &Update,
            target: &mut CpuStorage,
            tl: &Layout,
            source: &CpuStorage,
            sl: &Layout,
        ) -> Result<()> {
            let (keep, add) = (T::from_f64(op.keep), T::from_f64(op.add));
            of_chunks((target, tl), (source, sl), |target: &mut [T], source| {
                for (target, source) in target.iter_mut().zip(source) {
                    *target = keep * *target + add * *source;
                }
            })
        }
        dispatch!(source.dtype(), run(self, target, tl, source, sl))
    }
}

impl InplaceOp2 for Approach {
    fn name(&self) -> &'static str {
        "dpsgd-approach"
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, tl: &Layout, source: &CpuStorage, sl: &Layout) -> Result<()> {
        fn run<T: Real>(
            share: f64,
            target: &mut CpuStorage,
            tl: &Layout,
            source: &CpuStorage,
            sl: &Layout,
        ) -> Result<()> {
            of_chunks((target, tl), (source, sl), |target: &mut [T], source| {
                for (target, source) in target.iter_mut().zip(source) {
                    *target = T::from_f64(target.wide() + share * (source.wide() - target.wide()));
                }
            })
        }
        dispatch!(source.dtype(), run(self.share, target, tl, source, sl))
    }
}

/// Calls `f` with the same chunks of target and source, on all threads.
fn of_chunks<T: Real>(
    (target, tl): (&mut CpuStorage, &Layout),
    (source, sl): (&CpuStorage, &Layout),
    f: impl Fn(&mut [T], &[T]) + Sync + Send,
) -> Result<()> {
    let source: &[T] = slice(source, sl)?;
    let Some((start, end)) = tl.contiguous_offsets() else { bail!("an update of a tensor that is not contiguous") };
    let target = &mut T::elements_of(target)?[start..end];
    if target.len() != source.len() {
        bail!("an update of {} elements with {}", target.len(), source.len());
    }
    target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK)).each(|(target, source)| f(target, source));
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn values_are_mapped_by_blocks_and_rounded_once() {
        let third = |i: usize, block: &mut [f64]| block.iter_mut().for_each(|x| *x = (*x + i as f64) / 3.0);
        let mapped: Vec<f32> = mapped(&[0.0_f64, 1.0, 2.0, 3.0, 4.0], 2, third);
        assert_eq!(mapped, [0.0, 1.0 / 3.0, 1.0, 4.0 / 3.0, 2.0].map(|x: f64| x as f32));
    }

    #[test]
    fn a_tensor_is_updated_where_it_is() {
        let target = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0], (2, 2), &Device::Cpu).unwrap();
        let shared = target.clone();
        let source = Tensor::from_vec(vec![10.0_f32, 20.0, 30.0, 40.0], (2, 2), &Device::Cpu).unwrap();
        update(&target, 0.5, &source.t().unwrap(), -1.0).unwrap();
        assert_eq!(shared.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [-9.5, -29.0, -18.5, -38.0]);
        assert!(update(&target, 1.0, &source.narrow(0, 0, 1).unwrap(), 1.0).is_err());
        assert!(update(&target, 1.0, &source.to_dtype(candle_core::DType::F64).unwrap(), 1.0).is_err());
    }

    #[test]
    fn a_tensor_approaches_another_and_stays_where_it_has_arrived() {
        let target = Tensor::from_vec(vec![1.0_f32, 0.1], 2, &Device::Cpu).unwrap();
        approach(&target, &Tensor::from_vec(vec![3.0_f32, 0.1], 2, &Device::Cpu).unwrap(), 0.25).unwrap();
        assert_eq!(target.to_vec1::<f32>().unwrap(), [1.5, 0.1]);
        assert!(approach(&target, &target.copy().unwrap().narrow(0, 0, 1).unwrap(), 0.25).is_err());
    }
}
