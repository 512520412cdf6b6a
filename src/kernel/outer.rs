//! Per-example gradients of a weight: sums of outer products of cotangents and inputs.
//!
//! Example `i` with inputs `A_i` `(positions, d)` and cotangents `G_i` `(p, positions)` has the gradient `G_i A_i`
//! `(p, d)`. With groups the channels of both are cut into equal parts that do not mix, and the gradient is the stack
//! `(groups p, d)`. Linear layers have one group; the inputs of a convolution are patches of its image.

use super::blocks;
use super::direct::{Arrangement, Direct, Scratch};
use super::matmul::{View, affine, matmul, matmul_new, matmul_parallel};
use super::memory::{written, zeroed};
use super::patches::Patches;
use super::rows::row_norms;
use super::team::Shared;
use super::thin::{self, MOST_OUTPUTS};
use super::{Real, norm_bound, norm_of, product_bound, to_f64, widen};
use crate::profile::{self, Part};
use rayon::prelude::*;

/// The inputs of all examples.
#[derive(Clone, Copy)]
pub(crate) enum Inputs<'a, T> {
    /// `(batch, positions, d)`, one group.
    Rows(&'a [T]),
    /// Images `(batch, groups * channels, height, width)`; a row of `A_i` is a patch.
    Images { pixels: &'a [T], patches: Patches },
}

/// The records of one weight for a batch.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a, T> {
    pub(crate) inputs: Inputs<'a, T>,
    /// `(batch, positions, p)` beside rows, `(batch, groups * p, positions)` beside images.
    pub(crate) cotangents: &'a [T],
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    pub(crate) positions: usize,
    /// Inputs of one group.
    pub(crate) d: usize,
    /// Outputs of one group.
    pub(crate) p: usize,
    /// Upper bounds on the norms of the rows of inputs of one position, where they are known.
    pub(crate) input_norms: Option<&'a [f64]>,
}

/// How many examples a thread takes at a time when their gradients are summed: a constant, so that the order of the
/// sum does not depend on the number of threads.
const EXAMPLES_PER_SUM: usize = 32;

/// How many elements a thread converts at a time.
const WIDENED: usize = 1 << 16;

impl<'a, T: Real> Outer<'a, T> {
    /// Elements of one example's gradient.
    fn size(&self) -> usize {
        self.groups * self.p * self.d
    }

    /// `(positions, d)` of one example and group, gathered into `scratch` where it is not stored as such.
    fn a<'s>(&self, example: usize, group: usize, scratch: &'s mut Vec<T>) -> View<'s, T>
    where
        'a: 's,
    {
        match self.inputs {
            Inputs::Rows(rows) => {
                let size = self.positions * self.d;
                View::row_major(&rows[example * size..(example + 1) * size], self.positions, self.d)
            }
            Inputs::Images { pixels, patches } => {
                let size = self.d / patches.area() * patches.height * patches.width;
                let image = &pixels[(example * self.groups + group) * size..][..size];
                patches.gather(image, scratch).t()
            }
        }
    }

    /// `(p, positions)` of one example and group.
    fn g(&self, example: usize, group: usize) -> View<'a, T> {
        let size = self.p * self.positions;
        let data = &self.cotangents[(example * self.groups + group) * size..][..size];
        match self.inputs {
            Inputs::Rows(_) => View::row_major(data, self.positions, self.p).t(),
            Inputs::Images { .. } => View::row_major(data, self.p, self.positions),
        }
    }

    /// The convolution whose gradients these are, and its pixels, where that is cheaper without patches.
    fn direct(&self) -> Option<(Direct, &'a [T])> {
        let Inputs::Images { pixels, patches } = self.inputs else { return None };
        let direct = Direct::to_gradients::<T>(patches, self.groups, self.d / patches.area(), self.p)?;
        (self.batch > 0).then_some((direct, pixels))
    }

    /// Of all examples' pixels, those of some, and their cotangents.
    fn some(&self, pixels: &'a [T], first: usize, count: usize) -> (&'a [T], &'a [T]) {
        let (image, g) = (pixels.len() / self.batch, self.cotangents.len() / self.batch);
        (&pixels[first * image..][..count * image], &self.cotangents[first * g..][..count * g])
    }

    /// Every example's gradient, `(batch, groups p d)`.
    pub(crate) fn instantiate(&self) -> Vec<T> {
        self.formed(self.direct(), false, |_| ()).0
    }

    /// The same with its elements in another order, if that is cheaper, and an upper bound on the norm of each.
    pub(crate) fn measure(&self) -> (Vec<T>, Vec<f64>, Option<Arrangement>) {
        let direct = self.direct();
        let arrangement = direct.as_ref().and_then(|(direct, _)| direct.arrangement());
        let (gradients, norms) = self.formed(direct, arrangement.is_some(), |gradient| {
            let _time = profile::time(Part::Norms);
            norm_of(gradient)
        });
        (gradients, norms, arrangement)
    }

    /// Every example's gradient, and what `see` finds in it while it is in cache.
    fn formed<R: Send>(
        &self,
        direct: Option<(Direct, &'a [T])>,
        arranged: bool,
        see: impl Fn(&[T]) -> R + Sync,
    ) -> (Vec<T>, Vec<R>) {
        if self.size() == 0 {
            return (Vec::new(), (0..self.batch).map(|_| see(&[])).collect());
        }
        let size = self.size();
        written(self.batch * size, size, |example, out, (scratch, patches): &mut (Scratch<T>, Vec<T>)| {
            let gradient = if let Some((direct, pixels)) = &direct {
                let (image, g) = self.some(pixels, example, 1);
                direct.gradient(arranged, image, g, out, scratch)
            } else if self.groups == 1 {
                matmul_new(out, self.g(example, 0), self.a(example, 0, patches))
            } else {
                let out = zeroed(out);
                for (group, out) in out.chunks_exact_mut(self.p * self.d).enumerate() {
                    matmul(out, self.g(example, group), self.a(example, group, patches), false);
                }
                out
            };
            let seen = see(gradient);
            (gradient, seen)
        })
    }

    /// An upper bound on the norm of every example's gradient, without forming it.
    ///
    /// One position: `|a| |g|`. More: the squared norm is the sum of the element-wise product of the two Gram matrices. Let
    /// S = |A| |G|, which bounds the norm by Cauchy-Schwarz. Each Gram element is off by at most gamma = n u / (1 - n u) with
    /// n = d, p and four more, times the product of its norms (Higham 2002, section 3.5); hence the square by gamma S^2, and by
    /// one rounding in f64 of S^2 for each of the T^2 elements summed. Where elements could overflow or vanish, S itself is the
    /// answer.
    pub(crate) fn ghost_norms(&self) -> Vec<f64> {
        let _time = profile::time(Part::Norms);
        if let (Inputs::Rows(rows), 1) = (self.inputs, self.positions) {
            let (a, g) = (row_norms(rows, self.batch), row_norms(self.cotangents, self.batch));
            return a.into_iter().zip(g).map(|(a, g)| product_bound(a, g)).collect();
        }
        (0..self.batch).into_par_iter().gather_with(Vec::new, |scratch, example| {
            let groups: Vec<f64> = (0..self.groups).map(|group| self.ghost_norm(example, group, scratch)).collect();
            norm_bound(groups.into_iter())
        })
    }

    fn ghost_norm(&self, example: usize, group: usize, scratch: &mut Vec<T>) -> f64 {
        let (a, g, t) = (self.a(example, group, scratch), self.g(example, group), self.positions);
        let (a_norm, g_norm) = (a.norm(), g.norm());
        let product = product_bound(a_norm, g_norm);
        let lost = (self.d + self.p + 4) as f64 * T::UNIT_ROUNDOFF;
        let safe = T::FOURTH_POWERS.contains(&a_norm) && T::FOURTH_POWERS.contains(&g_norm) && lost < 0.1;
        if t == 1 || !safe {
            return product;
        }
        let (mut gram_a, mut gram_g) = (vec![T::default(); t * t], vec![T::default(); t * t]);
        matmul(&mut gram_a, a, a.t(), false);
        matmul(&mut gram_g, g.t(), g, false);
        let square: f64 = gram_a.iter().zip(gram_g.iter()).map(|(x, y)| to_f64(*x) * to_f64(*y)).sum();
        if !square.is_finite() {
            return product;
        }
        let error = (lost / (1.0 - lost) + (t * t) as f64 * f64::EPSILON) * product * product;
        // The weighted sum that follows rounds in f64: at most once per position, relative to S.
        let later = (t + 8) as f64 * f64::EPSILON * product;
        product.min((square.max(0.0) + error).sqrt() + later)
    }

    /// The sum over examples of weight times gradient, without forming the gradients: `(groups p, d)`.
    ///
    /// Summed in f64, where a product of two f32 is exact: how one example rounds hardly depends on the others. Rows of f32 with one
    /// position are summed in blocks where that pays, see [`super::blocks`].
    pub(crate) fn weighted_sum(&self, weights: &[f64]) -> Vec<f64> {
        let _time = profile::time(Part::Sums);
        match self.inputs {
            Inputs::Rows(rows) => self.weighted_rows_product(rows, weights),
            Inputs::Images { .. } => self.weighted_images_product(weights),
        }
    }

    /// One product for all examples: weighted cotangents `(p, batch positions)` times inputs `(batch positions, d)`.
    fn weighted_rows_product(&self, rows: &[T], weights: &[f64]) -> Vec<f64> {
        let (n, per_example, d) = (self.batch * self.positions, self.positions * self.p, self.d);
        if self.size() == 0 || n == 0 {
            return vec![0.0; self.size()];
        }
        let mut scaled = vec![0.0; self.cotangents.len()];
        widen(self.cotangents, &mut scaled);
        for (g, weight) in scaled.chunks_exact_mut(per_example).zip(weights) {
            g.iter_mut().for_each(|g| *g *= weight);
        }
        if self.positions == 1
            && blocks::pay(self.p, d)
            && let Some(sum) = T::summed_in_blocks(rows, &scaled, (self.p, d), self.input_norms)
        {
            return sum;
        }
        if self.p <= MOST_OUTPUTS {
            return thin::product(rows, &scaled, self.p, d);
        }
        let mut wide = vec![0.0; rows.len()];
        wide.par_chunks_mut(WIDENED).zip(rows.par_chunks(WIDENED)).each(|(to, from)| widen(from, to));
        let mut sum = vec![0.0; self.size()];
        let g = View::row_major(&scaled, n, self.p).t();
        matmul_parallel(&mut sum, g, View::row_major(&wide, n, d), false);
        sum
    }

    /// The sum over examples of the gradients `(groups p, d)`, in the element type: for training without privacy.
    pub(crate) fn total(&self) -> Vec<T> {
        let _time = profile::time(Part::Sums);
        if let Inputs::Rows(rows) = self.inputs {
            return self.total_of_rows(rows);
        }
        let (direct, examples): (_, Vec<usize>) = (self.direct(), (0..self.batch).collect());
        let memory = <(Scratch<T>, Vec<T>)>::default;
        let sums = examples.par_chunks(EXAMPLES_PER_SUM).gather_with(memory, |(scratch, patches), examples| {
            if let (Some((direct, pixels)), Some(first)) = (&direct, examples.first()) {
                let (images, g) = self.some(pixels, *first, examples.len());
                return direct.sum(images, g, scratch);
            }
            let mut sum = vec![T::default(); self.size()];
            for &example in examples {
                for (group, sum) in sum.chunks_exact_mut(self.p * self.d).enumerate() {
                    matmul(sum, self.g(example, group), self.a(example, group, patches), true);
                }
            }
            sum
        });
        added_up(sums, self.size())
    }

    /// A tall product with a small result is shared out along the sum, in pieces of a constant length that are added up in order.
    fn total_of_rows(&self, rows: &[T]) -> Vec<T> {
        const LARGEST: usize = 1 << 16;
        const ROWS_PER_SUM: usize = 512;
        let (n, p, d) = (self.batch * self.positions, self.p, self.d);
        let product =
            |cotangents, rows, n| affine(View::row_major(cotangents, n, p).t(), View::row_major(rows, n, d), None);
        if n < 2 * ROWS_PER_SUM || p * d > LARGEST || p * d == 0 {
            return product(self.cotangents, rows, n);
        }
        let pieces = self.cotangents.par_chunks(ROWS_PER_SUM * p).zip(rows.par_chunks(ROWS_PER_SUM * d));
        let sums: Vec<Vec<T>> = pieces.gather(|(g, rows)| product(g, rows, g.len() / p));
        added_up(sums, p * d)
    }

    fn weighted_images_product(&self, weights: &[f64]) -> Vec<f64> {
        let size = self.size();
        let examples: Vec<usize> = (0..self.batch).collect();
        let partial = examples.par_chunks(EXAMPLES_PER_SUM).gather(|examples| {
            let (mut sum, mut scratch) = (vec![0.0; size], Vec::new());
            let (mut scaled, mut exact) = (Vec::new(), Vec::new());
            for &example in examples {
                for (group, sum) in sum.chunks_exact_mut(self.p * self.d).enumerate() {
                    scaled.clear();
                    scaled.extend(self.g(example, group).iter().map(|x| to_f64(x) * weights[example]));
                    exact.clear();
                    exact.extend(self.a(example, group, &mut scratch).t().iter().map(to_f64));
                    let g = View::row_major(&scaled, self.p, self.positions);
                    matmul(sum, g, View::row_major(&exact, self.d, self.positions).t(), true);
                }
            }
            sum
        });
        let mut sum = vec![0.0; size];
        for part in partial {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sum
    }
}

/// The sum of vectors of `size` elements, in their order.
fn added_up<T: Real>(sums: Vec<Vec<T>>, size: usize) -> Vec<T> {
    sums.into_iter()
        .reduce(|mut total, sum| {
            total.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
            total
        })
        .unwrap_or_else(|| vec![T::default(); size])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that what an example adds to a sum is within its bound, and the bound within `looseness` of it.
    fn check(rows: &[f32], cotangents: &[f32], (batch, positions, d, p): (usize, usize, usize, usize), looseness: f64) {
        let outer =
            Outer { inputs: Inputs::Rows(rows), cotangents, batch, groups: 1, positions, d, p, input_norms: None };
        for (i, bound) in outer.ghost_norms().into_iter().enumerate() {
            let mut weights = vec![0.0; batch];
            weights[i] = 1.0;
            let summed = norm_bound(outer.weighted_sum(&weights).into_iter()) / (1.0 + 1e-12);
            assert!(summed <= bound && bound <= looseness * summed, "example {i}: {summed} and its bound {bound}");
        }
    }

    #[test]
    fn ghost_norms_are_upper_bounds_of_what_is_summed() {
        let (batch, positions, d, p) = (3, 7, 5, 4);
        // Cotangents that nearly cancel over positions: the case in which a ghost norm loses its digits.
        let rows: Vec<f32> = (0..batch * positions * d).map(|i| 1.0 + 1e-4 * ((i * 7 % 13) as f32)).collect();
        let cotangents: Vec<f32> = (0..batch * positions * p)
            .map(|i| if i / p % 2 == 0 { 100.0 } else { -100.0 + 1e-3 * (i % 5) as f32 })
            .collect();
        check(&rows, &cotangents, (batch, positions, d, p), 1.5);
    }

    #[test]
    fn ghost_norms_hold_where_the_elements_of_gram_matrices_overflow_or_vanish() {
        let (batch, positions, d, p) = (2, 4, 6, 3);
        for (a, g) in [(1e25, 1.0), (1e20, 1e-3), (1e-25, 1e15), (1e-25, 1e-15), (1e30, 1e-30), (1e-3, 1e30)] {
            let signed =
                |i: usize, scale: f32| if i.is_multiple_of(3) { -scale } else { scale * (1.0 + (i % 5) as f32) };
            let rows: Vec<f32> = (0..batch * positions * d).map(|i| signed(i, a)).collect();
            let cotangents: Vec<f32> = (0..batch * positions * p).map(|i| signed(i + 1, g)).collect();
            check(&rows, &cotangents, (batch, positions, d, p), 10.0);
        }
    }
}
