//! Sums of outer products in f32 where that is safe: over few records at a time, which are then added up in f64.
//!
//! A sum in f32 rounds at every addition, and one record can move the rounding of all that come after it. Here it moves
//! that of its own block of [`RECORDS`] alone. [`CROSSTALK`] says by how much.

use super::direct::Thin;
use super::instructions::prefetch;
use super::matmul::{View, matmul, matmul_parallel};
use super::memory::{written, zeroed};
use super::team::Shared;
use super::thin::{LONG, MOST_OUTPUTS};
use super::{norm_of, once, widen};
use rayon::prelude::*;
use std::ops::Range;

/// Records that are summed in f32.
pub(crate) const RECORDS: usize = 64;

/// By what share of the largest contribution C one record moves the sum beyond its own contribution, at most.
///
/// The order of a batch is uniformly random, so adding a record is coupled with putting it at a random place whose record goes
/// to the end ([`crate::sample::Batch`]). Two blocks then differ, the record's and the last one, and each is rounded in both
/// worlds. A sum of m products in f32, in whatever order, makes m roundings of products, unless they are fused, and m - 1 of partial
/// sums. Each is off by at most u times what it rounds, whose norm is at most C times the number of products in it, and these
/// numbers add up to m(m + 1)/2 - 1 at most, where the products are added one by one. That makes
/// 4 u (1 + m u) (m + m(m + 1)/2 - 1) C <= 5.12e-4 C with u = 2^-24 and m = 64. Weighted cotangents are rounded to f32 first, which
/// lengthens a contribution by u at most; what underflows is less than 2^-18 u of the largest contribution of the block, see
/// [`has_range`].
pub(crate) const CROSSTALK: f64 = 5.2e-4;

/// Whether a sum of `p` outputs and `d` inputs with one position is taken in blocks: others fit into the first cache, where f64 is as
/// fast.
pub(crate) fn pay(p: usize, d: usize) -> bool {
    p > MOST_OUTPUTS || d >= LONG
}

/// Outputs and inputs of the part of a sum that stays in cache while all blocks are added to it.
const OUTPUTS: usize = 48;
const INPUTS: usize = 128;

/// `g^T rows` `(p, d)` of weighted cotangents `g` `(records, p)` and inputs `rows` `(records, d)`, with every block of
/// [`RECORDS`] summed in f32.
pub(crate) fn product(rows: &[f32], g: &[f64], p: usize, d: usize) -> Vec<f64> {
    if p * d == 0 {
        return Vec::new();
    }
    let blocks = blocks(rows, g, (p, d), None);
    let (mut sum, _) = written(p * d, OUTPUTS * d, |i, sum, part: &mut Vec<f32>| {
        let sum = zeroed(sum);
        let (output, outputs) = (i * OUTPUTS, sum.len() / d);
        for input in (0..d).step_by(INPUTS) {
            let inputs = INPUTS.min(d - input);
            part.resize(outputs * inputs, 0.0);
            for block in &blocks {
                let Some(unit) = block.unit else { continue };
                let records = block.g.len() / p;
                let g = View::strided(&block.g[output..], records, outputs, p, 1).t();
                matmul(part, g, View::strided(&block.rows[input..], records, inputs, d, 1), false);
                add(sum, part, (d, input, inputs), unit);
            }
        }
        (sum, ())
    });
    for (block, g) in blocks.iter().zip(g.chunks(RECORDS * p)).filter(|(block, _)| block.unit.is_none()) {
        let mut wide = vec![0.0; block.rows.len()];
        widen(block.rows, &mut wide);
        let records = g.len() / p;
        matmul_parallel(&mut sum, View::row_major(g, records, p).t(), View::row_major(&wide, records, d), true);
    }
    sum
}

/// `sum += unit part` for the columns of `sum` `(outputs, d)` from `input`, as many as `part` `(outputs, inputs)` has. The unit is a
/// power of two, so the product is exact.
fn add(sum: &mut [f64], part: &[f32], (d, input, inputs): (usize, usize, usize), unit: f64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (sum, part) in once(sum).chunks_exact_mut(d).zip(part.chunks_exact(inputs)) {
                sum[input..].iter_mut().zip(part).for_each(|(sum, part)| *sum += unit * f64::from(*part));
            }
        },
    );
}

/// The records that are summed together.
struct Block<'a> {
    rows: &'a [f32],
    /// Cotangents over the unit.
    g: Vec<f32>,
    /// A power of two; none where f32 has not the range for the block.
    unit: Option<f64>,
}

impl<'a> Block<'a> {
    fn new(rows: &'a [f32], g: &[f64], (p, d): (usize, usize), norms: Option<&[f64]>) -> Self {
        let unit = unit(g);
        let narrow = unit.map_or_else(Vec::new, |unit| narrowed(g, 1.0 / unit));
        let norm = |record: usize| norms.map_or_else(|| norm_of(&rows[record * d..][..d]), |norms| norms[record]);
        let unit = unit.filter(|_| has_range(norm, &narrow, p, d));
        Self { rows, g: narrow, unit }
    }
}

/// The records in blocks; `norms` are upper bounds on those of `rows`, where they are known.
fn blocks<'a>(rows: &'a [f32], g: &[f64], (p, d): (usize, usize), norms: Option<&[f64]>) -> Vec<Block<'a>> {
    let parts = rows.par_chunks(RECORDS * d).zip(g.par_chunks(RECORDS * p)).enumerate();
    let of = |i: usize| norms.map(|norms| &norms[i * RECORDS..]);
    parts.gather(|(i, (rows, g))| Block::new(rows, g, (p, d), of(i)))
}

/// Columns that a thread takes at a time: memory is read in stretches, and the sums of a few outputs stay in the second cache.
const STRETCH: usize = 2048;

/// [`product`] for a few outputs: inputs are read once, as many of each record at a time as lie in a stretch of memory. `norms` are
/// upper bounds on those of the inputs, where they are known.
pub(crate) fn thin_product(rows: &[f32], g: &[f64], (p, d): (usize, usize), norms: Option<&[f64]>) -> Vec<f64> {
    if p * d == 0 {
        return Vec::new();
    }
    let blocks = blocks(rows, g, (p, d), norms);
    let starts: Vec<usize> = (0..d).step_by(STRETCH).collect();
    let stretches: Vec<Vec<f64>> = starts.par_iter().gather(|start| stretch(&blocks, g, (p, d), *start));
    let mut sum = vec![0.0; p * d];
    for (start, stretch) in starts.iter().zip(&stretches) {
        for (output, part) in stretch.chunks_exact(stretch.len() / p).enumerate() {
            sum[output * d + start..][..part.len()].copy_from_slice(part);
        }
    }
    sum
}

/// The sums of some columns from `start`, `(p, columns)`.
fn stretch(blocks: &[Block<'_>], g: &[f64], (p, d): (usize, usize), start: usize) -> Vec<f64> {
    let columns = STRETCH.min(d - start);
    let (mut sums, mut memory) = (vec![0.0; p * columns], Vec::new());
    for (i, (block, g)) in blocks.iter().zip(g.chunks(RECORDS * p)).enumerate() {
        let thin = Thin::new(&block.g, p, d);
        // Past the last whole panel, and where f32 has not the range, columns are summed in f64.
        let whole = block.unit.map_or(0, |_| columns / thin.panel() * thin.panel());
        for column in (0..whole).step_by(thin.panel()) {
            // The same columns of the records to come are far off in memory, where no processor expects them.
            if let Some(next) = blocks.get(i + 1) {
                next.rows.chunks_exact(d).for_each(|row| prefetch(&row[start + column..][..thin.panel()]));
            }
            let part = thin.sums(&block.rows[start + column..], &mut memory);
            add(&mut sums, part, (columns, column, thin.panel()), block.unit.unwrap_or(0.0));
        }
        add_rows(&mut sums, &block.rows[start..], g, (p, d), whole..columns);
    }
    sums
}

/// Adds `g^T rows` to some columns of `sums` `(p, columns)` in f64, for rows that begin `d` elements apart.
fn add_rows(sums: &mut [f64], rows: &[f32], g: &[f64], (p, d): (usize, usize), columns: Range<usize>) {
    let size = sums.len() / p;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let sums = once(sums);
            for (row, g) in rows.chunks(d).zip(g.chunks_exact(p)) {
                for (sums, g) in sums.chunks_exact_mut(size).zip(g) {
                    let pairs = sums[columns.clone()].iter_mut().zip(&row[columns.clone()]);
                    pairs.for_each(|(sum, x)| *sum += g * f64::from(*x));
                }
            }
        },
    );
}

/// `factor g`, rounded to f32.
fn narrowed(g: &[f64], factor: f64) -> Vec<f32> {
    let mut narrow = vec![0.0; g.len()];
    let to = &mut narrow;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || once(to).iter_mut().zip(g).for_each(|(to, g)| *to = (factor * g) as f32),
    );
    narrow
}

/// The largest power of two that is not above any cotangent's size, so that all are below two in this unit; none if there is
/// no such number in the ordinary range.
fn unit(g: &[f64]) -> Option<f64> {
    const LANES: usize = 8;
    let (mut largest, mut wrong) = ([0.0f64; LANES], [0.0f64; LANES]);
    let lanes = (&mut largest, &mut wrong);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (largest, wrong) = once(lanes);
            for g in g.chunks(LANES) {
                for ((largest, wrong), g) in largest.iter_mut().zip(wrong.iter_mut()).zip(g) {
                    *largest = if g.abs() > *largest { g.abs() } else { *largest };
                    // Zero for every finite number.
                    *wrong += 0.0 * g;
                }
            }
        },
    );
    let largest = largest.into_iter().fold(0.0, f64::max);
    let power = f64::from_bits(largest.to_bits() & f64::INFINITY.to_bits());
    ((1e-200..1e200).contains(&power) && wrong == [0.0; LANES]).then_some(power)
}

/// Whether nothing overflows, and what underflows is nothing beside the largest contribution c of the block: every cotangent,
/// product and sum may lose 2^-150 absolutely. With |a| <= 2^40 and p d < 2^40 that is a vector below
/// 2^20 64 (2^41 + 2) 2^-150 < 2^-82, and c >= 2^-40.
fn has_range(norm: impl Fn(usize) -> f64, g: &[f32], p: usize, d: usize) -> bool {
    const LARGEST: f64 = (1u64 << 40) as f64;
    let (mut input, mut contribution) = (0.0f64, 0.0f64);
    for (record, g) in g.chunks_exact(p).enumerate() {
        let a = norm(record);
        if !a.is_finite() {
            return false;
        }
        (input, contribution) = (input.max(a), contribution.max(a * norm_of(g)));
    }
    input <= LARGEST && contribution >= 1.0 / LARGEST && ((p * d) as f64) < LARGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(rows: &[f32], g: &[f64], p: usize, d: usize) -> Vec<f64> {
        let at = |output: usize, input: usize| {
            let records = rows.chunks_exact(d).zip(g.chunks_exact(p));
            records.map(|(row, g)| g[output] * f64::from(row[input])).sum::<f64>()
        };
        (0..p * d).map(|i| at(i / d, i % d)).collect()
    }

    fn numbers(count: usize, factor: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| ((i * factor) % 1013) as f64 / 101.0 - 5.0)
    }

    #[test]
    fn products_equal_the_triple_loop_to_the_rounding_of_a_block() {
        for (n, p, d) in
            [(1, 1, 1), (63, 3, 7), (64, 49, 5), (65, 4, 9), (130, 50, 515), (0, 3, 2), (3, 2, 0), (70, 7, 4200)]
        {
            let rows: Vec<f32> = numbers(n * d, 37).map(|x| x as f32).collect();
            let g: Vec<f64> = numbers(n * p, 53).map(|x| 1e-3 * x).collect();
            let norms: Vec<f64> = rows.chunks(d.max(1)).map(norm_of).collect();
            let thin = |norms| thin_product(&rows, &g, (p, d), norms);
            assert!(thin(None) == thin(Some(&norms)), "{n}, {p}, {d}");
            for sum in [product(&rows, &g, p, d), thin(None)] {
                assert_eq!(sum.len(), p * d);
                for (i, (sum, exact)) in sum.iter().zip(exact(&rows, &g, p, d)).enumerate() {
                    assert!((sum - exact).abs() < 1e-6, "{n}, {p}, {d}: element {i} is {sum} and not {exact}");
                }
            }
        }
    }

    #[test]
    fn where_f32_has_not_the_range_the_sum_is_in_f64() {
        for (a, g) in [(1e30f32, 1e-3), (1e-30, 1e-3), (1e20, 1e250), (1.0, 1e-310), (1e-20, 0.0)] {
            // As many columns as any processor takes at a time, and more.
            let d = 130;
            let (rows, g): (Vec<f32>, Vec<f64>) = (vec![a; 33 * d], (0..33).map(|i| g * f64::from(i)).collect());
            let expected = exact(&rows, &g, 1, d);
            for sum in [product(&rows, &g, 1, d), thin_product(&rows, &g, (1, d), None)] {
                let near = sum.iter().zip(&expected).all(|(x, y)| (x - y).abs() <= 1e-12 * y.abs());
                assert!(near, "{sum:?}, not {expected:?}");
            }
        }
    }

    /// How far removing record `i` moves a sum of 4,096 contributions of norm one and 4,000 of 2e-4: from 2^12 on the latter are
    /// less than half a last bit of f32, and below it they are more.
    fn moved(i: usize, sum: impl Fn(&[f32], &[f64]) -> Vec<f64>) -> f64 {
        let mut rows: Vec<f32> = (0..8096).map(|i| if i < 4096 { 1.0 } else { 2e-4 }).collect();
        let all = sum(&rows, &vec![1.0; rows.len()]);
        rows.swap_remove(i);
        all[0] - sum(&rows, &vec![1.0; rows.len()])[0]
    }

    #[test]
    fn a_record_moves_the_sum_of_thousands_hardly_more_than_it_contributes() {
        for i in [0, 63, 64, 4000, 4095] {
            // Of a few outputs, whole vectors of columns are summed in f32: here all are the same.
            let wide = |rows: &[f32]| rows.iter().flat_map(|x| [*x; 64]).collect::<Vec<f32>>();
            let thin = |rows: &[f32], g: &[f64]| thin_product(&wide(rows), g, (1, 64), None);
            for moved in [moved(i, |rows, g| product(rows, g, 1, 1)), moved(i, thin)] {
                assert!((moved - 1.0).abs() <= CROSSTALK, "record {i} of norm 1 moves the sum by {moved}");
            }
        }
        // Negative control: one sum in f32.
        let single = |rows: &[f32], _: &[f64]| vec![f64::from(rows.iter().fold(0.0f32, |sum, x| sum + x))];
        assert!((moved(0, single) - 1.0).abs() > 0.9);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (n, p, d) = (130, 130, 515);
        let rows: Vec<f32> = numbers(n * d, 37).map(|x| x as f32).collect();
        let g: Vec<f64> = numbers(n * p, 53).collect();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let both = || (product(&rows, &g, p, d), thin_product(&rows, &g, (p, d), None));
            pool.map(|pool| pool.install(both)).ok()
        };
        assert!(with(1).is_some() && with(1) == with(3));
    }
}
