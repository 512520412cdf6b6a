//! Algorithms by their names and constants, before there is anything to run them on.

mod site;

pub use site::Site;

use super::compress::Compressor;
use super::{FirstMemory, Start, Topology, Variate, Visibility};
use crate::Result;
use crate::clip::ClipNorm;
use crate::seed::Key;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// An algorithm with its constants. Its name is that of [`super::Algorithm::name`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// [`super::ClipGd`].
    ClipGd {
        /// Size of a step.
        step: f64,
        /// The longest message.
        radius: ClipNorm,
    },
    /// [`super::Clip21`].
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
    /// [`super::Sgd2m`].
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
    /// [`super::NormEc`].
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
    /// [`super::Dice`].
    DiceSgd {
        /// Size of a step.
        step: f64,
        /// The longest gradient of a node.
        radius: ClipNorm,
        /// The longest part of the error that is given back.
        feedback: ClipNorm,
    },
    /// [`super::Celgc`]; local SGD without a longest step.
    Celgc {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
        /// Steps between two averages.
        local_steps: u32,
    },
    /// [`super::ParallelClip`].
    ParallelClip {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
    },
    /// [`super::Episode`].
    Episode {
        /// Size of a step.
        step: f64,
        /// The longest step.
        longest: Option<f64>,
        /// Steps between two averages.
        local_steps: u32,
    },
    /// [`super::CompressedDescent`].
    Dcgd {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of gradients.
        compress: Compressor,
    },
    /// [`super::ErrorFeedback`].
    ErrorFeedback {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of gradients and errors.
        compress: Compressor,
    },
    /// [`super::Ef21`].
    Ef21 {
        /// Size of a step.
        step: f64,
        /// What nodes send in the place of differences.
        compress: Compressor,
        /// What the server knows before the first step.
        first_memory: FirstMemory,
    },
    /// [`super::Dsgd`].
    Dsgd {
        /// Size of a step.
        step: f64,
        /// Steps between two exchanges.
        local_steps: u32,
        /// Who talks to whom.
        topology: String,
    },
    /// [`super::GradientTracking`]; periodical with more than one local step.
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
    /// [`super::Kgt`].
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
    /// [`super::Scaffold`].
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
}
