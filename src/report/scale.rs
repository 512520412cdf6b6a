//! An axis: the part of it that is shown, its round ticks and their labels.

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Equal differences, equal distances.
    Linear,
    /// Equal quotients, equal distances; what is not above zero has no place.
    Logarithmic,
}

/// The part of an axis that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    spacing: Spacing,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

/// Ticks that are aimed at.
const TICKS: f64 = 5.0;

impl Scale {
    /// Ends at round numbers and holds all `values` that are finite and can be shown.
    pub(super) fn holding(spacing: Spacing, values: impl Iterator<Item = f64>) -> Self {
        let shown = values.filter(|value| value.is_finite() && (spacing == Spacing::Linear || *value > 0.0));
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        match spacing {
            Spacing::Linear if low > high => Self::linear(0.0, 1.0),
            Spacing::Linear => Self::linear(low, high),
            Spacing::Logarithmic if low > high => Self::logarithmic(0.1, 10.0),
            Spacing::Logarithmic => Self::logarithmic(low, high),
        }
    }

    fn linear(low: f64, high: f64) -> Self {
        // One value alone gets half of itself on both sides.
        let span = high - low;
        let room = if span > 1e-12 * low.abs().max(high.abs()) { 0.0 } else { 0.5 * low.abs() };
        let (low, high) = if room == 0.0 && span == 0.0 { (low, low + 1.0) } else { (low - room, high + room) };
        let step = round_step((high - low) / TICKS);
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let ticks: Vec<f64> = (0..=(last - first).min(50.0) as u32).map(|i| (first + f64::from(i)) * step).collect();
        Self { spacing: Spacing::Linear, low: first * step, high: last * step, ticks }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let (first, last) = ((low.log10() + 1e-9).floor(), (high.log10() - 1e-9).ceil());
        let last = last.max(first + 1.0);
        let every = ((last - first) / TICKS).ceil().max(1.0);
        let decades = (0..=(last - first) as u32).filter(|i| f64::from(*i) % every == 0.0);
        let between: &[f64] = if last - first <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = decades.flat_map(|i| between.iter().map(move |digit| digit * 10_f64.powf(first + f64::from(i))));
        let high = 10_f64.powf(last);
        let ticks = ticks.filter(|tick| *tick <= high * (1.0 + 1e-9)).collect();
        Self { spacing: Spacing::Logarithmic, low: 10_f64.powf(first), high, ticks }
    }

    /// How far along the axis a value is, from 0 to 1; none if it cannot be shown.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.spacing {
            Spacing::Linear => (value - self.low) / (self.high - self.low),
            Spacing::Logarithmic if value > 0.0 => (value / self.low).log10() / (self.high / self.low).log10(),
            Spacing::Logarithmic => return None,
        };
        place.is_finite().then_some(place)
    }

    /// Round values along the axis, rising.
    pub(super) fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// What stands beside a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        let size = tick.abs();
        if size != 0.0 && !(1e-3..1e6).contains(&size) {
            return format!("{tick:e}");
        }
        let step = match self.spacing {
            Spacing::Linear => (self.high - self.low) / (self.ticks.len().max(2) - 1) as f64,
            Spacing::Logarithmic => size,
        };
        let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 6.0) as usize;
        // Zero has no sign.
        format!("{:.decimals$}", if size < 1e-12 { 0.0 } else { tick })
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::Spacing::{Linear, Logarithmic};
    use super::*;

    fn labels(spacing: Spacing, values: &[f64]) -> Vec<String> {
        let scale = Scale::holding(spacing, values.iter().copied());
        scale.ticks().iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        assert_eq!(labels(Linear, &[0.0, 2.97]), ["0", "1", "2", "3"]);
        assert_eq!(labels(Linear, &[0.855, 0.938]), ["0.84", "0.86", "0.88", "0.90", "0.92", "0.94"]);
        assert_eq!(labels(Linear, &[0.0, 30_000.0]), ["0", "10000", "20000", "30000"]);
        assert_eq!(labels(Logarithmic, &[0.3, 20.0]), ["0.1", "1", "10", "100"]);
        assert_eq!(labels(Logarithmic, &[1.0, 9.0]), ["1", "2", "5", "10"]);
    }

    #[test]
    fn one_value_zeros_and_none_have_an_axis() {
        for values in [&[0.0][..], &[5.0], &[-5.0], &[0.0, 0.0], &[f64::NAN], &[f64::INFINITY, 1e300], &[]] {
            for spacing in [Linear, Logarithmic] {
                let scale = Scale::holding(spacing, values.iter().copied());
                assert!(scale.low < scale.high && scale.ticks().len() >= 2, "{values:?} {scale:?}");
                for value in values.iter().filter(|value| value.is_finite() && (spacing == Linear || **value > 0.0)) {
                    let place = scale.place(*value).unwrap();
                    assert!((-1e-9..=1.0 + 1e-9).contains(&place), "{value} {scale:?}");
                }
            }
        }
        assert_eq!(Scale::holding(Logarithmic, [1.0].into_iter()).place(0.0), None);
        assert_eq!(labels(Linear, &[0.0]).first().map(String::as_str), Some("0.0"));
    }
}
