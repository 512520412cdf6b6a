//! Pictures as inline SVG: axes, lines, a reference line and a legend. Nothing in them needs a script or another file.
//!
//! Drawn here and not by a library, because a run directory is written and checked by builds without the feature `cli`, too.

use super::html::Html;
use super::scale::{Scale, Spacing};

/// A quantity along an axis.
pub(super) struct Axis {
    /// What it is, with its unit.
    pub(super) name: &'static str,
    /// How its values are laid out.
    pub(super) spacing: Spacing,
}

/// A line through points, in this order. Points that are not finite or have no place on an axis are left out.
pub(super) struct Series {
    /// What it is, for the legend.
    pub(super) name: String,
    /// Its points.
    pub(super) points: Vec<(f64, f64)>,
}

/// A picture.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: String,
    /// The axis below.
    pub(super) x: Axis,
    /// The axis to the left.
    pub(super) y: Axis,
    /// Its lines.
    pub(super) series: Vec<Series>,
    /// A level, with its name.
    pub(super) reference: Option<(String, f64)>,
}

/// Colours that people with any colour vision tell apart on white (Okabe and Ito 2008), without the yellow.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// Lines differ in more than colour.
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
/// What labels take on the left, right and below.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const BELOW: f64 = 46.0;
/// A line of the legend, and a letter in it.
const LINE: f64 = 19.0;
const LETTER: f64 = 6.8;

impl Plot {
    /// The picture with its title.
    pub(super) fn figure(&self) -> Html {
        let title = Html::plain("figcaption", [self.title.as_str().into()]);
        Html::plain("figure", [title, self.svg()])
    }

    fn svg(&self) -> Html {
        let (legend, top) = self.legend();
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let levels = self.reference.iter().map(|(_, level)| *level);
        let x = Scale::holding(self.x.spacing, points().map(|(x, _)| *x));
        let y = Scale::holding(self.y.spacing, points().map(|(_, y)| *y).chain(levels));
        let frame = Frame { x, y, top };
        let parts = frame.axes(self).into_iter().chain(self.level(&frame)).chain(self.lines(&frame)).chain(legend);
        let size = format!("0 0 {WIDTH} {HEIGHT}");
        let title = Html::plain("title", [self.title.as_str().into()]);
        Html::element("svg", &[("viewBox", size.as_str()), ("role", "img")], std::iter::once(title).chain(parts))
    }

    /// The names of what is drawn, where there is more than one thing to tell apart, and how much room they take.
    fn legend(&self) -> (Vec<Html>, f64) {
        let named: Vec<(String, Html)> = self
            .series
            .iter()
            .enumerate()
            .map(|(i, series)| (series.name.clone(), line((0.0, 0.0), (24.0, 0.0), &stroke(i))))
            .chain(self.reference.iter().map(|(name, _)| (name.clone(), line((0.0, 0.0), (24.0, 0.0), &LEVEL))))
            .collect();
        if named.len() < 2 {
            return (Vec::new(), 12.0);
        }
        let (mut left, mut row, mut parts) = (LEFT, 0.0, Vec::new());
        for (name, sample) in named {
            let width = 30.0 + LETTER * name.chars().count() as f64 + 16.0;
            if left > LEFT && left + width > WIDTH {
                (left, row) = (LEFT, row + 1.0);
            }
            let place = format!("translate({left:.1} {:.1})", 12.0 + LINE * row);
            let name = text((30.0, 4.0), "start", &name);
            parts.push(Html::element("g", &[("transform", place)], [sample, name]));
            left += width;
        }
        (parts, 12.0 + LINE * (row + 1.0))
    }

    fn level(&self, frame: &Frame) -> Option<Html> {
        let y = frame.y.place(self.reference.as_ref()?.1).map(|place| frame.up(place))?;
        Some(line((LEFT, y), (WIDTH - RIGHT, y), &LEVEL))
    }

    fn lines(&self, frame: &Frame) -> Vec<Html> {
        let mut parts = Vec::new();
        for (i, series) in self.series.iter().enumerate() {
            let places: Vec<(f64, f64)> = series.points.iter().filter_map(|point| frame.at(*point)).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let mut attributes = vec![("points", path.join(" ")), ("fill", "none".into())];
            attributes.extend(stroke(i).map(|(name, value)| (name, value.to_string())));
            parts.push(Html::empty("polyline", &attributes));
            // A point alone has no line.
            for (x, y) in places.iter().filter(|_| places.len() <= 12) {
                let centre = [("cx", format!("{x:.1}")), ("cy", format!("{y:.1}"))];
                let look = [("r", "3".to_string()), ("fill", colour(i).to_string())];
                parts.push(Html::empty("circle", &[centre, look].concat()));
            }
        }
        parts
    }
}

/// The place that the lines are drawn in.
struct Frame {
    x: Scale,
    y: Scale,
    top: f64,
}

impl Frame {
    fn across(&self, place: f64) -> f64 {
        LEFT + place * (WIDTH - LEFT - RIGHT)
    }

    fn up(&self, place: f64) -> f64 {
        HEIGHT - BELOW - place * (HEIGHT - BELOW - self.top)
    }

    fn at(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.across(self.x.place(x)?), self.up(self.y.place(y)?)))
    }

    /// Ticks with their labels and lines across, and the names of the axes.
    fn axes(&self, plot: &Plot) -> Vec<Html> {
        let (bottom, right) = (HEIGHT - BELOW, WIDTH - RIGHT);
        let mut parts = Vec::new();
        for tick in self.y.ticks() {
            let y = self.y.place(*tick).map_or(bottom, |place| self.up(place));
            parts.push(line((LEFT, y), (right, y), &GRID));
            parts.push(text((LEFT - 7.0, y + 4.0), "end", &self.y.label(*tick)));
        }
        for tick in self.x.ticks() {
            let x = self.x.place(*tick).map_or(LEFT, |place| self.across(place));
            parts.push(line((x, bottom), (x, bottom + 5.0), &AXIS));
            parts.push(text((x, bottom + 18.0), "middle", &self.x.label(*tick)));
        }
        parts.push(line((LEFT, bottom), (right, bottom), &AXIS));
        parts.push(line((LEFT, self.top), (LEFT, bottom), &AXIS));
        parts.push(text((0.5 * (LEFT + right), HEIGHT - 8.0), "middle", plot.x.name));
        let turned = format!("translate(14 {:.1}) rotate(-90)", 0.5 * (self.top + bottom));
        parts.push(Html::element("g", &[("transform", turned)], [text((0.0, 0.0), "middle", plot.y.name)]));
        parts
    }
}

type Stroke = [(&'static str, &'static str); 3];
const GRID: Stroke = [("stroke", "#e4e4e4"), ("stroke-width", "1"), ("stroke-dasharray", "none")];
const AXIS: Stroke = [("stroke", "#333333"), ("stroke-width", "1"), ("stroke-dasharray", "none")];
const LEVEL: Stroke = [("stroke", "#333333"), ("stroke-width", "1.5"), ("stroke-dasharray", "5 4")];

fn colour(series: usize) -> &'static str {
    COLOURS[series % COLOURS.len()]
}

fn stroke(series: usize) -> Stroke {
    let dashes = DASHES[series % DASHES.len()];
    [("stroke", colour(series)), ("stroke-width", "2.2"), ("stroke-dasharray", dashes)]
}

fn line(from: (f64, f64), to: (f64, f64), look: &Stroke) -> Html {
    let ends =
        [("x1", from.0), ("y1", from.1), ("x2", to.0), ("y2", to.1)].map(|(name, at)| (name, format!("{at:.1}")));
    Html::empty("line", &[&ends[..], &look.map(|(name, value)| (name, value.to_string()))].concat())
}

fn text((x, y): (f64, f64), anchor: &str, words: &str) -> Html {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    Html::element("text", &[("x", x.as_str()), ("y", y.as_str()), ("text-anchor", anchor)], [words.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(spacing: Spacing, points: &[&[(f64, f64)]], reference: Option<(String, f64)>) -> String {
        let series = points.iter().enumerate();
        let series = series.map(|(i, points)| Series { name: format!("series <{i}>"), points: points.to_vec() });
        let axis = |name| Axis { name, spacing };
        let title = "a & b".to_string();
        Plot { title, x: axis("steps"), y: axis("epsilon"), series: series.collect(), reference }.figure().to_string()
    }

    #[test]
    fn a_line_runs_from_corner_to_corner() {
        let svg = plot(Spacing::Linear, &[&[(0.0, 0.0), (5.0, 1.0)]], None);
        assert!(svg.contains("points=\"62.0,254.0 446.0,12.0\""), "{svg}");
        assert!(svg.contains("<figcaption>a &amp; b</figcaption>") && svg.contains(">steps</text>"), "{svg}");
        assert!(!svg.contains("series"), "one line alone needs no legend: {svg}");
    }

    #[test]
    fn what_has_no_place_is_left_out_and_nothing_else_is() {
        let points: &[(f64, f64)] = &[(1.0, 1.0), (2.0, 0.0), (3.0, f64::INFINITY), (f64::NAN, 1.0), (10.0, 10.0)];
        for (spacing, shown) in [(Spacing::Linear, 3), (Spacing::Logarithmic, 2)] {
            let svg = plot(spacing, &[points, &[]], Some(("budget".into(), 5.0)));
            assert_eq!(svg.matches("<circle").count(), shown, "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("series &lt;1&gt;") && svg.contains(">budget</text>"), "{svg}");
        }
    }

    #[test]
    fn one_point_zeros_and_nothing_can_be_drawn() {
        for points in [&[(7.0, 0.0)][..], &[(0.0, 0.0), (0.0, 0.0)], &[]] {
            for spacing in [Spacing::Linear, Spacing::Logarithmic] {
                let svg = plot(spacing, &[points], Some(("level".into(), 0.0)));
                assert!(svg.contains("<polyline") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}
