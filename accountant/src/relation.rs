//! The neighbouring relation: which two data sets privacy must not tell apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which pairs of data sets count as neighbours.
///
/// The relation fixes by how much one unit can change a sum of vectors clipped to norm C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// One unit is added or taken away. Sum sensitivity C.
    #[default]
    AddRemove,
    /// One unit is exchanged for another; the number of units is public. Sum sensitivity 2C.
    Replace,
    /// One unit is exchanged for a null unit that contributes zero; the number of units is public. Sum sensitivity C.
    ZeroOut,
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 3] = [Self::AddRemove, Self::Replace, Self::ZeroOut];

    /// Sensitivity of a sum of clipped vectors, in clip norms: 1, 2, 1.
    #[must_use]
    pub fn sum_sensitivity(self) -> f64 {
        match self {
            Self::AddRemove | Self::ZeroOut => 1.0,
            Self::Replace => 2.0,
        }
    }

    /// The name used in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AddRemove => "add-remove",
            Self::Replace => "replace",
            Self::ZeroOut => "zero-out",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no neighbouring relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neighbouring relation {0:?}: allowed is add-remove, replace or zero-out")]
pub struct UnknownRelation(pub String);

impl FromStr for Relation {
    type Err = UnknownRelation;
    fn from_str(name: &str) -> Result<Self, UnknownRelation> {
        Self::ALL.into_iter().find(|relation| relation.name() == name).ok_or_else(|| UnknownRelation(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_its_relation() {
        for relation in Relation::ALL {
            assert_eq!(relation.to_string().parse(), Ok(relation));
        }
        assert_eq!("Replace".parse::<Relation>(), Err(UnknownRelation("Replace".to_owned())));
    }
}
