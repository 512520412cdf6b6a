//! The promise in words.

use super::{Clipping, Neighbour, Noise, Promise, Unit};
use crate::distributed::uplink::Trust;
use dp_accountant::Relation;

impl Promise {
    /// What is promised and what it rests on: labels and values.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("unit", self.unit().into()),
            ("neighbour", self.neighbour()),
            ("trust", self.trust().into()),
            ("noise", self.noise()),
            ("sensitivity", self.sensitivity()),
            ("amplification", self.amplification()),
            ("releases", format!("{} of a node in the whole run", self.terms.releases)),
            ("private", if matches!(self.terms.noise, Noise::Aggregator(_)) { BEFORE_THE_SUM } else { PRIVATE }.into()),
        ]
    }

    fn unit(&self) -> &'static str {
        match self.terms.unit {
            Unit::Record => "one record of one node; epsilon is the largest of all nodes, whose records are disjoint",
            Unit::Client => "one client: a node with all its data",
        }
    }

    fn neighbour(&self) -> String {
        let neighbour = match (self.terms.neighbour, self.relation) {
            (Neighbour::Absent, Relation::ZeroOut) => "the unit is absent, and its node sends noise alone",
            (Neighbour::Absent, _) => "the unit is absent",
            (Neighbour::Replaced, _) => "the unit has other data",
        };
        format!("{neighbour}; asked for under {}", self.relation)
    }

    fn trust(&self) -> &'static str {
        match self.terms.trust {
            Trust::Local => "nobody: the server may read every message, and so may everybody else",
            Trust::Central => "whoever adds up: the promise is against those who see sums, and not against the server",
        }
    }

    fn noise(&self) -> String {
        let radius = self.radius();
        match self.terms.noise {
            Noise::None => "none".into(),
            Noise::Nodes(z) if self.terms.clipping == Clipping::Examples => {
                format!("every node, to the sum of its clipped examples: standard deviation {z} {radius}")
            }
            Noise::Nodes(z) => format!("every node, to its own message: standard deviation {z} {radius}"),
            Noise::Aggregator(z) => format!("whoever adds up, once to every sum: standard deviation {z} {radius}"),
            Noise::Shares { noise_multiplier, nodes, missing } => format!(
                "every node a share of 1/{nodes} of the variance: standard deviation {noise_multiplier} {radius} \
                 together; {missing} shares may be missing and do not count"
            ),
        }
    }

    fn sensitivity(&self) -> String {
        let t = self.radius();
        match (self.terms.unit, self.terms.clipping, self.relation) {
            (_, Clipping::Examples, Relation::Replace) => {
                format!("2{t}: another gradient takes the place of one no longer than {t}")
            }
            (_, Clipping::Examples, _) => {
                format!("{t}: a record's gradient adds no more than that to the sum of a batch")
            }
            (Unit::Record, ..) => format!(
                "2{t}: a record that is not clipped by itself can move its node's message anywhere in a ball of radius \
                 {t}, so it counts like a replaced client, however many records the node has"
            ),
            (_, _, Relation::Replace) => format!("2{t}: another message takes the place of one no longer than {t}"),
            _ => format!("{t}: a message is no longer than that, and the absent client's is 0"),
        }
    }

    fn amplification(&self) -> String {
        match (self.terms.record_sampling, self.terms.client_sampling) {
            (Some(rate), _) => {
                format!("records are drawn by a node at rate {rate}, each by itself and afresh for every answer")
            }
            (_, Some(rate)) => format!(
                "clients take part at rate {rate}, each by a secret coin of its own in every round; only the noisy sum \
                 is told, divided by the number of all clients"
            ),
            _ => "none is counted".into(),
        }
    }

    fn radius(&self) -> char {
        if self.terms.clipping == Clipping::Examples { 'C' } else { 't' }
    }
}

/// What the noise does not hide.
const PRIVATE: &str = "memories, momenta, messages before their noise, how many were clipped, and checkpoints of \
    nodes: they must not leave them. Choosing radius and step sizes by runs on the same data is not counted";

/// The same, where whoever adds up sees messages.
const BEFORE_THE_SUM: &str = "memories, momenta and checkpoints of nodes, and how many were clipped: they must not leave them; and single \
    messages, which only whoever adds up may see. Choosing radius and step sizes by runs on the same data is not counted";

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rows().iter().try_for_each(|(label, value)| writeln!(f, "{label}: {value}"))
    }
}
