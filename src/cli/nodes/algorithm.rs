//! The algorithm that the flags of nodes name, and the flags that an algorithm is named by.

use super::NodesArgs;
use super::names::{
    AlgorithmName, DirectionName, FirstMemoryName, MemoryName, TrustName, UnitName, VariateName, WidthName,
};
use crate::clip::ClipNorm;
use crate::distributed::uplink::Trust;
use crate::distributed::{FirstMemory, Method, Start, Topology, Variate, Visibility, Width};
use crate::{Error, Result};
use clap::ValueEnum;
use std::num::NonZeroU32;

impl NodesArgs {
    /// The algorithm with its constants, where the nodes run one of their own; `step` is its step size.
    ///
    /// # Errors
    /// When a constant is missing, out of its range, or belongs to another algorithm.
    pub(in crate::cli) fn method(&self, step: f64) -> Result<Option<Method>> {
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
    pub(super) fn nothing_left<'a>(&self, owner: &str, own: impl IntoIterator<Item = &'a str>) -> Result<()> {
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
    pub(in crate::cli) fn resolved(
        &self,
        nodes: usize,
        trust: Trust,
        method: Option<&Method>,
    ) -> Vec<(&'static str, String)> {
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
