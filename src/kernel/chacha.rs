//! ChaCha20 (Bernstein 2008; RFC 8439, section 2.3), sixteen blocks at a time.
//!
//! The state has a 64-bit block counter in words 12 and 13 and a 64-bit stream number in words 14 and 15, as in Bernstein's
//! paper and in `rand_chacha`. A processor with AVX-512 computes the sixteen blocks together, one in each lane; one with AVX2
//! computes eight and eight; any other, one after the other. The words are the same.

use super::instructions::Instructions;
use rand_chacha::ChaCha20Rng;

/// Blocks computed in one call.
pub(crate) const BLOCKS: usize = 16;
/// 64-bit numbers in one call's words.
pub(crate) const NUMBERS: usize = 8 * BLOCKS;

/// The words of sixteen blocks: word `w` of block `b` is `[w][b]`.
#[derive(Clone)]
#[repr(align(64))]
pub(crate) struct Words(pub(crate) [[u32; BLOCKS]; 16]);

impl Words {
    pub(crate) fn zero() -> Self {
        Self([[0; BLOCKS]; 16])
    }

    /// Number `j` of 128: word `j / 8` of two neighbouring blocks, so that nothing has to move between lanes.
    pub(crate) fn number(&self, j: usize) -> u64 {
        let (row, pair) = (&self.0[j / 8], 2 * (j % 8));
        u64::from(row[pair]) | u64::from(row[pair + 1]) << 32
    }
}

/// A stream of ChaCha20 blocks addressed by their counter.
#[derive(Clone)]
pub(crate) struct Stream {
    key: [u32; 8],
    nonce: [u32; 2],
    instructions: Instructions,
}

impl std::fmt::Debug for Stream {
    /// The key is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("instructions", &self.instructions).finish_non_exhaustive()
    }
}

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Ten double rounds, each of four column and four diagonal quarter rounds.
macro_rules! twenty_rounds {
    ($state:ident, $quarter:ident) => {
        for _ in 0..10 {
            $quarter(&mut $state, [0, 4, 8, 12]);
            $quarter(&mut $state, [1, 5, 9, 13]);
            $quarter(&mut $state, [2, 6, 10, 14]);
            $quarter(&mut $state, [3, 7, 11, 15]);
            $quarter(&mut $state, [0, 5, 10, 15]);
            $quarter(&mut $state, [1, 6, 11, 12]);
            $quarter(&mut $state, [2, 7, 8, 13]);
            $quarter(&mut $state, [3, 4, 9, 14]);
        }
    };
}

impl Stream {
    /// The stream `rng` reads, wherever it stands in it.
    pub(crate) fn of(rng: &ChaCha20Rng) -> Self {
        let (seed, stream) = (rng.get_seed(), rng.get_stream());
        let mut key = [0; 8];
        for (word, bytes) in key.iter_mut().zip(seed.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key, nonce: [stream as u32, (stream >> 32) as u32], instructions: Instructions::widest() }
    }

    /// The instructions its blocks are computed with.
    pub(crate) fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Blocks `counter` to `counter + 15`. Counters start again at 0 after 2^64 - 1.
    pub(crate) fn blocks(&self, counter: u64, out: &mut Words) {
        match self.instructions {
            Instructions::Portable => portable::blocks(self, counter, out),
            // SAFETY: the value says that the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => unsafe { avx2::blocks(self, counter, out) },
            // SAFETY: the value says that the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => unsafe { avx512::blocks(self, counter, out) },
        }
    }

    /// The state of block `counter` before the rounds.
    fn state(&self, counter: u64) -> [u32; 16] {
        let mut state = [0; 16];
        state[..4].copy_from_slice(&CONSTANTS);
        state[4..12].copy_from_slice(&self.key);
        state[12..14].copy_from_slice(&[counter as u32, (counter >> 32) as u32]);
        state[14..].copy_from_slice(&self.nonce);
        state
    }
}

/// Words 12 and 13 of sixteen blocks.
#[cfg(target_arch = "x86_64")]
fn counters(first: u64) -> [[u32; BLOCKS]; 2] {
    let counter = |lane: usize| first.wrapping_add(lane as u64);
    [std::array::from_fn(|lane| counter(lane) as u32), std::array::from_fn(|lane| (counter(lane) >> 32) as u32)]
}

/// One block after the other.
mod portable {
    use super::{BLOCKS, Stream, Words};

    pub(super) fn blocks(stream: &Stream, counter: u64, out: &mut Words) {
        for block in 0..BLOCKS {
            let start = stream.state(counter.wrapping_add(block as u64));
            let mut state = start;
            twenty_rounds!(state, quarter);
            for ((row, word), first) in out.0.iter_mut().zip(state).zip(start) {
                row[block] = word.wrapping_add(first);
            }
        }
    }

    #[inline(always)]
    fn quarter(s: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
        s[a] = s[a].wrapping_add(s[b]);
        s[d] = (s[d] ^ s[a]).rotate_left(16);
        s[c] = s[c].wrapping_add(s[d]);
        s[b] = (s[b] ^ s[c]).rotate_left(12);
        s[a] = s[a].wrapping_add(s[b]);
        s[d] = (s[d] ^ s[a]).rotate_left(8);
        s[c] = s[c].wrapping_add(s[d]);
        s[b] = (s[b] ^ s[c]).rotate_left(7);
    }
}

/// Eight blocks together, twice: a register holds one word of eight blocks.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Stream, Words, counters};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn blocks(stream: &Stream, counter: u64, out: &mut Words) {
        let (words, counters) = (stream.state(counter), counters(counter));
        for half in 0..2 {
            let mut start = [_mm256_setzero_si256(); 16];
            for (lanes, word) in start.iter_mut().zip(words) {
                *lanes = _mm256_set1_epi32(word.cast_signed());
            }
            start[12] = load(&counters[0].as_chunks().0[half]);
            start[13] = load(&counters[1].as_chunks().0[half]);
            let mut state = start;
            twenty_rounds!(state, quarter);
            for ((row, lanes), first) in out.0.iter_mut().zip(state).zip(start) {
                store(&mut row.as_chunks_mut().0[half], _mm256_add_epi32(lanes, first));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(from: &[u32; 8]) -> __m256i {
        // SAFETY: reads the 32 bytes of the array, at any alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(to: &mut [u32; 8], lanes: __m256i) {
        // SAFETY: writes the 32 bytes of the array, at any alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), lanes) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn quarter(s: &mut [__m256i; 16], [a, b, c, d]: [usize; 4]) {
        // Rotations by whole bytes are one shuffle.
        let (low, high) = (0x0504_0706_0100_0302, 0x0d0c_0f0e_0908_0b0a);
        let by_16 = _mm256_set_epi64x(high, low, high, low);
        let (low, high) = (0x0605_0407_0201_0003, 0x0e0d_0c0f_0a09_080b);
        let by_8 = _mm256_set_epi64x(high, low, high, low);
        s[a] = _mm256_add_epi32(s[a], s[b]);
        s[d] = _mm256_shuffle_epi8(_mm256_xor_si256(s[d], s[a]), by_16);
        s[c] = _mm256_add_epi32(s[c], s[d]);
        let x = _mm256_xor_si256(s[b], s[c]);
        s[b] = _mm256_or_si256(_mm256_slli_epi32::<12>(x), _mm256_srli_epi32::<20>(x));
        s[a] = _mm256_add_epi32(s[a], s[b]);
        s[d] = _mm256_shuffle_epi8(_mm256_xor_si256(s[d], s[a]), by_8);
        s[c] = _mm256_add_epi32(s[c], s[d]);
        let x = _mm256_xor_si256(s[b], s[c]);
        s[b] = _mm256_or_si256(_mm256_slli_epi32::<7>(x), _mm256_srli_epi32::<25>(x));
    }
}

/// Sixteen blocks together: a register holds one word of all.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{BLOCKS, Stream, Words, counters};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn blocks(stream: &Stream, counter: u64, out: &mut Words) {
        let (words, counters) = (stream.state(counter), counters(counter));
        let mut start = [_mm512_setzero_si512(); 16];
        for (lanes, word) in start.iter_mut().zip(words) {
            *lanes = _mm512_set1_epi32(word.cast_signed());
        }
        start[12] = load(&counters[0]);
        start[13] = load(&counters[1]);
        let mut state = start;
        twenty_rounds!(state, quarter);
        for ((row, lanes), first) in out.0.iter_mut().zip(state).zip(start) {
            // SAFETY: writes the 64 bytes of the row, at any alignment.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), _mm512_add_epi32(lanes, first)) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &[u32; BLOCKS]) -> __m512i {
        // SAFETY: reads the 64 bytes of the array, at any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quarter(s: &mut [__m512i; 16], [a, b, c, d]: [usize; 4]) {
        s[a] = _mm512_add_epi32(s[a], s[b]);
        s[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(s[d], s[a]));
        s[c] = _mm512_add_epi32(s[c], s[d]);
        s[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(s[b], s[c]));
        s[a] = _mm512_add_epi32(s[a], s[b]);
        s[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(s[d], s[a]));
        s[c] = _mm512_add_epi32(s[c], s[d]);
        s[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(s[b], s[c]));
    }
}

#[cfg(test)]
mod tests;
