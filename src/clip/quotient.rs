//! Division whose error can only make an example shorter.

/// `bound / length` for a `length` that is not below `norm`, so that the product with `norm` is at most `bound` in floating point.
///
/// Let x be the real quotient and q the nearest number to it. With q <= x the product is q norm <= x length = bound, and rounding
/// keeps that. With q > x the number below q is below x, or it would be the nearer one, and the same holds for it.
///
/// A norm that is not finite has the weight 0.
pub(super) fn quotient(bound: f64, length: f64, norm: f64) -> f64 {
    if !norm.is_finite() {
        return 0.0;
    }
    let quotient = bound / length;
    if quotient * norm > bound { quotient.next_down() } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Key, Role};
    use rand::Rng;

    #[test]
    fn the_product_never_exceeds_the_bound_and_a_plain_quotient_does() {
        let mut rng = Key::from_seed(3).stream(Role::Probe, 2);
        let mut plain = 0;
        for _ in 0..100_000 {
            let bound = 10f64.powf(rng.random_range(-20.0..20.0));
            let norm = 10f64.powf(rng.random_range(-60.0..300.0));
            let length = norm + if rng.random() { 0.0 } else { 10f64.powf(rng.random_range(-20.0..20.0)) };
            let product = quotient(bound, length, norm) * norm;
            assert!(product <= bound, "{bound} / {length} times {norm} is {product}");
            plain += usize::from(bound / length * norm > bound);
        }
        assert!(plain > 1000, "only {plain} plain quotients exceeded the bound: the test sees nothing");
    }
}
