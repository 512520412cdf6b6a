//! The statement: the report, for a person.

use super::{OfNodes, Privacy, Report};
use crate::noise::NoiseRule;
use crate::plan::Unit;
use crate::seed::Origin;
use dp_accountant::Relation;

/// The privacy statement of a run, wrapped for a page of 100 columns.
pub fn statement(report: &Report) -> String {
    let table = |rows: Vec<(&str, String)>| rows.iter().map(|(label, value)| row(label, value)).collect::<String>();
    let mut out = format!("PRIVACY STATEMENT (dpsgd {})\n\n{}\n\n", report.versions.dpsgd, headline(report));
    out += &table(guarantee_rows(report));
    if let Some(nodes) = &report.nodes {
        out += "\nNodes\n";
        out += &table(nodes.rows());
        out += "\nWhat the nodes promise:\n";
        for (label, value) in nodes.promise_rows() {
            out += &item(&format!("{label}: {value}"));
        }
    }
    out += "\nModel\n";
    out += &table(model_rows(report));
    out += "\nThe guarantee rests on this:\n";
    for assumption in &report.assumptions {
        out += &item(assumption);
    }
    out += "\nThese numbers are not private and must not be published as if they were:\n";
    for what in not_private(report) {
        out += &item(&what);
    }
    out
}

/// The guarantee in a sentence, its epsilon rounded up.
pub(super) fn headline(report: &Report) -> String {
    let (epsilon, delta) = (up(report.privacy.epsilon.upper), report.privacy.delta);
    format!("The released model satisfies ({epsilon}, {delta})-differential privacy.")
}

/// What the guarantee is and what it is made of: labels and values.
pub(super) fn guarantee_rows(report: &Report) -> Rows {
    [promise_rows(report), sampling_rows(report), noise_rows(report), origin_rows(&report.privacy)].concat()
}

pub(super) type Rows = Vec<(&'static str, String)>;

/// What is promised to whom.
fn promise_rows(report: &Report) -> Rows {
    let p = &report.privacy;
    let mut rows = Rows::new();
    let mut line = |label, value| rows.push((label, value));
    line("epsilon", format!("{} (upper bound; not below {})", up(p.epsilon.upper), down(p.epsilon.lower)));
    line("delta", p.delta.to_string());
    if let Some(budget) = p.budget {
        line("budget", format!("epsilon {}", budget.get()));
    }
    if let Some(start) = p.started_from {
        line("of which", format!("epsilon {} for the model that the run started from", up(start.upper)));
    }
    if let Some(joint) = p.joint.filter(|joint| joint.others > 0) {
        let models = if joint.others == 1 { "1 other model".into() } else { format!("{} other models", joint.others) };
        line("joint epsilon", format!("{} together with {models} of its ledger", up(joint.epsilon.upper)));
    }
    line("unit", if p.unit == Unit::Client { "one client: a node with all its data" } else { "one record" }.into());
    line("neighbouring relation", relation(p.unit, p.neighbouring_relation));
    rows
}

/// What a record can do to a sum: whether it is in it, and how much of it.
fn sampling_rows(report: &Report) -> Rows {
    let p = &report.privacy;
    let mut rows = Rows::new();
    let mut line = |label, value| rows.push((label, value));
    if p.unit == Unit::Client {
        let taking_part = match p.sampling_rate.filter(|rate| *rate < 1.0) {
            Some(rate) => format!("Poisson, rate {} of {} clients", round(rate), p.records),
            None => match report.nodes.as_ref().and_then(OfNodes::participants) {
                Some(some) => format!("{some} of {} clients in a round on average, which is not counted", p.records),
                None => format!("none: all {} clients in every round", p.records),
            },
        };
        line("sampler", taking_part);
        line("clipping", format!("what a client sends in a round, to length t = {}", p.clip_norm));
        return rows;
    }
    let rate = p.sampling_rate.map_or_else(String::new, |rate| format!(", rate {}", round(rate)));
    let batch = format!("expected batch {} of {} records", short(p.expected_batch), p.records);
    line("sampler", format!("{}{rate} ({batch})", capital(&p.sampler)));
    if let Some(size) = p.perturbation {
        line("perturbation", format!("per example before the clip, standard deviation {size} in each coordinate"));
    }
    let last = p.last_clip_norm.map_or_else(String::new, |last| format!(" at first and {} at last", round(last)));
    line("clipping", format!("per example, {}, clip norm C = {}{last}", p.clipping.description(), p.clip_norm));
    rows
}

/// What hides it, and over how many steps.
fn noise_rows(report: &Report) -> Rows {
    let p = &report.privacy;
    let mut rows = Rows::new();
    let mut line = |label, value| rows.push((label, value));
    let schedules = &report.plan.draft().schedules;
    for (label, schedule) in [("clip schedule", &schedules.clip), ("noise schedule", &schedules.noise)] {
        if !schedule.is_one() {
            line(label, format!("{schedule} (share of the steps from which on = factor)"));
        }
    }
    let pair = match (report.plan.draft().noise, p.clipping.adaptive()) {
        (NoiseRule::Tree, _) => " at each node",
        (NoiseRule::Banded { .. }, _) => " over clip norm and column norm",
        (NoiseRule::Independent, Some(_)) => " of sum and count together",
        (NoiseRule::Independent, None) => "",
    };
    let noise = round(p.noise_multiplier.get());
    line("mechanism", format!("{}, noise multiplier {noise}{pair}", capital(&p.mechanism)));
    let releases = report.nodes.as_ref().is_some_and(|nodes| nodes.setting.is_some());
    let steps = if releases { "releases of a node" } else { "steps" };
    line(steps, format!("{} asked, {} done", p.steps_asked, p.steps));
    rows
}

/// Who reckoned, and where the randomness came from.
fn origin_rows(p: &Privacy) -> Rows {
    let origin = |key| match key {
        Origin::OperatingSystem => "from the operating system",
        Origin::Seed => "from a seed: the guarantee holds only while it is secret",
    };
    let mut rows = vec![
        ("accountant", format!("{} of dp-accountant {}", p.accountant, p.accountant_version)),
        ("generator", format!("{}, key {}", p.generator, origin(p.key))),
    ];
    // The epsilon is that of the earlier runs too, so their keys must be secret as well.
    rows.extend(p.started_from_key.map(|key| ("earlier keys", origin(key).into())));
    rows
}

/// What was learnt: labels and values.
pub(super) fn model_rows(report: &Report) -> Rows {
    let mut rows = Vec::new();
    let mut line = |label, value| rows.push((label, value));
    line("architecture", format!("{}, {} parameters", report.model.architecture, report.model.parameters));
    line("trained on", report.recipe.data.clone());
    if let Some(augmentation) = report.recipe.augmentation {
        line("augmentation", augmentation.to_string());
    }
    line("sha256", report.model.sha256.clone());
    if let (Some(accuracy), Some(records)) = (report.utility.test_accuracy, report.utility.test_records) {
        line("test accuracy", format!("{:.2} % of {records} records", 100.0 * accuracy));
    }
    if let (Some(perplexity), Some(records)) = (report.utility.test_perplexity, report.utility.test_records) {
        line("test perplexity", format!("{perplexity:.2} on {records} records"));
    }
    rows
}

/// What beside the statement was computed from private data without noise. The numbers themselves are not in it.
pub(super) fn not_private(report: &Report) -> Vec<String> {
    let mut list = vec![
        "the clipped fraction, gradient norms and dropped examples of the training records in report.json, report.html and metrics.csv"
            .into(),
        "times, speed and the number of sampled examples in report.json and metrics.csv".into(),
        "symmetry_not_private.json, if symmetry was measured".into(),
        "the checkpoint, if one was kept: it holds the key".into(),
    ];
    if report.nodes.is_some() {
        list.push("seconds of computing and waiting of the nodes in report.json and report.html".into());
    }
    if report.nodes.as_ref().is_some_and(|nodes| nodes.transport == "mpi" && nodes.setting.is_some()) {
        list.push("the same of other nodes, which they have for themselves: what is here is of node 0 alone".into());
    }
    if report.utility.test_accuracy.is_some() {
        list.push("the test accuracy and loss, with respect to the test records".into());
    }
    if report.utility.test_perplexity.is_some() {
        list.push("the test loss and perplexity, with respect to the test records".into());
    }
    list
}

fn relation(unit: Unit, relation: Relation) -> String {
    let (unit, bound) = match unit {
        Unit::Record => ("record", "the clip norm"),
        Unit::Client => ("client", "t"),
    };
    match relation {
        Relation::AddRemove => format!("add or remove one {unit} (sensitivity: {bound})"),
        Relation::Replace => format!("replace one {unit} (sensitivity: twice {bound})"),
        Relation::ZeroOut => format!("replace one {unit} by nothing (sensitivity: {bound})"),
    }
}

/// Poisson and Gauss are names.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Four decimals, never below the value: a promise is not rounded down.
pub(crate) fn up(value: f64) -> String {
    let rounded = (value * 1e4).ceil() / 1e4;
    if rounded.is_finite() { format!("{rounded:.4}") } else { value.to_string() }
}

/// Four decimals, never above the value.
pub(crate) fn down(value: f64) -> String {
    format!("{:.4}", (value * 1e4).floor() / 1e4)
}

/// Six significant digits, for reading.
pub(super) fn round(value: f64) -> String {
    let digits = (5 - value.abs().max(1e-300).log10().floor() as i32).clamp(0, 12) as usize;
    format!("{value:.digits$}")
}

/// As it is if it is whole, otherwise with six significant digits.
pub(super) fn short(value: f64) -> String {
    if value.fract() == 0.0 { value.to_string() } else { round(value) }
}

/// A line of a table: what, and its value.
fn row(label: &str, value: &str) -> String {
    format!("  {label:<22}{value}\n")
}

/// A list item wrapped at 100 columns.
fn item(text: &str) -> String {
    let (mut out, mut column) = (String::from("  -"), 3);
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column + 1 + width > 100 {
            out += "\n   ";
            column = 3;
        }
        out.push(' ');
        out += word;
        column += 1 + width;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_rounded_up_and_a_lower_bound_down() {
        assert_eq!((up(2.99991), up(3.0), up(0.00001)), ("3.0000".into(), "3.0000".into(), "0.0001".into()));
        assert_eq!((down(2.99999), down(0.0)), ("2.9999".into(), "0.0000".into()));
        assert_eq!(up(f64::INFINITY), "inf");
    }

    #[test]
    fn numbers_keep_six_digits_and_lines_their_width() {
        assert_eq!(
            (round(0.012345678), round(1.5), round(123456.0)),
            ("0.0123457".into(), "1.50000".into(), "123456".into())
        );
        assert_eq!((short(32.0), short(1e6), short(23.0 / 3.0)), ("32".into(), "1000000".into(), "7.66667".into()));
        assert!(item(&"word ".repeat(60)).lines().all(|line| line.len() <= 100 && line.starts_with("  ")));
    }
}
