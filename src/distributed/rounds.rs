//! A run of rounds: an algorithm on its nodes, from the first round to the last.

use super::algorithm::Algorithm;
use super::cost::NodeCost;
use super::guarantee::Promise;
use super::method::{Method, Site};
use super::topology::Topology;
use super::transport::Transport;
use super::uplink::Trust;
use super::wire::Width;
use super::{Network, Nodes, Oracle, PrivateNetwork, RecordNoise, point_of, set_point};
use crate::checkpoint::{Checkpoint, Fingerprint, OfNodes, hexadecimal};
use crate::clip::ClipNorm;
use crate::data::Dataset;
use crate::journal::is_entry;
use crate::model::{Architecture, Classifier};
use crate::nn::Parameters;
use crate::noise::NoiseRule;
use crate::plan::{Plan, Schedules, Unit};
use crate::seed::Key;
use crate::train::{Progress, Training, Wish};
use crate::{Error, Result};
use dp_accountant::{Event, Ledger, SamplingRate};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;

/// What the messages of a run follow from, beside its plan, its data and its keys. Two runs with the same keys and another setting would
/// put different numbers under the same noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The algorithm.
    pub method: Method,
    /// How many nodes there are.
    pub nodes: usize,
    /// Whom nodes trust.
    pub trust: Trust,
    /// How numbers are written.
    pub width: Width,
    /// The model that all nodes learn.
    pub model: Architecture,
    /// Records that all nodes together answer with, without noise of their own; all of them if absent.
    pub minibatch: Option<NonZeroUsize>,
}

/// Keys, data and model of a run of rounds.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// A secret that all processes share.
    pub shared: &'a Key,
    /// The secret of this process alone, where nodes trust nobody; otherwise that of all.
    pub own: &'a Key,
    /// All records; where nodes are apart, those of the hosted node.
    pub data: &'a Dataset,
    /// The rows of each node, of all nodes.
    pub shards: &'a [Vec<usize>],
    /// Whether each process has the records of its own node alone: every node's rows are counted from 0.
    pub apart: bool,
    /// The model's parameters: where the run begins, and where it is put by it.
    pub parameters: &'a Parameters,
    /// Records in memory at a time.
    pub physical_batch: NonZeroUsize,
}

/// An algorithm on its nodes, on the way from the first round to the last.
///
/// With the unit record, every node's answers are releases: it clips the gradient of every example and adds noise, and the ledger has one
/// event of the plan for each answer that a node may have given ([`Method::answers`]). A record is on one node, so the cost of the run
/// is that of one node ([`super::private_network::of_all`]). With the unit client, messages are clipped and get noise, and every round
/// costs what the algorithm says that it has.
pub struct Rounds<'a> {
    plan: &'a Plan,
    setting: Setting,
    grounds: Grounds<'a>,
    nodes: Nodes<'a>,
    algorithm: Box<dyn Algorithm>,
    transport: &'a mut dyn Transport,
    ledger: Ledger,
    fingerprint: Fingerprint,
    /// Whether there is noise.
    private: bool,
    round: u32,
    affordable: u32,
    /// Whether the last round was left in the middle.
    broken: bool,
}

impl<'a> Rounds<'a> {
    /// A run that has not begun. Of a private one the plan's steps are answers of a node, for the unit record, or rounds, for the unit
    /// client, and its records are those of all nodes or the nodes themselves. One that is not private takes the plan's steps for its
    /// rounds and has no other use for it.
    ///
    /// # Errors
    /// When there is not a shard for every node, a record is in two, the plan is of other records or clients, the algorithm or a model refuses the setting,
    /// not one round fits the budget, or processes have different plans, keys or settings.
    pub fn new(
        plan: &'a Plan,
        setting: Setting,
        grounds: Grounds<'a>,
        private: bool,
        transport: &'a mut dyn Transport,
    ) -> Result<Self> {
        let (nodes, draft) = (transport.nodes(), plan.draft());
        if grounds.shards.len() != nodes {
            return Err(Error::value("shards", grounds.shards.len(), format!("one for each of {nodes} nodes")));
        }
        if !grounds.apart {
            disjoint(grounds)?;
        }
        if private {
            Promise::of_run(plan, &setting)?;
        }
        let plain = draft.noise == NoiseRule::Independent && draft.schedules == Schedules::default();
        if !plain || draft.perturbation.is_some() || draft.clipping.adaptive().is_some() {
            let reason = "algorithms of nodes add independent noise of one size to what is clipped in one way; leave schedules, correlated \
                          noise, perturbation and adaptive clipping out, or share the steps of one machine";
            return Err(Error::Refused { reason: reason.into() });
        }
        let units = match draft.unit {
            Unit::Record => grounds.shards.iter().map(Vec::len).sum(),
            Unit::Client => nodes,
        };
        if draft.records != units {
            let allowed = format!("{units}, as there are {}s", draft.unit.name());
            return Err(Error::value("records", draft.records, allowed));
        }
        if private && !plan.epsilon(&plan.event()?)?.upper().is_finite() {
            let reason = "the plan has no finite epsilon; raise the noise multiplier".to_string();
            return Err(Error::Refused { reason });
        }
        let affordable = match (private, draft.unit) {
            (false, _) | (true, Unit::Client) => {
                if private {
                    plan.affordable_steps()?
                } else {
                    draft.steps
                }
            }
            (true, Unit::Record) => setting.method.rounds_within(u64::from(plan.affordable_steps()?)),
        };
        if affordable == 0 {
            return Err(Error::Refused { reason: "not one round fits the budget; raise --epsilon".into() });
        }
        let oracles =
            transport.hosted().map(|node| oracle(plan, &setting, grounds, private, node)).collect::<Result<_>>()?;
        let noise = (private && draft.unit == Unit::Client).then(|| (plan.noise_multiplier(), setting.trust));
        let algorithm = setting.method.build(Site {
            point: point_of(grounds.parameters)?,
            transport: &*transport,
            width: setting.width,
            shared: grounds.shared,
            own: grounds.own,
            noise,
        })?;
        let nodes = Nodes::new(transport.hosted().start, oracles)?;
        let (ledger, fingerprint) = (draft.past.ledger(), Fingerprint::of(grounds.data)?);
        let mut run = Self {
            plan,
            setting,
            grounds,
            nodes,
            algorithm,
            transport,
            ledger,
            fingerprint,
            private,
            round: 0,
            affordable,
            broken: false,
        };
        run.agree()?;
        Ok(run)
    }

    /// Whether all processes have one plan, setting and shared key.
    fn agree(&mut self) -> Result<()> {
        let own = serde_json::to_vec(&(self.plan, &self.setting, self.private))
            .map_err(|error| Error::value("plan", error, "finite numbers"))?;
        let key = self.grounds.shared.derived("agreement");
        let places = self.places()?;
        super::agreement::same(self.transport, &[&own, key.secret(), places.as_bytes()])
    }

    /// Which rows each node has, who talks to whom, and in what pieces gradients are summed, as a hash under the key: sums that would be
    /// others are told from it, and nothing else.
    fn places(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.grounds.shared.derived("places").secret());
        for rows in self.grounds.shards {
            hash.update((rows.len() as u64).to_le_bytes());
            rows.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        if let Some(words) = self.setting.method.topology() {
            let nodes = self.setting.nodes;
            let mixing = words.parse::<Topology>()?.mixing(nodes, self.grounds.shared)?;
            let weights = (0..nodes).flat_map(|i| (0..nodes).map(move |j| (i, j)));
            weights.for_each(|(i, j)| hash.update(mixing.weight(i, j).to_le_bytes()));
        }
        hash.update((self.grounds.physical_batch.get() as u64).to_le_bytes());
        Ok(hexadecimal(&hash.finalize()))
    }

    /// Waits until the process of node 0 has come here.
    ///
    /// # Errors
    /// That of the transport.
    pub fn wait(&mut self) -> Result<()> {
        super::agreement::from_first(self.transport, || Ok(()))
    }

    /// Rounds until the run is done, the budget is spent, or node 0 wishes to stop. `watch` sees the parameters at the mean of all nodes'
    /// points after the rounds at which a journal makes an entry, and after the last.
    fn rounds(&mut self, watch: &mut dyn FnMut(&Progress<'_>) -> Result<Wish>) -> Result<Wish> {
        while self.round < self.affordable {
            if self.broken {
                let reason = "the last round was left in the middle; go on from a checkpoint".to_string();
                return Err(Error::Refused { reason });
            }
            self.broken = true;
            let event = self.algorithm.round(&mut self.nodes, self.transport)?;
            self.count(event)?;
            self.round += 1;
            if is_entry(self.round, self.affordable) {
                let point = self.algorithm.mean_point(self.transport)?;
                set_point(self.grounds.parameters, &point)?;
            }
            self.broken = false;
            let clipping = self.nodes.take_clipping();
            let progress = Progress { step: self.round, of: self.affordable, ledger: &self.ledger, clipping };
            match super::agreement::wish(self.transport, watch(&progress)?)? {
                Wish::Continue => {}
                wish => return Ok(wish),
            }
        }
        Ok(Wish::Continue)
    }

    /// Enters what the round that was just done has cost.
    fn count(&mut self, event: Event) -> Result<()> {
        if !self.private {
            return Ok(());
        }
        let planned = self.plan.step_event(0)?;
        let refused = |what: String| Err(Error::Refused { reason: format!("{what}; nothing more is released") });
        if self.plan.draft().unit == Unit::Client {
            if event != planned {
                return refused(format!("a round has cost {event:?}, and the plan says {planned:?}"));
            }
            self.ledger.record(event);
            return Ok(());
        }
        let (before, after) = (self.answers_after(self.round), self.answers_after(self.round + 1));
        if let Some(asked) = self.nodes.answers().into_iter().find(|asked| u64::from(*asked) > after) {
            return refused(format!("a node was asked {asked} times, and the plan says {after}"));
        }
        (before..after).for_each(|_| self.ledger.record(planned.clone()));
        Ok(())
    }

    /// Events in the ledger after so many rounds.
    fn answers_after(&self, rounds: u32) -> u64 {
        match self.plan.draft().unit {
            Unit::Record => self.setting.method.answers(rounds),
            Unit::Client => u64::from(rounds),
        }
    }

    fn steps_after(&self, rounds: u32) -> Result<u32> {
        let answers = self.answers_after(rounds);
        u32::try_from(answers).map_err(|_| Error::value("answers of a node", answers, "fewer than 2^32"))
    }

    /// What each node has moved and how long it took, of all nodes, in the process that hosts node 0.
    ///
    /// # Errors
    /// That of the transport.
    pub fn costs(&mut self) -> Result<Option<Vec<NodeCost>>> {
        let own: Vec<NodeCost> = self
            .transport
            .traffic()
            .iter()
            .zip(self.nodes.times())
            .map(|(traffic, times)| NodeCost::new(traffic, times))
            .collect();
        // Times tell something of a node's data, and nodes that trust nobody do not tell them.
        let alone = self.setting.trust == Trust::Local && self.transport.hosted().len() < self.transport.nodes();
        let own: Vec<NodeCost> = own.into_iter().map(|cost| if alone { cost.without_times() } else { cost }).collect();
        super::cost::collected(self.transport, &own)
    }
}

/// Whether every record is at one node at most: at two it would cost what both have spent.
fn disjoint(grounds: Grounds<'_>) -> Result<()> {
    let mut seen = vec![false; grounds.data.len()];
    for row in grounds.shards.iter().flatten() {
        match seen.get_mut(*row) {
            Some(seen @ false) => *seen = true,
            Some(_) => return Err(Error::value("record", row, "in one shard, and not in two")),
            None => return Err(Error::value("record", row, format!("below {}", grounds.data.len()))),
        }
    }
    Ok(())
}

/// The oracle of a node.
fn oracle<'a>(
    plan: &Plan,
    setting: &Setting,
    grounds: Grounds<'a>,
    private: bool,
    node: usize,
) -> Result<Box<dyn Oracle + 'a>> {
    let Grounds { own, data, shards, .. } = grounds;
    let (model, draft) = (setting.model, plan.draft());
    let build = move |parameters: &Parameters| -> Result<Classifier<crate::nn::Sequential>> {
        model.build_for(&data.form(), parameters.var_builder())
    };
    // What is frozen is no part of a point, and initial values are those of the point.
    let network = Network::new(grounds.shared.clone(), build, data, shards[node].clone())?
        .with_physical_batch(grounds.physical_batch);
    if private && draft.unit == Unit::Record {
        let rate = plan.sampling_rate().unwrap_or(1.0);
        let noise = RecordNoise {
            rate: SamplingRate::new(rate)?,
            clip_norm: draft.clip_norm,
            clipping: draft.clipping,
            noise_multiplier: plan.noise_multiplier(),
        };
        let oracle = PrivateNetwork::new(network, noise, own, node)?;
        let (event, planned) = (oracle.event_per_answer(), plan.step_event(0)?);
        if event != planned && event != Event::nothing() {
            let reason = format!("an answer of node {node} costs {event:?}, and the plan says {planned:?}");
            return Err(Error::Refused { reason });
        }
        return Ok(Box::new(oracle));
    }
    let all: usize = shards.iter().map(Vec::len).sum();
    let share = |total: NonZeroUsize| {
        // More than there are is all there are.
        let share = (total.get().min(all) as u128 * shards[node].len() as u128).div_ceil(all.max(1) as u128);
        NonZeroUsize::new(share as usize)
    };
    Ok(match setting.minibatch.and_then(share) {
        Some(size) => Box::new(network.in_minibatches(size, own, node)),
        None => Box::new(network),
    })
}

impl Training for Rounds<'_> {
    fn train(&mut self, watch: &mut (dyn FnMut(&Progress<'_>) -> Result<Wish> + Send)) -> Result<Wish> {
        self.rounds(watch)
    }

    fn step(&self) -> u32 {
        self.round
    }

    fn spent_steps(&self) -> Result<u32> {
        // A round that was left in the middle may have told all that it tells.
        self.steps_after(if self.broken { self.round + 1 } else { self.round })
    }

    fn is_done(&self) -> bool {
        self.round == self.affordable
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn clip_norm(&self) -> ClipNorm {
        self.plan.draft().clip_norm
    }

    fn checkpoint(&self, notes: serde_json::Value) -> Result<Option<Checkpoint>> {
        if self.broken {
            return Ok(None);
        }
        let setting = serde_json::to_value(&self.setting);
        let nodes = OfNodes {
            places: self.places()?,
            setting: setting.map_err(|error| Error::value("setting", error, "finite numbers"))?,
            state: self.algorithm.state(),
            answers: self.nodes.answers(),
            own: self.grounds.own.clone(),
        };
        let spent = (&self.ledger, self.round);
        Checkpoint::of_nodes(self.plan, self.grounds.shared, &self.fingerprint, spent, nodes, notes).map(Some)
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let refused = |what: &str| {
            let reason = format!("the checkpoint was written {what}; resume with the flags of the first run");
            Err(Error::Refused { reason })
        };
        let Some(nodes) = checkpoint.nodes()? else { return refused("by a run of one algorithm less") };
        if checkpoint.plan() != self.plan {
            return refused("under another plan");
        }
        if !checkpoint.is_of(&self.fingerprint) {
            return refused("for other records");
        }
        let same = serde_json::from_value::<Setting>(nodes.setting).ok().as_ref() == Some(&self.setting);
        if !same || nodes.places != self.places()? {
            return refused(
                "for another algorithm, or where nodes had other records dealt to them, other peers or another --physical-batch",
            );
        }
        let steps = self.steps_after(checkpoint.step())?;
        let spent = self.plan.event_of(steps)?;
        let keys = checkpoint.key()? == *self.grounds.shared && nodes.own == *self.grounds.own;
        if !keys || checkpoint.step() > self.affordable || (self.private && checkpoint.ledger().event() != spent) {
            return refused("by another run, or changed");
        }
        self.algorithm.resume(nodes.state)?;
        self.nodes.resume(&nodes.answers)?;
        // Where no round is left to do, nothing else puts them there.
        set_point(self.grounds.parameters, &self.algorithm.mean_point(self.transport)?)?;
        self.ledger = self.plan.draft().past.ledger_after(&self.plan.steps_event(steps)?);
        (self.round, self.broken) = (checkpoint.step(), false);
        Ok(())
    }
}
