//! Notes: the sentences about a reading that a privacy statement must repeat.

use super::range::Scale;
use super::reading::Normalize;

/// A declared public range was used.
pub(super) fn scaled(what: &str, scale: Scale) -> String {
    format!(
        "{what} were scaled from the declared public range {scale} to 0..1, values outside it being clamped \
         (each value alone, so nothing about other records is used)"
    )
}

/// Values were used as they are.
pub(super) fn unscaled(what: &str) -> String {
    format!("{what} were used as they are: no public range was declared")
}

/// What was done to each record.
pub(super) fn normalized(normalize: Normalize) -> Option<String> {
    let note = "each record was scaled to Euclidean norm 1 (each record alone, so nothing about other records is used)";
    (normalize == Normalize::Record).then(|| note.to_owned())
}
