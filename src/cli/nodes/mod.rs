//! The flags of a run on many nodes: how many, where they are, what they do, and whom the promise is made to.

mod algorithm;
mod names;

pub(super) use names::Clipped;

use crate::data::{Dataset, Partition};
use crate::distributed::compress::Compressor;
use crate::distributed::uplink::Trust;
use crate::distributed::{Local, Mpi, Transport, Width};
use crate::plan::Unit;
use crate::seed::Key;
use crate::{Error, Result};
use names::{
    AlgorithmName, DirectionName, FirstMemoryName, MemoryName, TransportName, TrustName, UnitName, VariateName,
    WidthName,
};
use std::num::{NonZeroU32, NonZeroUsize};

/// Who computes what, and who is protected from whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Nodes")]
pub(super) struct NodesArgs {
    /// Train on this many nodes, each with a part of the records.
    #[arg(long, value_name = "N")]
    nodes: Option<NonZeroUsize>,
    /// Where the nodes are: in this process, or one in each process that mpirun has started.
    #[arg(long, value_enum, default_value_t = TransportName::Local)]
    transport: TransportName,
    /// What the nodes do together [default: dp-sgd].
    #[arg(long, value_enum)]
    algorithm: Option<AlgorithmName>,
    /// How records are dealt to nodes: iid, label, dirichlet:A, similarity:S, sequential, or files, where each node has a file:
    /// --data names them with {node} for the number of the node, from 0 on.
    #[arg(long, value_name = "RULE", default_value = "iid")]
    partition: Dealt,
    /// Whom the promise is made to: a record, a client, which is a node with all its data, or none: a study without privacy.
    #[arg(long, value_enum, default_value_t = UnitName::Record)]
    unit: UnitName,
    /// Whom nodes trust: local is nobody, central is whoever adds up [default: local; central for dp-sgd].
    #[arg(long, value_enum)]
    trust: Option<TrustName>,
    /// What is clipped: the gradient of every example, inside its node, or what nodes send [default: examples for the unit record,
    /// messages for the unit client].
    #[arg(long, value_enum)]
    clipped: Option<Clipped>,
    /// clip-gd, clip21, clip21-sgd2m, dice-sgd: the longest message of a node [default: 1].
    #[arg(long, value_name = "T")]
    message_clip: Option<f64>,
    /// celgc, local-sgd, episode, dsgd, gradient-tracking, kgt, scaffold: steps between two messages [default: 1].
    #[arg(long, value_name = "K")]
    local_steps: Option<NonZeroU32>,
    /// celgc, parallel-clip, episode: the longest step, which they need.
    #[arg(long, value_name = "G")]
    longest_step: Option<f64>,
    /// clip21-sgd2m: the share of a new gradient in a node's momentum [default: 0.1].
    #[arg(long, value_name = "B")]
    client_momentum: Option<f64>,
    /// clip21-sgd2m: the share of what is new in what the server knows [default: 0.1].
    #[arg(long, value_name = "B")]
    server_momentum: Option<f64>,
    /// kgt, scaffold: what the sum of local steps is multiplied with [default: 1].
    #[arg(long, value_name = "S")]
    outer_step: Option<f64>,
    /// dsgd, gradient-tracking, kgt: who talks to whom: ring, path, torus, star, complete, exponential, erdos-renyi:P, file:PATH
    /// [default: ring].
    #[arg(long, value_name = "GRAPH")]
    topology: Option<String>,
    /// dcgd, error-feedback, ef21: what nodes send, such as top-k:10, rand-k:1%, natural, scaled-sign, top-k:5+natural
    /// [default: top-k:1%].
    #[arg(long, value_name = "COMPRESSOR")]
    compress: Option<Compressor>,
    /// ef21: what the server knows before the first step [default: compressed].
    #[arg(long, value_enum)]
    first_memory: Option<FirstMemoryName>,
    /// gradient-tracking, kgt, scaffold: the first direction: the mean of all nodes' gradients, or each node's own [default: mean].
    #[arg(long, value_enum)]
    first_direction: Option<DirectionName>,
    /// scaffold: what control variates become: the gradient at the server's point, or the mean of the local steps [default: steps].
    #[arg(long, value_enum)]
    variate: Option<VariateName>,
    /// clip21 for the unit client: what memories add, the message without its noise or as it arrives [default: hidden].
    #[arg(long, value_enum)]
    memory: Option<MemoryName>,
    /// clip21: how many nodes take part in a round on average, each by a coin of its own [default: all].
    #[arg(long, value_name = "M")]
    participants: Option<NonZeroU32>,
    /// norm-ec: how far memories move in a round [default: 1].
    #[arg(long, value_name = "R")]
    memory_rate: Option<f64>,
    /// norm-ec: alpha of the smoothed normalisation [default: 1].
    #[arg(long, value_name = "A")]
    smoothing: Option<f64>,
    /// norm-ec: steps of one length.
    #[arg(long)]
    normalised_steps: bool,
    /// dice-sgd: the longest part of the error that is given back [default: --message-clip].
    #[arg(long, value_name = "T")]
    feedback_clip: Option<f64>,
    /// How numbers are written in messages of an algorithm other than dp-sgd [default: f32].
    #[arg(long, value_enum)]
    wire_width: Option<WidthName>,
}

/// How records get to nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dealt {
    By(Partition),
    Files,
}

impl std::str::FromStr for Dealt {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        if word == "files" { Ok(Self::Files) } else { word.parse().map(Self::By) }
    }
}

impl std::fmt::Display for Dealt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::By(partition) => partition.fmt(f),
            Self::Files => f.write_str("files"),
        }
    }
}

impl NodesArgs {
    /// The flags that have a value even for one machine.
    pub(super) const ALWAYS: [&'static str; 3] = ["partition", "transport", "unit"];

    /// The nodes, if there are any beside this machine.
    ///
    /// # Errors
    /// When MPI is asked for and cannot be had, and when flags of nodes are given for one machine.
    pub(super) fn start(&self) -> Result<Option<Box<dyn Transport>>> {
        let started = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].map(std::env::var).into_iter().flatten();
        let started = started.filter_map(|size| size.parse::<usize>().ok()).max().unwrap_or(1);
        if self.transport == TransportName::Local && started > 1 {
            let reason = format!(
                "mpirun has started {started} processes, and each would train and publish a model of its own; add --transport mpi"
            );
            return Err(Error::Refused { reason });
        }
        match (self.transport, self.nodes) {
            (TransportName::Local, Some(nodes)) => Ok(Some(Box::new(Local::new(nodes.get())?))),
            (TransportName::Local, None) => {
                let given = [
                    ("--algorithm", self.algorithm.is_some()),
                    ("--trust", self.trust.is_some()),
                    ("--clipped", self.clipped.is_some()),
                    ("--partition", self.partition != Dealt::By(Partition::Iid)),
                    ("--unit", self.unit != UnitName::Record),
                ];
                match given.into_iter().find(|(_, given)| *given) {
                    None => self.nothing_left("one machine", []).map(|()| None),
                    Some((flag, _)) => Err(Error::value(flag, "given", "nothing without --nodes")),
                }
            }
            (TransportName::Mpi, _) => Ok(Some(Box::new(Mpi::start()?))),
        }
    }

    /// Whether there are as many nodes as is said.
    ///
    /// # Errors
    /// When `mpirun` has started another number of them.
    pub(super) fn check_count(&self, transport: Option<&(dyn Transport + 'static)>) -> Result<()> {
        let there = transport.map_or(1, Transport::nodes);
        if self.over_mpi() && there == 1 && self.nodes.is_none() {
            let reason = "mpirun has started one process, or another MPI than that of this build has; give --nodes 1 if one is meant";
            return Err(Error::Refused { reason: reason.into() });
        }
        match self.nodes.filter(|nodes| nodes.get() != there) {
            None => Ok(()),
            Some(nodes) => {
                let allowed = format!("{there}, the processes that mpirun has started, or nothing");
                Err(Error::value("--nodes", nodes, allowed))
            }
        }
    }

    /// Whether the nodes are processes that mpirun has started.
    pub(super) fn over_mpi(&self) -> bool {
        self.transport == TransportName::Mpi
    }

    /// How records get to nodes.
    pub(super) fn dealt(&self) -> Dealt {
        self.partition
    }

    /// Whom the promise is made to, if to anybody.
    pub(super) fn unit(&self) -> Option<Unit> {
        match self.unit {
            UnitName::Record => Some(Unit::Record),
            UnitName::Client => Some(Unit::Client),
            UnitName::None => None,
        }
    }

    /// What is clipped, for this unit.
    pub(super) fn clipped(&self) -> Clipped {
        let usual = if self.unit == UnitName::Client { Clipped::Messages } else { Clipped::Examples };
        self.clipped.unwrap_or(usual)
    }

    /// Whether the nodes run an algorithm of their own, and not the steps of one machine.
    pub(super) fn has_algorithm(&self) -> bool {
        self.algorithm.is_some_and(|name| name != AlgorithmName::DpSgd)
    }

    /// Whether it is said what is clipped.
    pub(super) fn says_what_is_clipped(&self) -> bool {
        self.clipped.is_some()
    }

    /// Whether it is said whom nodes trust.
    pub(super) fn trusts(&self) -> bool {
        self.trust.is_some()
    }

    /// Whom nodes trust.
    ///
    /// # Errors
    /// When nodes that share one key are to trust nobody.
    pub(super) fn trust(&self) -> Result<Trust> {
        let usual = if self.has_algorithm() { Trust::Local } else { Trust::Central };
        let trust = self.trust.map_or(usual, Trust::from);
        if trust == Trust::Local && !self.has_algorithm() {
            let reason = "the nodes of dp-sgd draw the noise of all from one key that all of them have, so they trust each other; \
                          for nodes that trust nobody take an algorithm in which each adds its own noise, such as --algorithm clip21-sgd2m";
            return Err(Error::Refused { reason: reason.into() });
        }
        Ok(trust)
    }

    /// How numbers are written.
    pub(super) fn width(&self) -> Width {
        self.wire_width.map_or(Width::F32, Width::from)
    }

    /// Which rows each node has, of a data set read from files with so many records, or from one; where nodes are apart, each counts its
    /// own from 0.
    ///
    /// # Errors
    /// When there are not as many files as nodes.
    pub(super) fn shards(
        &self,
        data: &Dataset,
        files: Option<&[usize]>,
        apart: bool,
        nodes: usize,
        key: &Key,
    ) -> Result<Vec<Vec<usize>>> {
        match (self.partition, files) {
            (Dealt::By(partition), None) => partition.shards(data.labels(), nodes, key),
            (Dealt::Files, Some(files)) if apart => Ok(files.iter().map(|records| (0..*records).collect()).collect()),
            (Dealt::Files, Some(files)) => {
                let mut from = 0;
                let rows = files.iter().map(|records| {
                    from += records;
                    (from - records..from).collect()
                });
                Ok(rows.collect())
            }
            (Dealt::Files, None) => {
                Err(Error::value("--partition", "files", "--data with {node} where the number of the node stands"))
            }
            (Dealt::By(_), Some(_)) => {
                Err(Error::value("--data", "a file for each node", "--partition files beside it"))
            }
        }
    }
}
