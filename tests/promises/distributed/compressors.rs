//! Every compressor keeps the contract: a row each.

mod moments;
mod savings;

use dpsgd::distributed::compress::{
    Adaptive, Class, Contractive, Dithering, Exponential, GeneralRounding, Induced, Norm, RandK, Rounding, ScaledSign,
    Sparsification, TopK, TopKThen,
};
use dpsgd::distributed::{Compress, Radius, Width};
use dpsgd::seed::{Key, Role};
use rand::{Rng, RngCore};
use rand_chacha::ChaCha20Rng;
use rand_distr::StandardNormal;

const WIDTHS: [Width; 2] = [Width::F32, Width::F64];

/// Numbers of the vectors that rows are run on.
const DIM: usize = 16;

/// What can become of each number of a vector, and how likely: all that E C(x) and E|C(x)|^2 depend on.
type Law = Box<dyn Fn(&[f64]) -> Vec<Vec<(f64, f64)>>>;

struct Row {
    compress: Box<dyn Compress>,
    /// Bits of a message for [`DIM`] numbers, from those of a number; none where their count is random.
    bits: Option<fn(usize) -> usize>,
    /// What it is said to do, computed without it; none where nothing is random.
    law: Option<Law>,
}

fn row<C: Compress + 'static>(compress: C, bits: fn(usize) -> usize, law: Option<Law>) -> Row {
    Row { compress: Box::new(compress), bits: Some(bits), law }
}

fn rng(step: u32) -> ChaCha20Rng {
    Key::from_seed(11).stream(Role::Compression, step)
}

/// C(xs), through a message.
fn applied(compress: &dyn Compress, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<f64> {
    compress.decode(&compress.encode(xs, width, rng), xs.len(), width).unwrap()
}

/// `factor x` with a probability, and otherwise 0.
fn sent_with(p: f64, factor: f64) -> impl Fn(&f64) -> Vec<(f64, f64)> {
    move |x| vec![(factor * x, p), (0.0, 1.0 - p)]
}

/// Unbiased rounding between two levels: up with the probability that makes the mean right.
fn between(low: f64, high: f64, x: f64) -> Vec<(f64, f64)> {
    let up = (x.abs() - low) / (high - low);
    vec![(low.copysign(x), 1.0 - up), (high.copysign(x), up)]
}

/// Unbiased rounding to powers of a base, by the logarithm.
fn power(base: f64, x: f64) -> Vec<(f64, f64)> {
    if x == 0.0 {
        return vec![(0.0, 1.0)];
    }
    let exponent = (x.abs().ln() / base.ln() + 1e-12).floor() as i32;
    between(base.powi(exponent), base.powi(exponent + 1), x)
}

/// Dithering by its formula.
fn dithered(base: f64, levels: i32, norm: Norm, xs: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let size = match norm {
        Norm::Two => xs.iter().map(|x| x * x).sum::<f64>().sqrt(),
        Norm::Max => xs.iter().fold(0.0, |most: f64, x| most.max(x.abs())),
    };
    let lowest = base.powi(1 - levels);
    let on_levels = |x: &f64| {
        let share = x / size;
        let law = if share.abs() < lowest { between(0.0, lowest, share) } else { power(base, share) };
        law.into_iter().map(|(value, p)| (value * size, p)).collect()
    };
    xs.iter().map(on_levels).collect()
}

/// The law of Top-3, whose numbers then follow a law of their own.
fn top_3(then: impl Fn(&[f64]) -> Vec<Vec<(f64, f64)>> + 'static) -> Option<Law> {
    Some(Box::new(move |xs| {
        let mut order: Vec<usize> = (0..xs.len()).collect();
        order.sort_by(|a, b| xs[*b].abs().total_cmp(&xs[*a].abs()));
        let mut law = vec![vec![(0.0, 1.0)]; xs.len()];
        let kept = &mut order[..3];
        kept.sort_unstable();
        let of_kept = then(&kept.iter().map(|place| xs[*place]).collect::<Vec<_>>());
        kept.iter().zip(of_kept).for_each(|(place, one)| law[*place] = one);
        law
    }))
}

/// Probabilities of the numbers in the row of biased random sparsification.
fn probabilities() -> Vec<f64> {
    (1..=DIM).map(|i| i as f64 / DIM as f64).collect()
}

fn sparse() -> Vec<Row> {
    let each = |p: f64, factor: f64| -> Option<Law> {
        Some(Box::new(move |xs| xs.iter().map(sent_with(p, factor)).collect()))
    };
    let own = |xs: &[f64]| xs.iter().zip(probabilities()).map(|(x, p)| sent_with(p, 1.0)(x)).collect();
    let adaptive = |xs: &[f64]| {
        let sum: f64 = xs.iter().map(|x| x.abs()).sum();
        xs.iter().map(|x| sent_with(x.abs() / sum, 1.0)(x)).collect()
    };
    let one = |b: usize| b + 4;
    // Top-3 for certain, and of the rest, of which the three are 0, three of all.
    let induced = |xs: &[f64]| {
        let top = applied(&TopK::new(3).unwrap(), xs, Width::F64, &mut rng(0));
        let law =
            |(x, top): (&f64, f64)| if top != 0.0 { vec![(*x, 1.0)] } else { sent_with(3.0 / 16.0, 16.0 / 3.0)(x) };
        xs.iter().zip(top).map(law).collect()
    };
    let both = |b: usize| 32 + (3 * (b + 4)).div_ceil(8) * 8 + 3 * (b + 4);
    let of_rest = Induced::new(Box::new(TopK::new(3).unwrap()), Box::new(RandK::unbiased(3).unwrap()));
    vec![
        row(Radius::INFINITE, |b| 16 * b, None),
        row(RandK::unbiased(3).unwrap(), |b| 3 * (b + 4), each(3.0 / 16.0, 16.0 / 3.0)),
        row(RandK::biased(3).unwrap(), |b| 3 * (b + 4), each(3.0 / 16.0, 1.0)),
        Row { compress: Box::new(Sparsification::new(probabilities()).unwrap()), bits: None, law: Some(Box::new(own)) },
        row(Adaptive, one, Some(Box::new(adaptive))),
        row(TopK::new(3).unwrap(), |b| 3 * (b + 4), None),
        row(ScaledSign, |b| b - 1 + 16, None),
        row(Contractive::new(Box::new(RandK::unbiased(3).unwrap())), |b| 3 * (b + 4), each(3.0 / 16.0, 1.0)),
        row(of_rest, both, Some(Box::new(induced))),
    ]
}

/// Exponential rounding to powers of a base: by law, and to the nearest; and both after Top-3, where the places fill two bytes.
fn rounded(base: f64, bits: fn(usize) -> usize, after_top: fn(usize) -> usize) -> Vec<Row> {
    let unbiased = move || Exponential::new(base, Rounding::Unbiased).unwrap();
    let nearest = move || Exponential::new(base, Rounding::Nearest).unwrap();
    let law = move |xs: &[f64]| xs.iter().map(|x| power(base, *x)).collect();
    vec![
        row(unbiased(), bits, Some(Box::new(law))),
        row(nearest(), bits, None),
        row(TopKThen::new(3, Box::new(unbiased())).unwrap(), after_top, top_3(law)),
        row(TopKThen::new(3, Box::new(nearest())).unwrap(), after_top, None),
    ]
}

fn dithering(
    base: f64,
    levels: usize,
    norm: Norm,
    bits: fn(usize) -> usize,
    after_top: fn(usize) -> usize,
) -> [Row; 2] {
    let new = move || Dithering::new(base, levels, norm).unwrap();
    let law = move |xs: &[f64]| dithered(base, levels as i32, norm, xs);
    let then = TopKThen::new(3, Box::new(new())).unwrap();
    [row(new(), bits, Some(Box::new(law))), row(then, after_top, top_3(law))]
}

/// Every compressor that has constants for all vectors.
fn rows() -> Vec<Row> {
    let mut rows = sparse();
    rows.extend(rounded(2.0, |b| 16 * if b == 32 { 9 } else { 12 }, |b| 16 + 3 * if b == 32 { 9 } else { 12 }));
    rows.extend(rounded(4.0, |b| 16 * if b == 32 { 9 } else { 11 }, |b| 16 + 3 * if b == 32 { 9 } else { 11 }));
    rows.extend(rounded(1.5, |b| 16 * if b == 32 { 10 } else { 13 }, |b| 16 + 3 * if b == 32 { 10 } else { 13 }));
    rows.extend(dithering(2.0, 4, Norm::Two, |b| b - 1 + 16 * 4, |b| 16 + b - 1 + 3 * 4));
    rows.extend(dithering(2.0, 8, Norm::Two, |b| b - 1 + 16 * 5, |b| 16 + b - 1 + 3 * 5));
    rows.extend(dithering(2.0, 4, Norm::Max, |b| b - 1 + 16 * 4, |b| 16 + b - 1 + 3 * 4));
    rows.extend(dithering(1.5, 6, Norm::Two, |b| b - 1 + 16 * 4, |b| 16 + b - 1 + 3 * 4));
    rows
}

/// Those, and the one that has constants between its levels only.
fn all() -> Vec<Row> {
    let mut rows = rows();
    for rounding in [Rounding::Unbiased, Rounding::Nearest] {
        rows.push(row(GeneralRounding::new(vec![0.1, 0.5, 2.0, 3.0], rounding).unwrap(), |_| 16 * 4, None));
    }
    rows
}

/// A vector of independent normals.
fn gaussian(step: u32, dim: usize) -> Vec<f64> {
    rng(step).sample_iter(StandardNormal).take(dim).collect()
}

#[test]
fn messages_have_the_bits_of_the_table_and_are_functions_of_vector_and_stream() {
    let xs = gaussian(1, DIM);
    for Row { compress, bits, .. } in all() {
        for width in WIDTHS {
            let message = compress.encode(&xs, width, &mut rng(2));
            let name = compress.name();
            assert_eq!(message, compress.encode(&xs, width, &mut rng(2)), "{name}");
            let read = compress.decode(&message, DIM, width).unwrap();
            assert_eq!(read.len(), DIM, "{name}");
            let number = 8 * width.bytes();
            let kept = read.iter().filter(|x| **x != 0.0).count();
            let expected = bits.map_or(DIM + kept * number, |bits| bits(number)).div_ceil(8);
            assert_eq!(message.len(), expected, "{name} at {width:?}");
        }
    }
}

#[test]
fn bad_messages_are_refused_and_never_panic() {
    let xs = gaussian(1, DIM);
    let mut garbage = rng(3);
    for Row { compress, .. } in all() {
        for width in WIDTHS {
            let (name, message) = (compress.name(), compress.encode(&xs, width, &mut rng(2)));
            for short in 0..message.len() {
                assert!(compress.decode(&message[..short], DIM, width).is_err(), "{name}: {short} bytes");
            }
            for more in [0, 1, 255] {
                let long = [message.clone(), vec![more]].concat();
                assert!(compress.decode(&long, DIM, width).is_err(), "{name}: one byte more");
            }
            for _ in 0..500 {
                let mut bytes = vec![0; message.len()];
                garbage.fill_bytes(&mut bytes);
                if let Ok(read) = compress.decode(&bytes, DIM, width) {
                    assert_eq!(read.len(), DIM, "{name}");
                }
            }
        }
    }
    // What fills the last byte, places out of order or out of range, levels and sizes that no sender has.
    let top = TopK::new(2).unwrap();
    let honest = top.encode(&[1.0, 2.0, 3.0], Width::F32, &mut rng(0));
    for (first, of) in [(0b0000_1001, "1, 2"), (0b0000_0110, "2, 1"), (0b0000_0101, "1, 1"), (0b0000_1101, "1, 3")] {
        let mut bytes = honest.clone();
        bytes[0] = bytes[0] & 0xf0 | first;
        assert_eq!(top.decode(&bytes, 3, Width::F32).is_ok(), of == "1, 2", "{of}");
    }
    let padded = [&honest[..honest.len() - 1], &[honest[honest.len() - 1] | 0x80]].concat();
    assert!(top.decode(&padded, 3, Width::F32).is_err());
    let levels = GeneralRounding::new(vec![1.0, 2.0], Rounding::Nearest).unwrap();
    assert!(levels.decode(&[0b110], 1, Width::F32).is_err());
    let infinite = (f32::INFINITY.to_bits()).to_le_bytes();
    assert!(ScaledSign.decode(&infinite, 1, Width::F32).is_err());
}

#[test]
fn what_is_not_finite_never_becomes_a_number() {
    for Row { compress, .. } in all() {
        for (bad, widths) in [
            (f64::NAN, &WIDTHS[..]),
            (f64::INFINITY, &WIDTHS[..]),
            (f64::NEG_INFINITY, &WIDTHS[..]),
            // Not a number of this width; levels are what they are at all widths.
            (1e300, if compress.name().starts_with("rounding") { &[] } else { &WIDTHS[..1] }),
        ] {
            for (place, width) in widths.iter().flat_map(|width| (0..DIM).map(move |place| (place, *width))) {
                let mut xs = gaussian(4, DIM);
                xs[place] = bad;
                let read = applied(compress.as_ref(), &xs, width, &mut rng(place as u32));
                let arrived = read[place];
                assert!(arrived == 0.0 || !arrived.is_finite(), "{}: {arrived} for {bad}", compress.name());
            }
        }
    }
    // Those that read the whole vector before they choose, send it on for certain.
    let mut xs = gaussian(4, DIM);
    xs[7] = f64::NAN;
    let choosing: [Box<dyn Compress>; 3] = [Box::new(TopK::new(1).unwrap()), Box::new(Adaptive), Box::new(ScaledSign)];
    for compress in choosing {
        assert!(applied(compress.as_ref(), &xs, Width::F64, &mut rng(0))[7].is_nan(), "{}", compress.name());
    }
}
