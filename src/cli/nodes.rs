//! The flags of a run on many nodes: how many, where they are, what they do, and whom the promise is made to.

use crate::clip::ClipNorm;
use crate::data::{Dataset, Partition};
use crate::distributed::compress::Compressor;
use crate::distributed::uplink::Trust;
use crate::distributed::{FirstMemory, Local, Method, Mpi, Start, Topology, Transport, Variate, Visibility, Width};
use crate::plan::Unit;
use crate::seed::Key;
use crate::{Error, Result};
use clap::ValueEnum;
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
    /// celgc, parallel-clip, episode: the longest step.
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

macro_rules! names {
    ($(#[$doc:meta])* $name:ident of $of:ty { $($(#[$about:meta])* $variant:ident => $value:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        enum $name {
            $($(#[$about])* $variant,)*
        }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name {
                    $($name::$variant => $value,)*
                }
            }
        }
    };
}

names! {
    TrustName of Trust {
        /// Nobody: every node adds noise to what leaves it.
        Local => Trust::Local,
        /// Whoever adds up.
        Central => Trust::Central,
    }
}
names! {
    FirstMemoryName of FirstMemory {
        /// Nothing.
        Zero => FirstMemory::Zero,
        /// The first gradients, compressed.
        Compressed => FirstMemory::Compressed,
        /// The first gradients, whole.
        Full => FirstMemory::Full,
    }
}
names! {
    DirectionName of Start {
        /// The mean of all nodes' gradients.
        Mean => Start::Mean,
        /// Each node's own gradient.
        Own => Start::Own,
    }
}
names! {
    VariateName of Variate {
        /// The gradient at the server's point, for which a node is asked once more.
        Gradient => Variate::Gradient,
        /// The mean of the gradients of the local steps.
        Steps => Variate::Steps,
    }
}
names! {
    MemoryName of Visibility {
        /// The message without its noise.
        Hidden => Visibility::Hidden,
        /// The message as it arrives.
        Public => Visibility::Public,
    }
}
names! {
    WidthName of Width {
        /// Four bytes.
        F32 => Width::F32,
        /// Eight bytes.
        F64 => Width::F64,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TransportName {
    /// In this process.
    Local,
    /// In the processes that mpirun has started; needs a build with --features mpi.
    Mpi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnitName {
    /// One record of one node.
    Record,
    /// One node with all its data.
    Client,
    /// Nobody.
    None,
}

/// What is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Clipped {
    /// The gradient of every example.
    Examples,
    /// What nodes send.
    Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlgorithmName {
    /// DP-SGD of one machine, its work shared among nodes that trust each other.
    DpSgd,
    /// Clipped gradients, averaged.
    ClipGd,
    /// Clipped differences to memories.
    Clip21,
    /// The same with momentum at nodes and server.
    #[value(name = "clip21-sgd2m")]
    Clip21Sgd2m,
    /// Smoothly normalised differences to memories (alpha-NormEC).
    NormEc,
    /// Clipping with error feedback in one trainer (a study).
    DiceSgd,
    /// Clipped local steps, averaged now and then.
    Celgc,
    /// Local steps, averaged now and then (federated averaging).
    LocalSgd,
    /// Mean gradients, clipped by everybody.
    ParallelClip,
    /// Clipped local steps, corrected by the gradients at their start.
    Episode,
    /// Compressed gradients, averaged.
    Dcgd,
    /// Compressed gradients with error feedback.
    ErrorFeedback,
    /// Compressed differences to memories.
    Ef21,
    /// Local steps, averaged with peers.
    Dsgd,
    /// Gradient tracking; periodical with more than one local step.
    GradientTracking,
    /// Gradient tracking over local steps.
    Kgt,
    /// Local steps with control variates.
    Scaffold,
}

impl AlgorithmName {
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
    }
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

    /// The algorithm with its constants, where the nodes run one of their own; `step` is its step size.
    ///
    /// # Errors
    /// When a constant is missing, out of its range, or belongs to another algorithm.
    pub(super) fn method(&self, step: f64) -> Result<Option<Method>> {
        use AlgorithmName as A;
        let Some(name) = self.algorithm.filter(|name| *name != A::DpSgd) else {
            return self.nothing_left("dp-sgd", []).map(|()| None);
        };
        let word = name.word();
        let clip = |value: Option<f64>| ClipNorm::new(value.unwrap_or(1.0));
        let radius = || clip(self.message_clip);
        let local_steps = self.local_steps.map_or(1, NonZeroU32::get);
        let start = self.first_direction.map_or(Start::Mean, Start::from);
        let outer_step = self.outer_step.unwrap_or(1.0);
        let compress = || self.compress.clone().map_or_else(|| "top-k:1%".parse(), Ok);
        let topology = || {
            let words = self.topology.clone().unwrap_or_else(|| "ring".into());
            words.parse::<Topology>().map(|_| words)
        };
        let longest = || {
            let missing = || Error::value("--longest-step", "missing", format!("a number above 0 for {word}"));
            self.longest_step.map(Some).ok_or_else(missing)
        };
        let (method, own): (Method, &[&str]) = match name {
            A::DpSgd => return Ok(None),
            A::ClipGd => (Method::ClipGd { step, radius: radius()? }, &["message-clip"]),
            A::Clip21 => {
                let visibility = self.memory.map_or(Visibility::Hidden, Visibility::from);
                if visibility == Visibility::Public && self.unit != UnitName::Client {
                    let allowed = "hidden, where messages carry no noise of their own; or --unit client beside it";
                    return Err(Error::value("--memory", "public", allowed));
                }
                let participants = self.participants;
                let method = Method::Clip21 { step, radius: radius()?, visibility, participants };
                (method, &["message-clip", "memory", "participants"])
            }
            A::Clip21Sgd2m => {
                let client_momentum = self.client_momentum.unwrap_or(0.1);
                let server_momentum = self.server_momentum.unwrap_or(0.1);
                let method = Method::Clip21Sgd2m { step, radius: radius()?, client_momentum, server_momentum };
                (method, &["message-clip", "client-momentum", "server-momentum"])
            }
            A::NormEc => {
                let (rate, alpha) = (self.memory_rate.unwrap_or(1.0), self.smoothing.unwrap_or(1.0));
                let method = Method::NormEc { step, rate, alpha, normalised_steps: self.normalised_steps };
                (method, &["memory-rate", "smoothing", "normalised-steps"])
            }
            A::DiceSgd => {
                let feedback = clip(self.feedback_clip.or(self.message_clip))?;
                (Method::DiceSgd { step, radius: radius()?, feedback }, &["message-clip", "feedback-clip"])
            }
            A::Celgc => (Method::Celgc { step, longest: longest()?, local_steps }, &["longest-step", "local-steps"]),
            A::LocalSgd => (Method::Celgc { step, longest: None, local_steps }, &["local-steps"]),
            A::ParallelClip => (Method::ParallelClip { step, longest: longest()? }, &["longest-step"]),
            A::Episode => {
                (Method::Episode { step, longest: longest()?, local_steps }, &["longest-step", "local-steps"])
            }
            A::Dcgd => (Method::Dcgd { step, compress: compress()? }, &["compress"]),
            A::ErrorFeedback => (Method::ErrorFeedback { step, compress: compress()? }, &["compress"]),
            A::Ef21 => {
                let first_memory = self.first_memory.map_or(FirstMemory::Compressed, FirstMemory::from);
                (Method::Ef21 { step, compress: compress()?, first_memory }, &["compress", "first-memory"])
            }
            A::Dsgd => (Method::Dsgd { step, local_steps, topology: topology()? }, &["local-steps", "topology"]),
            A::GradientTracking => {
                let method = Method::GradientTracking { step, local_steps, start, topology: topology()? };
                (method, &["local-steps", "topology", "first-direction"])
            }
            A::Kgt => {
                let method = Method::Kgt { step, outer_step, local_steps, start, topology: topology()? };
                (method, &["local-steps", "topology", "first-direction", "outer-step"])
            }
            A::Scaffold => {
                let variate = self.variate.map_or(Variate::Steps, Variate::from);
                let method = Method::Scaffold { step, outer_step, local_steps, variate, start };
                (method, &["local-steps", "first-direction", "outer-step", "variate"])
            }
        };
        let all: Vec<&str> = own.iter().copied().chain(["wire-width"]).collect();
        self.nothing_left(&word, all).map(|()| Some(method))
    }

    /// Refuses a flag that was given and is none of `own`, those of `owner`.
    fn nothing_left<'a>(&self, owner: &str, own: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let own: Vec<&str> = own.into_iter().collect();
        let given = [
            ("message-clip", self.message_clip.is_some()),
            ("local-steps", self.local_steps.is_some()),
            ("longest-step", self.longest_step.is_some()),
            ("client-momentum", self.client_momentum.is_some()),
            ("server-momentum", self.server_momentum.is_some()),
            ("outer-step", self.outer_step.is_some()),
            ("topology", self.topology.is_some()),
            ("compress", self.compress.is_some()),
            ("first-memory", self.first_memory.is_some()),
            ("first-direction", self.first_direction.is_some()),
            ("variate", self.variate.is_some()),
            ("memory", self.memory.is_some()),
            ("participants", self.participants.is_some()),
            ("memory-rate", self.memory_rate.is_some()),
            ("smoothing", self.smoothing.is_some()),
            ("normalised-steps", self.normalised_steps),
            ("feedback-clip", self.feedback_clip.is_some()),
            ("wire-width", self.wire_width.is_some()),
        ];
        match given.into_iter().find(|(flag, given)| *given && !own.contains(flag)) {
            None => Ok(()),
            Some((flag, _)) => {
                let allowed = format!("nothing beside {owner}; --help says which algorithms it belongs to");
                Err(Error::value(format!("--{flag}"), "given", allowed))
            }
        }
    }

    /// The constants of the run as its flags give them.
    pub(super) fn resolved(&self, nodes: usize, trust: Trust, method: Option<&Method>) -> Vec<(&'static str, String)> {
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_string())
        };
        let trust = if trust == Trust::Local { TrustName::Local } else { TrustName::Central };
        let mut flags = vec![("nodes", nodes.to_string()), ("trust", word(trust.to_possible_value()))];
        let Some(method) = method else { return flags };
        let width = if self.width() == Width::F32 { WidthName::F32 } else { WidthName::F64 };
        flags.push(("wire-width", word(width.to_possible_value())));
        let direction = word(self.first_direction.unwrap_or(DirectionName::Mean).to_possible_value());
        let mut add = |flag, value: String| flags.push((flag, value));
        match method {
            Method::ClipGd { radius, .. } => add("message-clip", radius.get().to_string()),
            Method::Clip21 { radius, .. } => {
                add("message-clip", radius.get().to_string());
                add("memory", word(self.memory.unwrap_or(MemoryName::Hidden).to_possible_value()));
            }
            Method::Clip21Sgd2m { radius, client_momentum, server_momentum, .. } => {
                add("message-clip", radius.get().to_string());
                add("client-momentum", client_momentum.to_string());
                add("server-momentum", server_momentum.to_string());
            }
            Method::NormEc { rate, alpha, .. } => {
                add("memory-rate", rate.to_string());
                add("smoothing", alpha.to_string());
            }
            Method::DiceSgd { radius, feedback, .. } => {
                add("message-clip", radius.get().to_string());
                add("feedback-clip", feedback.get().to_string());
            }
            Method::Celgc { local_steps, .. } | Method::Episode { local_steps, .. } => {
                add("local-steps", local_steps.to_string());
            }
            Method::ParallelClip { .. } => {}
            Method::Dcgd { compress, .. } | Method::ErrorFeedback { compress, .. } => {
                add("compress", compress.to_string())
            }
            Method::Ef21 { compress, .. } => {
                add("compress", compress.to_string());
                add("first-memory", word(self.first_memory.unwrap_or(FirstMemoryName::Compressed).to_possible_value()));
            }
            Method::Dsgd { local_steps, topology, .. } => {
                add("local-steps", local_steps.to_string());
                add("topology", topology.clone());
            }
            Method::GradientTracking { local_steps, topology, .. } => {
                add("local-steps", local_steps.to_string());
                add("topology", topology.clone());
                add("first-direction", direction);
            }
            Method::Kgt { local_steps, topology, outer_step, .. } => {
                add("local-steps", local_steps.to_string());
                add("topology", topology.clone());
                add("outer-step", outer_step.to_string());
                add("first-direction", direction);
            }
            Method::Scaffold { local_steps, outer_step, .. } => {
                add("local-steps", local_steps.to_string());
                add("outer-step", outer_step.to_string());
                add("first-direction", direction);
                add("variate", word(self.variate.unwrap_or(VariateName::Steps).to_possible_value()));
            }
        }
        flags
    }
}
