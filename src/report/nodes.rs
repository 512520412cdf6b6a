//! What is reported of the nodes of a run.

use super::Report;
use super::statement::Rows;
use crate::Result;
use crate::distributed::Setting;
use crate::distributed::cost::NodeCost;
use crate::distributed::guarantee::Promise;
use crate::plan::{Plan, Unit};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Where a run was, and what its nodes did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfNodes {
    /// How messages were moved.
    pub transport: String,
    /// Whether each process read the records of its own node alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
    /// How records were dealt to nodes.
    pub partition: String,
    /// How many records each node had: public numbers.
    pub records: Vec<usize>,
    /// The algorithm and what its messages follow from; nothing where the nodes shared the steps of one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<Setting>,
    /// The gap between the largest and the second eigenvalue of the mixing matrix, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral_gap: Option<f64>,
    /// Rounds or steps done.
    pub rounds: u32,
    /// What is promised and what that rests on: labels and values.
    pub promise: Vec<(String, String)>,
    /// What each node has cost since its process was last started.
    pub costs: Vec<NodeCost>,
}

impl OfNodes {
    /// With what a private run under this plan promises.
    ///
    /// # Errors
    /// When plan and setting do not hold together.
    pub(super) fn promising(self, plan: &Plan) -> Result<Self> {
        let rows = match &self.setting {
            Some(setting) => Promise::of_run(plan, setting)?.rows(),
            None => shared_steps(),
        };
        Ok(Self { promise: rows.into_iter().map(|(label, value)| (label.into(), value)).collect(), ..self })
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        let algorithm = self.setting.as_ref().map_or("dp-sgd", |setting| setting.method.name());
        format!("{} nodes, {algorithm}", self.records.len())
    }

    /// Whether nodes release by themselves, so that the records of a person may be behind the noise of different ones.
    pub(super) fn release_apart(&self) -> bool {
        let per_node = |setting: &Setting| setting.nodes > 1;
        self.setting.as_ref().is_some_and(per_node)
    }

    /// How many nodes took part in a round on average, where it was not all of them.
    pub(super) fn participants(&self) -> Option<NonZeroU32> {
        let some = self.setting.as_ref()?.method.participants()?;
        (some.get() as usize).lt(&self.records.len()).then_some(some)
    }

    /// What is said of the nodes that plan and steps do not bear out, if anything is.
    pub(super) fn contradiction(&self, report: &Report) -> Option<&'static str> {
        let (draft, privacy, nodes) = (report.plan.draft(), &report.privacy, self.records.len());
        let records: usize = self.records.iter().sum();
        let Some(setting) = &self.setting else {
            let wrong = [
                (draft.unit != Unit::Record, "nodes that share the steps of one machine protect records"),
                (records != draft.records, "the nodes have not the records of the plan"),
                (u64::from(self.rounds) != privacy.steps, "the steps of the nodes are not those of the ledger"),
            ];
            return wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why);
        };
        let (units, releases) = match draft.unit {
            Unit::Record => (records, setting.method.answers(self.rounds)),
            Unit::Client => (nodes, u64::from(self.rounds)),
        };
        let clipped = draft.unit == Unit::Record || setting.method.radius() == Some(draft.clip_norm);
        let wrong = [
            (setting.model != report.recipe.model, "the nodes learnt another model than the report says"),
            (setting.nodes != nodes, "the algorithm was for another number of nodes"),
            (units != draft.records, "the nodes have not the records, or are not the clients, of the plan"),
            (releases != privacy.steps, "the rounds of the nodes do not make the releases of the ledger"),
            (!clipped, "messages are not clipped to the length that the plan says"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why)
    }

    /// The nodes, what they did and what they moved: labels and values.
    pub(super) fn rows(&self) -> Rows {
        let nodes = self.records.len();
        let (least, most) = (self.records.iter().min(), self.records.iter().max());
        let records = match (least, most) {
            (Some(least), Some(most)) if least < most => format!("{least} to {most} records each"),
            (Some(records), _) => format!("{records} records each"),
            _ => String::new(),
        };
        let algorithm = self.setting.as_ref().map_or("dp-sgd", |setting| setting.method.name());
        let place = if self.transport == "mpi" { "a process each, over MPI" } else { "in one process" };
        let mut rows = vec![
            ("nodes", format!("{nodes}, {place}; dealt by {}, {records}", self.partition)),
            ("algorithm", algorithm.to_string()),
        ];
        rows.extend(self.setting.as_ref().map(|setting| ("constants", constants(setting))));
        if let Some(topology) = self.setting.as_ref().and_then(|setting| setting.method.topology()) {
            let gap = self.spectral_gap.map_or_else(String::new, |gap| format!(", spectral gap {gap:.4}"));
            rows.push(("topology", format!("{topology}{gap}")));
        }
        rows.push(("rounds", self.rounds.to_string()));
        rows.push(("bytes sent", self.bytes()));
        rows
    }

    /// The promise: labels and values.
    pub(super) fn promise_rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.promise.iter().map(|(label, value)| (label.as_str(), value.as_str()))
    }

    /// What each node has cost: columns and a row for each.
    pub(super) fn cost_table(&self) -> ([&'static str; 6], Vec<[String; 6]>) {
        let columns = ["node", "records", "bytes sent", "bytes received", "seconds of computing", "seconds of waiting"];
        let row = |(node, (records, cost)): (usize, (&usize, &NodeCost))| {
            let seconds = |seconds: Option<f64>| seconds.map_or_else(|| "not told".into(), |s| format!("{s:.3}"));
            [
                node.to_string(),
                records.to_string(),
                cost.sent_bytes.to_string(),
                cost.received_bytes.to_string(),
                seconds(cost.computing_seconds),
                seconds(cost.waiting_seconds),
            ]
        };
        (columns, self.records.iter().zip(&self.costs).enumerate().map(row).collect())
    }

    fn bytes(&self) -> String {
        let sent = || self.costs.iter().map(|cost| cost.sent_bytes);
        let rounds = f64::from(self.rounds.max(1));
        let (least, most) = (sent().min().unwrap_or_default(), sent().max().unwrap_or_default());
        let each = if least == most { most.to_string() } else { format!("{least} to {most}") };
        format!("{each} by a node, at most {:.0} in a round", most as f64 / rounds)
    }
}

/// The constants of an algorithm, by the flags that give them.
fn constants(setting: &Setting) -> String {
    let fields = match serde_json::to_value(&setting.method) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    // Who talks to whom has a row of its own.
    let constants = fields.iter().filter(|(name, _)| !["name", "topology"].contains(&name.as_str()));
    let words = constants.map(|(name, value)| {
        let flag = FLAGS
            .iter()
            .find(|(field, _)| field == name)
            .map_or_else(|| name.replace('_', "-"), |(_, flag)| (*flag).into());
        match value {
            serde_json::Value::String(word) => format!("{flag} {word}"),
            serde_json::Value::Null => format!("{flag} none"),
            value => format!("{flag} {value}"),
        }
    });
    let batch = setting.minibatch.map(|size| format!("batch-size {size}"));
    words.chain(batch).collect::<Vec<_>>().join(", ")
}

/// Fields of a method whose flags have other names.
const FLAGS: [(&str, &str); 8] = [
    ("step", "learning-rate"),
    ("radius", "message-clip"),
    ("visibility", "memory"),
    ("rate", "memory-rate"),
    ("alpha", "smoothing"),
    ("feedback", "feedback-clip"),
    ("longest", "longest-step"),
    ("start", "first-direction"),
];

/// What nodes that share the steps of one machine rest their promise on.
fn shared_steps() -> Rows {
    let row = |label, value: &str| (label, value.to_string());
    vec![
        row(
            "trust",
            "the nodes trust each other: all have the key that noise is drawn from, and see each other's sums",
        ),
        row("noise", "once to the sum of all nodes, drawn alike by all of them from the key that they share"),
        row(
            "sensitivity",
            "that of one machine: a record is at one node, and the sums of nodes add up to that of the batch",
        ),
        row("sampling", "every record by the coin that one machine would toss for it, whichever node has it"),
    ]
}
