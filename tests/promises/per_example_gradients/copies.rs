//! Law 3 for means over several rows of an example: every layer rule equals autograd's gradient of the mean loss of the rows,
//! one example at a time.

use super::{Row, SquaredLength, assert_close, engines, flat, numbers, records, rows, squared_length};
use candle_core::{DType, Device, Tensor, Var};
use dpsgd::grad::{Engine, PerExample, Recorded, Weights, one_example_at_a_time};
use dpsgd::nn::Parameters;
use dpsgd::seed::Key;
use std::num::NonZeroUsize;

const EXAMPLES: usize = 4;

fn check(row: &Row, dtype: DType, copies: usize) {
    let parameters = Parameters::new(Key::from_seed(3), dtype, &Device::Cpu);
    let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
    let (names, variables): (Vec<String>, Vec<Var>) = parameters.iter().unzip();
    let var = |name: &str| {
        let j = names.iter().position(|known| known == name)?;
        Some(variables[j].as_tensor().clone())
    };
    let xs = records(EXAMPLES * copies, row.shape, dtype, true);
    let ys = Tensor::zeros(EXAMPLES * copies, DType::U32, &Device::Cpu).unwrap();
    let apart: Vec<usize> = [EXAMPLES, copies].iter().chain(row.shape).copied().collect();
    let naive = one_example_at_a_time(&variables, &xs.reshape(apart).unwrap(), &xs, |x, _| {
        let rows = x.squeeze(0)?;
        let loss = |k: usize| squared_length(&(row.oracle)(&var, &rows.narrow(0, k, 1)?)?);
        let losses = (0..copies).map(loss).collect::<candle_core::Result<Vec<_>>>()?;
        Tensor::cat(&losses, 0)?.mean(0)
    });
    let naive = || naive.as_ref().unwrap().clone();
    let (groups, tolerance) = (vec![0; names.len()], if dtype == DType::F64 { 1e-10 } else { 2e-5 });
    let mut values = numbers(EXAMPLES, 5);
    values[1] = 0.0;
    let weights = Weights::flat(values, names.len());
    let truth = naive().norms(&groups).unwrap();
    let sum = flat(&naive().weighted_sum(&weights).unwrap());
    let total = flat(&naive().total().unwrap());
    for engine in engines() {
        let what = format!("{} in {dtype:?}, {copies} copies, {engine:?}", row.name);
        let averaged = |engine| {
            let recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).expect(&what);
            recorded.averaged(NonZeroUsize::new(copies).unwrap()).expect(&what)
        };
        let mut mean = averaged(engine);
        let norms = mean.norms(&groups).unwrap();
        assert_eq!((mean.batch(), norms.rows().count()), (EXAMPLES, EXAMPLES), "{what}");
        for (i, (bound, truth)) in norms.rows().flatten().zip(truth.rows().flatten()).enumerate() {
            let (lowest, highest) = (truth * (1.0 - 30.0 * tolerance), truth * (1.0 + 100.0 * tolerance));
            assert!(*bound >= lowest && *bound <= highest, "{what}: norm {bound} of {truth}");
            let mut one = vec![0.0; EXAMPLES];
            one[i] = 1.0;
            let mut mean = averaged(engine);
            mean.norms(&groups).unwrap();
            let added = flat(&mean.weighted_sum(&Weights::flat(one, names.len())).unwrap());
            let norm = added.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(norm <= *bound, "{what}: example {i} adds {norm} and is bounded by {bound}");
        }
        assert_close(&flat(&mean.weighted_sum(&weights).unwrap()), &sum, tolerance, &what);
        assert_close(&flat(&averaged(engine).weighted_sum(&weights).unwrap()), &sum, tolerance, &what);
        assert_close(&flat(&averaged(engine).total().unwrap()), &total, tolerance, &what);
        // Three at a time, so that one is alone.
        let parts = averaged(Engine { together: NonZeroUsize::new(3), ..engine }).parts().unwrap();
        let sizes: Vec<usize> = parts.iter().map(PerExample::batch).collect();
        assert_eq!(sizes, [3, 1], "{what}");
        let (mut first, mut added) = (0, vec![0.0; sum.len()]);
        for mut part in parts {
            let some = Weights::flat(weights.of_parameter(0)[first..][..part.batch()].to_vec(), names.len());
            first += part.batch();
            part.norms(&groups).unwrap();
            let part = flat(&part.weighted_sum(&some).unwrap());
            added.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        assert_close(&added, &sum, tolerance, &what);
    }
}

#[test]
fn every_rule_has_the_mean_over_the_rows_of_an_example() {
    for row in rows() {
        for dtype in [DType::F32, DType::F64] {
            for copies in [1, 2, 3] {
                check(&row, dtype, copies);
            }
        }
    }
}

#[test]
fn a_row_that_is_not_finite_takes_its_example_with_it_and_no_other() {
    for row in rows() {
        let parameters = Parameters::new(Key::from_seed(3), DType::F32, &Device::Cpu);
        let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
        let good = records(5, row.shape, DType::F32, true);
        let bad = (records(1, row.shape, DType::F32, true) * f64::NAN).unwrap();
        let xs = Tensor::cat(&[&bad, &good], 0).unwrap();
        let ys = Tensor::zeros(6, DType::U32, &Device::Cpu).unwrap();
        for engine in engines() {
            let recorded = Recorded::new(&model, &parameters, &xs, &ys, engine).unwrap();
            let mut mean = recorded.averaged(NonZeroUsize::new(2).unwrap()).unwrap();
            let norms = mean.norms(&vec![0; parameters.len()]).unwrap();
            let finite: Vec<bool> = norms.rows().map(|row| row[0].is_finite()).collect();
            assert_eq!(finite, [false, true, true], "{} {engine:?}", row.name);
            let sum = mean.weighted_sum(&Weights::flat(vec![0.0, 1.0, 1.0], parameters.len())).unwrap();
            assert!(flat(&sum).iter().all(|x| x.is_finite()), "{} {engine:?}", row.name);
        }
    }
}

#[test]
fn rows_that_are_not_whole_examples_or_were_measured_are_refused() {
    let row = rows().remove(0);
    let parameters = Parameters::new(Key::from_seed(3), DType::F32, &Device::Cpu);
    let model = SquaredLength((row.build)(parameters.var_builder()).unwrap());
    let (xs, ys) = (records(4, row.shape, DType::F32, true), Tensor::zeros(4, DType::U32, &Device::Cpu).unwrap());
    let recorded = || Recorded::new(&model, &parameters, &xs, &ys, Engine::default()).unwrap();
    let three = recorded().averaged(NonZeroUsize::new(3).unwrap()).unwrap_err().to_string();
    assert!(three.contains("4 rows") && three.contains("3 for each"), "{three}");
    let mut measured = recorded();
    measured.norms(&vec![0; parameters.len()]).unwrap();
    let late = measured.averaged(NonZeroUsize::new(2).unwrap()).unwrap_err().to_string();
    assert!(late.contains("average first"), "{late}");
}
