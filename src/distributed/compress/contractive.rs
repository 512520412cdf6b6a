//! A compressor multiplied with what makes it a contraction.

use super::{Class, Compress};
use crate::Result;
use crate::distributed::vector::scaled;
use crate::distributed::wire::Width;
use rand_chacha::ChaCha20Rng;

/// `scale C(x)`, with the scale of the compressor's class: B3 holds for it, as error feedback and EF21 need it. Messages are
/// those of C; whoever reads them multiplies. A compressor without a class stays what it is.
pub struct Contractive {
    compress: Box<dyn Compress>,
}

impl Contractive {
    /// Of this compressor.
    pub fn new(compress: Box<dyn Compress>) -> Self {
        Self { compress }
    }

    fn scale(&self, dim: usize) -> f64 {
        self.compress.class(dim).map_or(1.0, |class| class.scale)
    }
}

impl std::fmt::Debug for Contractive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contractive").field(&self.compress.name()).finish()
    }
}

impl Compress for Contractive {
    fn name(&self) -> &'static str {
        self.compress.name()
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        self.compress.encode(xs, width, rng)
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        Ok(scaled(self.scale(dim), &self.compress.decode(message, dim, width)?))
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let class = self.compress.class(dim)?;
        let scale = class.scale;
        Some(Class {
            alpha: scale * scale * class.alpha,
            beta: scale * class.beta,
            gamma: scale * class.gamma,
            delta: class.delta,
            scale: 1.0,
            zeta: class.zeta.filter(|_| scale == 1.0),
        })
    }

    fn is_dense(&self) -> bool {
        self.compress.is_dense()
    }
}
