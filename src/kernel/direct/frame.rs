//! Images with zeros around them, so that whoever reads them need not ask where they end.

use crate::kernel::Real;
use crate::profile::{self, Part};

/// Where images `(channels, height, width)` lie among zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Rows and columns of zeros before the image.
    pub(super) before: (usize, usize),
    /// Rows and columns altogether.
    pub(super) size: (usize, usize),
}

/// One framed image after another, in the same memory.
#[derive(Default)]
pub(super) struct Framed<T> {
    pixels: Vec<T>,
    /// The frame of whose zeros all are in place.
    cleared: Option<Frame>,
}

impl Frame {
    /// Pixels of one channel with the zeros around it.
    pub(super) fn plane(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// The image in its frame: itself if there is nothing around it, else a copy.
    pub(super) fn around<'s, T: Real>(&self, image: &'s [T], framed: &'s mut Framed<T>) -> &'s [T] {
        if self.size == (self.height, self.width) {
            return image;
        }
        let _time = profile::time(Part::Patches);
        if framed.cleared != Some(*self) {
            framed.pixels.clear();
            framed.pixels.resize(self.channels * self.plane(), T::default());
            framed.cleared = Some(*self);
        }
        let images = image.chunks_exact(self.height * self.width);
        for (plane, image) in framed.pixels.chunks_exact_mut(self.plane()).zip(images) {
            let rows = plane[self.before.0 * self.size.1..].chunks_exact_mut(self.size.1);
            for (to, from) in rows.zip(image.chunks_exact(self.width)) {
                to[self.before.1..][..self.width].copy_from_slice(from);
            }
        }
        &framed.pixels
    }
}
