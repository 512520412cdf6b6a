//! `dpsgd account curve`: epsilon against delta, as a table and as a picture.

use super::answer::{Answer, plain, table};
use super::plan::PlanArgs;
use crate::whole_file::{self, Readers};
use crate::{Error, Result};
use dp_accountant::{Accountant, Bound, Delta, Event};
use plotters::prelude::*;
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;

/// The deltas of the curve: two for each power of ten.
const EXPONENTS: Range<i32> = -30..-1;

pub(super) fn curve(args: &PlanArgs, accountant: &str, svg: Option<&Path>) -> Result<Answer> {
    let (accountant, event) = (args.accountant(accountant)?, args.event()?);
    let points = points(accountant.as_ref(), &event)?;
    if let Some(path) = svg {
        whole_file::write(path, picture(&points)?.as_bytes(), Readers::Everybody)?;
    }
    let rows = points.iter().map(|(delta, bound)| json!({"delta": delta, "epsilon": bound}));
    let bound = points.first().map(|(_, bound)| bound);
    let mut answer = super::answer::of([], args, accountant.as_ref(), bound)?;
    answer.insert("curve".into(), rows.collect());
    if let Some(path) = svg {
        answer.insert("svg".into(), json!(path));
    }
    Ok(answer)
}

/// (delta, epsilon), deltas falling.
fn points(accountant: &dyn Accountant, event: &Event) -> Result<Vec<(f64, Bound)>> {
    let deltas = EXPONENTS.rev().map(|half| 10_f64.powf(f64::from(half) / 2.0));
    let ask = |delta: f64| Ok((delta, accountant.epsilon(event, Delta::new(delta)?)?));
    let points: Vec<(f64, Bound)> = deltas.map(ask).collect::<Result<_>>()?;
    if points.iter().all(|(_, bound)| !bound.upper().is_finite()) {
        let reason = format!("the accountant {} knows no finite epsilon for this event", accountant.name());
        return Err(Error::Refused { reason });
    }
    Ok(points)
}

/// The table of the points.
pub(super) fn text(answer: &Answer) -> String {
    let mut rows = vec![["delta", "epsilon at most", "at least"].map(str::to_string).to_vec()];
    for row in answer.get("curve").and_then(Value::as_array).into_iter().flatten() {
        let delta = row["delta"].as_f64().map_or_else(String::new, |delta| format!("{delta:.3e}"));
        rows.push(vec![delta, plain(&row["epsilon"]["upper"]), plain(&row["epsilon"]["lower"])]);
    }
    super::answer::text(answer) + "\n" + &table(&rows)
}

/// Epsilon against the exponent of delta: the upper bound as a line, what lies between the bounds as a band.
fn picture(points: &[(f64, Bound)]) -> Result<String> {
    let mut svg = String::new();
    draw(points, &mut svg)
        .map_err(|error| Error::Refused { reason: format!("the picture cannot be drawn: {error}") })?;
    Ok(svg)
}

fn draw(points: &[(f64, Bound)], svg: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let at = |(delta, bound): &(f64, Bound)| (delta.log10(), bound.lower(), bound.upper());
    let drawn: Vec<(f64, f64, f64)> = points.iter().map(at).filter(|(_, _, upper)| upper.is_finite()).collect();
    let highest = drawn.iter().map(|(_, _, upper)| *upper).fold(0.0, f64::max) * 1.05;
    let (left, right) = (f64::from(EXPONENTS.start) / 2.0, f64::from(EXPONENTS.end) / 2.0);
    let root = SVGBackend::with_string(svg, (720, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Privacy curve: epsilon at each delta", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, 0.0..highest.max(f64::MIN_POSITIVE))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("delta")
        .y_desc("epsilon")
        .x_labels(16)
        .x_label_formatter(&|exponent| format!("1e{exponent:.0}"))
        .y_label_formatter(&|epsilon| label(*epsilon, highest))
        .label_style(("sans-serif", 13))
        .draw()?;
    let colour = RGBColor(0x1f, 0x5f, 0x99);
    let above = drawn.iter().map(|(x, _, upper)| (*x, *upper));
    let below = drawn.iter().rev().map(|(x, lower, _)| (*x, *lower));
    chart
        .draw_series(std::iter::once(Polygon::new(above.clone().chain(below).collect::<Vec<_>>(), colour.mix(0.2))))?
        .label("between the bounds")
        .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], colour.mix(0.2).filled()));
    chart
        .draw_series(LineSeries::new(above, colour.stroke_width(2)))?
        .label("upper bound: the guarantee")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}

/// An epsilon on an axis that ends at `highest`.
fn label(epsilon: f64, highest: f64) -> String {
    let decimals = (2.0 - highest.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{epsilon:.decimals$}")
}
