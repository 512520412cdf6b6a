//! Several finished runs side by side.

use super::html::Html;
use super::page::{classes, note, number, plots};
use super::statement::{round, up};
use super::{FinishedRun, Interval, OfNodes, pictures};
use crate::plan::Unit;
use serde::Serialize;

/// What a run is compared by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The directory, as it was named.
    pub directory: String,
    /// The architecture.
    pub model: String,
    /// The data set.
    pub data: String,
    /// What it protects: a record, or a client.
    pub unit: Unit,
    /// How many nodes it was on, if there were any beside one machine, and their algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// The epsilon spent.
    pub epsilon: Interval,
    /// The delta it holds at.
    pub delta: f64,
    /// The share of test records classified rightly. Not private with respect to them.
    pub test_accuracy: Option<f64>,
    /// Their mean cross-entropy.
    pub test_loss: Option<f64>,
    /// Steps done.
    pub steps: u64,
    /// Noise standard deviation over clip norm.
    pub noise_multiplier: f64,
    /// Seconds in the training loop.
    pub training_seconds: f64,
}

/// Columns of the table of runs.
const COLUMNS: [&str; 9] =
    ["run", "model", "protects", "epsilon", "delta", "accuracy", "steps", "noise multiplier", "seconds"];

impl Summary {
    /// From what the run left behind.
    pub fn new(run: &FinishedRun) -> Self {
        let (privacy, utility) = (&run.report.privacy, &run.report.utility);
        Self {
            directory: run.name.clone(),
            model: run.report.model.architecture.clone(),
            data: run.report.recipe.data.clone(),
            unit: privacy.unit,
            nodes: run.report.nodes.as_ref().map(OfNodes::summary),
            epsilon: privacy.epsilon,
            delta: privacy.delta.get(),
            test_accuracy: utility.test_accuracy,
            test_loss: utility.test_loss,
            steps: privacy.steps,
            noise_multiplier: privacy.noise_multiplier.get(),
            training_seconds: run.report.cost.training_seconds,
        }
    }

    /// The runs as a table to be read, columns aligned; epsilon is rounded up.
    pub fn table(runs: &[Self]) -> String {
        let head = COLUMNS.map(str::to_string);
        let rows: Vec<[String; 9]> = std::iter::once(head).chain(runs.iter().map(Self::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let line = |row: &[String; 9]| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
            cells.collect::<String>().trim_end().to_string() + "\n"
        };
        rows.iter().map(line).collect()
    }

    fn cells(&self) -> [String; 9] {
        [
            self.directory.clone(),
            self.model.clone(),
            match &self.nodes {
                Some(nodes) => format!("{}, {nodes}", self.unit.name()),
                None => self.unit.name().into(),
            },
            up(self.epsilon.upper),
            self.delta.to_string(),
            self.test_accuracy.map_or_else(|| "none".into(), |accuracy| format!("{:.2} %", 100.0 * accuracy)),
            self.steps.to_string(),
            round(self.noise_multiplier),
            format!("{:.2}", self.training_seconds),
        ]
    }
}

/// One page that compares runs: their table, accuracy against epsilon in one picture, and the classes of the most accurate one.
pub fn comparison(runs: &[FinishedRun]) -> String {
    let title = format!("{} private models compared", runs.len());
    let cells = |run: &FinishedRun| {
        let [name, model, protects, numbers @ ..] = Summary::new(run).cells();
        [name, model, protects].map(Html::from).into_iter().chain(numbers.map(number)).collect()
    };
    let header = [
        Html::plain("h1", [title.as_str().into()]),
        note(
            "Each epsilon, rounded up, is that of one run alone. Runs on the same records, released or compared, cost more together: \
             choosing among them by what they do on private records has a cost that is not counted here. Accuracy is not private with \
             respect to the test records, and seconds are not private with respect to the training records.",
        ),
    ];
    let mut sections = vec![Html::section("The runs", [Html::table(&COLUMNS, runs.iter().map(cells))])];
    let series: Vec<_> = runs.iter().map(|run| pictures::accuracies(&run.name, &run.metrics)).collect();
    if series.iter().any(|series| !series.points.is_empty()) {
        sections.push(Html::section("Accuracy and privacy", [plots([pictures::accuracy(series)])]));
    }
    if let Some(best) = best(runs) {
        let heading = format!("The most accurate: {}", best.name);
        sections.push(Html::section(&heading, [classes(&best.report.utility.classes)]));
    }
    let footer =
        format!("Made by dpsgd {} from the report.json and metrics.csv of each run.", env!("CARGO_PKG_VERSION"));
    let main = Html::plain("main", sections);
    Html::document(&title, [Html::plain("header", header), main, Html::plain("footer", [footer.into()])])
}

/// The run with the highest test accuracy, the first of several.
fn best(runs: &[FinishedRun]) -> Option<&FinishedRun> {
    let accuracy = |run: &FinishedRun| run.report.utility.test_accuracy;
    runs.iter()
        .filter(|run| accuracy(run).is_some())
        .reduce(|best, run| if accuracy(run) > accuracy(best) { run } else { best })
}
