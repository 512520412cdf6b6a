//! report.html: the report of a run on one page, which needs no other file.

use super::assumptions::{Assumption, with_consequences};
use super::citations::citations;
use super::html::Html;
use super::metrics::{Metrics, Row};
use super::statement::{down, guarantee_rows, headline, model_rows, not_private, up};
use super::{ClassResult, Guarantee, OfNodes, Report, Route, pictures};

/// The page of a run: a function of its report and metrics alone, so that [`verify`](super::verify) can make it again.
///
/// It is for the owner of the data: it shows what was computed from private records without noise, in a box that says so.
pub fn page(report: &Report, metrics: &Metrics) -> String {
    let title = format!("Privacy report: {} on {}", report.model.architecture, report.recipe.data);
    let header = [
        Html::plain("h1", [title.as_str().into()]),
        Html::element("p", &[("class", "headline")], [headline(report).into()]),
        note(
            "Epsilon is rounded up. This page is for the owner of the data: the box marked NOT PRIVATE, and everything about test \
             records, come from records without noise. What can be published is statement.txt.",
        ),
    ];
    let start = report.privacy.started_from.map_or(0.0, |start| start.upper);
    let budget = report.privacy.budget.map(|budget| budget.get());
    let sections = [
        Html::section("The guarantee", [Html::pairs(texts(guarantee_rows(report)))]),
        guarantees(report),
        report.nodes.as_ref().map_or_else(|| Html::from(""), nodes),
        Html::section("What was spent", [plots([pictures::epsilon(metrics, start, budget)])]),
        utility(report, metrics),
        not_private_box(report, metrics),
        assumptions(report),
        learnt(report),
        citation(report),
    ];
    let footer = format!("Made by dpsgd {} from report.json and metrics.csv.", report.versions.dpsgd);
    let main = Html::plain("main", sections);
    Html::document(&title, [Html::plain("header", header), main, Html::plain("footer", [footer.into()])])
}

pub(super) fn note(text: &str) -> Html {
    Html::element("p", &[("class", "note")], [text.into()])
}

pub(super) fn plots(figures: impl IntoIterator<Item = Html>) -> Html {
    Html::element("div", &[("class", "plots")], figures)
}

pub(super) fn number(text: impl Into<Html>) -> Html {
    Html::element("span", &[("class", "number")], [text.into()])
}

fn texts(rows: Vec<(&'static str, String)>) -> impl Iterator<Item = (&'static str, Html)> {
    rows.into_iter().map(|(label, value)| (label, value.into()))
}

fn guarantees(report: &Report) -> Html {
    let row = |guarantee: &Guarantee| {
        let reason = || guarantee.not_available.as_deref().unwrap_or("no reason is known");
        let (upper, lower) = match guarantee.epsilon {
            Some(epsilon) => (number(up(epsilon.upper)), number(down(epsilon.lower))),
            None => (format!("not available: {}", reason()).into(), "".into()),
        };
        let lemma = if guarantee.route == Some(Route::GroupLemma) { " (group lemma: far above the truth)" } else { "" };
        let accountant = guarantee.accountant.as_ref().map_or_else(String::new, |name| format!("{name}{lemma}"));
        vec![guarantee.name().into(), upper, lower, accountant.into(), guarantee.meaning.as_str().into()]
    };
    let columns = ["protected", "epsilon at most", "not below", "accountant", "what it says"];
    let introduction = format!(
        "The same releases, each time at delta {}. Only the first line is the stated guarantee.",
        report.privacy.delta
    );
    let table = Html::table(&columns, report.privacy.guarantees.iter().map(row));
    Html::section("Three guarantees side by side", [note(&introduction), table])
}

/// The nodes: what they did, what they promise, what each has cost.
fn nodes(nodes: &OfNodes) -> Html {
    let promise: Vec<_> = nodes.promise_rows().map(|(label, value)| (label, Html::from(value))).collect();
    let (columns, rows) = nodes.cost_table();
    let rows = rows.into_iter().map(|cells| cells.into_iter().map(number).collect());
    let parts = [
        Html::pairs(texts(nodes.rows())),
        Html::plain("h3", ["What the nodes promise".into()]),
        Html::pairs(promise),
        Html::plain("h3", ["What each node has cost".into()]),
        note("Since its process was last started. Times are not private: they can tell something about a node's data."),
        Html::table(&columns, rows),
    ];
    Html::section("The nodes", parts)
}

fn utility(report: &Report, metrics: &Metrics) -> Html {
    let heading = "What the model is good for";
    let Some(records) = report.utility.test_records else {
        return Html::section(heading, [note("There was no test set.")]);
    };
    let origin = report.utility.test_data.as_deref().unwrap_or("the test set");
    let loss = report.utility.test_loss.map_or_else(|| "not finite".into(), |loss| format!("{loss:.4} nats"));
    let (accuracy, perplexity) = (report.utility.test_accuracy, report.utility.test_perplexity);
    let accuracy =
        accuracy.map(|accuracy| ("test accuracy", format!("{:.2} % of {records} records", 100.0 * accuracy)));
    let perplexity = perplexity.map(|perplexity| ("test perplexity", format!("{perplexity:.2} on {records} records")));
    let always = [
        ("test loss", format!("{loss}, the mean cross-entropy")),
        ("measured on", format!("{origin}; not private with respect to those records")),
    ];
    let measured = |of: fn(&Row) -> Option<f64>| metrics.rows().iter().any(|row| of(row).is_some());
    let series = || vec![pictures::accuracies("test accuracy", metrics)];
    let figures = match (measured(|row| row.test_accuracy), measured(|row| row.test_loss)) {
        (true, _) => plots([pictures::accuracy(series()), pictures::loss(metrics)]),
        (false, true) => plots([pictures::loss(metrics)]),
        (false, false) => note("Nothing was measured during training."),
    };
    let way = note("On the way the parameters were tested as they were stepped; at the end, as they were released.");
    let summary = accuracy.into_iter().chain(perplexity).chain(always).collect();
    let classes = (!report.utility.classes.is_empty()).then(|| classes(&report.utility.classes));
    Html::section(heading, [Html::pairs(texts(summary)), figures, way].into_iter().chain(classes))
}

/// Each class with its share of right answers, as a number and as a bar.
pub(super) fn classes(classes: &[ClassResult]) -> Html {
    let row = |result: &ClassResult| {
        let share = if result.records == 0 {
            "no records".into()
        } else {
            let percent = 100.0 * result.right as f64 / result.records as f64;
            let bar =
                Html::element("span", &[("class", "bar".to_string()), ("style", format!("width:{percent:.1}%"))], []);
            [Html::element("span", &[("class", "track")], [bar]), number(format!("{percent:.1} %"))]
                .into_iter()
                .collect()
        };
        let counts = [result.records, result.right].map(|count| number(count.to_string()));
        std::iter::once(result.class.as_str().into()).chain(counts).chain([share]).collect()
    };
    let heading = Html::plain("h3", ["Class by class".into()]);
    let table = Html::table(&["class", "test records", "right", "share"], classes.iter().map(row));
    [heading, table].into_iter().collect()
}

fn not_private_box(report: &Report, metrics: &Metrics) -> Html {
    let mark = Html::element("span", &[("class", "mark")], ["NOT PRIVATE".into()]);
    let found = &report.not_private;
    let rows = [
        ("examples clipped", format!("{:.1} %", 100.0 * found.clipped_fraction)),
        ("mean gradient norm", format!("{:.4}", found.mean_gradient_norm)),
        ("examples dropped", format!("{}, as their gradient was not finite", found.dropped_examples)),
    ];
    let list = not_private(report).into_iter().map(|what| Html::plain("li", [what.into()]));
    let parts = [
        Html::plain("h2", [mark, "Do not publish this box".into()]),
        note("Computed from the gradients of single records without noise. The guarantee does not cover it."),
        plots([pictures::clipped(metrics), pictures::norms(metrics)]),
        Html::pairs(texts(rows.into())),
        Html::plain("h3", ["Not private either, here and in the other files of the run".into()]),
        Html::plain("ul", list),
    ];
    Html::plain("aside", parts)
}

/// Every assumption with its consequence; neighbours with the same one share it.
fn assumptions(report: &Report) -> Html {
    let assumptions = with_consequences(report);
    let item = |same: &[Assumption]| {
        let texts = same.iter().map(|assumption| Html::plain("p", [assumption.text.as_str().into()]));
        let otherwise = same.first().map(|assumption| {
            let failing = if same.len() > 1 { "one of these fails" } else { "this fails" };
            let sentence = format!("If {failing}, or goes unheeded: {}", assumption.otherwise);
            Html::element("p", &[("class", "otherwise")], [sentence.into()])
        });
        Html::plain("li", texts.chain(otherwise))
    };
    let list = assumptions.chunk_by(|one, next| one.otherwise == next.otherwise).map(item);
    Html::section("The guarantee rests on this", [Html::plain("ol", list)])
}

fn learnt(report: &Report) -> Html {
    let code = |text: String| Html::plain("code", [text.into()]);
    let model = &report.model;
    let shape: Vec<String> = model.input_shape.iter().map(usize::to_string).collect();
    let optimizer = serde_json::to_string(&report.recipe.optimizer).unwrap_or_default();
    let mut rows: Vec<(&str, Html)> = Vec::new();
    for (label, value) in model_rows(report) {
        rows.push((label, if label == "sha256" { code(value) } else { value.into() }));
    }
    rows.push(("input", format!("records of shape {}", shape.join(" x ")).into()));
    rows.push(("classes", format!("{}: {}", model.classes.len(), model.classes.join(", ")).into()));
    rows.push(("optimiser", code(optimizer)));
    let (program, accountant) = (&report.versions.dpsgd, &report.versions.dp_accountant);
    rows.push(("versions", format!("dpsgd {program}, dp-accountant {accountant}").into()));
    Html::section("What was learnt", [Html::pairs(rows)])
}

fn citation(report: &Report) -> Html {
    let list = citations(report).into_iter().map(|paper| Html::plain("li", [paper.into()]));
    Html::section("How to cite", [Html::plain("ul", list)])
}
