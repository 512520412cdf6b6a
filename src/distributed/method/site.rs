//! An algorithm out of its name and constants, where it is run.

use super::Method;
use crate::clip::ClipNorm;
use crate::distributed::compress::{Compress, Normalised, Radius};
use crate::distributed::step::ClippedStep;
use crate::distributed::uplink::{NodeNoise, Trust, Uplink};
use crate::distributed::{
    Algorithm, Celgc, Clip21, ClipGd, CompressedDescent, Dice, Dsgd, Ef21, Episode, ErrorFeedback, Gossip,
    GradientTracking, Kgt, NormEc, ParallelClip, Participation, Scaffold, Sgd2m, Topology, Transport, Width,
};
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{NoiseMultiplier, SamplingRate};
use std::num::NonZeroU32;

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

    fn compressed(&self, compress: Box<dyn Compress>) -> Uplink {
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
