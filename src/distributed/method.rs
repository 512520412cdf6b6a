//! Algorithms by their names and constants, before there is anything to run them on.

use super::compress::{Compressor, Normalised, Radius};
use super::step::ClippedStep;
use super::transport::Transport;
use super::uplink::{NodeNoise, Trust, Uplink};
use super::wire::Width;
use super::{
    Algorithm, Celgc, Clip21, ClipGd, CompressedDescent, Dice, Dsgd, Ef21, Episode, ErrorFeedback, FirstMemory, Gossip,
    GradientTracking, Kgt, NormEc, ParallelClip, Participation, Scaffold, Sgd2m, Start, Topology, Variate, Visibility,
};
use crate::clip::ClipNorm;
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{NoiseMultiplier, SamplingRate};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// An algorithm with its constants. Its name is that of [`Algorithm::name`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// [`ClipGd`].
    ClipGd {
        /// Size of a step.
        step: f64,
        /// The longest message.
        radius: ClipNorm,
    },
    /// [`Clip21`].
    Clip21 {
        /// Size of a step.
        step: f64,
        /// The longest message.
        radius: ClipNorm,
        /// What memories add where messages carry noise.
        visibility: Visibility,
        /// How many nodes take part in a round on average, each by a coin of its own; all of them if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        participants: Option<NonZeroU32>,
    },
    /// [`Sgd2m`].
    #[serde(rename = "clip21-sgd2m")]
    Clip21Sgd2m {
        /// Size of a step.
        step: f64,
        /// The longest message.
        radius: ClipNorm,
        /// The share of a new gradient in a node's momentum.
        client_momentum: f64,
        /// The share of what is new in what the server knows.
        server_momentum: f64,
    },
    /// [`NormEc`].
    NormEc {
        /// Size of a step.
        step: f64,
        /// How far memories move.
        rate: f64,
        /// Of the smoothed normalisation.
        alpha: f64,
        /// Whether all steps have one length.
        normalised_steps: bool,
    },
    /// [`Dice`].
    DiceSgd {
        /// Size of a step.
        step: f64,
        /// The longest gradient of a node.
        radius: ClipNorm,
        /// The longest part of the error that is given back.
        feedback: ClipNorm,
    },
    /// [`Celgc`]; local SGD without a longest step.
    Celgc {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
        /// Steps between two averages.
        local_steps: u32,
    },
    /// [`ParallelClip`].
    ParallelClip {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
    },
    /// [`Episode`].
    Episode {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
        /// Steps between two averages.
        local_steps: u32,
    },
    /// [`CompressedDescent`].
    Dcgd {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of gradients.
        compress: Compressor,
    },
    /// [`ErrorFeedback`].
    ErrorFeedback {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of gradients and errors.
        compress: Compressor,
    },
    /// [`Ef21`].
    Ef21 {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of differences.
        compress: Compressor,
        /// What the server knows before the first step.
        first_memory: FirstMemory,
    },
    /// [`Dsgd`].
    Dsgd {
        /// Size of a step.
        step: f64,
        /// Steps between two exchanges.
        local_steps: u32,
        /// Who talks to whom.
        topology: String,
    },
    /// [`GradientTracking`]; periodical with more than one local step.
    GradientTracking {
        /// Size of a step.
        step: f64,
        /// Steps between two exchanges.
        local_steps: u32,
        /// The first direction.
        start: Start,
        /// Who talks to whom.
        topology: String,
    },
    /// [`Kgt`].
    Kgt {
        /// Size of a step.
        step: f64,
        /// What the sum of local steps is multiplied with.
        outer_step: f64,
        /// Steps between two exchanges.
        local_steps: u32,
        /// The first direction.
        start: Start,
        /// Who talks to whom.
        topology: String,
    },
    /// [`Scaffold`].
    Scaffold {
        /// Size of a step.
        step: f64,
        /// What the mean of local moves is multiplied with.
        outer_step: f64,
        /// Steps between two messages.
        local_steps: u32,
        /// What control variates become.
        variate: Variate,
        /// The first direction.
        start: Start,
    },
}

/// Where an algorithm is run.
pub struct Site<'a> {
    /// Where all nodes begin.
    pub point: Vec<f64>,
    /// The nodes, and those of them that are hosted here.
    pub transport: &'a dyn Transport,
    /// How numbers are written.
    pub width: Width,
    /// A secret that all processes share: what all of them must draw alike follows from it.
    pub shared: &'a Key,
    /// A secret of this process alone, where nodes trust nobody; otherwise that of all.
    pub own: &'a Key,
    /// Noise on what nodes send, over the radius, and who adds it.
    pub noise: Option<(NoiseMultiplier, Trust)>,
}

impl Method {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClipGd { .. } => "clip-gd",
            Self::Clip21 { .. } => "clip21",
            Self::Clip21Sgd2m { .. } => "clip21-sgd2m",
            Self::NormEc { .. } => "norm-ec",
            Self::DiceSgd { .. } => "dice-sgd",
            Self::Celgc { .. } => "celgc",
            Self::ParallelClip { .. } => "parallel-clip",
            Self::Episode { .. } => "episode",
            Self::Dcgd { .. } => "dcgd",
            Self::ErrorFeedback { .. } => "error-feedback",
            Self::Ef21 { .. } => "ef21",
            Self::Dsgd { .. } => "dsgd",
            Self::GradientTracking { .. } => "gradient-tracking",
            Self::Kgt { .. } => "kgt",
            Self::Scaffold { .. } => "scaffold",
        }
    }

    /// How many gradients a node is asked for in the first `rounds` rounds, if it takes part in all of them: with clipped examples and
    /// noise inside the node so many releases.
    pub fn answers(&self, rounds: u32) -> u64 {
        let once = |asked: bool| u64::from(asked && rounds > 0);
        let each = |local_steps: u32| u64::from(rounds) * u64::from(local_steps);
        match self {
            Self::ClipGd { .. }
            | Self::Clip21 { .. }
            | Self::Clip21Sgd2m { .. }
            | Self::NormEc { .. }
            | Self::DiceSgd { .. }
            | Self::ParallelClip { .. }
            | Self::Dcgd { .. }
            | Self::ErrorFeedback { .. } => each(1),
            Self::Ef21 { first_memory, .. } => each(1) - once(*first_memory == FirstMemory::Zero),
            Self::Celgc { local_steps, .. } | Self::Dsgd { local_steps, .. } => each(*local_steps),
            Self::Episode { local_steps, .. } => each(*local_steps) + each(1),
            Self::GradientTracking { local_steps, .. } => each(*local_steps) + once(true),
            Self::Kgt { local_steps, start, .. } => each(*local_steps) + once(*start == Start::Mean),
            Self::Scaffold { local_steps, variate, start, .. } => {
                let renewed = if *variate == Variate::Gradient { each(1) } else { 0 };
                each(*local_steps) + renewed + once(*start == Start::Mean)
            }
        }
    }

    /// The most rounds in which no node is asked for more than so many gradients.
    pub fn rounds_within(&self, answers: u64) -> u32 {
        let (mut low, mut high) = (0, u32::MAX);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            (low, high) = if self.answers(middle) <= answers { (middle, high) } else { (low, middle - 1) };
        }
        low
    }

    /// The longest message of a node, where no message is longer: noise on messages can hide what is within.
    pub fn radius(&self) -> Option<ClipNorm> {
        match self {
            Self::ClipGd { radius, .. } | Self::Clip21 { radius, .. } | Self::Clip21Sgd2m { radius, .. } => {
                Some(*radius)
            }
            Self::NormEc { .. } => Some(ClipNorm::ONE),
            _ => None,
        }
    }

    /// How many nodes take part in a round on average, where it is not all of them.
    pub fn participants(&self) -> Option<NonZeroU32> {
        match self {
            Self::Clip21 { participants, .. } => *participants,
            _ => None,
        }
    }

    /// Who talks to whom, where not everybody does.
    pub fn topology(&self) -> Option<&str> {
        match self {
            Self::Dsgd { topology, .. } | Self::GradientTracking { topology, .. } | Self::Kgt { topology, .. } => {
                Some(topology)
            }
            _ => None,
        }
    }

    /// The gap between the largest and the second eigenvalue of the mixing matrix, where there is one: how fast nodes agree.
    ///
    /// # Errors
    /// As [`Topology::mixing`].
    pub fn spectral_gap(&self, nodes: usize, shared: &Key) -> Result<Option<f64>> {
        let mixing = |words: &str| words.parse::<Topology>()?.mixing(nodes, shared);
        Ok(self.topology().map(mixing).transpose()?.map(|mixing| mixing.spectral_gap()))
    }

    /// The algorithm, at its start.
    ///
    /// # Errors
    /// When a constant is out of its range, more nodes are to take part than there are, or noise is asked for on messages that have no
    /// radius.
    pub fn build(&self, site: Site<'_>) -> Result<Box<dyn Algorithm>> {
        if site.noise.is_some() && self.radius().is_none() {
            let reason = format!(
                "messages of {} have no radius that noise could be measured by; take clip-gd, clip21, clip21-sgd2m or norm-ec, or the \
                 unit record",
                self.name()
            );
            return Err(Error::Refused { reason });
        }
        let (hosted, width) = (site.transport.hosted().len(), site.width);
        let longest = |step: f64, longest: Option<f64>| ClippedStep::new(step, longest.unwrap_or(f64::INFINITY));
        let point = site.point.clone();
        Ok(match self {
            Self::ClipGd { step, radius } => Box::new(ClipGd::new(point, *step, site.clipped(*radius))?),
            Self::Clip21 { step, radius, visibility, participants } => {
                let participation = site.participation(*participants)?;
                let uplink = site.clipped(*radius);
                let algorithm = if site.noise.is_some() {
                    Clip21::private(point, hosted, *step, uplink, *visibility)?
                } else {
                    Clip21::new(point, hosted, *step, uplink)?
                };
                Box::new(algorithm.with(participation))
            }
            Self::Clip21Sgd2m { step, radius, client_momentum, server_momentum } => {
                let momenta = (*client_momentum, *server_momentum);
                Box::new(Sgd2m::new(point, hosted, *step, momenta, site.clipped(*radius))?)
            }
            Self::NormEc { step, rate, alpha, normalised_steps } => {
                let algorithm = NormEc::new(point, hosted, *step, *rate, site.normalised(*alpha)?)?;
                Box::new(if *normalised_steps { algorithm.normalised() } else { algorithm })
            }
            Self::DiceSgd { step, radius, feedback } => {
                Box::new(Dice::new(point, *step, (Radius::new(*radius), Radius::new(*feedback)), width)?)
            }
            Self::Celgc { step, longest: most, local_steps } => {
                Box::new(Celgc::new(point, hosted, longest(*step, *most)?, *local_steps, width)?)
            }
            Self::ParallelClip { step, longest: most } => {
                Box::new(ParallelClip::new(point, longest(*step, *most)?, width))
            }
            Self::Episode { step, longest: most, local_steps } => {
                Box::new(Episode::new(point, hosted, longest(*step, *most)?, *local_steps, width)?)
            }
            Self::Dcgd { step, compress } => {
                let uplink = site.compressed(compress.build(point.len())?);
                Box::new(CompressedDescent::new(point, *step, uplink)?)
            }
            Self::ErrorFeedback { step, compress } => {
                let uplink = site.compressed(compress.contractive(point.len())?);
                Box::new(ErrorFeedback::new(point, hosted, *step, uplink)?)
            }
            Self::Ef21 { step, compress, first_memory } => {
                let uplink = site.compressed(compress.contractive(point.len())?);
                Box::new(Ef21::new(point, hosted, *step, *first_memory, uplink)?)
            }
            Self::Dsgd { step, local_steps, topology } => {
                Box::new(Dsgd::new(point, hosted, *step, *local_steps, site.gossip(topology)?)?)
            }
            Self::GradientTracking { step, local_steps, start, topology } => {
                let gossip = site.gossip(topology)?;
                Box::new(GradientTracking::new(point, hosted, *step, *local_steps, *start, gossip)?)
            }
            Self::Kgt { step, outer_step, local_steps, start, topology } => {
                let gossip = site.gossip(topology)?;
                Box::new(Kgt::new(point, hosted, (*step, *outer_step), *local_steps, *start, gossip)?)
            }
            Self::Scaffold { step, outer_step, local_steps, variate, start } => {
                let (steps, kinds) = ((*step, *outer_step), (*variate, *start));
                Box::new(Scaffold::new(point, hosted, steps, *local_steps, kinds, width)?)
            }
        })
    }
}

impl Site<'_> {
    /// The key of what nodes draw for their messages. Noise on the sum is drawn alike in all processes.
    fn key(&self) -> Key {
        let key = if matches!(self.noise, Some((_, Trust::Central))) { self.shared } else { self.own };
        key.derived("uplink")
    }

    fn compressed(&self, compress: Box<dyn super::Compress>) -> Uplink {
        Uplink::new(compress, self.width, self.key())
    }

    fn clipped(&self, radius: ClipNorm) -> Uplink {
        match self.noise {
            None => self.compressed(Box::new(Radius::new(radius))),
            Some((noise_multiplier, trust)) => {
                Uplink::private(NodeNoise { radius, noise_multiplier, trust }, self.width, self.key())
            }
        }
    }

    fn normalised(&self, alpha: f64) -> Result<Uplink> {
        let normalised = Normalised::new(alpha)?;
        Ok(match self.noise {
            None => self.compressed(Box::new(normalised)),
            Some(noise) => Uplink::private_normalised(normalised, noise, self.width, self.key()),
        })
    }

    fn participation(&self, participants: Option<NonZeroU32>) -> Result<Participation> {
        let Some(participants) = participants else { return Ok(Participation::everybody()) };
        let (expected, nodes) = (f64::from(participants.get()), self.transport.nodes());
        if expected > nodes as f64 {
            return Err(Error::value("participants", participants, format!("1 to the number of nodes, {nodes}")));
        }
        if expected >= nodes as f64 {
            // A coin that always falls on one side hides nothing.
            return Ok(Participation::everybody());
        }
        let rate = SamplingRate::new(expected / nodes as f64)?;
        Ok(Participation::coins(rate, self.shared.derived("participation")))
    }

    fn gossip(&self, topology: &str) -> Result<Gossip> {
        Ok(Gossip::new(topology.parse::<Topology>()?.mixing(self.transport.nodes(), self.shared)?, self.width))
    }
}
