//! One error type for the library.
//!
//! Every variant carries what a reader needs to act: the thing, the value it had, where the value came from, and what
//! is allowed. The command line prints the message as one line and turns the variant into an exit code.

use std::path::{Path, PathBuf};

/// A place in a file, printed as `path`, `path:line` or `path:line, column c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from one, where the format has lines.
    pub line: Option<u64>,
    /// The column, by name where there is one and otherwise by position counted from one.
    pub column: Option<String>,
}

impl Place {
    /// The whole file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_path_buf(), line: None, column: None }
    }

    /// A line of the file, counted from one.
    pub fn line(path: impl AsRef<Path>, line: u64) -> Self {
        Self { line: Some(line), ..Self::file(path) }
    }

    /// A column of a line of the file.
    pub fn cell(path: impl AsRef<Path>, line: u64, column: impl Into<String>) -> Self {
        Self { column: Some(column.into()), ..Self::line(path, line) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

/// What went wrong, with the value, where it came from and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content of a file is not what its format or its declared columns say.
    #[error("{place}: found {found}; expected {expected}")]
    Data {
        /// Where.
        place: Place,
        /// What stands there.
        found: String,
        /// What would be right, with the way out if a flag can change it.
        expected: String,
    },

    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb: `read`, `create`, `write`.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A value given by the user is outside its domain.
    #[error("{name} = {value}: allowed is {allowed}")]
    Value {
        /// The flag, field or argument.
        name: String,
        /// The value it had.
        value: String,
        /// What is allowed.
        allowed: String,
    },

    /// A parameter's gradient did not come through a per-example rule, so it cannot be clipped per example.
    #[error(
        "parameter {parameter} has no per-example gradient: {reason}; use a layer of dpsgd::nn for it, or take it out of the model"
    )]
    Uncovered {
        /// The parameter's name.
        parameter: String,
        /// What happened instead.
        reason: String,
    },

    /// Examples of a batch influence each other, so that clipping each gradient does not bound what a record can do.
    #[error(
        "the model lets the examples of a batch influence each other ({reason}); batch statistics have no private gradient: normalise within an example instead"
    )]
    NotIsolated {
        /// What the probe saw.
        reason: String,
    },

    /// A node of a distributed run could not go on.
    #[error("node {node}: {reason}; the run ends here, and goes on from its last checkpoint")]
    Node {
        /// Its number, from 0.
        node: usize,
        /// What happened.
        reason: String,
    },

    /// A model does not fit its data, or does not do what a model promises.
    #[error("model: {reason}")]
    Model {
        /// What is wrong.
        reason: String,
    },

    /// A clipping rule proposed a weight that would let an example exceed the bound it promises.
    #[error(
        "the clipping rule gives an example of gradient norm {norm} the weight {weight}, which exceeds its bound {bound}"
    )]
    LyingClip {
        /// The upper bound on the example's gradient norm.
        norm: f64,
        /// The proposed weight.
        weight: f64,
        /// The bound the rule promises.
        bound: f64,
    },

    /// Something that would break the privacy guarantee, or cannot be accounted for.
    #[error("refused: {reason}")]
    Refused {
        /// Why, and the way out.
        reason: String,
    },

    /// A finished run does not agree with itself.
    #[error("verification failed: {reason}")]
    Unverified {
        /// What disagrees with what.
        reason: String,
    },

    /// An event that the accountant refuses.
    #[error("refused: {0}")]
    Unaccountable(#[from] dp_accountant::Unaccountable),

    /// A privacy budget that no parameter meets.
    #[error("refused: {0}")]
    Uncalibrated(#[from] dp_accountant::Uncalibrated),

    /// A privacy parameter outside its domain.
    #[error(transparent)]
    OutOfDomain(#[from] dp_accountant::OutOfDomain),

    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A value outside its domain.
    pub fn value(name: impl Into<String>, value: impl ToString, allowed: impl Into<String>) -> Self {
        Self::Value { name: name.into(), value: value.to_string(), allowed: allowed.into() }
    }

    /// An input or output failure on `path`; use as `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// Whether the product refused for the sake of the guarantee, as opposed to bad input or a failing system.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Uncovered { .. }
                | Self::NotIsolated { .. }
                | Self::LyingClip { .. }
                | Self::Refused { .. }
                | Self::Unverified { .. }
                | Self::Unaccountable(_)
                | Self::Uncalibrated(_)
        )
    }

    /// A file whose content is not as it should be.
    pub fn data(place: Place, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Data { place, found: found.into(), expected: expected.into() }
    }
}
