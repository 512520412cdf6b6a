//! Sums of tensors.

use super::Real;
use super::memory::{of_pairs, written, zeroed};

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// `xs + factor ys`, with `ys` repeated to the length of `xs`, of which it is a part.
pub(crate) fn sum<T: Real>(xs: &[T], factor: f64, ys: &[T]) -> Vec<T> {
    let factor = T::from_f64(factor);
    let (sum, _) = written(xs.len(), CHUNK, |i, sum, (): &mut ()| {
        let mut at = i * CHUNK % ys.len();
        if let Some(ys) = ys.get(at..at + sum.len()) {
            return (of_pairs(sum, (&xs[i * CHUNK..][..ys.len()], ys), |x, y| x + factor * y), ());
        }
        let sum = zeroed(sum);
        let (mut left, mut xs) = (&mut *sum, &xs[i * CHUNK..]);
        while !left.is_empty() {
            let (now, later) = left.split_at_mut(left.len().min(ys.len() - at));
            for ((sum, x), y) in now.iter_mut().zip(xs).zip(&ys[at..]) {
                *sum = *x + factor * *y;
            }
            (xs, left, at) = (&xs[now.len()..], later, 0);
        }
        (sum, ())
    });
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_terms_are_repeated() {
        for (len, size) in [(0, 3), (6, 3), (6, 6), (70_000, 7), (3 * CHUNK, CHUNK), (4 * CHUNK, 2 * CHUNK)] {
            let xs: Vec<f64> = (0..len).map(|i| i as f64).collect();
            let ys: Vec<f64> = (0..size).map(|i| (i * i % 101) as f64).collect();
            let expected: Vec<f64> = (0..len).map(|i| xs[i] + 2.0 * ys[i % size]).collect();
            assert_eq!(sum(&xs, 2.0, &ys), expected);
        }
    }
}
