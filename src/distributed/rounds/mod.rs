//! A run of rounds: an algorithm on its nodes, from the first round to the last.

mod oracle;
mod setting;
mod training;

pub use setting::{Grounds, Setting};

use super::algorithm::Algorithm;
use super::cost::NodeCost;
use super::guarantee::Promise;
use super::method::Site;
use super::transport::Transport;
use super::uplink::Trust;
use super::wire::Width;
use super::{Nodes, point_of, set_point};
use crate::checkpoint::Fingerprint;
use crate::journal::is_entry;
use crate::noise::NoiseRule;
use crate::plan::{Plan, Schedules, Unit};
use crate::train::{Progress, Wish};
use crate::{Error, Result};
use dp_accountant::{Event, Ledger};

/// An algorithm on its nodes, on the way from the first round to the last.
///
/// With the unit record, every node's answers are releases: it clips the gradient of every example and adds noise, and the ledger has one
/// event of the plan for each answer that a node may have given ([`super::Method::answers`]). A record is on one node, so the cost of the run
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
    /// When there is not a shard for every node, a record is in two, the plan is of other records or clients, the algorithm or a model
    /// refuses the setting, not one round fits the budget, or processes have different plans, keys, settings, records or parameters.
    pub fn new(
        plan: &'a Plan,
        setting: Setting,
        grounds: Grounds<'a>,
        private: bool,
        transport: &'a mut dyn Transport,
    ) -> Result<Self> {
        check(plan, &setting, grounds, private, transport.nodes())?;
        let (affordable, draft) = (affordable(plan, &setting, private)?, plan.draft());
        let oracles = transport
            .hosted()
            .map(|node| oracle::oracle(plan, &setting, grounds, private, node))
            .collect::<Result<_>>()?;
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
        let unreadable = |error| Error::value("plan", error, "finite numbers");
        let plan = serde_json::to_vec(&(self.plan, self.private)).map_err(unreadable)?;
        let setting = serde_json::to_vec(&self.setting).map_err(unreadable)?;
        let key = self.grounds.shared.derived("agreement");
        let places = self.grounds.places(&self.setting)?;
        let start = Width::F64.message(&point_of(self.grounds.parameters)?);
        // Where each process has records of its own they differ, and nobody is told in what.
        let records = if self.grounds.apart { "" } else { self.fingerprint.as_str() };
        let parts: [(&str, &[u8]); 6] = [
            ("copy of the records", records.as_bytes()),
            ("start", &start),
            ("plan", &plan),
            ("algorithm", &setting),
            ("key", key.secret()),
            ("dealing of records, graph of peers or physical batch", places.as_bytes()),
        ];
        super::agreement::same(self.transport, &parts)
    }

    /// Waits until all processes have come here.
    ///
    /// # Errors
    /// That of the transport.
    pub fn wait(&mut self) -> Result<()> {
        super::agreement::barrier(self.transport)
    }

    /// What the process of node 0 says, in all processes.
    ///
    /// # Errors
    /// That of the transport.
    pub fn first_says(&mut self, own: bool) -> Result<bool> {
        super::agreement::from_first(self.transport, || Ok(own))
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

/// Whether plan, setting and grounds belong together, and to nodes of so many.
fn check(plan: &Plan, setting: &Setting, grounds: Grounds<'_>, private: bool, nodes: usize) -> Result<()> {
    let draft = plan.draft();
    if grounds.shards.len() != nodes {
        return Err(Error::value("shards", grounds.shards.len(), format!("one for each of {nodes} nodes")));
    }
    grounds.disjoint()?;
    if private {
        Promise::of_run(plan, setting)?;
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
    Ok(())
}

/// The rounds that can be taken.
fn affordable(plan: &Plan, setting: &Setting, private: bool) -> Result<u32> {
    let rounds = match plan.draft().unit {
        _ if !private => plan.draft().steps,
        Unit::Client => plan.affordable_steps()?,
        Unit::Record => setting.method.rounds_within(u64::from(plan.affordable_steps()?)),
    };
    match rounds {
        0 => Err(Error::Refused { reason: "not one round fits the budget; raise --epsilon".into() }),
        rounds => Ok(rounds),
    }
}
