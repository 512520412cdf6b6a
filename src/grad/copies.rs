//! Several rows for each example: their mean gradient as the gradient of the example.
//!
//! A batch of `n k` rows, `k` of them for each example one after another, leaves records whose examples are rows. With every
//! cotangent times `1 / k`, the gradient of an example is the sum over its rows, and rows are one more axis of positions: a
//! layer with inputs at T positions has them at k T, and the usual rule applies. Only convolutions whose patches are read out of
//! whole images, and bags of tokens, have no place for a second row; there every row's gradient is formed, few at a time, and
//! added up.

use super::weight::{norms_of_rows, sum_of_rows};
use super::{Bias, Rule, Scale};
use candle_core::{Result, Tensor};

/// Elements of the gradients of rows that are formed at a time: 16 MiB in f32.
const FORMED: usize = 1 << 22;

/// What `k` rows for each example leave on the tape where rows are no positions. Cotangents are `(batch, k, ..)`.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    of: Box<Rule>,
    copies: usize,
    /// Elements of the parameter.
    size: usize,
}

/// The record of examples, each the mean of `copies` rows, out of the record of rows of a parameter of `size` elements.
pub(super) fn averaged(rule: Rule, cotangents: &Tensor, copies: usize, size: usize) -> Result<(Rule, Tensor)> {
    let shares = (cotangents.contiguous()? * (copies as f64).recip())?;
    let apart = |tensor: &Tensor| {
        let rest = tensor.dims()[1..].iter().copied();
        tensor.contiguous()?.reshape([tensor.dim(0)? / copies, copies].into_iter().chain(rest).collect::<Vec<_>>())
    };
    Ok(match rule {
        Rule::Weight(weight) => match weight.stacked(&shares, copies)? {
            Some((weight, cotangents)) => (Rule::Weight(weight), cotangents),
            None => (Copies::of(Rule::Weight(weight), copies, size), apart(&shares)?),
        },
        Rule::Table(table) => match table.stacked(&shares, copies)? {
            Some((table, cotangents)) => (Rule::Table(table), cotangents),
            None => (Copies::of(Rule::Table(table), copies, size), apart(&shares)?),
        },
        Rule::Bias(bias) => (Rule::Bias(Bias { axis: bias.axis + 1 }), apart(&shares)?),
        // What is added up at every row is a bias over rows.
        Rule::Scale(Scale::Summed) => (Rule::Bias(Bias { axis: 2 }), apart(&shares)?),
        Rule::Scale(Scale::Factors { factors, axis }) => {
            (Rule::Scale(Scale::Factors { factors: apart(&factors)?, axis: axis + 1 }), apart(&shares)?)
        }
        Rule::Copies(inner) => (Copies::of(Rule::Copies(inner), copies, size), apart(&shares)?),
    })
}

impl Copies {
    fn of(rule: Rule, copies: usize, size: usize) -> Rule {
        Rule::Copies(Self { of: Box::new(rule), copies, size })
    }

    /// Elements that measuring an example leaves behind.
    pub(super) fn kept(&self) -> usize {
        self.size
    }

    /// Upper bounds on the gradient norms, those of the very values that are summed, and the gradients `(batch, size)`.
    pub(super) fn measure(&self, cotangents: &Tensor) -> Result<(Vec<f64>, Option<Tensor>)> {
        let gradients = self.instantiate(cotangents)?;
        Ok((norms_of_rows(&gradients)?, Some(gradients)))
    }

    /// Every example's gradient, `(batch, size)`.
    pub(super) fn instantiate(&self, cotangents: &Tensor) -> Result<Tensor> {
        let (batch, over_rows) = (cotangents.dim(0)?, Bias { axis: 2 });
        let together = FORMED.checked_div(self.copies * self.size).unwrap_or(batch).max(1);
        let mut gradients = Vec::with_capacity(batch.div_ceil(together));
        for first in (0..batch).step_by(together) {
            let count = together.min(batch - first);
            let rule = self.of.narrow(first * self.copies, count * self.copies)?;
            let rows = rule.instantiate(&cotangents.narrow(0, first, count)?.flatten(0, 1)?)?;
            gradients.push(over_rows.instantiate(&rows.reshape((count, self.copies, self.size))?)?);
        }
        Tensor::cat(&gradients, 0)
    }

    /// The sum of weight times gradient, in f64.
    pub(super) fn weighted_sum(&self, cotangents: &Tensor, weights: &[f64]) -> Result<Tensor> {
        sum_of_rows(&self.instantiate(cotangents)?, weights)
    }

    /// The sum of all gradients.
    pub(super) fn total(&self, cotangents: &Tensor) -> Result<Tensor> {
        self.of.total(&cotangents.flatten(0, 1)?)
    }

    /// The record of `count` examples from the `first` on.
    pub(super) fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        Ok(Self { of: Box::new(self.of.narrow(first * self.copies, count * self.copies)?), ..self.clone() })
    }

    /// The record with zeros in place of the examples whose `kept` `(batch)` is zero.
    pub(super) fn without(&self, kept: &Tensor) -> Result<Self> {
        let rows = kept.unsqueeze(1)?.repeat((1, self.copies))?.flatten_all()?;
        Ok(Self { of: Box::new(self.of.without(&rows)?), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn gradients_that_are_formed_in_several_turns_are_those_of_every_example() {
        // Two rows of 2^20 elements for each of five examples: two examples at a time. Row r is r + 1 everywhere.
        let (batch, copies, size) = (5, 2, 1 << 20);
        assert!(FORMED / (copies * size) == 2);
        let values =
            (0..batch * copies).flat_map(|row| std::iter::repeat_n(row as f32 + 1.0, size)).collect::<Vec<_>>();
        let g = Tensor::from_vec(values, (batch, copies, size), &Device::Cpu).unwrap();
        let rule = Copies::of(Rule::Bias(Bias { axis: 1 }), copies, size);
        let Rule::Copies(rule) = rule else { panic!("{rule:?}") };
        let (norms, gradients) = rule.measure(&g).unwrap();
        let firsts = |tensor: &Tensor| tensor.narrow(1, size - 1, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let gradients: Vec<f32> = firsts(&gradients.unwrap());
        assert_eq!(gradients, [3.0, 7.0, 11.0, 15.0, 19.0]);
        for (norm, value) in norms.iter().zip(gradients) {
            let truth = f64::from(value) * 1024.0;
            assert!(*norm >= truth && *norm <= truth * (1.0 + 1e-9), "{norm} and not {truth}");
        }
        let sum: Vec<f64> = rule.weighted_sum(&g, &[1.0, 0.0, 0.0, 0.0, 10.0]).unwrap().to_vec1().unwrap();
        assert!(sum.len() == size && sum.iter().all(|value| *value == 193.0));
        let some = rule.narrow(3, 2).unwrap().instantiate(&g.narrow(0, 3, 2).unwrap()).unwrap();
        assert_eq!(firsts(&some), [15.0, 19.0]);
    }

    #[test]
    fn rows_become_positions_of_every_rule_that_has_positions() {
        let tensor = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F64, &Device::Cpu).unwrap();
        let (rule, g) = averaged(Rule::Bias(Bias { axis: 1 }), &tensor(&[6, 4, 5]), 3, 4).unwrap();
        assert_eq!(g.dims(), [2, 3, 4, 5]);
        // Five positions of three rows at a third each.
        let gradients = rule.instantiate(&g).unwrap().to_vec2::<f64>().unwrap();
        assert!(gradients.iter().flatten().all(|value| (value - 5.0).abs() < 1e-12), "{gradients:?}");
        let factors = Rule::Scale(Scale::Factors { factors: (tensor(&[6, 4]) * 2.0).unwrap(), axis: 1 });
        for (rule, expected) in [(Rule::Scale(Scale::Summed), 1.0), (factors, 2.0)] {
            let (rule, g) = averaged(rule, &tensor(&[6, 4]), 3, 4).unwrap();
            let gradients = rule.instantiate(&g).unwrap().to_vec2::<f64>().unwrap();
            assert!(gradients.len() == 2 && gradients.iter().flatten().all(|value| (value - expected).abs() < 1e-12));
        }
    }
}
