//! Noise that is correlated by a banded square root of the matrix of prefix sums.

use super::rule::cyclic_event;
use super::{Mechanism, Release, StandardNormals, fixed_bound, ordinary, share_of};
use crate::clip::{ClipNorm, ClippedSum};
use crate::kernel::team::Shared;
use crate::kernel::update::in_place_with;
use crate::seed::Key;
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier, SamplingRate};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

/// Noise by the banded square root (Kalinin & Lampert 2024), for the cyclic Poisson samples of Choquette-Choo, Ganesh,
/// McKenna, McMahan, Rush, Thakurta & Xu 2023, whose own banded matrix, BandMF, is optimised instead.
///
/// With the lower triangular Toeplitz matrix C of the bands c_0 = 1, c_k = (2k - 1) / (2k) c_(k-1), the square root of the matrix
/// of prefix sums cut after `bands` bands, and independent z_t, releases have the noise C^-1 z:
/// x_t = z_t - c_1 x_(t-1) - ... - c_(bands-1) x_(t-bands+1). Each z_t is N(0, (z S c)^2), S the bound of the sums and c the norm
/// of a column of C.
///
/// Times C, the releases of all steps are C times the gradients plus independent noise. A record that takes part in one step moves C
/// times the gradients by its column, so by at most S c; in steps at least `bands` apart, it moves different rows each time. That is why
/// [`Cyclic`](crate::sample::Cyclic) sampling takes a record in every `bands`-th step only, and why each turn of its group costs one
/// Gaussian release of the noise multiplier z on a Poisson sample. With one band this is [`super::Gaussian`], to the bit.
///
/// The noise of `bands` steps is in memory, all of it from the first release on. It is a function of key and step, so a mechanism
/// that begins in the middle of a run makes the noise of all steps before it first: the same bits, without anything in a
/// checkpoint. One key serves one run, and all its sums must have one bound.
#[derive(Debug)]
pub struct Banded {
    noise_multiplier: NoiseMultiplier,
    clip_norm: ClipNorm,
    count: NonZeroU32,
    bands: Vec<f64>,
    share: f64,
    key: Key,
    step: u32,
    past: Past,
}

/// The correlated noise of the last steps, over the deviation of z_t.
#[derive(Debug, Default)]
struct Past {
    /// Steps whose noise was made.
    steps: u32,
    /// By step, the latest first, and by block of the sum: as many steps as there are bands. Those before the first are zeros.
    noise: VecDeque<Vec<Vec<f64>>>,
    /// The column of the inverse of C for the first step, whose entries are the weights of z_t, z_(t-1), ... in x_t.
    weights: VecDeque<f64>,
    /// The variance of the latest x_t over that of z_t: the sum of the squared weights.
    variance: f64,
}

impl Banded {
    /// A mechanism whose next release is that of `step`, over sums whose bound is `clip_norm`.
    ///
    /// # Errors
    /// When the expected batch is not a positive number. A release is an error when the noise of all bands does not fit into memory.
    pub fn new(
        noise_multiplier: NoiseMultiplier,
        clip_norm: ClipNorm,
        bands: NonZeroU32,
        expected_batch: f64,
        key: Key,
        step: u32,
    ) -> Result<Self> {
        let (count, bands, share) = (bands, Self::bands(bands), share_of(expected_batch)?);
        Ok(Self { noise_multiplier, clip_norm, count, bands, share, key, step, past: Past::default() })
    }

    /// The bands of C: c_0 to c_(bands-1).
    pub fn bands(bands: NonZeroU32) -> Vec<f64> {
        let next = |c: &mut f64, k: u32| {
            if k > 0 {
                *c *= (2.0 * f64::from(k) - 1.0) / (2.0 * f64::from(k));
            }
            Some(*c)
        };
        (0..bands.get()).scan(1.0, next).collect()
    }

    /// The norm of a whole column of C, rounded up; those cut at the last step are shorter.
    pub fn column_norm(bands: &[f64]) -> f64 {
        let squares: f64 = bands.iter().map(|c| c * c).sum();
        // The matrix is that of these numbers as they are: squares, sum, root and the products with the noise multiplier round, by less
        // than this for two bands and more; for one band all but the latter are exact.
        let rounded = 4.0 * bands.len().saturating_sub(1) as f64 * f64::EPSILON;
        squares.sqrt() * (1.0 + rounded)
    }
}

impl Past {
    /// Takes the memory for the noise of `bands` steps with these blocks, all at once: a run must not find out halfway, with
    /// part of its budget spent, that there is too little.
    fn allocate(&mut self, bands: usize, blocks: &[usize]) -> Result<()> {
        if !self.noise.is_empty() {
            return Ok(());
        }
        let elements: usize = blocks.iter().sum();
        let too_large = |_| {
            let allowed =
                format!("as many as fit into memory, with {elements} numbers for each; take a smaller model or fewer");
            Error::value("bands", bands, allowed)
        };
        // Asked for as a whole first, so that what cannot be had is refused before any of it is taken.
        Vec::<f64>::new().try_reserve_exact(bands.saturating_mul(elements)).map_err(too_large)?;
        let block = |elements: &usize| {
            let mut block = Vec::new();
            block.try_reserve_exact(*elements)?;
            // Writing is what makes the system give the memory.
            block.resize(*elements, 0.0);
            Ok(block)
        };
        let step = |_| blocks.iter().map(block).collect();
        let noise: std::result::Result<_, std::collections::TryReserveError> = (0..bands).map(step).collect();
        self.noise = noise.map_err(too_large)?;
        Ok(())
    }

    /// Makes the noise of the next step.
    fn advance(&mut self, bands: &[f64], key: &Key) {
        let mut latest = self.noise.pop_back().unwrap_or_default();
        let (draws, before, made) = (StandardNormals::new(key, self.steps), &self.noise, self.steps as usize);
        latest.par_iter_mut().enumerate().each(|(block, noise)| {
            draws.combine(noise, block, |_, draw| draw);
            for (c, before) in bands.iter().skip(1).zip(before).take(made) {
                if let Some(before) = before.get(block) {
                    in_place_with(noise, before, |noise, before| noise - c * before);
                }
            }
        });
        self.noise.push_front(latest);

        let first = if self.steps == 0 { 1.0 } else { 0.0 };
        let weight = bands.iter().skip(1).zip(&self.weights).fold(first, |sum, (c, weight)| sum - c * weight);
        self.weights.push_front(weight);
        self.weights.truncate(bands.len());
        self.variance += weight * weight;
        self.steps += 1;
    }

    /// Whether there is noise, and for sums with other blocks.
    fn is_of_others(&self, blocks: &[usize]) -> bool {
        self.noise.front().is_some_and(|noise| !noise.iter().map(Vec::len).eq(blocks.iter().copied()))
    }
}

impl Mechanism for Banded {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let bound = fixed_bound(&sum, self.clip_norm)?;
        let deviation = ordinary(self.noise_multiplier.get() * Self::column_norm(&self.bands), bound)?;
        let next = self.step.checked_add(1);
        let next = next.ok_or_else(|| Error::value("step", self.step, "fewer than 2^32: no noise is used twice"))?;
        let (blocks, event) = (sum.blocks(), self.event());
        if self.past.is_of_others(&blocks) {
            let reason = "correlated noise was given sums over different parameters".to_string();
            return Err(Error::Model { reason });
        }
        self.past.allocate(self.bands.len(), &blocks)?;
        while self.past.steps < next {
            self.past.advance(&self.bands, &self.key);
        }
        let (share, latest) = (self.share, self.past.noise.front());
        let gradient = sum.release(|block, values| {
            match latest.and_then(|latest| latest.get(block)).filter(|noise| noise.len() == values.len()) {
                Some(noise) => in_place_with(values, noise, |value, noise| (value + deviation * noise) * share),
                // There is noise for every element. If there were not, nothing would be told of it.
                None => values.fill(f64::NAN),
            }
        })?;
        self.step = next;
        let deviation = deviation * self.past.variance.sqrt() * share;
        Ok((Release { gradient, deviation, within: None }, event))
    }

    /// Of all steps up to the one to come, for records that take part in every turn of their group.
    fn event(&self) -> Event {
        let steps = NonZeroU64::MIN.saturating_add(u64::from(self.step));
        match SamplingRate::new(1.0) {
            Ok(always) => cyclic_event(self.noise_multiplier, always, self.count, steps),
            // A rate of 1 is one. If it were not, nobody would be told a cost.
            Err(reason) => Event::unsupported(reason.to_string()),
        }
    }

    fn continues(&self) -> bool {
        self.step > 0
    }
}
