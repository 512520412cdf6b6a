//! Datasets inside the program: a first model needs no file.

use super::reading::{Format, Header, Reading};
use super::source::Source;
use super::{Dataset, csv};
use crate::Result;

/// Whose work the embedded digits are and under which licence they come (CC BY 4.0); to be shown with the data.
pub const OPTDIGITS_NOTICE: &str = include_str!("optdigits/NOTICE.md");

const TRAIN: &[u8] = include_bytes!("optdigits/optdigits.tra.gz");
const TEST: &[u8] = include_bytes!("optdigits/optdigits.tes.gz");

/// Handwritten digits, 3,823 training and 1,797 test images of shape `[8, 8]` with values in `[0, 1]`, ten classes.
///
/// The split is the original one, by writer: 30 people wrote the training images and 13 others the test images. The
/// files do not say who wrote which image, so the unit of privacy is one image and not one writer; the notes say so.
/// See [`OPTDIGITS_NOTICE`] for the source, E. Alpaydin and C. Kaynak (1998).
///
/// # Errors
///
/// Never as long as the program itself is undamaged.
pub fn optdigits() -> Result<(Dataset, Dataset)> {
    let reading = Reading {
        format: Some(Format::Csv),
        header: Header::No,
        range: Some((0.0, 16.0)),
        classes: Some((0..10).map(|digit| digit.to_string()).collect()),
        shape: Some(vec![8, 8]),
        ..Reading::default()
    };
    let unit = || ["the unit of privacy is one image, not one writer: each writer wrote many of the images".to_owned()];
    let train = csv::read(Source::embedded("optdigits.tra.gz", TRAIN)?, &reading)?;
    let test = match train.schema().table() {
        Some(table) => csv::read_like(Source::embedded("optdigits.tes.gz", TEST)?, train.schema(), table)?,
        None => csv::read(Source::embedded("optdigits.tes.gz", TEST)?, &reading)?,
    };
    Ok((train.described("optdigits", unit()), test.described("optdigits-test", unit())))
}
