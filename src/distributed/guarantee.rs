//! What a distributed run promises, to whom, and why.
//!
//! | unit | clipped | one message moves by | noise | sampling that amplifies |
//! | --- | --- | --- | --- | --- |
//! | record | every example, inside its node | C absent, 2C replaced | of every node | of records, in the node |
//! | record | what nodes send | 2t | of every node, on the sum, or in shares | none |
//! | client | what nodes send | t absent, 2t replaced | the same | of clients, where noise is on the sum |
//!
//! A message clipped to length t may be anywhere in the ball of that radius, and one record that is not clipped by
//! itself can move it from any place to any other: under node-level clipping a record counts like a replaced client,
//! however many records the node has.
//!
//! Nodes that release examples' sums hold disjoint records, so a record has the epsilon of its own node, and the run
//! the largest (McSherry 2009, parallel composition). What comes after such a release, memories and second clips
//! included, is post-processing.

mod of_run;
mod papers;
mod statement;

pub use crate::plan::Unit;
#[cfg(feature = "cli")]
pub(crate) use of_run::{examples_of_clients, records_in_messages};
pub use papers::{PapersFormula, true_epsilon_of_papers_formula};

use super::uplink::Trust;
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier, Relation, SamplingRate};
use serde::{Deserialize, Serialize};

/// What a run without the unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbour {
    /// The unit is not there. A client that is absent still sends its noise, or its share, where clients add it.
    Absent,
    /// The unit has other data.
    Replaced,
}

/// What is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// The gradient of every example, inside its node, to length C; the sum over a batch gets noise before anything
    /// else sees it, and is divided by a public constant.
    Examples,
    /// What a node sends, all its numbers together, to length t: a gradient, or its difference to a memory.
    Messages,
}

/// Who adds noise. Noise multipliers are standard deviations over the radius: t, or C where examples are clipped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// Nobody.
    None,
    /// Every node, to its own message.
    Nodes(NoiseMultiplier),
    /// Whoever adds up, once for the sum.
    Aggregator(NoiseMultiplier),
    /// Every node adds a share, `1 / sqrt(nodes)` of the standard deviation, and only sums are seen.
    Shares {
        /// Of the noise of all shares together.
        noise_multiplier: NoiseMultiplier,
        /// How many nodes add a share.
        nodes: u32,
        /// How many of them may drop out, or tell theirs: their noise hides nothing.
        missing: u32,
    },
}

/// Where memories start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memories {
    /// At 0, at public vectors, or at what noisy releases have told, all of which are counted. Or there are none.
    Public,
    /// At something computed from data that no counted release has told.
    OfData,
}

/// What a run does, as far as its promise depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Whom the promise is made to. Studies that promise nothing to anybody have no terms.
    pub unit: Unit,
    /// What a run without the unit is.
    pub neighbour: Neighbour,
    /// What is clipped.
    pub clipping: Clipping,
    /// Who adds noise. Where nodes have different multipliers, the least.
    pub noise: Noise,
    /// Whom nodes trust: with [`Trust::Local`] somebody who is not trusted sees single messages.
    pub trust: Trust,
    /// Where memories start.
    pub memories: Memories,
    /// The rate at which a node draws its records (Poisson, fresh for every answer), where that is to count. Where
    /// nodes have different rates, the largest.
    pub record_sampling: Option<SamplingRate>,
    /// The rate at which clients take part (a coin for each and round), where that is to count; the coins must stay
    /// secret, and sums must be divided by the number of all clients.
    pub client_sampling: Option<SamplingRate>,
    /// How many noisy releases a node makes in the whole run: messages, or with clipped examples answers of its oracle.
    /// Where nodes make different numbers of them, the most.
    pub releases: u64,
}

/// What a run promises: terms that hold together, and their cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    terms: Terms,
    event: Event,
    relation: Relation,
}

impl Terms {
    /// What a run on these terms promises.
    ///
    /// # Errors
    /// When the terms do not hold together: the reason is told, with a way out.
    pub fn promise(self) -> Result<Promise> {
        if let Some((_, reason)) = self.refusals().into_iter().find(|(refused, _)| *refused) {
            return Err(Error::Refused { reason: reason.into() });
        }
        let release = Event::gaussian(self.noise.counted()?);
        let release = match self.record_sampling.or(self.client_sampling) {
            Some(rate) => release.poisson_sampled(rate),
            None => release,
        };
        Ok(Promise { event: release.repeated(self.releases), relation: self.relation(), terms: self })
    }

    /// The relation under which the cost is to be asked for.
    fn relation(&self) -> Relation {
        match (self.unit, self.clipping, self.neighbour) {
            (Unit::Record, Clipping::Messages, _) | (_, _, Neighbour::Replaced) => Relation::Replace,
            (Unit::Record, Clipping::Examples, _) => Relation::AddRemove,
            // A client that is absent from a sum adds nothing, elsewhere noise alone.
            _ if matches!(self.noise, Noise::Aggregator(_)) => Relation::AddRemove,
            _ => Relation::ZeroOut,
        }
    }

    /// What does not hold together, and the ways out.
    fn refusals(&self) -> [(bool, &'static str); 13] {
        let (record, client) = (self.unit == Unit::Record, self.unit == Unit::Client);
        let (examples, messages) = (self.clipping == Clipping::Examples, self.clipping == Clipping::Messages);
        let (records, clients) = (self.record_sampling.is_some(), self.client_sampling.is_some());
        let (local, shares) = (self.trust == Trust::Local, matches!(self.noise, Noise::Shares { .. }));
        let (of_nodes, on_sum) = (matches!(self.noise, Noise::Nodes(_)), matches!(self.noise, Noise::Aggregator(_)));
        [
            (self.noise == Noise::None, NO_NOISE),
            (self.memories == Memories::OfData, OF_DATA),
            (shares && local, SHARES),
            (on_sum && local, ON_SUM),
            (client && examples, EXAMPLES_OF_CLIENTS),
            (record && messages && records, RECORDS_IN_MESSAGES),
            (record && examples && !of_nodes, EXAMPLES_ELSEWHERE),
            (client && records, RECORDS_OF_CLIENTS),
            (clients && local, CLIENTS_SEEN),
            (clients && record, CLIENTS_OF_RECORDS),
            (clients && !on_sum, CLIENTS_WITH_NOISE),
            (clients && self.neighbour == Neighbour::Replaced, CLIENTS_REPLACED),
            (self.noise.hides_nothing(), NO_SHARE),
        ]
    }
}

const NO_NOISE: &str = "without noise nothing is promised; add noise, or promise nothing";
const OF_DATA: &str = "initial memories computed from data would be told by the first messages: a release that nobody \
    counts; start them at 0, or from noisy releases that are counted";
const SHARES: &str = "equal shares of noise hide nothing from a server that sees single messages: each has one share \
    alone; let every node add all of its noise, or trust the aggregation";
const ON_SUM: &str = "noise on the sum hides nothing from a server that sees single messages; let every node add its \
    own, or trust whoever adds up";
const EXAMPLES_OF_CLIENTS: &str = "clipping every example does not bound what a client with many of them does; clip \
    what nodes send, or take the unit record";
const RECORDS_IN_MESSAGES: &str = "sampling records amplifies nothing where nodes clip what they send: the memory \
    carries a record into later messages, of rounds in which it is not sampled; clip every example and add noise \
    inside the node, or count without the sampling, or take the unit client";
const EXAMPLES_ELSEWHERE: &str = "where examples are clipped, noise must be added inside the node, before memories \
    and second clips; let every node add its own";
const RECORDS_OF_CLIENTS: &str = "sampling records amplifies nothing for a client, which is in every batch with some \
    record; count without it, or take the unit record and clip every example";
const CLIENTS_SEEN: &str = "sampling clients amplifies nothing where single messages are seen: they tell who takes \
    part; add noise to the sum and trust whoever adds up, or count without the sampling";
const CLIENTS_OF_RECORDS: &str =
    "sampling clients is counted for the unit client alone; take that unit, or count without the sampling";
const CLIENTS_WITH_NOISE: &str = "sampling clients amplifies only with noise drawn once for the sum: an idle client's \
    own noise is missing, and its absence seen; add noise to the sum, or count without the sampling";
const CLIENTS_REPLACED: &str = "sampling clients is counted for a client that is absent, and not for one with other \
    data; take the neighbour absent, or count without the sampling";
const NO_SHARE: &str =
    "where all shares of the noise may be missing, nothing is hidden; allow for fewer missing nodes than there are";

impl Noise {
    fn hides_nothing(self) -> bool {
        matches!(self, Self::Shares { nodes, missing, .. } if missing >= nodes)
    }

    /// The noise multiplier that counts: of shares that of those that are not missing.
    fn counted(self) -> Result<NoiseMultiplier> {
        match self {
            Self::None => Err(Error::Refused { reason: NO_NOISE.into() }),
            Self::Nodes(noise_multiplier) | Self::Aggregator(noise_multiplier) => Ok(noise_multiplier),
            Self::Shares { noise_multiplier, missing: 0, .. } => Ok(noise_multiplier),
            Self::Shares { noise_multiplier, nodes, missing } => {
                let honest = f64::from(nodes.saturating_sub(missing)) / f64::from(nodes);
                // Quotient, root and product are rounded once each: less noise counts than there is.
                Ok(NoiseMultiplier::new(noise_multiplier.get() * honest.sqrt() * (1.0 - 2.0 * f64::EPSILON))?)
            }
        }
    }
}

impl Promise {
    /// The terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The cost of the whole run.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The relation under which the cost is to be asked for: with it the accountant knows the sensitivity.
    pub fn relation(&self) -> Relation {
        self.relation
    }
}
