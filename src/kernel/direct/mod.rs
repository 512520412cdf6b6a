//! Convolutions without patches: every sum reads its pixels where they lie, in a copy of the image with zeros around it.
//!
//! A pixel under a kernel has the offset of the patch's first pixel plus that of the element within a patch, whatever stride,
//! padding and dilation are. So all three products of a convolution are the same sum over offsets ([`Correlation`]), of a
//! pixel that is the same for all columns times a row of factors:
//!
//! | | rows | terms | columns | pixels | factors |
//! |---|---|---|---|---|---|
//! | output | positions | patch elements | output channels | inputs | weight |
//! | gradient of the weight | patch elements | positions | output channels | inputs | cotangents |
//! | cotangent of the inputs | pixels | outputs, kernel elements | input channels | cotangents | weight |
//!
//! Columns lie in the lanes of vectors, so no lane is spent on what lies between rows of an image. The price is that factors
//! and results are transposed, which takes one move of an element for as many operations as there are terms.

mod frame;
mod inputs;
mod lanes;
mod panels;
#[cfg(test)]
mod tests;
mod thin;
mod tile;
mod transpose;

use super::Real;
use super::memory::{written, zeroed};
use super::patches::Patches;
use frame::{Frame, Framed};
use inputs::Phase;
pub(crate) use lanes::Lanes;
pub(crate) use panels::Arrangement;
use panels::{Correlation, Panels, aligned, unpack};
use std::mem::MaybeUninit;
pub(crate) use thin::Thin;
use tile::{ROWS, Vectors};

/// A convolution, ready to be computed without patches.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    patches: Patches,
    groups: usize,
    /// Output channels of one group.
    outs: Panels,
    /// Input channels of one group.
    ins: Panels,
    frame: Frame,
    /// Of every position, its patch's first pixel in a framed image of one group.
    positions: Vec<u32>,
    /// Of every patch element, its distance from the patch's first pixel.
    elements: Vec<u32>,
}

/// What a thread keeps from one example to the next.
#[derive(Default)]
pub(crate) struct Scratch<T> {
    framed: Framed<T>,
    packed: Vec<T>,
    sums: Vec<T>,
    phase: Vec<MaybeUninit<T>>,
}

impl Direct {
    /// The convolution of `channels` to `outs` channels in each group, to compute its outputs; `None` where patches are cheaper.
    pub(crate) fn to_outputs<T: Real>(patches: Patches, groups: usize, channels: usize, outs: usize) -> Option<Self> {
        /// With fewer patch elements to sum, the move of the sum weighs too much.
        const FEWEST_ELEMENTS: usize = 16;
        Self::to_gradients::<T>(patches, groups, channels, outs)
            .filter(|direct| direct.elements.len() >= FEWEST_ELEMENTS)
    }

    /// The same to compute gradients of the weight.
    pub(crate) fn to_gradients<T: Real>(patches: Patches, groups: usize, channels: usize, outs: usize) -> Option<Self> {
        Self::on::<T>(pulp::Arch::new(), patches, groups, channels, outs).filter(|direct| direct.outs.are_filled())
    }

    /// The same to compute cotangents of the inputs.
    pub(crate) fn to_inputs<T: Real>(patches: Patches, groups: usize, channels: usize, outs: usize) -> Option<Self> {
        /// Every remainder of the stride is a product for itself.
        const LARGEST_STRIDE: usize = 4;
        Self::on::<T>(pulp::Arch::new(), patches, groups, channels, outs)
            .filter(|direct| direct.ins.are_filled() && patches.stride <= LARGEST_STRIDE)
    }

    /// With the instructions that `arch` stands for; `None` if an image is too large.
    fn on<T: Real>(arch: pulp::Arch, patches: Patches, groups: usize, channels: usize, outs: usize) -> Option<Self> {
        let Patches { height, width, kernel, stride, padding: [rows, cols], dilation } = patches;
        let (down, across) = patches.output()?;
        let size = (rows.0 + height + rows.1, cols.0 + width + cols.1);
        let frame = Frame { channels, height, width, before: (rows.0, cols.0), size };
        // The largest offsets; the others fit too then.
        u32::try_from((channels * frame.plane()).max(outs * Phase::frame(&patches, outs).plane())).ok()?;
        let at = |channel: usize, y: usize, x: usize| (channel * frame.plane() + y * size.1 + x) as u32;
        let positions = (0..down).flat_map(|y| (0..across).map(move |x| at(0, y * stride, x * stride))).collect();
        let elements = (0..channels)
            .flat_map(|c| (0..kernel.0).flat_map(move |y| (0..kernel.1).map(move |x| (c, y, x))))
            .map(|(c, y, x)| at(c, y * dilation, x * dilation))
            .collect();
        let panels = |columns| Panels { columns, vectors: Vectors::of::<T>(arch), arch };
        Some(Self { patches, groups, outs: panels(outs), ins: panels(channels), frame, positions, elements })
    }

    /// Elements of one example's input, output and weight in one group.
    fn sizes(&self) -> [usize; 3] {
        let (image, p) = (self.frame.channels * self.frame.height * self.frame.width, self.outs.columns);
        [image, p * self.positions.len(), p * self.elements.len()]
    }

    /// The outputs `(batch, groups outs, positions)` of images `(batch, groups channels, height, width)`, the weight
    /// `(groups outs, d)` and the bias `(groups outs)`.
    pub(crate) fn outputs<T: Real>(&self, images: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let ([image, output, weights], p) = (self.sizes(), self.outs.columns);
        assert_eq!(weight.len(), self.groups * weights, "size of a convolution's weight");
        let mut memory: Vec<Vec<T>> = vec![Vec::new(); self.groups];
        let layers: Vec<(&[T], Vec<T>)> = (memory.iter_mut().zip(weight.chunks_exact(weights)).enumerate())
            .map(|(group, (memory, weight))| {
                let mut initial = vec![T::default(); self.outs.width()];
                if let Some(bias) = bias {
                    initial[..p].copy_from_slice(&bias[group * p..][..p]);
                }
                (&*self.outs.pack(weight, self.elements.len(), memory), initial)
            })
            .collect();
        let batch = images.len() / (self.groups * image);
        let size = self.groups * output;
        let (ys, _) = written(batch * size, size, |example, ys, scratch: &mut Scratch<T>| {
            let images = images[example * self.groups * image..].chunks_exact(image);
            for ((ys, image), (factors, initial)) in ys.chunks_exact_mut(output).zip(images).zip(&layers) {
                let pixels = self.frame.around(image, &mut scratch.framed);
                let (fixed, moving) = (&self.positions, &self.elements);
                let (panels, pairs) = (self.outs, fixed.len() * moving.len());
                let correlation = Correlation { pixels, fixed, moving, factors, panels, pairs };
                correlation.write(initial, &mut scratch.sums, ys);
            }
            // SAFETY: there is one image, weight and piece of the outputs for every group, so all have been written.
            (unsafe { &mut *(std::ptr::from_mut(ys) as *mut [T]) }, ())
        });
        ys
    }

    /// The cotangents of the images, `(batch, groups channels, height, width)`, from those of the outputs and the weight.
    pub(crate) fn inputs<T: Real>(&self, cotangents: &[T], weight: &[T]) -> Vec<T> {
        let [image, output, weights] = self.sizes();
        assert_eq!(weight.len(), self.groups * weights, "size of a convolution's weight");
        let frame = Phase::frame(&self.patches, self.outs.columns);
        let phases = Phase::all(&self.patches, &frame);
        let mut memory = vec![Vec::new(); self.groups * phases.len()];
        let groups = weight.chunks_exact(weights).flat_map(|weight| phases.iter().map(move |phase| (phase, weight)));
        let packed: Vec<&[T]> = (memory.iter_mut().zip(groups))
            .map(|(memory, (phase, weight))| phase.pack(&self.ins, weight, memory))
            .collect();
        let initial = vec![T::default(); self.ins.width()];
        let batch = cotangents.len() / (self.groups * output);
        let size = self.groups * image;
        let (images, _) = written(batch * size, size, |example, images, scratch: &mut Scratch<T>| {
            let Scratch { framed, sums, phase: memory, .. } = scratch;
            let cotangents = cotangents[example * self.groups * output..].chunks_exact(output);
            for (group, (image, g)) in images.chunks_exact_mut(image).zip(cotangents).enumerate() {
                let packed = &packed[group * phases.len()..][..phases.len()];
                let pixels = frame.around(g, framed);
                if let ([phase], [factors]) = (&phases[..], packed)
                    && phase.is_whole()
                {
                    phase.correlation(pixels, factors, self.ins).write(&initial, sums, image);
                    continue;
                }
                let image = zeroed(image);
                for (phase, factors) in phases.iter().zip(packed) {
                    let correlation = phase.correlation(pixels, factors, self.ins);
                    memory.resize_with(correlation.len(), MaybeUninit::uninit);
                    phase.spread(
                        correlation.write(&initial, sums, memory),
                        image,
                        self.patches.height * self.patches.width,
                    );
                }
            }
            // SAFETY: there is one image and cotangent for every group, so all have been written.
            (unsafe { &mut *(std::ptr::from_mut(images) as *mut [T]) }, ())
        });
        images
    }

    /// How gradients may lie that nobody looks at one by one, which saves their transposition; none if they would take more room.
    pub(crate) fn arrangement(&self) -> Option<Arrangement> {
        let (panels, rows) = (self.outs, self.elements.len());
        panels.fit(rows).then_some(Arrangement { groups: self.groups, panels, rows })
    }

    /// The gradient of the weight `(groups outs, d)` of one example, from its inputs and the cotangents of its outputs; as
    /// [`Direct::arrangement`] has it if it is to be `arranged`.
    pub(crate) fn gradient<'o, T: Real>(
        &self,
        arranged: bool,
        inputs: &[T],
        cotangents: &[T],
        out: &'o mut [MaybeUninit<T>],
        scratch: &mut Scratch<T>,
    ) -> &'o mut [T] {
        let [image, output, weights] = self.sizes();
        assert_eq!(out.len(), self.groups * weights, "size of a convolution's gradient");
        let initial = vec![T::default(); self.outs.width()];
        let groups = inputs.chunks_exact(image).zip(cotangents.chunks_exact(output));
        assert_eq!(groups.len(), self.groups, "groups of a convolution's inputs and cotangents");
        let Scratch { framed, packed, sums, .. } = scratch;
        for ((image, g), out) in groups.zip(out.chunks_exact_mut(weights)) {
            let products = self.weight_products(image, g, framed, packed);
            if arranged {
                products.write_in_panels(&initial, out);
            } else {
                products.write(&initial, sums, out);
            }
        }
        // SAFETY: there was one image, cotangent and piece of the gradient for every group, so all have been written.
        unsafe { &mut *(std::ptr::from_mut(out) as *mut [T]) }
    }

    /// The sum of the gradients of some examples, in their order.
    pub(crate) fn sum<T: Real>(&self, inputs: &[T], cotangents: &[T], scratch: &mut Scratch<T>) -> Vec<T> {
        let [image, output, weights] = self.sizes();
        let (d, mut sum) = (self.elements.len(), vec![T::default(); self.groups * weights]);
        let Scratch { framed, packed, sums, .. } = scratch;
        for (group, sum) in sum.chunks_exact_mut(weights).enumerate() {
            let sums = aligned(sums, d.next_multiple_of(ROWS) * self.outs.width());
            sums.fill(T::default());
            let images = inputs.chunks_exact(image).skip(group).step_by(self.groups);
            let cotangents = cotangents.chunks_exact(output).skip(group).step_by(self.groups);
            for (image, g) in images.zip(cotangents) {
                self.weight_products(image, g, framed, packed).add(sums);
            }
            unpack(self.outs, sums, d, sum);
        }
        sum
    }

    /// The gradient of one example and group.
    fn weight_products<'s, T: Real>(
        &'s self,
        image: &'s [T],
        cotangent: &[T],
        framed: &'s mut Framed<T>,
        packed: &'s mut Vec<T>,
    ) -> Correlation<'s, T> {
        let factors = self.outs.pack(cotangent, self.positions.len(), packed);
        let pixels = self.frame.around(image, framed);
        let (fixed, moving) = (&self.elements, &self.positions);
        Correlation { pixels, fixed, moving, factors, panels: self.outs, pairs: fixed.len() * moving.len() }
    }
}
