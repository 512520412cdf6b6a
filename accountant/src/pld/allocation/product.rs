//! The product of two polynomials with non-negative coefficients, each coefficient to a small relative error.

/// Rows taken together, so that each sum is loaded and stored once for all of them.
const ROWS: usize = 4;

/// Rows after which the sums are put by, so that rounding grows with the number of these parts.
const PART: usize = 16 * ROWS;

/// `out[k]` is the sum of `x[i] y[k - i]`; `x.len() + y.len() - 1` coefficients, none if a factor has none.
///
/// All terms are non-negative, so each coefficient is within [`roundings`] times 2^-53 of itself.
pub(super) fn product(x: &[f64], y: &[f64]) -> Vec<f64> {
    let (x, y) = if x.len() <= y.len() { (x, y) } else { (y, x) };
    if x.is_empty() {
        return Vec::new();
    }
    let mut padded = vec![0.0; y.len() + 2 * (ROWS - 1)];
    for (to, from) in padded.iter_mut().skip(ROWS - 1).zip(y) {
        *to = *from;
    }
    let width = y.len() + ROWS - 1;
    let mut out = vec![0.0; x.len().div_ceil(PART) * PART + y.len() - 1];
    let mut part = vec![0.0; PART + y.len() - 1];
    let shifted: [&[f64]; ROWS] = std::array::from_fn(|row| padded.get(ROWS - 1 - row..).unwrap_or_default());
    for (several, begin) in x.chunks(PART).zip((0..).step_by(PART)) {
        part.fill(0.0);
        for (rows, start) in several.chunks(ROWS).zip((0..).step_by(ROWS)) {
            let w: [f64; ROWS] = std::array::from_fn(|row| rows.get(row).copied().unwrap_or(0.0));
            if let Some(sums) = part.get_mut(start..start + width) {
                add_rows(sums, w, shifted);
            }
        }
        out.iter_mut().skip(begin).zip(&part).for_each(|(sum, more)| *sum += more);
    }
    out.truncate(x.len() + y.len() - 1);
    out
}

/// How often a term is rounded in a [`product`] whose shorter factor has so many coefficients: itself, in its rows, in
/// its part, and part by part.
pub(super) fn roundings(shorter: usize) -> usize {
    3 + PART / ROWS + shorter.div_ceil(PART)
}

/// `sums[k] += w[0] y[0][k] + .. + w[3] y[3][k]`.
fn add_rows(sums: &mut [f64], w: [f64; ROWS], y: [&[f64]; ROWS]) {
    let [y0, y1, y2, y3] = y;
    for ((((sum, a), b), c), d) in sums.iter_mut().zip(y0).zip(y1).zip(y2).zip(y3) {
        *sum += (w[0] * a + w[1] * b) + (w[2] * c + w[3] * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        for (n, m) in [(1, 1), (1, 7), (4, 4), (5, 3), (17, 30), (200, 131)] {
            let x: Vec<f64> = (0..n).map(|i| 1.0 + f64::from(i) * 0.3).collect();
            let y: Vec<f64> = (0..m).map(|j| 2.0 / (1.0 + f64::from(j))).collect();
            let got = product(&x, &y);
            assert_eq!(got.len(), x.len() + y.len() - 1);
            for (k, value) in got.iter().enumerate() {
                let want: f64 = x.iter().enumerate().filter_map(|(i, a)| Some(a * y.get(k.checked_sub(i)?)?)).sum();
                assert!((value / want - 1.0).abs() < 1e-15, "{n} {m} {k}: {value} {want}");
            }
        }
        assert!(product(&[], &[1.0]).is_empty());
    }
}
