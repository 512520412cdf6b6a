use super::*;

fn numbers(count: usize, step: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * step + 5) % 101) as f64 / 50.0 - 1.0).collect()
}

/// A problem of its own memory.
struct Problem {
    attention: Attention,
    batch: usize,
    operands: [Vec<f64>; 3],
    padding: Option<Vec<u8>>,
    cotangents: Vec<f64>,
}

impl Problem {
    fn new(attention: Attention, batch: usize, padding: Option<Vec<u8>>) -> Self {
        let Attention { heads, dim, queries, keys, .. } = attention;
        let size = |length| batch * length * heads * dim;
        let operands = [numbers(size(queries), 37), numbers(size(keys), 29), numbers(size(keys), 23)];
        Self { attention, batch, operands, padding, cotangents: numbers(size(queries), 17) }
    }

    /// Outputs and the cotangents of queries, keys and values.
    fn run<T: Real>(&self) -> [Vec<T>; 4] {
        let narrow = |values: &[f64]| values.iter().map(|x| T::from_f64(*x)).collect::<Vec<T>>();
        let ([q, k, v], g) = (self.operands.each_ref().map(|values| narrow(values)), narrow(&self.cotangents));
        let operands = Operands { q: &q, k: &k, v: &v, padding: self.padding.as_deref() };
        let [dq, dk, dv] = self.attention.backward(operands, &g);
        [self.attention.forward(operands), dq, dk, dv]
    }

    /// The same by loops over single elements.
    fn naive(&self) -> [Vec<f64>; 4] {
        let Attention { heads, dim, queries, keys, causal } = self.attention;
        let [q, k, v] = &self.operands;
        let g = &self.cotangents;
        let (width, scale) = (heads * dim, 1.0 / (dim as f64).sqrt());
        let [mut ys, mut dq, mut dk, mut dv] = [q, q, k, v].map(|like| vec![0.0; like.len()]);
        for (example, head) in (0..self.batch).flat_map(|example| (0..heads).map(move |head| (example, head))) {
            let at = |length: usize, row: usize, i: usize| (example * length + row) * width + head * dim + i;
            for row in 0..queries {
                let looks = |key: usize| {
                    let padded = self.padding.as_ref().is_some_and(|padding| padding[example * keys + key] != 0);
                    !(padded || causal && key > row)
                };
                let dot = |a: &[f64], b: &[f64], key: usize| {
                    (0..dim).map(|i| a[at(queries, row, i)] * b[at(keys, key, i)]).sum::<f64>()
                };
                let seen: Vec<usize> = (0..keys).filter(|key| looks(*key)).collect();
                let logits: Vec<f64> = seen.iter().map(|key| dot(q, k, *key) * scale).collect();
                let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
                let p: Vec<f64> = logits.iter().map(|x| (x - max).exp() / sum).collect();
                let mean: f64 = seen.iter().zip(&p).map(|(key, p)| p * dot(g, v, *key)).sum();
                for (key, p) in seen.iter().zip(p) {
                    let ds = p * (dot(g, v, *key) - mean) * scale;
                    for i in 0..dim {
                        ys[at(queries, row, i)] += p * v[at(keys, *key, i)];
                        dv[at(keys, *key, i)] += p * g[at(queries, row, i)];
                        dq[at(queries, row, i)] += ds * k[at(keys, *key, i)];
                        dk[at(keys, *key, i)] += ds * q[at(queries, row, i)];
                    }
                }
            }
        }
        [ys, dq, dk, dv]
    }
}

/// Shapes with less and more than a block of queries, and with and without whole lanes; padding with whole rows of it.
fn problems() -> Vec<Problem> {
    let mut problems = Vec::new();
    for (batch, heads, dim, queries, keys) in
        [(3, 2, 5, 7, 7), (2, 1, 16, 1, 1), (2, 3, 7, 70, 33), (1, 2, 4, 130, 150), (2, 1, 3, 5, 1), (2, 2, 3, 0, 4)]
    {
        for causal in [false, true] {
            let attention = Attention { heads, dim, queries, keys, causal };
            let some = (0..batch * keys).map(|i| u8::from(i % 3 == 0 || i < keys / 2)).collect();
            for padding in [None, Some(some), Some(vec![1; batch * keys])] {
                problems.push(Problem::new(attention, batch, padding));
            }
        }
    }
    problems
}

#[test]
fn outputs_and_cotangents_equal_loops_over_single_elements() {
    for problem in problems() {
        let (naive, wide, single) = (problem.naive(), problem.run::<f64>(), problem.run::<f32>());
        for (which, naive) in naive.iter().enumerate() {
            assert_eq!(naive.len(), wide[which].len());
            for (i, naive) in naive.iter().enumerate() {
                let (wide, single) = (wide[which][i], f64::from(single[which][i]));
                let what = format!("{which} of {:?} at {i}", problem.attention);
                assert!((wide - naive).abs() < 1e-12, "{what}: {wide} and not {naive}");
                assert!((single - naive).abs() < 2e-5, "{what}: {single} and not {naive}");
            }
        }
    }
}

#[test]
fn a_query_that_sees_no_key_gives_zeros_and_no_gradient() {
    let attention = Attention { heads: 2, dim: 3, queries: 4, keys: 4, causal: true };
    // The second example's first query sees its first key alone, which is padding.
    let problem = Problem::new(attention, 3, Some(vec![0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]));
    let [ys, dq, dk, dv] = problem.run::<f32>();
    for zeros in [&ys[24..30], &dq[24..30], &dk[24..30], &dv[24..30]] {
        assert_eq!(zeros, [0.0; 6]);
    }
    for zeros in [&ys[48..], &dq[48..], &dk[48..], &dv[48..]] {
        assert_eq!(zeros, [0.0; 24]);
    }
    assert!(ys[30..48].iter().all(|y| *y != 0.0));
}

#[test]
fn large_logits_do_not_overflow() {
    let attention = Attention { heads: 1, dim: 1, queries: 2, keys: 20, causal: false };
    let mut problem = Problem::new(attention, 1, None);
    problem.operands[0] = vec![1e4, -1e4];
    problem.operands[1] = (0..20).map(f64::from).collect();
    let [ys, dq, dk, dv] = problem.run::<f32>();
    let v = &problem.operands[2];
    assert_eq!(ys, [v[19] as f32, v[0] as f32], "the largest logit takes all");
    assert!(dq.iter().chain(&dk).chain(&dv).all(|g| g.is_finite()));
}

#[test]
fn a_nan_stays_in_its_example_and_is_not_lost() {
    let attention = Attention { heads: 2, dim: 3, queries: 5, keys: 5, causal: true };
    let mut problem = Problem::new(attention, 2, None);
    problem.operands[0][0] = f64::NAN;
    let [ys, dq, dk, dv] = problem.run::<f32>();
    for all in [&ys, &dq, &dk, &dv] {
        let (first, second) = all.split_at(30);
        assert!(first[..3].iter().any(|x| x.is_nan()) && second.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for problem in problems() {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| problem.run::<f32>())
        };
        assert_eq!(with(1), with(3), "{:?}", problem.attention);
    }
}
