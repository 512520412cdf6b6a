//! What a model is good for.

use crate::Result;
use crate::data::Dataset;
use crate::model::Classifier;
use crate::nn::{Layer, Parameters};
use crate::train::tensors;
use std::num::NonZeroUsize;

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
    let rows: Vec<usize> = (0..data.len()).collect();
    let mut right = 0;
    for rows in rows.chunks(physical_batch.get()) {
        let (xs, _) = tensors(data, rows, parameters)?;
        let predicted = model.predict(&xs)?;
        right += rows.iter().zip(predicted).filter(|(row, class)| data.labels()[**row] == *class).count();
    }
    Ok(right as f64 / data.len().max(1) as f64)
}
