//! Standard normal draws from a ChaCha20 stream, 128 at a time.
//!
//! Number `j` of sixteen blocks leads to draw `j`, by the [`ziggurat`](super::ziggurat): nearly always by one product and
//! one comparison, eight lanes at a time. The few that need more numbers take them from blocks set aside for that, in the
//! order of the draws.

use super::chacha::{BLOCKS, NUMBERS, Stream, Words};
use super::instructions::Instructions;
use super::ziggurat::ZIGGURAT;

/// Draws made together.
pub(crate) const DRAWS: usize = NUMBERS;

/// Draws of one stretch of a stream.
pub(crate) struct Normals<'a> {
    stream: &'a Stream,
    next: u64,
    words: Words,
    draws: [f64; DRAWS],
    spare: Spare<'a>,
}

impl<'a> Normals<'a> {
    /// A stretch of `draws` draws from ChaCha block `first` on. The blocks after those of the draws serve the draws that need
    /// further numbers: 6.3 numbers for a thousand draws on average, without a bound.
    pub(crate) fn new(stream: &'a Stream, first: u64, draws: usize) -> Self {
        let spare = first + (draws.div_ceil(DRAWS) * BLOCKS) as u64;
        Self {
            stream,
            next: first,
            words: Words::zero(),
            draws: [0.0; DRAWS],
            spare: Spare { stream, next: spare, words: Words::zero(), used: NUMBERS },
        }
    }

    /// The next draws.
    pub(crate) fn draw(&mut self) -> &[f64; DRAWS] {
        self.stream.blocks(self.next, &mut self.words);
        self.next = self.next.wrapping_add(BLOCKS as u64);
        let mut left = points(self.stream.instructions(), &self.words, &mut self.draws);
        while left != 0 {
            let j = left.trailing_zeros() as usize;
            left &= left - 1;
            self.draws[j] = ZIGGURAT.settle(self.words.number(j), &mut || self.spare.number());
        }
        &self.draws
    }
}

/// Numbers for the draws that need more than one.
struct Spare<'a> {
    stream: &'a Stream,
    next: u64,
    words: Words,
    used: usize,
}

impl Spare<'_> {
    fn number(&mut self) -> u64 {
        if self.used == NUMBERS {
            self.stream.blocks(self.next, &mut self.words);
            self.next = self.next.wrapping_add(BLOCKS as u64);
            self.used = 0;
        }
        self.used += 1;
        self.words.number(self.used - 1)
    }
}

/// The points of all numbers; bit `j` of the answer is set where point `j` is not a draw as it stands.
fn points(instructions: Instructions, words: &Words, draws: &mut [f64; DRAWS]) -> u128 {
    match instructions {
        Instructions::Portable => portable(words, draws),
        // SAFETY: the value says that the processor has AVX2.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2(_) => unsafe { x86::avx2(words, draws) },
        // SAFETY: the value says that the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512(_) => unsafe { x86::avx512(words, draws) },
    }
}

fn portable(words: &Words, draws: &mut [f64; DRAWS]) -> u128 {
    let mut left = 0;
    for (j, draw) in draws.iter_mut().enumerate() {
        let (x, inside) = ZIGGURAT.point(words.number(j));
        *draw = x;
        left |= u128::from(!inside) << j;
    }
    left
}

/// `Ziggurat::point`, operation for operation.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DRAWS, Words};
    use crate::kernel::ziggurat::{FRACTION_SHIFT, HALF_A_CELL_BELOW_ONE, LAYERS, ONE, SIGN_SHIFT, ZIGGURAT};
    use std::arch::x86_64::*;

    /// The layer in a number.
    const LAYER: i64 = LAYERS as i64 - 1;

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(words: &Words, draws: &mut [f64; DRAWS]) -> u128 {
        let mut left = 0;
        for (j, (words, draws)) in words.0.as_flattened().as_chunks().0.iter().zip(draws.as_chunks_mut().0).enumerate()
        {
            let words: &[u32; 8] = words;
            let draws: &mut [f64; 4] = draws;
            // SAFETY: reads the 32 bytes of the array, at any alignment.
            let number = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
            let layer = _mm256_and_si256(number, _mm256_set1_epi64x(LAYER));
            let x = ZIGGURAT.x.as_ptr();
            // SAFETY: `layer` is at most LAYERS - 1, and `x` has LAYERS + 1 elements.
            let (width, inner) =
                unsafe { (_mm256_i64gather_pd::<8>(x, layer), _mm256_i64gather_pd::<8>(x.add(1), layer)) };
            let fraction = _mm256_srli_epi64::<{ FRACTION_SHIFT as i32 }>(number);
            let cell = _mm256_castsi256_pd(_mm256_or_si256(fraction, _mm256_set1_epi64x(ONE.cast_signed())));
            let point = _mm256_mul_pd(_mm256_sub_pd(cell, _mm256_set1_pd(HALF_A_CELL_BELOW_ONE)), width);
            let outside = _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_NLT_UQ>(point, inner));
            let sign = _mm256_slli_epi64::<{ SIGN_SHIFT as i32 }>(number);
            let sign = _mm256_and_si256(sign, _mm256_set1_epi64x(i64::MIN));
            // SAFETY: writes the 32 bytes of the array, at any alignment.
            unsafe { _mm256_storeu_pd(draws.as_mut_ptr(), _mm256_xor_pd(point, _mm256_castsi256_pd(sign))) };
            left |= u128::from(outside.cast_unsigned()) << (4 * j);
        }
        left
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(words: &Words, draws: &mut [f64; DRAWS]) -> u128 {
        let mut left = 0;
        for (j, (words, draws)) in words.0.iter().zip(draws.as_chunks_mut().0).enumerate() {
            let draws: &mut [f64; 8] = draws;
            // SAFETY: reads the 64 bytes of the array, at any alignment.
            let number = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
            let layer = _mm512_and_si512(number, _mm512_set1_epi64(LAYER));
            let x = ZIGGURAT.x.as_ptr();
            // SAFETY: `layer` is at most LAYERS - 1, and `x` has LAYERS + 1 elements.
            let (width, inner) =
                unsafe { (_mm512_i64gather_pd::<8>(layer, x), _mm512_i64gather_pd::<8>(layer, x.add(1))) };
            let fraction = _mm512_srli_epi64::<FRACTION_SHIFT>(number);
            let cell = _mm512_castsi512_pd(_mm512_or_si512(fraction, _mm512_set1_epi64(ONE.cast_signed())));
            let point = _mm512_mul_pd(_mm512_sub_pd(cell, _mm512_set1_pd(HALF_A_CELL_BELOW_ONE)), width);
            let outside = _mm512_cmp_pd_mask::<_CMP_NLT_UQ>(point, inner);
            let sign = _mm512_slli_epi64::<SIGN_SHIFT>(number);
            let sign = _mm512_and_si512(sign, _mm512_set1_epi64(i64::MIN));
            let draw = _mm512_xor_si512(_mm512_castpd_si512(point), sign);
            // SAFETY: writes the 64 bytes of the array, at any alignment.
            unsafe { _mm512_storeu_pd(draws.as_mut_ptr(), _mm512_castsi512_pd(draw)) };
            left |= u128::from(outside) << (8 * j);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// The draws and the mask, bit for bit, of every instruction set.
    fn same_everywhere(words: &Words) -> (Vec<u64>, u128) {
        let mut results = Instructions::all().into_iter().map(|instructions| {
            let mut draws = [0.0; DRAWS];
            let left = points(instructions, words, &mut draws);
            (draws.map(f64::to_bits).to_vec(), left)
        });
        let portable = results.next().unwrap();
        for other in results {
            assert_eq!(other, portable);
        }
        portable
    }

    #[test]
    fn every_instruction_set_gives_the_same_points() {
        let stream = Stream::of(&ChaCha20Rng::from_seed([9; 32]));
        let (mut words, mut left, batches) = (Words::zero(), 0, 2000);
        for batch in 0..batches {
            stream.blocks(batch * BLOCKS as u64, &mut words);
            left += same_everywhere(&words).1.count_ones();
        }
        // 0.428 per cent of 256,000 points are left, with deviation 33; six of them: 2e-9.
        assert!((f64::from(left) - 0.004_276_566_7 * 256_000.0).abs() < 200.0, "{left} points are left");
        // Extreme words: every layer at its edges, both signs.
        for layers in 0..8 {
            for fill in [0, u32::MAX] {
                words.0 = [[fill; BLOCKS]; 16];
                for j in 0..DRAWS {
                    let low = (layers * DRAWS + j) as u32;
                    words.0[j / 8][2 * (j % 8)] = (fill & !0x3ff) | low;
                }
                let (draws, left) = same_everywhere(&words);
                assert!(draws.iter().all(|x| f64::from_bits(*x).abs() < 4.28 && f64::from_bits(*x) != 0.0));
                assert_eq!(left == u128::MAX, fill == u32::MAX, "the outer edges are left, the inner edges are not");
            }
        }
    }

    #[test]
    fn a_draw_is_its_own_number_unless_that_is_outside() {
        let stream = Stream::of(&ChaCha20Rng::from_seed([10; 32]));
        let mut words = Words::zero();
        let mut normals = Normals::new(&stream, 7, 20 * DRAWS);
        let mut settled = 0;
        for batch in 0..20 {
            stream.blocks(7 + batch * BLOCKS as u64, &mut words);
            for (j, draw) in normals.draw().iter().enumerate() {
                let (x, inside) = ZIGGURAT.point(words.number(j));
                assert!(!inside || x.to_bits() == draw.to_bits());
                settled += u32::from(!inside);
            }
        }
        // 11 are expected; none or more than 40 has probability 2e-5 and 1e-10, and the seed is fixed.
        assert!((1..40).contains(&settled), "{settled} draws were settled");
        assert_eq!(normals.spare.next, 7 + 21 * BLOCKS as u64);
    }

    /// The tail beyond 4 deviations, by draws that begin in it: counts beyond 4.5 to 6.5 against the normal distribution.
    #[test]
    fn the_tail_falls_as_the_normal_density_does() {
        let stream = Stream::of(&ChaCha20Rng::from_seed([11; 32]));
        let mut spare = Spare { stream: &stream, next: 0, words: Words::zero(), used: NUMBERS };
        let draws = 4_000_000;
        let (mut counts, beyond) = ([0_u32; 5], [4.5, 5.0, 5.5, 6.0, 6.5]);
        for _ in 0..draws {
            // The bottom layer at its outer edge: always a draw from the tail.
            let x = ZIGGURAT.settle(u64::MAX << 12, &mut || spare.number());
            assert!(x >= 4.0388);
            counts.iter_mut().zip(beyond).for_each(|(count, bound)| *count += u32::from(x > bound));
        }
        let probabilities = TAIL_PROBABILITIES;
        for ((count, probability), bound) in counts.into_iter().zip(probabilities).zip(beyond) {
            let expected = probability * f64::from(draws);
            assert!(deviates_little(f64::from(count), expected), "{count} of {expected} beyond {bound}");
            // Negative control: a tail that falls as exp(-4.0388 x) is caught wherever it can be seen.
            let exponential = (-4.0388 * (bound - 4.0388)).exp() * f64::from(draws);
            assert!(!deviates_little(exponential, expected), "{exponential} of {expected} beyond {bound}");
        }
    }

    /// P(X > b) / P(X > 4.0388...) for the bounds above, by mpmath.
    const TAIL_PROBABILITIES: [f64; 5] = [0.12650993, 0.010673267, 0.0007070628, 3.6734886e-5, 1.4953291e-6];

    /// Bernstein's inequality: false in one of 5e7 cases at most for a sum of independent indicators.
    fn deviates_little(count: f64, expected: f64) -> bool {
        let l = 1e8_f64.ln();
        (count - expected).abs() <= l / 3.0 + (l * l / 9.0 + 2.0 * l * expected).sqrt()
    }
}
