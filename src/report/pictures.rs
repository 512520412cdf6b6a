//! The pictures of a run: what is plotted against what.

use super::html::Html;
use super::metrics::{Metrics, Row};
use super::plot::{Axis, Plot, Series};
use super::scale::Spacing;

const STEPS: Axis = Axis { name: "steps", spacing: Spacing::Linear };
const EPSILON: Axis = Axis { name: "epsilon spent (upper bound)", spacing: Spacing::Linear };

/// Epsilon against steps, from what the model to start from had cost, with a line at the budget.
pub(super) fn epsilon(metrics: &Metrics, start: f64, budget: Option<f64>) -> Html {
    let spent = metrics.rows().iter().map(|row| (f64::from(row.step), row.epsilon_upper));
    let points = std::iter::once((0.0, start)).chain(spent).collect();
    let plot = Plot {
        title: "Epsilon against steps".into(),
        x: STEPS,
        y: Axis { name: "epsilon (upper bound)", spacing: Spacing::Linear },
        series: vec![Series { name: "spent".into(), points }],
        reference: budget.map(|budget| ("budget".to_string(), budget)),
    };
    plot.figure()
}

/// Test accuracy against epsilon, of one run or of several.
pub(super) fn accuracy(series: Vec<Series>) -> Html {
    let y = Axis { name: "test accuracy in %", spacing: Spacing::Linear };
    Plot { title: "Test accuracy against epsilon".into(), x: EPSILON, y, series, reference: None }.figure()
}

/// The accuracies, in per cent, that were measured on the way.
pub(super) fn accuracies(name: &str, metrics: &Metrics) -> Series {
    against_epsilon(name, metrics, |row| row.test_accuracy.map(|accuracy| 100.0 * accuracy))
}

/// Test loss against epsilon.
pub(super) fn loss(metrics: &Metrics) -> Html {
    let series = vec![against_epsilon("test loss", metrics, |row| row.test_loss)];
    let y = Axis { name: "test loss in nats", spacing: Spacing::Linear };
    Plot { title: "Test loss against epsilon".into(), x: EPSILON, y, series, reference: None }.figure()
}

fn against_epsilon(name: &str, metrics: &Metrics, value: impl Fn(&Row) -> Option<f64>) -> Series {
    let points = metrics.rows().iter().filter_map(|row| Some((row.epsilon_upper, value(row)?)));
    Series { name: name.into(), points: points.collect() }
}

/// The clipped fraction against steps. Not private.
pub(super) fn clipped(metrics: &Metrics) -> Html {
    let clipped = metrics.rows().iter().map(|row| (f64::from(row.step), 100.0 * row.clipped_fraction));
    let plot = Plot {
        title: "Clipped examples against steps (not private)".into(),
        x: STEPS,
        y: Axis { name: "examples clipped in %", spacing: Spacing::Linear },
        series: vec![Series { name: "clipped".into(), points: clipped.collect() }],
        reference: None,
    };
    plot.figure()
}

/// Quantiles of gradient norms against steps, with a line at the clip norm. Not private.
pub(super) fn norms(metrics: &Metrics) -> Html {
    let series = |name: &str, value: fn(&Row) -> Option<f64>| {
        let points = metrics.rows().iter().filter_map(|row| Some((f64::from(row.step), value(row)?)));
        Series { name: name.into(), points: points.collect() }
    };
    let plot = Plot {
        title: "Gradient norms against steps (not private)".into(),
        x: STEPS,
        y: Axis { name: "norm before the clip / clip norm", spacing: Spacing::Logarithmic },
        series: vec![
            series("90 %", |row| row.norm_p90),
            series("50 %", |row| row.norm_p50),
            series("10 % not above", |row| row.norm_p10),
        ],
        reference: Some(("clip norm".into(), 1.0)),
    };
    plot.figure()
}
