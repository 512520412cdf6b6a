//! Models as oracles that protect every record: Poisson samples, clipped examples and noise inside the node.
//!
//! It is the oracle of Clip21-SGD2M+ (Algorithm 5 of the paper on Byz-Clip21-SGD2M, 2026, arXiv 2603.23472), with the accounting of
//! DP-SGD (Abadi et al. 2016). Messages, memories, momenta and points follow from the answers alone, so whatever an algorithm does
//! with them is post-processing.

use super::Oracle;
use super::network::{Network, flattened, set_point};
use crate::clip::{Clip, ClipNorm, ClipRule, ClippedSum, Clipping};
use crate::grad::{Engine, probe_isolation_of};
use crate::noise::{Gaussian, Mechanism};
use crate::sample::{Poisson, Sampling};
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{Accountant, Bound, Delta, Event, NoiseMultiplier, SamplingRate, Unaccountable};
use std::collections::HashSet;

/// What one record can do to an answer, and the noise that hides it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordNoise {
    /// The probability q with which a record takes part in an answer, independently of all others. It is public.
    pub rate: SamplingRate,
    /// The largest norm C of one example's gradient in the sum.
    pub clip_norm: ClipNorm,
    /// How gradients are brought below it; not by adaptive clipping.
    pub clipping: ClipRule,
    /// Standard deviation of the noise over C.
    pub noise_multiplier: NoiseMultiplier,
}

/// A [`Network`] whose answers are releases of DP-SGD:
///
/// ```text
/// every answer:  S = Poisson sample of the shard at rate q
///                (sum over j in S of clip_C(grad loss_j(x)) + N(0, (z C)^2)) / (q n),   n the records of the shard
/// ```
///
/// Each answer is one Poisson-sampled Gaussian release with respect to the records of the shard, and an algorithm that asks
/// twice in a round pays twice. The number of records is public, as everywhere: so is that a shard has none, which answers
/// zeros and spends nothing. [`Oracle::loss`] is not private.
///
/// Sample and noise are functions of a secret key of the node's own and the number of the answer. A node's key follows from
/// that of its process: where processes do not trust each other ([`Trust::Local`](super::uplink::Trust::Local)), each must
/// bring a secret key of its own.
///
/// After [`Oracle::resume`] the node must be asked at the points at which it was asked before: an answer of the same number at
/// another point would have the same noise, and the difference of both would have none. A resumed algorithm does that.
#[derive(Debug)]
pub struct PrivateNetwork<'a> {
    network: Network<'a>,
    noise: RecordNoise,
    key: Key,
}

impl<'a> PrivateNetwork<'a> {
    /// A network that has not been asked yet, as number `node` of a run with this secret key. Nothing else of the run shares
    /// the node's noise, that of an [`Uplink`](super::Uplink) with the same key included.
    ///
    /// # Errors
    /// When the isolation probe refuses the model, the network draws minibatches of its own or has given answers, under adaptive
    /// clipping, or when sums cannot be divided by q n.
    pub fn new(network: Network<'a>, noise: RecordNoise, key: &Key, node: usize) -> Result<Self> {
        if noise.clipping.adaptive().is_some() {
            let allowed = "a rule with one clip norm: an oracle remembers nothing of its releases";
            return Err(Error::value("clipping of a node", noise.clipping.name(), allowed));
        }
        if network.draws_minibatches() {
            let allowed = "none: records are drawn at the rate that is accounted for";
            return Err(Error::value("minibatches of a private node", "some", allowed));
        }
        if network.answers() > 0 {
            return Err(Error::value(
                "answers without privacy",
                network.answers(),
                "0, before a node gives private ones",
            ));
        }
        let key = key.derived(&format!("node {node}")).derived("records");
        probe_isolation_of(network.model(), network.parameters(), &network.data().form(), Engine::default(), &key)?;
        let oracle = Self { network, noise, key };
        if oracle.network.records() > 0 {
            // Refused now and not in the first round.
            oracle.mechanism(0)?;
        }
        Ok(oracle)
    }

    /// What one answer costs the records of the shard: nothing if there are none.
    pub fn event_per_answer(&self) -> Event {
        match self.network.records() {
            0 => Event::nothing(),
            _ => self.sampler(0).amplify(Event::gaussian(self.noise.noise_multiplier)),
        }
    }

    /// What all answers so far have cost the records of the shard.
    pub fn spent(&self) -> Event {
        self.event_per_answer().repeated(u64::from(self.network.answers()))
    }

    fn sampler(&self, answer: u32) -> Poisson {
        Poisson::new(self.network.records(), self.noise.rate, self.key.clone(), answer)
    }

    fn mechanism(&self, answer: u32) -> Result<Gaussian> {
        let expected = self.noise.rate.get() * self.network.records() as f64;
        Gaussian::new(self.noise.noise_multiplier, expected, self.key.clone(), answer)
    }

    fn clip(&self) -> Box<dyn Clip> {
        let names: Vec<String> = self.network.parameters().iter().map(|(name, _)| name).collect();
        self.noise.clipping.build(self.noise.clip_norm, &names)
    }
}

impl Oracle for PrivateNetwork<'_> {
    fn dim(&self) -> usize {
        self.network.dim()
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        set_point(self.network.parameters(), point)?;
        let answer = self.network.answers();
        if self.network.records() == 0 {
            self.network.answered(Clipping::default())?;
            return Ok(vec![0.0; self.dim()]);
        }
        let batch = self.sampler(answer).next_batch();
        let gradients = batch.micro_batches(self.network.physical_batch()).map(|places| self.network.at_places(places));
        let sum = ClippedSum::new(self.network.parameters(), self.clip().as_ref(), gradients)?;
        let clipping = sum.clipping();
        let (release, _) = self.mechanism(answer)?.release(sum)?;
        self.network.answered(clipping)?;
        flattened(&release.into_gradient())
    }

    fn loss(&mut self, point: &[f64]) -> Result<f64> {
        self.network.loss(point)
    }

    fn answers(&self) -> u32 {
        self.network.answers()
    }

    fn resume(&mut self, answers: u32) {
        self.network.resume(answers);
    }

    fn take_clipping(&mut self) -> Clipping {
        self.network.take_clipping()
    }
}

/// The epsilon of a run at `delta` whose nodes have `spent` this, all of them, those of other processes too: the largest of the
/// nodes' own.
///
/// A record is in one shard, and only the answers of its node depend on it: those of other nodes are computed from other
/// records at points that follow from answers. So nothing adds up over nodes. That holds where shards are disjoint, and
/// where a record comes, goes or is replaced without moving others from shard to shard.
///
/// # Errors
/// When the accountant refuses what a node has spent.
pub fn of_all(spent: &[Event], accountant: &dyn Accountant, delta: Delta) -> Result<Bound> {
    let mut seen = HashSet::new();
    // Nodes mostly spend the same, and the same question has the same answer.
    let different = spent.iter().filter(|event| seen.insert(*event));
    let mut largest = Bound::zero(accountant.name());
    for event in different {
        let bound = accountant.epsilon(event, delta)?;
        let by = if bound.upper() > largest.upper() { bound.accountant() } else { largest.accountant() };
        let (lower, estimate) = (bound.lower().max(largest.lower()), bound.estimate().max(largest.estimate()));
        let upper = bound.upper().max(largest.upper());
        largest = Bound::new(lower, estimate, upper, by).map_err(Unaccountable::from)?;
    }
    Ok(largest)
}
