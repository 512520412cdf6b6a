//! Flat clipping of groups of parameters, each at a norm of its own.
//!
//! Group k of an example's gradient has the weight `min(1, C_k / norm_k)` (McMahan et al. 2018, "Learning differentially private
//! recurrent language models", per-layer clipping). One group cannot take the whole of the clip norm from the others.
//!
//! Guarantee: the groups are orthogonal, so an example enters with at most the norm C of `C^2 = sum C_k^2`. For given C the cost
//! is that of flat clipping at C.

use super::{Clip, ClipNorm, flat};
use crate::grad::Norms;
use crate::nn::under;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Weight `min(1, C_k / norm_k)` for group k of an example's gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct PerGroup {
    /// The group of each parameter.
    groups: BTreeMap<String, usize>,
    /// One for each group, at least one.
    bounds: Vec<f64>,
}

impl PerGroup {
    /// A group for each layer of `names`, each with the clip norm C / sqrt(number of layers). A layer is what shares a name up to
    /// its last dot: `block.attention.weight` and `block.attention.bias` are one.
    pub fn layers(clip_norm: ClipNorm, names: &[String]) -> Self {
        Self::alike(clip_norm, names, |name| name.rsplit_once('.').map_or("", |(layer, _)| layer))
    }

    /// A group for each parameter of `names`, each with the clip norm C / sqrt(number of parameters).
    pub fn parameters(clip_norm: ClipNorm, names: &[String]) -> Self {
        Self::alike(clip_norm, names, |name| name)
    }

    /// The groups that `groups` lists: a path, as in `encoder` for `encoder.weight` and `encoder.norm.bias`, and the clip norm of
    /// what it leads to; the empty path leads everywhere. Where several lead to a parameter, the longest has it. C is the root of
    /// the sum of squares of these clip norms.
    ///
    /// # Errors
    /// When no path leads to one of `names`, when a path has no parameter of its own, or when it is listed twice.
    pub fn new(names: &[String], groups: &[(&str, ClipNorm)]) -> Result<Self> {
        let paths = || groups.iter().map(|(path, _)| format!("`{path}`")).collect::<Vec<_>>().join(", ");
        let mut members = BTreeMap::new();
        for name in names {
            let leading = groups.iter().enumerate().filter(|(_, (path, _))| under(path, name));
            let Some((group, _)) = leading.max_by_key(|(_, (path, _))| path.len()) else {
                let allowed = format!("a name under one of the groups {}", paths());
                return Err(Error::value("parameter in no clipping group", name, allowed));
            };
            members.insert(name.clone(), group);
        }
        // Also where a path is listed twice: the later one has the parameters of both.
        for (group, (path, _)) in groups.iter().enumerate() {
            if !members.values().any(|of| *of == group) {
                let allowed = "a path to a parameter that no other group has; the parameters are ";
                return Err(Error::value(
                    "clipping group",
                    format!("`{path}`"),
                    allowed.to_string() + &names.join(", "),
                ));
            }
        }
        if groups.is_empty() {
            return Err(Error::value("clipping groups", "none", "at least one"));
        }
        Ok(Self { groups: members, bounds: groups.iter().map(|(_, clip_norm)| clip_norm.get()).collect() })
    }

    /// Groups of one key each, in the order in which their keys appear, with equal clip norms.
    fn alike<'a>(clip_norm: ClipNorm, names: &'a [String], key: impl Fn(&'a str) -> &'a str) -> Self {
        let (mut keys, mut groups) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            let next = keys.len();
            groups.insert(name.clone(), *keys.entry(key(name)).or_insert(next));
        }
        // Where there are no parameters, a sum has one group all the same.
        let count = keys.len().max(1);
        Self { groups, bounds: vec![share(clip_norm.get(), count); count] }
    }
}

/// `c / sqrt(count)`, rounded down such that the root of `count` squares does not exceed `c`.
fn share(c: f64, count: usize) -> f64 {
    if count == 1 {
        return c;
    }
    // Root, quotient and product are each off by half an epsilon at most, together by less than the two epsilons taken off.
    c / (count as f64).sqrt() * (1.0 - 2.0 * f64::EPSILON)
}

impl Clip for PerGroup {
    /// A parameter that the rule was not made for has no group, and the sum is refused.
    fn groups(&self, parameters: &[String]) -> Vec<usize> {
        parameters.iter().filter_map(|name| self.groups.get(name).copied()).collect()
    }

    fn bounds(&self) -> Vec<f64> {
        self.bounds.clone()
    }

    fn weights(&self, norms: &Norms) -> Vec<f64> {
        norms.rows().flat_map(|row| row.iter().zip(&self.bounds)).map(|(norm, c)| flat::weight(*c, *norm)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["a.bias", "a.norm.weight", "a.weight", "b.weight", "scale"].map(String::from).to_vec()
    }

    fn norm(c: f64) -> ClipNorm {
        ClipNorm::new(c).unwrap()
    }

    #[test]
    fn a_layer_is_a_name_up_to_its_last_dot() {
        let layers = PerGroup::layers(norm(2.0), &names());
        assert_eq!(layers.groups(&names()), [0, 1, 0, 2, 3]);
        assert_eq!(layers.bounds(), [1.0 - 2.0 * f64::EPSILON; 4]);
        assert_eq!(PerGroup::parameters(norm(2.0), &names()).groups(&names()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn one_layer_is_clipped_as_flat_clipping_does() {
        let names: Vec<String> = ["linear.bias", "linear.weight"].map(String::from).to_vec();
        let layers = PerGroup::layers(norm(0.3), &names);
        assert_eq!((layers.groups(&names), layers.bounds()), (vec![0, 0], vec![0.3]));
        assert_eq!(PerGroup::layers(norm(0.3), &[]).bounds(), [0.3]);
    }

    #[test]
    fn each_group_is_scaled_down_to_its_own_norm() {
        let rule = PerGroup::new(&names(), &[("", norm(1.0)), ("a", norm(3.0))]).unwrap();
        let groups = rule.groups(&names());
        assert_eq!((groups.as_slice(), rule.bounds()), (&[1, 1, 1, 0, 0][..], vec![1.0, 3.0]));
        let norms = Norms::new(1, &groups, &[vec![12.0], vec![0.0], vec![0.0], vec![0.5], vec![0.0]]).unwrap();
        let weights = rule.weights(&norms);
        assert!(weights[0] == 1.0 && (weights[1] - 0.25).abs() < 1e-12, "{weights:?}");
    }

    #[test]
    fn shares_together_never_exceed_the_whole() {
        // Mantissas are compared as integers: their squares are exact in 128 bits.
        for count in 2..2000 {
            for c in [1.0, 0.7, 1.999_999, 3e-20, 9.87e19] {
                let share = share(c, count);
                assert!(share > c / (count as f64).sqrt() * (1.0 - 1e-15));
                let exponent = |x: f64| (x.to_bits() >> 52) as i32;
                let mantissa = |x: f64| u128::from((x.to_bits() & ((1 << 52) - 1)) | (1 << 52));
                // Both sides in units of the square of the last bit of share.
                let shift = 2 * (exponent(c) - exponent(share));
                let squares = count as u128 * mantissa(share).pow(2);
                assert!(squares <= mantissa(c).pow(2) << shift, "{count} shares of {c}");
            }
        }
    }

    #[test]
    fn groups_that_do_not_fit_the_parameters_are_refused_by_name() {
        let one = norm(1.0);
        for (groups, words) in [
            (&[("a", one), ("b", one)][..], &["scale", "`a`, `b`"][..]),
            (&[("", one), ("a.n", one)], &["`a.n`", "a.norm.weight"]),
            (&[("", one), ("", one)], &["clipping group", "no other group"]),
            (&[], &["a.bias", "no clipping group"]),
        ] {
            let error = PerGroup::new(&names(), groups).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        assert!(PerGroup::new(&[], &[]).unwrap_err().to_string().contains("at least one"));
    }

    #[test]
    fn a_rule_for_other_parameters_has_no_group_for_them() {
        let more: Vec<String> = names().into_iter().chain(["z.weight".to_string()]).collect();
        assert_eq!(PerGroup::layers(norm(1.0), &names()).groups(&more).len(), 5);
    }
}
