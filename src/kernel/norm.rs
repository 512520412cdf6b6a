//! Normalisation of rows, forwards and backwards: one mean and one deviation for each row, then a scale and a shift.
//!
//! With `x^ = (x - mean) r` and `r = 1 / sqrt(variance + eps)` a value becomes `y = w x^ + b`. Given the cotangent `g` of `y`
//! and `u = w g`, the cotangent of `x` is `r (u - mean(u) - x^ mean(u x^))`, an example's gradient of `w` the sum of `g x^`
//! over the values that meet it, and of `b` the sum of `g` (Ba, Kiros and Hinton 2016; Wu and He 2018). Rows whose mean
//! stays (Zhang and Sennrich 2019) have a zero for the mean and for `mean(u)`.
//!
//! Everything between reading a value and writing one is in f64: a large mean costs an f32 row no digits, and gradients
//! are rounded once. An example is the work of one thread, so the number of threads changes no bit.

use super::memory::{cleared, written, zeroed};
use super::team::Shared;
use super::{Real, once, read};
use crate::profile::{self, Part};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Which values form a row, and which scale and shift they meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    /// Rows of an example.
    pub(crate) rows: usize,
    /// Scales of a row; at least one.
    pub(crate) parameters: usize,
    /// Neighbouring values that share a scale, at least one: a row has `parameters * run` values.
    pub(crate) run: usize,
    /// Whether all rows of an example meet the same scales; otherwise each meets `parameters` of its own.
    pub(crate) shared: bool,
    /// Whether the mean is subtracted.
    pub(crate) remove_mean: bool,
    /// What is added to the variance; positive.
    pub(crate) eps: f64,
}

/// Mean and inverse deviation of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    mean: f64,
    inverse: f64,
}

impl Moments {
    #[inline(always)]
    fn normalised<T: Real>(&self, x: T) -> f64 {
        (x.wide() - self.mean) * self.inverse
    }
}

/// What the backward pass finds.
#[derive(Debug)]
pub(crate) struct Cotangents<T> {
    /// In the shape of the inputs.
    pub(crate) inputs: Vec<T>,
    /// Every example's gradient of the scale, `(batch, scales)`.
    pub(crate) scale: Vec<T>,
    /// Every example's gradient of the shift, `(batch, scales)`.
    pub(crate) shift: Vec<T>,
}

/// What a thread needs for one example.
struct Scratch {
    normalised: Vec<f64>,
    /// Cotangents times scales.
    weighted: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Norm {
    /// Values of a row.
    fn size(&self) -> usize {
        self.parameters * self.run
    }

    /// How many scales there are.
    pub(crate) fn scales(&self) -> usize {
        if self.shared { self.parameters } else { self.rows * self.parameters }
    }

    /// The scales that a row of an example meets.
    fn scales_of(&self, row: usize) -> Range<usize> {
        let start = if self.shared { 0 } else { row * self.parameters };
        start..start + self.parameters
    }

    /// Mean and inverse deviation of every row of `xs` `(batch, rows, size)`.
    pub(crate) fn moments<T: Real>(&self, xs: &[T]) -> Vec<Moments> {
        let _time = profile::time(Part::Normalisation);
        let (size, count) = (self.size(), self.rows_of_piece());
        let mut moments = vec![Moments { mean: 0.0, inverse: 0.0 }; xs.len() / size];
        moments.par_chunks_mut(count).zip(xs.par_chunks(count * size)).each(|(moments, xs)| {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                move || {
                    for (moments, row) in once(moments).iter_mut().zip(xs.chunks_exact(size)) {
                        *moments = self.moments_of(row);
                    }
                },
            );
        });
        moments
    }

    #[inline(always)]
    fn moments_of<T: Real>(&self, row: &[T]) -> Moments {
        let count = row.len() as f64;
        let mean = if self.remove_mean { total(row, |x| x) / count } else { 0.0 };
        let variance = total(row, |x| (x - mean) * (x - mean)) / count;
        Moments { mean, inverse: 1.0 / (variance + self.eps).sqrt() }
    }

    /// How many rows a thread takes at a time.
    fn rows_of_piece(&self) -> usize {
        PIECE.div_ceil(self.size())
    }

    /// The outputs for `xs` `(batch, rows, size)`.
    pub(crate) fn forward<T: Real>(&self, xs: &[T], moments: &[Moments], scale: &[T], shift: &[T]) -> Vec<T> {
        let _time = profile::time(Part::Normalisation);
        let (size, count) = (self.size(), self.rows_of_piece());
        let (ys, _) = written(xs.len(), count * size, |piece, ys, (): &mut ()| {
            let ys = zeroed(ys);
            let (to, first) = (&mut *ys, piece * count);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                move || {
                    let rows = once(to).chunks_exact_mut(size).zip(xs[first * size..].chunks_exact(size));
                    for (row, ((ys, xs), moments)) in rows.zip(&moments[first..]).enumerate() {
                        let scales = self.scales_of((first + row) % self.rows);
                        self.forward_row(xs, moments, (&scale[scales.clone()], &shift[scales]), ys);
                    }
                },
            );
            (ys, ())
        });
        ys
    }

    #[inline(always)]
    fn forward_row<T: Real>(&self, xs: &[T], moments: &Moments, (scale, shift): (&[T], &[T]), ys: &mut [T]) {
        let parameters = scale.iter().zip(shift);
        if self.run == 1 {
            for ((y, x), (w, b)) in ys.iter_mut().zip(xs).zip(parameters) {
                *y = T::from_f64(moments.normalised(*x) * w.wide() + b.wide());
            }
            return;
        }
        for ((ys, xs), (w, b)) in ys.chunks_exact_mut(self.run).zip(xs.chunks_exact(self.run)).zip(parameters) {
            let (w, b) = (w.wide(), b.wide());
            for (y, x) in ys.iter_mut().zip(xs) {
                *y = T::from_f64(moments.normalised(*x) * w + b);
            }
        }
    }

    /// The cotangents of `batch` examples, given those of the outputs.
    pub(crate) fn backward<T: Real>(
        &self,
        batch: usize,
        xs: &[T],
        moments: &[Moments],
        scale: &[T],
        cotangents: &[T],
    ) -> Cotangents<T> {
        let _time = profile::time(Part::Normalisation);
        let (example, scales) = (self.rows * self.size(), self.scales());
        let [scale_gradients, shift] = [(); 2].map(|()| cleared(batch * scales));
        let mut found = Cotangents { inputs: cleared(xs.len()), scale: scale_gradients, shift };
        if xs.is_empty() {
            return found;
        }
        let given = xs.par_chunks(example).zip(cotangents.par_chunks(example)).zip(moments.par_chunks(self.rows));
        let gradients = found.scale.par_chunks_mut(scales).zip(found.shift.par_chunks_mut(scales));
        let examples = found.inputs.par_chunks_mut(example).zip(gradients).zip(given);
        examples.each_with(
            || Scratch::new(self.size(), scales),
            |scratch, ((inputs, (scales, shifts)), ((xs, cotangents), moments))| {
                scratch.scale.fill(0.0);
                scratch.shift.fill(0.0);
                let sums = &mut *scratch;
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    move || {
                        let (inputs, sums) = (once(inputs), once(sums));
                        let given = xs.chunks_exact(self.size()).zip(cotangents.chunks_exact(self.size())).zip(moments);
                        for (row, (inputs, given)) in inputs.chunks_exact_mut(self.size()).zip(given).enumerate() {
                            let ((xs, cotangents), moments) = given;
                            self.backward_row(row, (xs, cotangents, moments), scale, sums, inputs);
                        }
                    },
                );
                scales.iter_mut().zip(&scratch.scale).for_each(|(to, sum)| *to = T::from_f64(*sum));
                shifts.iter_mut().zip(&scratch.shift).for_each(|(to, sum)| *to = T::from_f64(*sum));
            },
        );
        found
    }

    #[inline(always)]
    fn backward_row<T: Real>(
        &self,
        row: usize,
        (xs, cotangents, moments): (&[T], &[T], &Moments),
        scale: &[T],
        scratch: &mut Scratch,
        inputs: &mut [T],
    ) {
        let scales = self.scales_of(row);
        let Scratch { normalised, weighted, scale: scale_sums, shift: shift_sums } = scratch;
        let (scale_sums, shift_sums) = (&mut scale_sums[scales.clone()], &mut shift_sums[scales.clone()]);
        let scale = &scale[scales];
        normalised.iter_mut().zip(xs).for_each(|(to, x)| *to = moments.normalised(*x));
        if self.run == 1 {
            // Loops of few operands each: all of them are vectorised.
            scale_sums.iter_mut().zip(cotangents).zip(&*normalised).for_each(|((sum, g), x)| *sum += g.wide() * x);
            shift_sums.iter_mut().zip(cotangents).for_each(|(sum, g)| *sum += g.wide());
            weighted.iter_mut().zip(cotangents).zip(scale).for_each(|((u, g), w)| *u = g.wide() * w.wide());
        } else {
            let run = self.run;
            let sums = scale_sums.iter_mut().zip(shift_sums).zip(scale);
            let values = normalised.chunks_exact(run).zip(weighted.chunks_exact_mut(run));
            for ((g, (xs, us)), ((scale, shift), w)) in cotangents.chunks_exact(run).zip(values).zip(sums) {
                *scale += dot(g, xs);
                *shift += total(g, |g| g);
                let w = w.wide();
                us.iter_mut().zip(g).for_each(|(u, g)| *u = g.wide() * w);
            }
        }
        let count = self.size() as f64;
        let mean = if self.remove_mean { total(weighted, |u| u) / count } else { 0.0 };
        let along = dot(weighted, normalised) / count;
        for ((to, u), x) in inputs.iter_mut().zip(&*weighted).zip(&*normalised) {
            *to = T::from_f64(moments.inverse * (u - mean - x * along));
        }
    }
}

impl Scratch {
    fn new(size: usize, scales: usize) -> Self {
        let zeros = |count| vec![0.0; count];
        Self { normalised: zeros(size), weighted: zeros(size), scale: zeros(scales), shift: zeros(scales) }
    }
}

/// Values a thread takes at a time, of whole rows.
const PIECE: usize = 1 << 13;

/// Sums are taken in this many strands, which a processor adds side by side; always in the same order.
const STRANDS: usize = 8;

/// The sum of `f` over the values, in f64.
#[inline(always)]
fn total<T: Real>(values: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let mut strands = [0.0; STRANDS];
    let (chunks, rest) = values.as_chunks::<STRANDS>();
    for chunk in chunks {
        strands.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += f(x.wide()));
    }
    strands.iter_mut().zip(rest).for_each(|(sum, x)| *sum += f(x.wide()));
    strands.iter().sum()
}

/// The sum of products, in f64.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[f64]) -> f64 {
    let mut strands = [0.0; STRANDS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STRANDS>(), b.as_chunks::<STRANDS>());
    for (a, b) in a.iter().zip(b) {
        strands.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a.wide() * b);
    }
    strands.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(|(sum, (a, b))| *sum += a.wide() * b);
    strands.iter().sum()
}

/// [`Norm::moments`] of a contiguous tensor on the CPU.
pub(crate) fn moments<T: Real>(norm: &Norm, xs: &Tensor) -> Result<Vec<Moments>> {
    read(xs, |xs: &[T]| Ok(norm.moments(xs)))
}

#[cfg(test)]
mod tests;
