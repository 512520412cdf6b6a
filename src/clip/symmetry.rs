//! How symmetric per-example gradients are: what clipping bias comes from.
//!
//! With the mean gradient v, the noise of example i is x_i = g_i - v. If the law of x is that of -x, clipping does no harm to the
//! direction: E <v, clip(v + x)> is never negative (Chen, Wu and Hong 2020, arXiv 2006.15429). How far it is from that is measured
//! here, from gradients that are private: none of it may be published as if it were not.

use crate::noise::StandardNormals;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Measures of symmetry of some per-example gradients. Computed from private gradients and not privatised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Symmetry {
    /// How many gradients were looked at.
    pub examples: usize,
    /// The norm at which they were clipped, flat, whatever the rule of the run.
    pub clip_norm: f64,
    /// |v|, the norm of their mean.
    pub mean_gradient_norm: f64,
    /// E <v, clip(g)>: below zero where clipped steps lead uphill.
    pub progress: f64,
    /// The same for the symmetrised law, which has x_i and -x_i for every example: never below zero.
    pub progress_if_symmetric: f64,
    /// W, the distance of the two laws with the cost |<v, clip(v + x)> - <v, clip(v + x')>|: bounds what asymmetry takes from the
    /// progress, and is at most 2 C |v|.
    pub distance_from_symmetric: f64,
    /// A: the mean over 64 random directions u of W1(<u, x>, -<u, x>) over the deviation of <u, x>. Zero for a symmetric law.
    pub asymmetry: f64,
    /// The share of examples with |x| of at most C / 4.
    pub share_near_mean: f64,
    /// How many gradients have a cosine with v in each twentieth of [-1, 1], from -1 on.
    pub cosines: Vec<usize>,
}

/// Directions in which the asymmetry is measured.
const DIRECTIONS: u32 = 64;

/// Parts of [-1, 1] that cosines are counted in.
const BINS: usize = 20;

impl Symmetry {
    /// Of gradients with `dim` elements each, clipped at `clip_norm`; random directions come from `key`.
    ///
    /// # Errors
    /// When there are fewer than two gradients, or one is not finite.
    pub fn of(gradients: &[f32], dim: usize, clip_norm: f64, key: &Key) -> Result<Self> {
        let rows: Vec<&[f32]> = gradients.chunks_exact(dim.max(1)).collect();
        let n = rows.len() as f64;
        if rows.len() < 2 {
            return Err(Error::value("gradients to compare", rows.len(), "at least 2"));
        }
        let mut mean = vec![0.0; dim];
        for row in &rows {
            mean.iter_mut().zip(*row).for_each(|(mean, x)| *mean += f64::from(*x) / n);
        }
        let square = mean.iter().map(|v| v * v).sum::<f64>();
        // Of every gradient <v, g> and |g|^2: all that the clipped progress depends on.
        let products: Vec<(f64, f64)> = rows
            .iter()
            .map(|row| {
                let row = || row.iter().map(|x| f64::from(*x));
                (row().zip(&mean).map(|(x, v)| x * v).sum(), row().map(|x| x * x).sum())
            })
            .collect();
        if products.iter().any(|(along, square)| !(along.is_finite() && square.is_finite())) {
            return Err(Error::Model { reason: "a gradient that is not finite has no symmetry".into() });
        }
        let clipped = |along: f64, square: f64| along * (clip_norm / square.max(0.0).sqrt()).min(1.0);
        let progress: Vec<f64> = products.iter().map(|(along, norm)| clipped(*along, *norm)).collect();
        // v - x = 2 v - g.
        let mirrored = |(along, norm): &(f64, f64)| clipped(2.0 * square - along, 4.0 * (square - along) + norm);
        let mirrored: Vec<f64> = products.iter().map(mirrored).collect();
        let both = [progress.clone(), mirrored].concat();
        let twice = [progress.clone(), progress.clone()].concat();
        let near = |(along, norm): &&(f64, f64)| norm - 2.0 * along + square <= (clip_norm / 4.0).powi(2);
        let mut cosines = vec![0; BINS];
        for (along, norm) in &products {
            let length = (norm * square).sqrt();
            let cosine = if length > 0.0 { along / length } else { 0.0 };
            cosines[(((cosine + 1.0) / 2.0 * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        Ok(Self {
            examples: rows.len(),
            clip_norm,
            mean_gradient_norm: square.sqrt(),
            progress: progress.iter().sum::<f64>() / n,
            progress_if_symmetric: both.iter().sum::<f64>() / (2.0 * n),
            distance_from_symmetric: distance(twice, both),
            asymmetry: asymmetry(&rows, &mean, key),
            share_near_mean: products.iter().filter(near).count() as f64 / n,
            cosines,
        })
    }
}

/// The mean over random directions of the distance between the noise along them and its mirror image, over its deviation.
fn asymmetry(rows: &[&[f32]], mean: &[f64], key: &Key) -> f64 {
    let mut sum = 0.0;
    for direction in 0..DIRECTIONS {
        let mut u = vec![0.0; mean.len()];
        StandardNormals::of(key, Role::Directions, direction).fill(&mut u);
        let along = |row: &&[f32]| row.iter().zip(mean).zip(&u).map(|((x, v), u)| (f64::from(*x) - v) * u).sum::<f64>();
        let noise: Vec<f64> = rows.iter().map(along).collect();
        let deviation = (noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64).sqrt();
        if deviation > 0.0 {
            sum += distance(noise.clone(), noise.iter().map(|x| -x).collect()) / deviation;
        }
    }
    sum / f64::from(DIRECTIONS)
}

/// W1, the distance in which one sample must be moved to become the other of as many numbers: both sorted, the mean difference.
fn distance(mut a: Vec<f64>, mut b: Vec<f64>) -> f64 {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example 1 of the reference at x: gradients x - a for a = (-3, -3, 9).
    fn example_1(x: f32) -> Symmetry {
        Symmetry::of(&[x + 3.0, x + 3.0, x - 9.0], 1, 1.0, &Key::from_seed(1)).unwrap()
    }

    #[test]
    fn the_decomposition_of_example_1_is_that_of_the_reference() {
        // Check G7: x, E_p, E of the symmetrised law, W.
        for (x, progress, symmetric, distance) in
            [(-2.5, 0.0, 0.5833, 1.1667), (0.0, -0.3333, 0.0, 0.3333), (-1.0, -0.6667, 0.0, 0.6667)]
        {
            let found = example_1(x);
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-4, "{a} and not {b} at {x}: {found:?}");
            close(found.progress, progress);
            close(found.progress_if_symmetric, symmetric);
            close(found.distance_from_symmetric, distance);
            assert!(found.progress_if_symmetric - found.progress <= found.distance_from_symmetric + 1e-12);
        }
    }

    #[test]
    fn asymmetry_is_that_of_the_law_and_none_where_there_is_none() {
        // Noise (4, 4, -8) and (-4, -4, 8): distances 4, 8 and 4 over the deviation of 32^(1/2).
        assert!((example_1(1.0).asymmetry - 16.0 / 3.0 / 32f64.sqrt()).abs() < 1e-12);
        let skewed = Symmetry::of(&[1.0, 2.0, 5.0, -2.0, 4.0, 9.0], 2, 0.5, &Key::from_seed(1)).unwrap();
        let mirrored = Symmetry::of(&[1.0, 2.0, 5.0, -2.0, 1.0, 2.0, -3.0, 6.0], 2, 0.5, &Key::from_seed(1)).unwrap();
        assert!(mirrored.asymmetry < 1e-12 && mirrored.distance_from_symmetric < 1e-12, "{mirrored:?}");
        assert!(skewed.asymmetry > 0.1, "{skewed:?}");
    }

    #[test]
    fn cosines_and_neighbours_of_the_mean_are_counted() {
        // The mean is (1, 0); gradients along it, across it and at 60 degrees.
        let found = Symmetry::of(&[2.0, 0.0, 0.0, 1.0, 1.0, -1.0], 2, 8.0, &Key::from_seed(1)).unwrap();
        assert_eq!(found.cosines.iter().sum::<usize>(), 3);
        assert_eq!((found.cosines[19], found.cosines[10], found.cosines[17]), (1, 1, 1));
        assert_eq!((found.examples, found.share_near_mean), (3, 1.0));
        assert!((found.mean_gradient_norm - 1.0).abs() < 1e-7);
    }

    #[test]
    fn too_few_gradients_or_such_that_are_no_numbers_are_refused() {
        let key = Key::from_seed(1);
        assert!(Symmetry::of(&[1.0, 2.0], 2, 1.0, &key).is_err());
        assert!(Symmetry::of(&[1.0, f32::NAN], 1, 1.0, &key).is_err());
    }
}
