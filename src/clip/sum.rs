//! The door: the only way from per-example gradients to something noise can be added to.

use super::{Clip, ClipNorm, Clipping};
use crate::grad::{Norms, PerExample, Weights};
use crate::kernel::update::{mapped, update};
use crate::kernel::{Real, read};
use crate::nn::Parameters;
use crate::profile::{self, Part};
use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};

/// A sum of per-example gradients in which no example has more than [`ClippedSum::bound`] in Euclidean norm.
///
/// Adding or removing one example changes the sum by at most the bound, replacing one by at most twice the bound, up to the
/// rounding of a sum in f64: about n 10^-16 of the sizes of all n terms, those of positions that cancel among them. Weights that
/// are summed in f32 over blocks of examples are part of it if the examples come in a uniformly random order, as
/// [`crate::sample::Batch`] has them (decision 11). The value can be read by a mechanism alone, and once.
pub struct ClippedSum {
    sum: Vec<Tensor>,
    bound: f64,
    /// Examples whose norms are all within their bounds; those with a norm that is not finite are not.
    within: usize,
    clipping: Clipping,
    dtype: DType,
    device: Device,
}

impl std::fmt::Debug for ClippedSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClippedSum").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl ClippedSum {
    /// Clips and sums the micro-batches of one logical batch; none at all is an empty batch, whose sum is zero.
    ///
    /// Examples whose norm is not finite are left out by selection. Every other weight is checked: weight times the upper
    /// bound on the norm must not exceed the rule's bound.
    ///
    /// # Errors
    /// [`Error::LyingClip`] for a weight that is negative, not finite, or exceeds the bound; [`Error::Model`] for a rule whose
    /// groups, bounds and weights do not fit together, or gradients that do not fit the parameters; whatever the micro-batches
    /// refuse.
    pub fn new<P: PerExample>(
        parameters: &Parameters,
        clip: &dyn Clip,
        micro_batches: impl Iterator<Item = Result<P>>,
    ) -> Result<Self> {
        let _time = profile::time(Part::Graph);
        let names: Vec<String> = parameters.iter().map(|(name, _)| name).collect();
        let (groups, bounds) = (clip.groups(&names), clip.bounds());
        // Saturating: a group that wrapped around to none would leave nothing to bound.
        let count = groups.iter().max().map_or(1, |last| last.saturating_add(1));
        if groups.len() != names.len()
            || count > names.len().max(1)
            || bounds.len() != count
            || bounds.iter().any(|bound| bound.is_nan() || *bound <= 0.0)
        {
            let reason = format!(
                "the clipping rule puts {} of {} parameters into {count} groups with the bounds {bounds:?}",
                groups.len(),
                names.len()
            );
            return Err(Error::Model { reason });
        }
        let mut sum: Option<Vec<Tensor>> = None;
        let (mut clipping, mut within) = (Clipping::default(), 0);
        // Where nothing is bounded there is nothing to measure: the sum gets no private release.
        let unbounded = bounds.iter().all(|bound| *bound == f64::INFINITY);
        let mut add = |parts: Vec<Tensor>| -> Result<()> {
            check_shapes(parameters, &parts)?;
            match &sum {
                None => sum = Some(parts),
                Some(sum) => {
                    for (sum, part) in sum.iter().zip(&parts) {
                        update(sum, 1.0, part, 1.0)?;
                    }
                }
            }
            Ok(())
        };
        for gradients in micro_batches {
            let gradients = gradients?;
            if unbounded {
                clipping.examples += gradients.batch();
                add(gradients.total()?)?;
                continue;
            }
            for mut part in gradients.parts()? {
                let norms = part.norms(&groups)?;
                check_norms(&norms, part.batch(), count)?;
                within +=
                    norms.rows().filter(|norms| norms.iter().zip(&bounds).all(|(norm, bound)| norm <= bound)).count();
                let weights = checked_weights(clip, &norms, &bounds, &mut clipping)?;
                add(part.weighted_sum(&Weights::grouped(weights, norms.groups(), groups.clone()))?)?;
            }
        }
        let sum = sum.map_or_else(|| parameters.zeros(), Ok)?;
        let bound = together(&bounds);
        let (dtype, device) = (parameters.dtype(), parameters.device().clone());
        Ok(Self { sum, bound, within, clipping, dtype, device })
    }

    /// The sum of one vector of each of `nodes` nodes, none of which is longer than `bound`: whoever sends and whoever reads a message
    /// has seen to that ([`crate::distributed::Radius`]). A node is the unit here, as an example is elsewhere.
    pub(crate) fn of_nodes(sum: Vec<f64>, bound: ClipNorm, nodes: usize) -> Result<Self> {
        let clipping = Clipping { examples: nodes, ..Clipping::default() };
        let sum = vec![Tensor::new(sum, &Device::Cpu)?];
        Ok(Self { sum, bound: bound.get(), within: 0, clipping, dtype: DType::F64, device: Device::Cpu })
    }

    /// The sum of sums of different examples: those of the nodes of this process and, through `all_reduce`, those of all others. Every
    /// process has clipped to the same bound.
    pub(crate) fn reduced(own: Vec<Self>, all_reduce: impl FnOnce(&[Vec<f64>]) -> Result<Vec<f64>>) -> Result<Self> {
        let unequal = || Error::Model { reason: "nodes of one process have sums of different bounds or shapes".into() };
        let Some(first) = own.first() else { return Err(unequal()) };
        let shapes: Vec<Shape> = first.sum.iter().map(|part| part.shape().clone()).collect();
        let (bound, dtype, device) = (first.bound, first.dtype, first.device.clone());
        let alike = |sum: &Self| sum.bound == bound && sum.sum.iter().map(Tensor::shape).eq(&shapes);
        if !own.iter().all(alike) {
            return Err(unequal());
        }
        let all = all_reduce(&own.iter().map(Self::numbers).collect::<Result<Vec<_>>>()?)?;
        let elements: usize = shapes.iter().map(Shape::elem_count).sum();
        let (numbers, counts) = all.split_at(elements.min(all.len()));
        let mut from = 0;
        let tensor = |shape: Shape| {
            let part = &numbers[from..][..shape.elem_count()];
            from += part.len();
            Ok(Tensor::from_slice(part, shape, &Device::Cpu)?)
        };
        let sum = shapes.into_iter().map(tensor).collect::<Result<_>>()?;
        let (within, clipping) = Clipping::of_numbers(counts);
        Ok(Self { sum, bound, within, clipping, dtype, device })
    }

    /// All elements, then all counts: what adds up with the numbers of other sums.
    fn numbers(&self) -> Result<Vec<f64>> {
        let mut numbers = Vec::new();
        for part in &self.sum {
            numbers.extend(part.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        numbers.extend(self.clipping.numbers(self.within));
        Ok(numbers)
    }

    /// The largest norm one example has in the sum, C.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// What clipping did. Not private.
    pub fn clipping(&self) -> Clipping {
        self.clipping
    }

    /// For a mechanism alone: the sum over the examples of +1/2 if the norm is within the bound and -1/2 if not. The norm is the
    /// upper bound on it that the weight was checked against. Adding or removing one example changes this by 1/2, replacing one by
    /// at most 1; it is exact.
    pub(crate) fn centred_count(&self) -> f64 {
        self.within as f64 - 0.5 * self.clipping.examples as f64
    }

    /// For a mechanism alone: how many elements each block of [`ClippedSum::release`] has.
    pub(crate) fn blocks(&self) -> Vec<usize> {
        let elements = self.sum.iter().map(Tensor::elem_count);
        elements.flat_map(|all| (0..all).step_by(BLOCK).map(move |first| BLOCK.min(all - first))).collect()
    }

    /// Hands the sum to a mechanism: `f(block, elements)` maps the elements in f64, and the results are rounded once to the type
    /// of the parameters, on their device.
    ///
    /// A block has [`BLOCK`] elements of one parameter, its last one fewer; blocks are numbered through all parameters. They are
    /// mapped on all threads.
    pub(crate) fn release(self, f: impl Fn(usize, &mut [f64]) + Sync) -> Result<Vec<Tensor>> {
        let _time = profile::time(Part::Release);
        let mut first = 0;
        let release = |tensor: Tensor| {
            let from = first;
            first += tensor.elem_count().div_ceil(BLOCK);
            let released = match (tensor.dtype(), self.dtype) {
                (DType::F32, DType::F32) => released::<f32, f32>(&tensor, from, &f),
                (DType::F32, _) => released::<f32, f64>(&tensor, from, &f),
                (_, DType::F32) => released::<f64, f32>(&tensor, from, &f),
                _ => released::<f64, f64>(&tensor, from, &f),
            };
            Ok(released?.to_device(&self.device)?)
        };
        self.sum.into_iter().map(release).collect()
    }
}

/// An upper bound on the norm of groups with these bounds: they are orthogonal, so it is the root of the sum of squares. One group
/// keeps its bound to the last bit.
///
/// Over the largest of them, so that no square overflows and what vanishes is nothing beside one. Of k bounds every quotient and
/// square rounds, every addition and the root: by less than (k + 4) epsilons in all, which are added on top of 1e-12.
fn together(bounds: &[f64]) -> f64 {
    if let [bound] = bounds {
        return *bound;
    }
    let largest = bounds.iter().copied().fold(0.0, f64::max);
    if largest == f64::INFINITY {
        return largest;
    }
    let squares: f64 = bounds.iter().map(|bound| (bound / largest).powi(2)).sum();
    largest * squares.sqrt() * (1.0 + 1e-12 + (bounds.len() + 4) as f64 * f64::EPSILON)
}

/// Elements that [`ClippedSum::release`] hands over together.
pub(crate) const BLOCK: usize = 4096;

fn released<S: Real, T: Real>(
    sum: &Tensor,
    first: usize,
    f: &(impl Fn(usize, &mut [f64]) + Sync),
) -> candle_core::Result<Tensor> {
    let mapped: Vec<T> =
        read(&sum.contiguous()?, |values: &[S]| Ok(mapped(values, BLOCK, |i, block| f(first + i, block))))?;
    Tensor::from_vec(mapped, sum.shape(), &Device::Cpu)
}

fn check_shapes(parameters: &Parameters, parts: &[Tensor]) -> Result<()> {
    if parts.len() != parameters.len() {
        let reason = format!("gradients of {} parameters for a model of {}", parts.len(), parameters.len());
        return Err(Error::Model { reason });
    }
    for ((name, var), part) in parameters.iter().zip(parts) {
        if var.shape() != part.shape() {
            let reason = format!("a gradient of shape {:?} for {name} of shape {:?}", part.dims(), var.dims());
            return Err(Error::Model { reason });
        }
    }
    Ok(())
}

/// A bound for every example and group, or weights would go to others than they were checked for.
fn check_norms(norms: &Norms, batch: usize, groups: usize) -> Result<()> {
    if norms.groups() == groups && norms.rows().count() == batch {
        return Ok(());
    }
    let (rows, found) = (norms.rows().count(), norms.groups());
    let reason = format!("norms of {rows} examples in {found} groups for a batch of {batch} in {groups} groups");
    Err(Error::Model { reason })
}

fn checked_weights(clip: &dyn Clip, norms: &Norms, bounds: &[f64], clipping: &mut Clipping) -> Result<Vec<f64>> {
    let proposed = clip.weights(norms);
    let rows = norms.rows().zip(proposed.chunks(norms.groups()));
    let clip_norm = together(bounds);
    let mut weights = Vec::with_capacity(proposed.len());
    let expected = norms.rows().map(<[f64]>::len).sum::<usize>();
    if proposed.len() != expected {
        let reason = format!("the clipping rule gives {} weights where {expected} are needed", proposed.len());
        return Err(Error::Model { reason });
    }
    for (norms, proposed) in rows {
        clipping.examples += 1;
        if !norms.iter().all(|norm| norm.is_finite()) {
            clipping.dropped += 1;
            weights.extend(norms.iter().map(|_| 0.0));
            continue;
        }
        let norm = norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        clipping.norms += norm;
        clipping.relative_norms.add(norm / clip_norm);
        clipping.clipped += usize::from(proposed.iter().any(|weight| *weight < 1.0));
        for ((norm, weight), bound) in norms.iter().zip(proposed).zip(bounds) {
            let lying = || Error::LyingClip { norm: *norm, weight: *weight, bound: *bound };
            if !(weight.is_finite() && *weight >= 0.0) {
                return Err(lying());
            }
            if weight * norm > *bound {
                return Err(lying());
            }
            weights.push(*weight);
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::super::{ClipNorm, Flat};
    use super::*;
    use crate::grad::Written;
    use crate::seed::Key;
    use candle_core::Device;

    fn parameters() -> Parameters {
        let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
        parameters.var_builder().get((3,), "w").unwrap();
        parameters
    }

    fn gradients(rows: &[[f32; 3]]) -> Result<Written> {
        let data: Vec<f32> = rows.iter().flatten().copied().collect();
        Written::new(rows.len(), vec![Tensor::from_vec(data, (rows.len(), 3), &Device::Cpu).unwrap()])
    }

    fn values(sum: ClippedSum) -> Vec<f64> {
        let all = std::sync::Mutex::new(Vec::new());
        sum.release(|_, values| all.lock().unwrap().extend_from_slice(values)).unwrap();
        all.into_inner().unwrap()
    }

    fn sum_of(clip: &dyn Clip, rows: &[[f32; 3]]) -> Result<(Vec<f64>, Clipping)> {
        let sum = ClippedSum::new(&parameters(), clip, std::iter::once(gradients(rows)))?;
        let clipping = sum.clipping();
        Ok((values(sum), clipping))
    }

    #[test]
    fn long_gradients_are_scaled_and_short_ones_are_not() {
        let flat = Flat::new(ClipNorm::new(2.0).unwrap());
        let (sum, clipping) = sum_of(&flat, &[[0.0, 1.0, 0.0], [30.0, 0.0, 40.0]]).unwrap();
        assert!((sum[0] - 1.2).abs() < 1e-6 && sum[1] == 1.0 && (sum[2] - 1.6).abs() < 1e-6, "{sum:?}");
        assert_eq!((clipping.examples, clipping.clipped, clipping.dropped), (2, 1, 0));
        let quantile = |percent| clipping.relative_norms.quantile(percent).unwrap();
        // Norms 1 and 50 at C = 2. Norms are rounded up: 0.5 is in the bucket above that edge.
        assert_eq!((quantile(50), quantile(51)), (2_f64.powf(-0.875), 2_f64.powf(4.75)));
    }

    #[test]
    fn gradients_that_are_not_finite_are_left_out() {
        let flat = Flat::new(ClipNorm::new(2.0).unwrap());
        let rows = [[f32::NAN, 1.0, 0.0], [0.0, 1.0, 0.0], [f32::INFINITY, 0.0, 0.0], [3e38, 3e38, 3e38]];
        let (sum, clipping) = sum_of(&flat, &rows).unwrap();
        assert!(sum.iter().all(|x| x.is_finite()), "{sum:?}");
        assert_eq!((clipping.examples, clipping.dropped), (4, 2));
    }

    #[test]
    fn an_example_is_within_the_bound_or_not_and_one_that_is_not_finite_is_not() {
        let flat = Flat::new(ClipNorm::new(2.0).unwrap());
        let count = |rows: &[[f32; 3]]| {
            ClippedSum::new(&parameters(), &flat, std::iter::once(gradients(rows))).unwrap().centred_count()
        };
        let (short, long, none) = ([0.0, 1.0, 0.0], [30.0, 0.0, 40.0], [f32::NAN, 0.0, 0.0]);
        assert_eq!(count(&[short, short, short, long]), 1.0);
        let all = [short, long, none, short, short];
        for row in [short, long, none] {
            let more = count(&[&all[..], &[row]].concat()) - count(&all);
            assert_eq!(more, if row == short { 0.5 } else { -0.5 }, "{row:?}");
        }
        assert_eq!((count(&[none]), count(&[])), (-0.5, 0.0));
    }

    #[test]
    fn an_empty_batch_is_a_sum_of_zeros() {
        let none = std::iter::empty::<Result<Written>>();
        let sum = ClippedSum::new(&parameters(), &Flat::new(ClipNorm::new(1.0).unwrap()), none).unwrap();
        assert_eq!(values(sum), [0.0; 3]);
    }

    #[test]
    fn a_rule_that_does_not_fit_is_refused_even_without_examples() {
        struct Boundless;
        impl Clip for Boundless {
            fn bounds(&self) -> Vec<f64> {
                Vec::new()
            }
            fn weights(&self, _: &Norms) -> Vec<f64> {
                Vec::new()
            }
        }
        let none = std::iter::empty::<Result<Written>>();
        assert!(matches!(ClippedSum::new(&parameters(), &Boundless, none), Err(Error::Model { .. })));
        struct Far(usize);
        impl Clip for Far {
            fn groups(&self, _: &[String]) -> Vec<usize> {
                vec![self.0]
            }
            fn bounds(&self) -> Vec<f64> {
                vec![1.0; self.0.wrapping_add(1).min(2)]
            }
            fn weights(&self, norms: &Norms) -> Vec<f64> {
                norms.rows().flatten().map(|_| 0.0).collect()
            }
        }
        for (group, fits) in [(0, true), (1, false), (usize::MAX, false)] {
            let one = std::iter::once(gradients(&[[3.0, 4.0, 0.0]]));
            assert_eq!(ClippedSum::new(&parameters(), &Far(group), one).is_ok(), fits, "group {group}");
            assert_eq!(Norms::new(1, &[group], &[vec![1.0]]).is_ok(), fits, "group {group}");
        }
        let two = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
        let two = Written::new(1, vec![two.clone(), two]);
        let flat = Flat::new(ClipNorm::new(1.0).unwrap());
        assert!(matches!(ClippedSum::new(&parameters(), &flat, std::iter::once(two)), Err(Error::Model { .. })));
    }

    /// Gradients whose norms are those of another batch or of other groups than asked for.
    struct Misfit(Written, Norms);

    impl PerExample for Misfit {
        fn batch(&self) -> usize {
            self.0.batch()
        }
        fn norms(&mut self, _: &[usize]) -> Result<Norms> {
            Ok(self.1.clone())
        }
        fn weighted_sum(self, weights: &Weights) -> Result<Vec<Tensor>> {
            self.0.weighted_sum(weights)
        }
        fn total(self) -> Result<Vec<Tensor>> {
            self.0.total()
        }
    }

    #[test]
    fn norms_of_other_groups_or_examples_are_refused() {
        let flat = Flat::new(ClipNorm::new(2.0).unwrap());
        for (groups, norms, fits) in [
            (vec![0], vec![vec![1.0, 5.0]], true),
            (vec![0, 1], vec![vec![1.0, 5.0], vec![1.0, 5.0]], false),
            (vec![0], vec![vec![1.0]], false),
            (vec![0], vec![vec![1.0; 3]], false),
        ] {
            let norms = Norms::new(norms[0].len(), &groups, &norms).unwrap();
            let misfit = Ok(Misfit(gradients(&[[1.0, 0.0, 0.0], [0.0, 3.0, 4.0]]).unwrap(), norms));
            let sum = ClippedSum::new(&parameters(), &flat, std::iter::once(misfit));
            assert_eq!(sum.is_ok(), fits, "{groups:?}: {:?}", sum.err().map(|error| error.to_string()));
        }
    }

    #[test]
    fn nobody_reads_a_sum_by_printing_it() {
        let flat = Flat::new(ClipNorm::new(1.0).unwrap());
        let sum = ClippedSum::new(&parameters(), &flat, std::iter::once(gradients(&[[0.125, 0.0, 0.0]]))).unwrap();
        assert_eq!(format!("{sum:?}"), "ClippedSum { bound: 1.0, .. }");
    }

    /// A rule that promises one bound and proposes the weights of another.
    struct Lying {
        promised: f64,
        used: f64,
    }

    impl Clip for Lying {
        fn bounds(&self) -> Vec<f64> {
            vec![self.promised]
        }
        fn weights(&self, norms: &Norms) -> Vec<f64> {
            norms.rows().flatten().map(|norm| self.used / norm).collect()
        }
    }

    #[test]
    fn groups_together_have_the_root_of_their_squares_at_every_scale() {
        for scale in [1.0, 1e-300, 1e-160, 1e160, 1e300] {
            let bound = together(&[3.0 * scale, 4.0 * scale]);
            assert!(bound >= 5.0 * scale && bound <= 5.0 * scale * (1.0 + 2e-12), "{bound} for 5 times {scale}");
        }
        assert!(together(&[0.1; 10_000]) >= 10.0 && together(&[0.1; 10_000]) <= 10.0 * (1.0 + 1e-11));
        assert_eq!((together(&[0.3]), together(&[1.0, f64::INFINITY])), (0.3, f64::INFINITY));
    }

    #[test]
    fn a_lying_clip_is_refused() {
        let row = [[3.0, 4.0, 0.0]];
        assert!(sum_of(&Lying { promised: 1.0, used: 0.999 }, &row).is_ok());
        for used in [1.0001, f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(sum_of(&Lying { promised: 1.0, used }, &row), Err(Error::LyingClip { .. })), "{used}");
        }
    }

    #[test]
    fn no_example_exceeds_the_bound_in_floating_point() {
        use rand::Rng;
        let mut rng = Key::from_seed(5).stream(crate::seed::Role::Probe, 1);
        for trial in 0..20_000 {
            let scale = 10f32.powi(rng.random_range(-40..38));
            let row: [f32; 3] = std::array::from_fn(|_| scale * rng.random_range(-1.0f32..1.0));
            let c = 10f64.powf(rng.random_range(-20.0..20.0));
            let (sum, _) = sum_of(&Flat::new(ClipNorm::new(c).unwrap()), &[row]).unwrap();
            let norm = sum.iter().map(|x| x.powi(2)).sum::<f64>().sqrt();
            assert!(norm <= c, "trial {trial}: {row:?} clipped at {c} has the norm {norm}");
        }
    }
}
