//! Vectors of numbers in f64: sums, differences, lengths. Every sum is taken in one order, so results do not depend on threads.

/// `ys += factor * xs`.
pub fn add(ys: &mut [f64], factor: f64, xs: &[f64]) {
    ys.iter_mut().zip(xs).for_each(|(y, x)| *y += factor * x);
}

/// `xs - ys`.
pub fn difference(xs: &[f64], ys: &[f64]) -> Vec<f64> {
    xs.iter().zip(ys).map(|(x, y)| x - y).collect()
}

/// `factor * xs`.
pub fn scaled(factor: f64, xs: &[f64]) -> Vec<f64> {
    xs.iter().map(|x| factor * x).collect()
}

/// The inner product.
pub fn dot(xs: &[f64], ys: &[f64]) -> f64 {
    xs.iter().zip(ys).map(|(x, y)| x * y).sum()
}

/// The Euclidean norm; of numbers whose squares overflow or vanish too.
pub fn norm(xs: &[f64]) -> f64 {
    if xs.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    let largest = xs.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 || largest == f64::INFINITY {
        return largest;
    }
    if (1e-140..1e140).contains(&largest) {
        return dot(xs, xs).sqrt();
    }
    largest * xs.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt()
}

/// `xs / |xs|`, and 0 for 0.
pub fn direction(xs: &[f64]) -> Vec<f64> {
    let norm = norm(xs);
    if norm == 0.0 { xs.to_vec() } else { xs.iter().map(|x| x / norm).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_numbers_of_every_size() {
        for scale in [1.0, 1e200, 1e-200, 1e-300] {
            let found = norm(&[3.0 * scale, -4.0 * scale]);
            assert!((found / (5.0 * scale) - 1.0).abs() < 1e-15, "{found} at {scale}");
        }
        assert_eq!(norm(&[]), 0.0);
        assert_eq!(norm(&[0.0, -0.0]), 0.0);
        assert_eq!(norm(&[1.0, f64::NEG_INFINITY]), f64::INFINITY);
        // Wherever it stands.
        assert!(norm(&[f64::NAN, 1.0]).is_nan() && norm(&[1.0, f64::NAN]).is_nan());
    }
}
