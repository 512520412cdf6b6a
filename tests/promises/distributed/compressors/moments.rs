//! The constants of every compressor, on exact expectations: check C2 of the reproduction suite.

use super::{
    Class, Compress, DIM, Dithering, Exponential, GeneralRounding, Law, Norm, RandK, Rng, Rounding, Row, ScaledSign,
    Sparsification, StandardNormal, TopK, TopKThen, Width, applied, between, gaussian, rng, rows,
};

/// The 607 vectors of C2.
fn vectors() -> Vec<Vec<f64>> {
    let (mut vectors, mut signs) = (Vec::new(), rng(500));
    vectors.extend((0..300).map(|i| gaussian(1000 + i, DIM)));
    vectors.extend((0..300).map(|i| {
        let heavy = |x: f64| if signs.random() { (3.0 * x).exp() } else { -(3.0 * x).exp() };
        gaussian(2000 + i, DIM).into_iter().map(heavy).collect()
    }));
    vectors.extend([1.0, 1.5, 1.5 - 1e-9, 1.5 + 1e-9, std::f64::consts::SQRT_2].map(|x| vec![x; DIM]));
    let at = |places: &[usize]| (0..DIM).map(|i| if places.contains(&i) { 1.0 } else { 0.0 }).collect();
    vectors.extend([at(&[3]), at(&[1, 7, 12])]);
    vectors
}

/// Everything in a class that can be observed at one vector, relative to its square.
struct Observed {
    square: f64,
    product: f64,
    error: f64,
    bias: f64,
}

impl Observed {
    fn of(law: &[Vec<(f64, f64)>], xs: &[f64], scale: f64) -> Self {
        let expected = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            let one = |(law, x): (&Vec<(f64, f64)>, &f64)| law.iter().map(|(c, p)| p * of(*c, *x)).sum::<f64>();
            law.iter().zip(xs).map(one).sum()
        };
        let whole: f64 = xs.iter().map(|x| x * x).sum();
        let mean = |law: &Vec<(f64, f64)>| law.iter().map(|(c, p)| c * p).sum::<f64>();
        Self {
            square: expected(&|c, _| c * c) / whole,
            product: expected(&|c, x| c * x) / whole,
            error: expected(&|c, x| (scale * c - x).powi(2)) / whole,
            bias: law.iter().zip(xs).map(|(law, x)| (mean(law) - x).powi(2)).sum::<f64>() / whole,
        }
    }

    fn assert_in(&self, class: &Class, name: &str) {
        let slack = 1e-9;
        let Self { square, product, error, bias } = *self;
        assert!(class.alpha <= square + slack, "{name}: B1, {square} and not {class:?}");
        assert!(square <= class.beta * product + slack, "{name}: B1 and B2, {square} for {product} and not {class:?}");
        assert!(class.gamma <= product + slack, "{name}: B2, {product} and not {class:?}");
        assert!(error <= 1.0 - 1.0 / class.delta + slack, "{name}: B3, {error} and not {class:?}");
        if let Some(zeta) = class.zeta {
            assert!(bias < 1e-18 && square <= zeta + slack, "{name}: U, {bias}, {square} and not {class:?}");
        }
    }
}

/// The law of a row: its own, or that of a compressor which chooses nothing, from its message.
fn law(row: &Row, xs: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let fixed =
        || applied(row.compress.as_ref(), xs, Width::F64, &mut rng(0)).iter().map(|c| vec![(*c, 1.0)]).collect();
    row.law.as_ref().map_or_else(fixed, |law| law(xs))
}

#[test]
fn c2_the_four_inequalities_hold_for_every_compressor() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 607);
    for row in rows() {
        let class = row.compress.class(DIM).unwrap();
        for xs in &vectors {
            Observed::of(&law(&row, xs), xs, class.scale).assert_in(&class, row.compress.name());
        }
    }
}

#[test]
fn c2_constants_are_those_of_the_table() {
    let d = DIM as f64;
    let zeta = |m: f64| 9.0 / 8.0 + m * m.min(1.0);
    // alpha, beta, gamma, delta, scale
    let table: [(Box<dyn Compress>, [f64; 5]); 10] = [
        (Box::new(RandK::unbiased(3).unwrap()), [d / 3.0, d / 3.0, 1.0, d / 3.0, 3.0 / d]),
        (Box::new(RandK::biased(3).unwrap()), [3.0 / d, 1.0, 3.0 / d, d / 3.0, 1.0]),
        (Box::new(Sparsification::new(super::probabilities()).unwrap()), [1.0 / d, 1.0, 1.0 / d, d, 1.0]),
        (Box::new(TopK::new(3).unwrap()), [3.0 / d, 1.0, 3.0 / d, d / 3.0, 1.0]),
        (Box::new(ScaledSign), [1.0 / d, 1.0, 1.0 / d, d, 1.0]),
        (Box::new(Exponential::natural()), [1.0, 9.0 / 8.0, 1.0, 9.0 / 8.0, 8.0 / 9.0]),
        (
            Box::new(Exponential::new(2.0, Rounding::Nearest).unwrap()),
            [4.0 / 9.0, 4.0 / 3.0, 2.0 / 3.0, 9.0 / 8.0, 1.0],
        ),
        // m = sqrt(d) 2^(1-s): 1/2 and 1/32.
        (Box::new(Dithering::natural(4, Norm::Two).unwrap()), [1.0, zeta(0.5), 1.0, zeta(0.5), 1.0 / zeta(0.5)]),
        (
            Box::new(Dithering::natural(8, Norm::Max).unwrap()),
            [1.0, zeta(1.0 / 32.0), 1.0, zeta(1.0 / 32.0), 1.0 / zeta(1.0 / 32.0)],
        ),
        (Box::new(TopKThen::new(4, Box::new(Dithering::natural(4, Norm::Two).unwrap())).unwrap()), {
            // Four numbers are left of sixteen: m = 1/4.
            let zeta = zeta(0.25);
            [0.25, zeta, 0.25, 4.0 * zeta, 1.0 / zeta]
        }),
    ];
    for (compress, expected) in table {
        let Class { alpha, beta, gamma, delta, scale, .. } = compress.class(DIM).unwrap();
        for (found, expected) in [alpha, beta, gamma, delta, scale].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{}: {found} and not {expected}", compress.name());
        }
    }
}

#[test]
fn c2_some_vector_is_as_bad_as_the_table_says() {
    let table: [(&str, [f64; 4]); 3] = [
        ("top-k", [0.1875, 1.0, 0.1875, 0.8125]),
        ("natural", [1.0, 1.1249, 1.0, 0.1110]),
        ("exponential", [0.4444, 1.3333, 0.6667, 0.1111]),
    ];
    let (rows, vectors) = (rows(), vectors());
    for (name, expected) in table {
        let row = rows.iter().find(|row| row.compress.name() == name).unwrap();
        let scale = row.compress.class(DIM).unwrap().scale;
        let observed: Vec<Observed> = vectors.iter().map(|xs| Observed::of(&law(row, xs), xs, scale)).collect();
        let least = |of: fn(&Observed) -> f64| observed.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = |of: fn(&Observed) -> f64| observed.iter().map(of).fold(0.0, f64::max);
        let found = [least(|o| o.square), most(|o| o.square / o.product), least(|o| o.product), most(|o| o.error)];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-4 + 1e-9, "{name}: {found} and not {expected}");
        }
    }
}

#[test]
fn c2_control_without_its_scale_an_unbiased_compressor_is_no_contraction() {
    let rows = rows();
    for name in ["rand-k-unbiased", "natural"] {
        let row = rows.iter().find(|row| row.compress.name() == name).unwrap();
        let class = row.compress.class(DIM).unwrap();
        let worst = vectors().iter().map(|xs| Observed::of(&law(row, xs), xs, 1.0).error).fold(0.0, f64::max);
        assert!(worst > 1.0 - 1.0 / class.delta + 1e-3, "{name}: {worst}");
    }
}

/// Draws C(xs) often, and compares how often each number becomes what with a law. A frequency of 4000 draws is off by more than 0.05 with
/// probability below 2 exp(-20) = 4.2e-9 (Hoeffding): for 6 vectors of 16 numbers with two values in at most 25 rows below 2.1e-5 in all.
fn assert_drawn(compress: &dyn Compress, xs: &[f64], law: &[Vec<(f64, f64)>]) {
    let (draws, mut rng, name) = (4000, rng(77), compress.name());
    let mut counts: Vec<Vec<u32>> = law.iter().map(|law| vec![0; law.len()]).collect();
    for _ in 0..draws {
        for (i, c) in applied(compress, xs, Width::F64, &mut rng).into_iter().enumerate() {
            let is = |(value, _): &(f64, f64)| (c - value).abs() <= 1e-9 * value.abs();
            let place = law[i].iter().position(is);
            counts[i][place.unwrap_or_else(|| panic!("{name}: {c} and not {:?}", law[i]))] += 1;
        }
    }
    for (counts, law) in counts.iter().zip(law) {
        for (place, (value, _)) in law.iter().enumerate() {
            // Values that are the same are counted at the first.
            if law[..place].iter().any(|(other, _)| (other - value).abs() <= 1e-9 * value.abs()) {
                continue;
            }
            let same = law.iter().filter(|(other, _)| (other - value).abs() <= 1e-9 * value.abs());
            let expected: f64 = same.map(|(_, p)| p).sum();
            let found = f64::from(counts[place]) / f64::from(draws);
            assert!((found - expected).abs() < 0.05, "{name}: {value} in {found} of all draws and not {expected}");
        }
    }
}

#[test]
fn c2_random_compressors_draw_from_their_laws() {
    let vectors = vectors();
    for row in rows() {
        let Some(law) = &row.law else { continue };
        for place in [0, 1, 300, 601, 605, 606] {
            assert_drawn(row.compress.as_ref(), &vectors[place], &law(&vectors[place]));
        }
    }
}

#[test]
fn sets_drawn_from_a_seed_in_the_message_have_the_same_law() {
    let xs: Vec<f64> = (1..=70).map(f64::from).collect();
    let half: Law = Box::new(|xs| xs.iter().map(super::sent_with(0.5, 1.0)).collect());
    let (rand_k, sparse) = (RandK::biased(35).unwrap(), Sparsification::new(vec![0.5; 70]).unwrap());
    assert_eq!(rand_k.encode(&xs, Width::F32, &mut rng(0)).len(), 8 + 35 * 4);
    assert_drawn(&rand_k, &xs, &half(&xs));
    assert_drawn(&sparse, &xs, &half(&xs));
    let message = sparse.encode(&xs, Width::F32, &mut rng(0));
    assert_eq!((message.len() - 8) % 4, 0, "a seed, and whole numbers");
    for bad in [&message[..message.len() - 1], &message[..7], &[&message[..], &[0]].concat()] {
        assert!(sparse.decode(bad, 70, Width::F32).is_err());
    }
    // For another count of numbers it writes what nobody reads.
    let other = sparse.encode(&xs[1..], Width::F32, &mut rng(0));
    assert!(sparse.decode(&other, 69, Width::F32).is_err() && sparse.class(69).is_none());
}

#[test]
fn c2_rounding_to_any_levels() {
    let mut draw = rng(9);
    let quotients = (0..40).map(|_| draw.random_range(1.05..3.0)).collect::<Vec<f64>>();
    let levels: Vec<f64> = quotients
        .iter()
        .scan(1e-3, |level, q| {
            *level *= q;
            Some(*level)
        })
        .collect();
    let [first, .., last] = levels[..] else { panic!("forty levels") };
    let xs: Vec<f64> =
        rng(10).sample_iter(StandardNormal).take(200_000).map(|x: f64| (9.0 * x).exp().clamp(first, last)).collect();
    for rounding in [Rounding::Unbiased, Rounding::Nearest] {
        let compress = GeneralRounding::new(levels.clone(), rounding).unwrap();
        let (class, read) = (compress.class_between_levels(), applied(&compress, &xs, Width::F64, &mut rng(11)));
        for (x, c) in xs.iter().zip(read) {
            let above = levels.iter().position(|level| level > x).unwrap_or(39);
            let law = between(levels[above - 1], levels[above], *x);
            let possible = law.iter().any(|(value, p)| c == *value && *p > 0.0);
            assert!(possible, "{x} to {c} and not one of {law:?}");
            let law = if rounding == Rounding::Unbiased { law } else { vec![(c, 1.0)] };
            Observed::of(&[law], &[*x], class.scale).assert_in(&class, compress.name());
        }
    }
    let nearest = GeneralRounding::new(vec![1.0, 3.0], Rounding::Nearest).unwrap();
    let read = applied(&nearest, &[0.4, 0.6, -1.9, 2.0, 2.1, -9.0, 0.0], Width::F64, &mut rng(0));
    assert_eq!(read, [0.0, 1.0, -1.0, 1.0, 3.0, -3.0, 0.0]);
}
