//! Randomness: one key, and a stream for every role and step.
//!
//! `stream(role, step)` is ChaCha20 under the key with the nonce `(role, step)`. Two different pairs never share a
//! nonce, so sampler, noise and initialisation never share a stream. A stream is a function of its pair alone: a step
//! that is repeated after a crash draws the same batch and the same noise, so it makes the same release again and
//! costs nothing twice.

use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The secret that all randomness of a run is derived from.
///
/// The guarantee holds only while the key is secret: whoever knows it can subtract the noise. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 32],
    origin: Origin,
}

/// Where a [`Key`] came from; the statement says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// 256 bits from the operating system's generator.
    OperatingSystem,
    /// Expanded from a seed the user gave: the guarantee holds only while the seed is secret.
    Seed,
}

/// What a stream is for. The discriminants are part of the frozen output: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Which records take part in a step.
    Sampler = 1,
    /// The noise of a release.
    Noise = 2,
    /// The initial value of a parameter; the step is the parameter's number.
    Init = 3,
    /// Which records are held out for testing.
    Holdout = 4,
    /// The made-up records of the isolation probe.
    Probe = 5,
    /// The order of a batch.
    Order = 6,
    /// The noise on the gradients of single examples.
    Perturbation = 7,
    /// Directions in which gradients are compared.
    Directions = 8,
    /// The noise on the number of examples within the clip norm.
    ClipCount = 9,
    /// The random copies of single examples.
    Augmentation = 10,
    /// In which group or batch of a pass a record is; the step is the pass.
    Placement = 12,
    /// The noise at a node of a tree; the step is the node's last.
    Node = 13,
    /// The random choices of a compressor; the step is the round.
    Compression = 14,
    /// Which nodes take part in a round.
    Participation = 15,
    /// A random graph of nodes; the step is the draw.
    Graph = 16,
    /// Which of its records a node answers with; the step is the answer.
    Minibatch = 17,
    /// Which node has which records.
    Partition = 18,
}

impl Key {
    /// A key from the operating system.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn from_os() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::value("operating system's random generator", error, "a working generator"))?;
        Ok(Self { bytes, origin: Origin::OperatingSystem })
    }

    /// A key expanded from a seed, for runs that must be repeated: SHA-256 of a label and the seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"dpsgd seed v1");
        hash.update(seed.to_le_bytes());
        Self { bytes: hash.finalize().into(), origin: Origin::Seed }
    }

    /// Restores a key from the bytes and origin a checkpoint holds.
    pub fn from_parts(bytes: [u8; 32], origin: Origin) -> Self {
        Self { bytes, origin }
    }

    /// The secret bytes, for a checkpoint and nothing else.
    pub fn secret(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Where the key came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Another key, whose streams have nothing to do with those of this one: SHA-256 of a label, the key and `purpose`.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"dpsgd derived v1");
        hash.update(self.bytes);
        hash.update(purpose);
        Self { bytes: hash.finalize().into(), origin: self.origin }
    }

    /// The stream of `role` at `step`.
    pub fn stream(&self, role: Role, step: u32) -> ChaCha20Rng {
        let mut rng = ChaCha20Rng::from_seed(self.bytes);
        rng.set_stream((role as u64) << 32 | u64::from(step));
        rng
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::RngCore;
    use std::collections::HashSet;

    #[test]
    fn streams_are_functions_of_key_role_and_step_and_never_shared() {
        let key = Key::from_seed(7);
        let roles = [
            Role::Sampler,
            Role::Noise,
            Role::Init,
            Role::Holdout,
            Role::Probe,
            Role::Order,
            Role::Perturbation,
            Role::Directions,
            Role::ClipCount,
            Role::Augmentation,
            Role::Placement,
            Role::Node,
            Role::Compression,
            Role::Participation,
            Role::Graph,
            Role::Minibatch,
            Role::Partition,
        ];
        let mut firsts = HashSet::new();
        for role in roles {
            for step in [0, 1, 2, u32::MAX] {
                let first = key.stream(role, step).next_u64();
                assert_eq!(first, key.stream(role, step).next_u64());
                assert!(firsts.insert(first), "{role:?} at step {step} repeats another stream");
            }
        }
        assert!(firsts.insert(Key::from_seed(8).stream(Role::Sampler, 0).next_u64()));
    }

    #[test]
    fn outputs_are_frozen_by_seed() {
        let key = Key::from_seed(0);
        assert_eq!(key.stream(Role::Noise, 3).next_u64(), FROZEN_NOISE_0_3);
    }

    /// As first released; a change would break every resumed run.
    const FROZEN_NOISE_0_3: u64 = 9_413_365_193_444_850_061;

    #[test]
    fn keys_from_the_system_differ_and_are_not_printed() {
        let (a, b) = (Key::from_os().unwrap(), Key::from_os().unwrap());
        assert!(a != b);
        assert_eq!(format!("{a:?}"), "Key { origin: OperatingSystem, .. }");
    }
}
