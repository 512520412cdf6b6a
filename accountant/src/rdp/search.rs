//! The minimum of a function that falls and then rises.

/// Golden ratio less one.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The place and value of the least value found in `[lowest, highest]`, starting near `start`.
///
/// Widening steps find three points with the least in the middle; golden sections narrow them until parabolas take
/// over (Brent 1973, chapter 5). For a function with one minimum this finds it to about `tolerance`. For any other, and
/// for values that are infinite, it still returns a point with its true value.
pub(crate) fn minimise(
    mut f: impl FnMut(f64) -> f64,
    start: f64,
    (lowest, highest): (f64, f64),
    tolerance: f64,
) -> (f64, f64) {
    let start = start.clamp(lowest, highest);
    let mut middle = (start, f(start));
    // Downhill to the right first. Infinite values rise to the right by the nature of divergences: go left then.
    let mut step = 0.7;
    let right = (start + step).min(highest);
    let right = (right, if middle.1.is_finite() { f(right) } else { f64::INFINITY });
    let (mut low, mut high);
    if right.1 < middle.1 {
        (low, middle, high) = (middle.0, right, highest);
        while middle.0 < highest {
            step *= 1.8;
            let next = (middle.0 + step).min(highest);
            let value = f(next);
            if value >= middle.1 {
                high = next;
                break;
            }
            low = middle.0;
            middle = (next, value);
        }
    } else {
        (low, high) = (lowest, right.0);
        while middle.0 > lowest {
            let next = (middle.0 - step).max(lowest);
            let value = f(next);
            if value >= middle.1 && middle.1.is_finite() {
                low = next;
                break;
            }
            high = middle.0;
            middle = (next, value);
            step *= 1.8;
        }
    }
    brent(f, low, middle, high, tolerance)
}

/// Brent's minimiser from a bracket whose middle has a known value.
fn brent(mut f: impl FnMut(f64) -> f64, low: f64, middle: (f64, f64), high: f64, tolerance: f64) -> (f64, f64) {
    let (mut low, mut high) = (low, high);
    let (mut best, mut second, mut third) = (middle, middle, middle);
    let (mut last, mut before_last) = (0.0_f64, 0.0_f64);
    for _ in 0..60 {
        let centre = 0.5 * (low + high);
        if (best.0 - centre).abs() + 0.5 * (high - low) <= 2.0 * tolerance {
            break;
        }
        let r = (best.0 - second.0) * (best.1 - third.1);
        let q = (best.0 - third.0) * (best.1 - second.1);
        let denominator = 2.0 * (q - r);
        let parabola = ((best.0 - second.0) * r - (best.0 - third.0) * q) / denominator;
        let inside = best.0 + parabola > low + tolerance && best.0 + parabola < high - tolerance;
        let step = if denominator != 0.0 && inside && parabola.abs() < 0.5 * before_last.abs() {
            parabola
        } else {
            // The longer side, so that the next two steps count from its length.
            last = if best.0 < centre { high - best.0 } else { low - best.0 };
            (1.0 - GOLDEN) * last
        };
        before_last = last;
        last = step;
        let place = best.0 + if step.abs() >= tolerance { step } else { tolerance.copysign(step) };
        let point = (place, f(place));
        if point.1 <= best.1 {
            if point.0 < best.0 {
                high = best.0
            } else {
                low = best.0
            }
            (third, second, best) = (second, best, point);
        } else {
            if point.0 < best.0 {
                low = point.0
            } else {
                high = point.0
            }
            if point.1 <= second.1 || second.0 == best.0 {
                (third, second) = (second, point);
            } else if point.1 <= third.1 || third.0 == best.0 || third.0 == second.0 {
                third = point;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_minimum_wherever_it_lies() {
        for place in [-33.0, -7.3, 0.0, 2.0, 11.5, 300.0] {
            for start in [-3.0, 1.4, 40.0] {
                let mut calls = 0;
                let f = |x: f64| {
                    calls += 1;
                    (x - place).abs().powf(1.5) + 2.0 * (x - place).powi(2)
                };
                let (x, _) = minimise(f, start, (-36.0, 700.0), 1e-6);
                assert!((x - place).abs() < 1e-5, "from {start}: {x}, want {place}");
                assert!(calls < 60, "{calls} evaluations");
            }
        }
    }

    #[test]
    fn walks_out_of_an_infinite_region() {
        let f = |x: f64| if x > -5.0 { f64::INFINITY } else { (x + 9.0).powi(2) };
        let (x, value) = minimise(f, 3.0, (-36.0, 700.0), 1e-6);
        assert!((x + 9.0).abs() < 1e-5 && value < 1e-9, "{x} {value}");
    }
}
