//! Noise on the nodes of binary trees: DP-FTRL.

use super::rule::tree_event;
use super::{Mechanism, Release, StandardNormals, fixed_bound, ordinary, share_of};
use crate::clip::{ClipNorm, ClippedSum};
use crate::kernel::update::in_place_with;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier};
use std::num::NonZeroU64;

/// Tree aggregation with restarts (Kairouz, McMahan, Song, Thakkar, Thakurta & Xu 2021, DP-FTRL).
///
/// The sum of the first t gradients of a pass has the noise N_t, the sum of independent N(0, (z C)^2) over the nodes of a binary tree
/// that cover the steps 1 to t: one for every one in the binary representation of t, where independent noise has t. What is
/// released at a step is its gradient with the noise N_t - N_(t-1), times the inverse of the mean batch: whoever adds up
/// releases, as gradient descent does, has the sums. The next pass begins another tree.
///
/// A record that takes part in one step of a tree moves the nodes above that step by C each, floor(log2 t) + 1 of them after t
/// steps. The releases are functions of the nodes, so this is what they cost, without any help from sampling.
///
/// At most one node that is ever used ends with a step, of as many steps as the largest power of two that divides t. Its noise is a
/// function of the key and that step: nothing is kept from one step to the next. One key serves one run, and all its sums must have one
/// bound.
#[derive(Debug)]
pub struct Tree {
    noise_multiplier: NoiseMultiplier,
    clip_norm: ClipNorm,
    steps: NonZeroU64,
    share: f64,
    key: Key,
    step: u32,
}

impl Tree {
    /// A mechanism whose next release is that of `step`, with trees of `steps` steps over sums whose bound is `clip_norm`.
    /// `mean_batch` is the public constant that sums are divided by, the number of records over `steps`.
    ///
    /// # Errors
    /// When the mean batch is not a positive number.
    pub fn new(
        noise_multiplier: NoiseMultiplier,
        clip_norm: ClipNorm,
        steps: NonZeroU64,
        mean_batch: f64,
        key: Key,
        step: u32,
    ) -> Result<Self> {
        Ok(Self { noise_multiplier, clip_norm, steps, share: share_of(mean_batch)?, key, step })
    }

    /// Steps of the tree that are over with the step to come.
    fn covered(&self) -> u64 {
        u64::from(self.step) % self.steps.get() + 1
    }

    /// The last steps of the nodes whose noise the step to come takes off again: those that the node it completes has in it.
    fn replaced(&self) -> impl Iterator<Item = u32> {
        // One before t, the bits below its lowest one are all ones: a node for each.
        let heights = self.covered().trailing_zeros();
        let before = self.step.wrapping_sub(1);
        (0..heights).map(move |height| before.wrapping_sub((1_u32 << height) - 1))
    }
}

impl Mechanism for Tree {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let deviation = ordinary(self.noise_multiplier.get(), fixed_bound(&sum, self.clip_norm)?)?;
        let event = self.event();
        let node = |step| StandardNormals::of(&self.key, Role::Node, step);
        let (completed, replaced): (_, Vec<StandardNormals>) = (node(self.step), self.replaced().map(node).collect());
        let share = self.share;
        let gradient = sum.release(|block, values| {
            let mut noise = vec![0.0; values.len()];
            completed.combine(&mut noise, block, |_, draw| draw);
            for node in &replaced {
                node.combine(&mut noise, block, |noise, draw| noise - draw);
            }
            in_place_with(values, &noise, |value, noise| (value + deviation * noise) * share);
        })?;
        let next = self.step.checked_add(1);
        self.step = next.ok_or_else(|| Error::value("step", self.step, "fewer than 2^32: no noise is used twice"))?;
        let deviation = deviation * ((1 + replaced.len()) as f64).sqrt() * share;
        Ok((Release { gradient, deviation, within: None }, event))
    }

    fn event(&self) -> Event {
        tree_event(self.noise_multiplier, self.covered())
    }

    fn continues(&self) -> bool {
        self.covered() > 1
    }
}
