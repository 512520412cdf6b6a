//! The cotangent of a convolution's inputs: which outputs each pixel went into.
//!
//! Output row y reads the row y s + k r of the framed image under the kernel's row k, for stride s and dilation r. A row i of it
//! comes from the outputs i / s - k r / s, for those k with k r = i mod s: all rows of one remainder, and likewise all columns,
//! form a phase, whose pixels share their kernel elements.

use super::frame::Frame;
use super::panels::{Correlation, Panels};
use crate::kernel::Real;
use crate::kernel::patches::Patches;
use crate::profile::{self, Part};

/// The pixels of one remainder and the kernel elements that reach them: neither is empty.
#[derive(Debug)]
pub(super) struct Phase {
    /// Of every pixel, where it lies in a channel of the image.
    pixels: Vec<u32>,
    /// Of every pixel, where the first output that can reach it lies in the framed cotangents of a channel.
    fixed: Vec<u32>,
    /// Of every output channel and kernel element, the distance from there to the output that it takes to the pixel.
    moving: Vec<u32>,
    /// The kernel elements.
    elements: Vec<usize>,
    /// Of the kernel.
    area: usize,
    /// Of outputs.
    positions: usize,
    /// Whether it is all of the image, row after row.
    whole: bool,
}

impl Phase {
    /// Where the cotangents of `outs` channels lie among zeros, which are as wide as any pixel looks for outputs.
    pub(super) fn frame(patches: &Patches, outs: usize) -> Frame {
        let Patches { height, width, kernel, stride, padding: [(top, _), (left, _)], dilation } = *patches;
        let (down, across) = patches.output().unwrap_or((0, 0));
        let furthest = |kernel: usize| (kernel - 1) * dilation / stride;
        let before = (furthest(kernel.0), furthest(kernel.1));
        let rows = before.0 + down.max((top + height - 1) / stride + 1);
        let cols = before.1 + across.max((left + width - 1) / stride + 1);
        Frame { channels: outs, height: down, width: across, before, size: (rows, cols) }
    }

    /// The phases of an image; pixels that are in none go into no output.
    pub(super) fn all(patches: &Patches, frame: &Frame) -> Vec<Self> {
        let Patches { height, width, kernel, stride, padding: [(top, _), (left, _)], dilation } = *patches;
        let Frame { channels: outs, before, size: (_, cols), .. } = *frame;
        let mut phases = Vec::new();
        for (a, b) in (0..stride).flat_map(|a| (0..stride).map(move |b| (a, b))) {
            let reach = |size: usize, phase: usize| (0..size).filter(move |k| k * dilation % stride == phase);
            let inside =
                |size: usize, before: usize, phase: usize| (0..size).filter(move |i| (i + before) % stride == phase);
            let pixels = || inside(height, top, a).flat_map(move |y| inside(width, left, b).map(move |x| (y, x)));
            let taps = || reach(kernel.0, a).flat_map(move |y| reach(kernel.1, b).map(move |x| (y, x)));
            let fixed = pixels().map(|(y, x)| (((y + top) / stride) * cols + (x + left) / stride) as u32);
            let moving = (0..outs).flat_map(|o| taps().map(move |(y, x)| (o, y, x))).map(|(o, y, x)| {
                let (y, x) = (before.0 - y * dilation / stride, before.1 - x * dilation / stride);
                (o * frame.plane() + y * cols + x) as u32
            });
            let (fixed, moving): (Vec<_>, Vec<_>) = (fixed.collect(), moving.collect());
            if fixed.is_empty() || moving.is_empty() {
                continue;
            }
            let elements = taps().map(|(y, x)| y * kernel.1 + x).collect();
            let pixels = pixels().map(|(y, x)| (y * width + x) as u32).collect();
            phases.push(Self {
                pixels,
                fixed,
                moving,
                elements,
                area: kernel.0 * kernel.1,
                positions: frame.height * frame.width,
                whole: stride == 1,
            });
        }
        phases
    }

    /// The weight `(outs, channels, kernel)` as factors of this phase.
    pub(super) fn pack<'s, T: Real>(&self, channels: &Panels, weight: &[T], memory: &'s mut Vec<T>) -> &'s [T] {
        let (taps, d) = (self.elements.len(), channels.columns * self.area);
        channels.pack_with(self.moving.len(), memory, |row, channel| {
            weight[row / taps * d + channel * self.area + self.elements[row % taps]]
        })
    }

    /// Whether it is all of the image, row after row.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The pixels of this phase, `(channels, pixels)`.
    pub(super) fn correlation<'s, T: Real>(
        &'s self,
        pixels: &'s [T],
        factors: &'s [T],
        panels: Panels,
    ) -> Correlation<'s, T> {
        // Every output of every kernel element came from one pixel of the phase.
        let pairs = self.moving.len() * self.positions;
        Correlation { pixels, fixed: &self.fixed, moving: &self.moving, factors, panels, pairs }
    }

    /// Copies them to where they lie in the image `(channels, height, width)`.
    pub(super) fn spread<T: Real>(&self, pixels: &[T], image: &mut [T], size: usize) {
        let _time = profile::time(Part::Patches);
        for (from, to) in pixels.chunks_exact(self.pixels.len()).zip(image.chunks_exact_mut(size)) {
            from.iter().zip(&self.pixels).for_each(|(from, pixel)| to[*pixel as usize] = *from);
        }
    }
}
