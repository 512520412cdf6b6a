//! The clipping rules of a plan, by name.

use super::{Adaptive, Automatic, Clip, ClipNorm, Flat, PerGroup, Psac, Stabiliser};
use serde::{Deserialize, Serialize};

/// How per-example gradients are brought below the clip norm C.
///
/// The cost does not depend on it. Every rule keeps the bound C on the norm with which one example enters the sum, as
/// [`super::ClippedSum`] checks: adding or removing a record moves the sum by at most C and replacing one by at most 2C,
/// whatever the weights below the bound are. Noise is a multiple of C, its deviation z C in a step of independent noise, so
/// the event is the same for all rules but one: adaptive clipping releases a count too, and splits the noise between sum and
/// count so that both together cost what the sum alone would ([`Adaptive`]). What rules change is where training goes: each
/// has a bias of its own.
///
/// As JSON: `"flat"`, `"per-layer"`, `"per-parameter"`, `{"automatic":{"gamma":0.01}}`, `"normalised"`, `{"psac":{"r":0.1}}`,
/// `{"adaptive":{"quantile":0.5,"rate":0.2,"count_noise":10.0}}`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClipRule {
    /// [`Flat`]: `min(1, C / norm)`.
    #[default]
    Flat,
    /// [`PerGroup::layers`]: each layer flat, at C / sqrt(layers).
    PerLayer,
    /// [`PerGroup::parameters`]: each parameter flat, at C / sqrt(parameters).
    PerParameter,
    /// [`Automatic::new`]: `C / (norm + gamma)`.
    Automatic {
        /// Gradients much shorter than this stay in proportion.
        gamma: Stabiliser,
    },
    /// [`Automatic::normalised`]: `C / norm`.
    Normalised,
    /// [`Psac`]: `C / (norm + r / (norm + r))`.
    Psac {
        /// Below 1 the largest weight is that of gradients of norm sqrt(r) - r, from 1 on that of norm 0.
        r: Stabiliser,
    },
    /// [`Flat`] at a clip norm that follows a quantile of the norms: [`Adaptive`].
    Adaptive(Adaptive),
}

impl ClipRule {
    /// Every rule, with the constants its authors propose.
    pub const ALL: [Self; 7] = [
        Self::Flat,
        Self::PerLayer,
        Self::PerParameter,
        Self::Automatic { gamma: Stabiliser::GAMMA },
        Self::Normalised,
        Self::Psac { r: Stabiliser::R },
        Self::Adaptive(Adaptive::MEDIAN),
    ];

    /// The name, as on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::PerLayer => "per-layer",
            Self::PerParameter => "per-parameter",
            Self::Automatic { .. } => "automatic",
            Self::Normalised => "normalised",
            Self::Psac { .. } => "psac",
            Self::Adaptive(_) => "adaptive",
        }
    }

    /// The name and the formula in one line, for a statement.
    pub fn description(&self) -> String {
        let name = self.name();
        match self {
            Self::Flat => format!("{name}: weight min(1, C / norm)"),
            Self::PerLayer => format!("{name}: each of K layers at C / sqrt(K)"),
            Self::PerParameter => format!("{name}: each of K parameters at C / sqrt(K)"),
            Self::Automatic { gamma } => format!("{name}: weight C / (norm + {})", gamma.get()),
            Self::Normalised => format!("{name}: weight C / norm"),
            Self::Psac { r } => format!("{name}: weight C / (norm + {0} / (norm + {0}))", r.get()),
            Self::Adaptive(rule) => format!(
                "{name}: weight min(1, C / norm), C follows the {}-quantile of norms at the rate {} with count noise {}",
                rule.quantile(),
                rule.rate(),
                rule.count_noise()
            ),
        }
    }

    /// The adaptive rule, if it is that one.
    pub fn adaptive(&self) -> Option<Adaptive> {
        match self {
            Self::Adaptive(rule) => Some(*rule),
            _ => None,
        }
    }

    /// The rule at `clip_norm` for a model with the trained parameters `names`.
    pub fn build(&self, clip_norm: ClipNorm, names: &[String]) -> Box<dyn Clip> {
        match *self {
            Self::Flat | Self::Adaptive(_) => Box::new(Flat::new(clip_norm)),
            Self::PerLayer => Box::new(PerGroup::layers(clip_norm, names)),
            Self::PerParameter => Box::new(PerGroup::parameters(clip_norm, names)),
            Self::Automatic { gamma } => Box::new(Automatic::new(clip_norm, gamma)),
            Self::Normalised => Box::new(Automatic::normalised(clip_norm)),
            Self::Psac { r } => Box::new(Psac::new(clip_norm, r)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_by_name_and_read_back() {
        let written: Vec<String> = ClipRule::ALL.iter().map(|rule| serde_json::to_string(rule).unwrap()).collect();
        assert_eq!(
            written,
            [
                r#""flat""#,
                r#""per-layer""#,
                r#""per-parameter""#,
                r#"{"automatic":{"gamma":0.01}}"#,
                r#""normalised""#,
                r#"{"psac":{"r":0.1}}"#,
                r#"{"adaptive":{"quantile":0.5,"rate":0.2,"count_noise":10.0}}"#
            ]
        );
        for (rule, text) in ClipRule::ALL.iter().zip(&written) {
            assert_eq!(serde_json::from_str::<ClipRule>(text).unwrap(), *rule);
            assert!(text.contains(rule.name()) && rule.description().starts_with(rule.name()));
        }
    }

    #[test]
    fn rules_with_wrong_values_are_not_read() {
        for (text, words) in [
            (r#"{"automatic":{"gamma":0.0}}"#, "gamma or r of the clipping rule = 0"),
            (r#"{"automatic":{"gamma":-1.0}}"#, "above 0"),
            (r#"{"automatic":{"gamma":1e300}}"#, "finite number above 0"),
            (r#"{"automatic":{}}"#, "gamma"),
            (r#"{"automatic":{"gamma":0.1,"r":0.1}}"#, "unknown field `r`"),
            (r#"{"psac":{"r":0.0}}"#, "above 0"),
            (r#"{"psac":{"gamma":0.1}}"#, "unknown field `gamma`"),
            (r#"{"adaptive":{"quantile":1.5,"rate":0.2,"count_noise":5.0}}"#, "clipping quantile = 1.5"),
            (r#"{"adaptive":{"quantile":0.5,"rate":0.2,"count_noise":0.0}}"#, "clipping count noise = 0"),
            (r#"{"adaptive":{"quantile":0.5,"rate":0.2}}"#, "count_noise"),
            (r#"{"adaptive":{"quantile":0.5,"rate":0.2,"count_noise":5.0,"r":1.0}}"#, "unknown field `r`"),
            (r#""psac""#, "struct variant"),
            (r#""round""#, "unknown variant `round`"),
        ] {
            let error = serde_json::from_str::<ClipRule>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-21, 1e21] {
            let error = Stabiliser::new("--clipping-r", value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--clipping-r = {value}: allowed is ")), "{error}");
        }
    }
}
