//! What a node sends in the place of a vector.
//!
//! A compressor writes a message, and everybody who reads it, its sender among them, counts on what the message says: C(x). The
//! constants that are proved for it are methods, and step sizes follow from them.
//!
//! | compressor | |
//! | --- | --- |
//! | [`Radius`] | clipping; the identity, where the radius is infinite |
//! | [`RandK`], [`Sparsification`], [`Adaptive`] | numbers at random places |
//! | [`TopK`], [`TopKThen`] | the largest numbers, as they are or compressed further |
//! | [`Exponential`], [`GeneralRounding`] | every number rounded to levels; natural compression |
//! | [`Dithering`] | the norm, and every number relative to it on levels |
//! | [`ScaledSign`] | signs and one size |
//! | [`Contractive`] | any of them, scaled to a contraction |
//! | [`Induced`] | a contraction, and what it leaves by an unbiased one |
//!
//! Messages are packed to the bit and filled up to a byte with zeros; what no sender writes is refused. The constants are
//! those of exact arithmetic. Rounding to the width comes on top: relative errors of half an epsilon for numbers in its normal
//! range.

mod bits;
mod compressor;
mod contractive;
mod dithering;
mod exponential;
mod induced;
mod normalised;
mod places;
mod radius;
mod rand_k;
mod rounding;
mod sign;
mod sparsification;
mod top_k;

pub use compressor::{Compressor, Count};
pub use contractive::Contractive;
pub use dithering::{Dithering, Norm};
pub use exponential::Exponential;
pub use induced::Induced;
pub use normalised::Normalised;
pub use radius::Radius;
pub use rand_k::RandK;
pub use rounding::{GeneralRounding, Rounding};
pub use sign::ScaledSign;
pub use sparsification::{Adaptive, Sparsification};
pub use top_k::{TopK, TopKThen};

use super::wire::Width;
use crate::Result;
use rand_chacha::ChaCha20Rng;

/// A compressor C: vectors of `d` numbers to messages.
pub trait Compress: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Writes C(xs) as a message. Random choices come from `rng`; numbers are rounded to `width`.
    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8>;

    /// Reads C(xs) `(dim)` out of a message.
    ///
    /// # Errors
    /// When no vector of `dim` numbers has this message.
    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>>;

    /// What is proved of it on vectors of `dim` numbers; nothing where no constant holds for all vectors.
    fn class(&self, dim: usize) -> Option<Class>;

    /// Whether messages are all numbers of the vector, one after another, so that a sum of vectors is as short as one of them.
    fn is_dense(&self) -> bool {
        false
    }
}

/// The constants of a compressor (Beznosikov, Horvath, Richtarik and Safaryan 2023, section 2): for all x
///
/// - B1: `alpha |x|^2 <= E|C(x)|^2 <= beta <E C(x), x>`
/// - B2: `max(gamma |x|^2, E|C(x)|^2 / beta) <= <E C(x), x>`
/// - B3: `E|scale C(x) - x|^2 <= (1 - 1/delta) |x|^2`
/// - U: `E C(x) = x` and `E|C(x)|^2 <= zeta |x|^2`, where it is unbiased
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// Of B1.
    pub alpha: f64,
    /// Of B1 and B2.
    pub beta: f64,
    /// Of B2.
    pub gamma: f64,
    /// Of B3, at least 1.
    pub delta: f64,
    /// What C is to be multiplied with before B3 holds.
    pub scale: f64,
    /// Of U, for an unbiased compressor.
    pub zeta: Option<f64>,
}
