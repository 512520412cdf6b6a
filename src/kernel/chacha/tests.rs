use super::*;
use rand_chacha::rand_core::{RngCore, SeedableRng};

fn with(key: [u32; 8], nonce: [u32; 2]) -> impl Iterator<Item = Stream> {
    Instructions::all().into_iter().map(move |instructions| Stream { key, nonce, instructions })
}

fn block(words: &Words, block: usize) -> [u32; 16] {
    std::array::from_fn(|w| words.0[w][block])
}

/// RFC 8439, section 2.3.2. Its 32-bit counter is our word 12, its 96-bit nonce our words 13 to 15.
#[test]
fn blocks_are_those_of_the_standard_in_every_lane() {
    let key = std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|j| 4 * i as u8 + j)));
    let counter = 1 | 0x0900_0000 << 32;
    let expected = [
        0xe4e7_f110,
        0x1559_3bd1,
        0x1fdd_0f50,
        0xc471_20a3,
        0xc7f4_d1c7,
        0x0368_c033,
        0x9aaa_2204,
        0x4e6c_d4c3,
        0x4664_82d2,
        0x09aa_9f07,
        0x05d7_c214,
        0xa202_8bd9,
        0xd19c_12b5,
        0xb94e_16de,
        0xe883_d0cb,
        0x4e3c_50a2,
    ];
    for stream in with(key, [0x4a00_0000, 0]) {
        let mut words = Words::zero();
        for lane in 0..BLOCKS {
            stream.blocks(counter - lane as u64, &mut words);
            assert_eq!(block(&words, lane), expected, "{stream:?}, lane {lane}");
        }
    }
}

#[test]
fn blocks_are_those_of_rand_chacha_at_any_counter() {
    let mut rng = ChaCha20Rng::from_seed(std::array::from_fn(|i| 7 * i as u8 + 1));
    rng.set_stream(0x0123_4567_89ab_cdef);
    let stream = Stream::of(&rng);
    let ours: Vec<Stream> = with(stream.key, stream.nonce).collect();
    let few = (0..200).map(|i| 1000 * i * i);
    for counter in few.chain([(1 << 32) - 20, (1 << 32) - 7, 1 << 40, 1 << 63, u64::MAX - 15]) {
        rng.set_word_pos(u128::from(counter) * 16);
        let mut theirs = [[0; 16]; BLOCKS];
        theirs.iter_mut().flatten().for_each(|word| *word = rng.next_u32());
        for stream in &ours {
            let mut words = Words::zero();
            stream.blocks(counter, &mut words);
            for (b, theirs) in theirs.iter().enumerate() {
                assert_eq!(block(&words, b), *theirs, "block {counter} + {b} by {stream:?}");
            }
        }
    }
}

#[test]
fn every_instruction_set_wraps_the_counter_alike() {
    let results: Vec<_> = with([5; 8], [6, 7])
        .map(|stream| {
            let mut words = Words::zero();
            stream.blocks(u64::MAX - 4, &mut words);
            words.0
        })
        .collect();
    assert!(results.iter().all(|words| *words == results[0]));
}

#[test]
fn numbers_use_every_word_once() {
    let mut words = Words::zero();
    words.0.iter_mut().flatten().zip(1..).for_each(|(word, i)| *word = i);
    let mut seen: Vec<u32> =
        (0..NUMBERS).flat_map(|j| [words.number(j) as u32, (words.number(j) >> 32) as u32]).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=256));
}

#[test]
fn a_stream_does_not_print_its_key() {
    let stream = Stream::of(&ChaCha20Rng::from_seed([0x42; 32]));
    assert!(!format!("{stream:?}").contains(&0x4242_4242_u32.to_string()));
}
