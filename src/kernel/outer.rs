//! Per-example gradients of a weight: sums of outer products of cotangents and inputs.
//!
//! Example `i` with inputs `A_i` `(positions, d)` and cotangents `G_i` `(p, positions)` has the gradient `G_i A_i`
//! `(p, d)`. With groups the channels of both are cut into equal parts that do not mix, and the gradient is the stack
//! `(groups p, d)`. Linear layers have one group; the inputs of a convolution are patches of its image.

use super::matmul::{View, matmul, matmul_parallel};
use super::patches::Patches;
use super::{Real, to_f64};
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
}

/// How many examples a thread takes at a time when their gradients are summed: a constant, so that the order of the
/// sum does not depend on the number of threads.
const EXAMPLES_PER_SUM: usize = 32;

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
                scratch.resize(self.d * self.positions, T::default());
                patches.gather(image, scratch);
                View::row_major(scratch, self.d, self.positions).t()
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

    /// Every example's gradient `(batch, groups p d)`.
    pub(crate) fn instantiate(&self) -> Vec<T> {
        let mut out = vec![T::default(); self.batch * self.size()];
        if out.is_empty() {
            return out;
        }
        out.par_chunks_mut(self.size()).enumerate().for_each_init(Vec::new, |scratch, (example, out)| {
            for (group, out) in out.chunks_exact_mut(self.p * self.d).enumerate() {
                matmul(out, self.g(example, group), self.a(example, group, scratch), false);
            }
        });
        out
    }

    /// An upper bound on the norm of every example's gradient, without forming it.
    ///
    /// One position: `|a| |g|`. More: the squared norm is the sum of the element-wise product of the two Gram matrices,
    /// and the bound adds what rounding can hide. With S = sum_t |a_t| |g_t|, each Gram element is off by at most
    /// (d or p) u times the product of its norms, hence the square by (d + p + 4) u S^2; and the product that later forms
    /// the weighted gradient is off by at most (positions + 4) u S. (S is bounded by Cauchy-Schwarz.)
    pub(crate) fn ghost_norms(&self) -> Vec<f64> {
        (0..self.batch)
            .into_par_iter()
            .map_init(
                || (Vec::new(), Vec::new(), Vec::new()),
                |(scratch, gram_a, gram_g), example| {
                    let mut square = 0.0;
                    for group in 0..self.groups {
                        square += self.ghost_square(example, group, scratch, gram_a, gram_g);
                    }
                    square.sqrt()
                },
            )
            .collect()
    }

    fn ghost_square(
        &self,
        example: usize,
        group: usize,
        scratch: &mut Vec<T>,
        gram_a: &mut Vec<T>,
        gram_g: &mut Vec<T>,
    ) -> f64 {
        let (a, g, t) = (self.a(example, group, scratch), self.g(example, group), self.positions);
        let (a2, g2) = (a.square_norm(), g.square_norm());
        if t == 1 {
            return a2 * g2;
        }
        gram_a.resize(t * t, T::default());
        gram_g.resize(t * t, T::default());
        matmul(gram_a, a, a.t(), false);
        matmul(gram_g, g.t(), g, false);
        let square: f64 = gram_a.iter().zip(gram_g.iter()).map(|(x, y)| to_f64(*x) * to_f64(*y)).sum();
        let (s2, u) = (a2 * g2, T::UNIT_ROUNDOFF);
        let square = square.max(0.0) + (self.d + self.p + 4) as f64 * u * s2;
        (square.sqrt() + (t + 4) as f64 * u * s2.sqrt()).powi(2)
    }

    /// The sum over examples of weight times gradient, without forming the gradients: `(groups p, d)`.
    pub(crate) fn weighted_sum(&self, weights: &[T]) -> Vec<T> {
        let size = self.size();
        if let Inputs::Rows(rows) = self.inputs {
            return self.weighted_rows_product(rows, weights);
        }
        let examples: Vec<usize> = (0..self.batch).collect();
        let partial: Vec<Vec<T>> = examples
            .par_chunks(EXAMPLES_PER_SUM)
            .map(|examples| {
                let (mut sum, mut scratch, mut scaled) = (vec![T::default(); size], Vec::new(), Vec::new());
                for &example in examples {
                    for (group, sum) in sum.chunks_exact_mut(self.p * self.d).enumerate() {
                        let g = self.g(example, group);
                        scaled.clear();
                        scaled.extend(g.iter().map(|x| x * weights[example]));
                        let g = View::row_major(&scaled, self.p, self.positions);
                        matmul(sum, g, self.a(example, group, &mut scratch), true);
                    }
                }
                sum
            })
            .collect();
        let mut sum = vec![T::default(); size];
        for part in partial {
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum += part;
            }
        }
        sum
    }
}

impl<T: Real> Outer<'_, T> {
    /// One product for all examples: weighted cotangents `(p, batch positions)` times `(batch positions, d)` inputs.
    fn weighted_rows_product(&self, rows: &[T], weights: &[T]) -> Vec<T> {
        let (n, per_example) = (self.batch * self.positions, self.positions * self.p);
        let mut scaled = self.cotangents.to_vec();
        for (g, weight) in scaled.chunks_exact_mut(per_example.max(1)).zip(weights) {
            g.iter_mut().for_each(|g| *g *= *weight);
        }
        let mut sum = vec![T::default(); self.size()];
        matmul_parallel(&mut sum, View::row_major(&scaled, n, self.p).t(), View::row_major(rows, n, self.d), false);
        sum
    }
}

/// The sum over rows of weight times row, for rows `(weights, size)`.
pub(crate) fn weighted_rows<T: Real>(rows: &[T], weights: &[T], size: usize) -> Vec<T> {
    const COLUMNS: usize = 1024;
    let mut sum = vec![T::default(); size];
    sum.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, sum)| {
        for (row, weight) in rows.chunks_exact(size.max(1)).zip(weights) {
            for (sum, value) in sum.iter_mut().zip(&row[chunk * COLUMNS..]) {
                *sum += *weight * *value;
            }
        }
    });
    sum
}

/// The norm of every row of `(batch, size)`, summed in f64.
pub(crate) fn row_norms<T: Real>(rows: &[T], batch: usize) -> Vec<f64> {
    let size = rows.len() / batch.max(1);
    (0..batch)
        .into_par_iter()
        .map(|i| rows[i * size..(i + 1) * size].iter().map(|x| to_f64(*x).powi(2)).sum::<f64>().sqrt())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghost_norms_are_upper_bounds_of_what_is_summed() {
        let (batch, positions, d, p) = (3, 7, 5, 4);
        // Cotangents that nearly cancel over positions: the case in which a ghost norm loses its digits.
        let rows: Vec<f32> = (0..batch * positions * d).map(|i| 1.0 + 1e-4 * ((i * 7 % 13) as f32)).collect();
        let cotangents: Vec<f32> = (0..batch * positions * p)
            .map(|i| if i / p % 2 == 0 { 100.0 } else { -100.0 + 1e-3 * (i % 5) as f32 })
            .collect();
        let inputs = Inputs::Rows(rows.as_slice());
        let outer = Outer { inputs, cotangents: &cotangents, batch, groups: 1, positions, d, p };
        for (i, bound) in outer.ghost_norms().into_iter().enumerate() {
            let mut weights = vec![0.0; batch];
            weights[i] = 1.0;
            let summed = row_norms(&outer.weighted_sum(&weights), 1)[0];
            assert!(summed <= bound, "example {i}: {summed} above its bound {bound}");
        }
    }

    #[test]
    fn rows_are_weighted_and_measured() {
        assert_eq!(weighted_rows(&[1.0, 2.0, 3.0, 4.0], &[2.0, -1.0], 2), [-1.0, 0.0]);
        assert_eq!(row_norms(&[3.0f32, 4.0, 0.0, 2.0], 2), [5.0, 2.0]);
        assert!(weighted_rows::<f32>(&[], &[], 3) == [0.0; 3] && row_norms::<f32>(&[], 0).is_empty());
    }
}
