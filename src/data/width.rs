//! How many values a record may have.

use crate::{Error, Result};

/// The most values one record may have: a dense batch must stay possible, so a stray index of four thousand million in a
/// file is refused where it stands and not when memory runs out.
pub(super) const MAX_WIDTH: usize = 1 << 27;

/// The product of a shape, refused where it is over [`MAX_WIDTH`]. Zero comes back as zero.
pub(super) fn product(shape: &[usize]) -> Result<usize> {
    let product = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    match product {
        Some(width) if width <= MAX_WIDTH && !shape.is_empty() => Ok(width),
        _ => Err(Error::value("shape", format!("{shape:?}"), format!("one to {MAX_WIDTH} values in all"))),
    }
}
