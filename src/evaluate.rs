//! What a model is good for.

use crate::data::{Dataset, Target};
use crate::grad::Tape;
use crate::model::{Classifier, mean_losses};
use crate::nn::{Layer, Parameters};
use crate::train::tensors;
use crate::{Error, Result};
use candle_core::{D, DType};
use std::num::NonZeroUsize;

/// How a model does on records: its loss, and for each class how many records are classified rightly. Not private with respect to
/// those records.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    records: usize,
    loss: f64,
    /// (records, of which right) for each class.
    classes: Vec<(usize, usize)>,
}

impl Evaluation {
    /// Asks the model about every record once, with `physical_batch` records in memory at a time.
    ///
    /// # Errors
    /// When the records do not fit the model.
    pub fn new<L: Layer>(
        model: &Classifier<L>,
        data: &Dataset,
        parameters: &Parameters,
        physical_batch: NonZeroUsize,
    ) -> Result<Self> {
        let rows: Vec<usize> = (0..data.len()).collect();
        let classified = data.form().target != Target::NextToken;
        let mut evaluation = Self { records: data.len(), loss: 0.0, classes: vec![(0, 0); data.classes().len()] };
        for rows in rows.chunks(physical_batch.get()) {
            let (xs, ys) = tensors(data, rows, parameters)?;
            let logits = model.logits(&xs)?;
            let losses = mean_losses(&logits, &ys, &Tape::off())?.to_dtype(DType::F64)?;
            evaluation.loss += losses.to_vec1::<f64>()?.iter().sum::<f64>();
            if classified {
                let predicted: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
                evaluation.count(rows.iter().map(|row| data.labels()[*row]).zip(predicted));
            }
        }
        Ok(evaluation)
    }

    fn count(&mut self, pairs: impl Iterator<Item = (u32, u32)>) {
        for (class, predicted) in pairs {
            let (records, right) = &mut self.classes[class as usize];
            *records += 1;
            *right += usize::from(class == predicted);
        }
    }

    /// How many records were asked about.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The share of records whose class the model predicts; none where records have no classes.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.classes.iter().map(|(_, right)| right).sum::<usize>() as f64;
        (!self.classes.is_empty()).then(|| right / self.records.max(1) as f64)
    }

    /// The mean softmax cross-entropy of the records in nats, for language models of a token; none without records, and none if it is
    /// not finite.
    pub fn loss(&self) -> Option<f64> {
        let mean = self.loss / self.records as f64;
        mean.is_finite().then_some(mean)
    }

    /// For language models: e to the power of the loss, the number of equally likely tokens that would be as hard to foretell.
    pub fn perplexity(&self) -> Option<f64> {
        self.loss().filter(|_| self.classes.is_empty()).map(f64::exp).filter(|perplexity| perplexity.is_finite())
    }

    /// For each class the number of its records, and of those that are classified rightly.
    pub fn classes(&self) -> &[(usize, usize)] {
        &self.classes
    }
}

/// The share of records whose class the model predicts, with `physical_batch` records in memory at a time. Not private with
/// respect to those records.
///
/// # Errors
/// When the records do not fit the model.
pub fn accuracy<L: Layer>(
    model: &Classifier<L>,
    data: &Dataset,
    parameters: &Parameters,
    physical_batch: NonZeroUsize,
) -> Result<f64> {
    let evaluation = Evaluation::new(model, data, parameters, physical_batch)?;
    evaluation.accuracy().ok_or_else(|| Error::value("accuracy", "of records without classes", "records with classes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;
    use crate::seed::Key;
    use candle_core::{Device, Tensor};

    #[test]
    fn loss_and_classes_are_those_of_the_logits() {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        let features = vec![1.0, 0.0, 0.0, 1.0, 2.0, 0.0];
        let classes = vec!["no".to_string(), "yes".to_string()];
        let data = Dataset::from_dense("three", &[2], features, classes, vec![0, 1, 1]).unwrap();
        let model = Architecture::Logistic.build(&[2], 2, parameters.var_builder()).unwrap();
        for (name, var) in parameters.iter() {
            // The logit of a class is 3 times its feature: (3, 0), (0, 3), (6, 0), and no bias.
            let values = if name.ends_with("weight") { vec![3.0_f32, 0.0, 0.0, 3.0] } else { vec![0.0; 2] };
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
        let of = |physical| Evaluation::new(&model, &data, &parameters, NonZeroUsize::new(physical).unwrap()).unwrap();
        let evaluation = of(256);
        assert_eq!(evaluation.classes(), [(1, 1), (2, 1)]);
        assert_eq!((evaluation.records(), evaluation.accuracy()), (3, Some(2.0 / 3.0)));
        // ln(1 + e^-3), twice, and ln(1 + e^6).
        let golden = (2.0 * (-3.0_f64).exp().ln_1p() + 6.0_f64.exp().ln_1p()) / 3.0;
        assert!((evaluation.loss().unwrap() - golden).abs() < 1e-6, "{:?} {golden}", evaluation.loss());
        assert_eq!(of(2).classes(), evaluation.classes());
    }
}
