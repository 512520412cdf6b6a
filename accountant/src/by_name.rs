//! The accountants by name.

use crate::accountant::Accountant;
use crate::analytic::Analytic;
use crate::auto::Auto;
use crate::gdp::Gdp;
use crate::moments::Moments;
use crate::pld::Pld;
use crate::rdp::Rdp;
use crate::relation::Relation;

/// The names [`by_name`] knows.
///
/// `gdp` is among them although it bounds nothing: its `upper` is infinite, so that nobody can take it for a guarantee.
pub const NAMES: [&str; 6] = ["auto", "analytic", "moments", "pld", "rdp", "gdp"];

/// A name that is no accountant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("accountant {name:?}: allowed is one of {}", NAMES.join(", "))]
pub struct UnknownAccountant {
    /// What was asked for.
    pub name: String,
}

/// The accountant of this name, for this neighbouring relation.
///
/// # Errors
/// [`UnknownAccountant`], listing [`NAMES`].
pub fn by_name(name: &str, relation: Relation) -> Result<Box<dyn Accountant>, UnknownAccountant> {
    match name {
        "auto" => Ok(Box::new(Auto::new(relation))),
        "analytic" => Ok(Box::new(Analytic::new(relation))),
        "moments" => Ok(Box::new(Moments::new(relation))),
        "pld" => Ok(Box::new(Pld::new(relation))),
        "rdp" => Ok(Box::new(Rdp::new(relation))),
        "gdp" => Ok(Box::new(Gdp::new(relation))),
        _ => Err(UnknownAccountant { name: name.to_owned() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_the_accountant_that_bears_it() {
        for name in NAMES {
            for relation in Relation::ALL {
                let accountant = by_name(name, relation).unwrap();
                assert_eq!((accountant.name(), accountant.relation()), (name, relation));
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = by_name("magic", Relation::AddRemove).err().unwrap();
        assert_eq!(
            error.to_string(),
            r#"accountant "magic": allowed is one of auto, analytic, moments, pld, rdp, gdp"#
        );
    }
}
