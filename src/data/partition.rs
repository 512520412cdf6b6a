//! Which node of a distributed run has which records.

use crate::seed::{Key, Role};
use crate::{Error, Result};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, Gamma, OpenClosed01};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How records are dealt to nodes: from all nodes alike to a class for each.
///
/// A partition is a model of how data came to be where they are, and no part of the mechanism. A guarantee about
/// records holds for shards as they are: neighbours differ in one record of one node, and what a shard's size goes into
/// (sampling rates, divisors) is a public constant. That one record more or with another label would have moved others
/// to other nodes is not accounted for: where labels are private and somebody deals them out by these rules, who sees
/// the sizes of shards sees something of the labels.
///
/// As words: `iid`, `label`, `dirichlet:CONCENTRATION`, `similarity:SHARE`, `sequential`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Partition {
    /// A random order, cut into equal slices.
    Iid,
    /// Sorted by label, cut into equal slices: as few classes on a node as there can be.
    Label,
    /// For every class, the shares of the nodes are drawn from the symmetric Dirichlet distribution (Yurochkin,
    /// Agarwal, Ghosh, Greenewald, Hoang and Khazaeni 2019, arXiv 1905.12022; Hsu, Qi and Brown 2019, arXiv 1909.06335,
    /// draw the shares of the classes for every node). Nodes have different numbers of records, and some perhaps none.
    Dirichlet(Concentration),
    /// A share of every class, drawn at random, goes to a pool in random order, the rest stays sorted by label; every
    /// node has an equal slice of both (Crawshaw, Bao and Liu 2023, EPISODE, arXiv 2302.07155).
    Similarity(Share),
    /// The order of the file, cut into equal slices.
    Sequential,
}

/// The concentration of a Dirichlet distribution, from 1e-9 to 1e9: far below 1 nearly all of a class is on one node,
/// far above all nodes have the same share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concentration(f64);

impl Concentration {
    /// # Errors
    /// When the number is outside the limits.
    pub fn new(value: f64) -> Result<Self> {
        if (1e-9..=1e9).contains(&value) {
            return Ok(Self(value));
        }
        Err(Error::value("concentration of the Dirichlet partition", value, "1e-9 to 1e9"))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The share of every class that all nodes have alike, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// # Errors
    /// When the number is outside the limits.
    pub fn new(value: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(Error::value("similarity of the nodes", value, "a share, 0 to 1"))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Partition {
    /// The partitions that are words alone.
    const WORDS: [(&'static str, Self); 3] =
        [("iid", Self::Iid), ("label", Self::Label), ("sequential", Self::Sequential)];

    /// The most nodes.
    pub const MOST: usize = 1 << 20;

    /// The rows of each of `nodes` nodes, ascending: every row of `labels` is on one node. Slices that cannot be equal
    /// differ by one record, and nodes beyond the records have none. Of a random partition the draws are those of
    /// `key`, so every process of a run has the same; who sees it learns nothing of other draws of the key.
    ///
    /// # Errors
    /// When there are no nodes, or more than [`Partition::MOST`].
    pub fn shards(self, labels: &[u32], nodes: usize, key: &Key) -> Result<Vec<Vec<usize>>> {
        if !(1..=Self::MOST).contains(&nodes) {
            return Err(Error::value("nodes", nodes, format!("1 to {}", Self::MOST)));
        }
        let mut rng = key.stream(Role::Partition, 0);
        let mut rows: Vec<usize> = (0..labels.len()).collect();
        let mut shards = match self {
            Self::Sequential => slices(&rows, nodes),
            Self::Iid => {
                rows.shuffle(&mut rng);
                slices(&rows, nodes)
            }
            Self::Label => {
                rows.sort_by_key(|row| labels[*row]);
                slices(&rows, nodes)
            }
            Self::Dirichlet(concentration) => dirichlet(labels, nodes, concentration, &mut rng)?,
            Self::Similarity(share) => similar(labels, nodes, share, &mut rng),
        };
        shards.iter_mut().for_each(|rows| rows.sort_unstable());
        Ok(shards)
    }
}

/// As many pieces as nodes, one after another; the first ones have one row more where the rows do not divide.
fn slices(rows: &[usize], nodes: usize) -> Vec<Vec<usize>> {
    let (each, more) = (rows.len() / nodes, rows.len() % nodes);
    let start = |node: usize| node * each + node.min(more);
    (0..nodes).map(|node| rows[start(node)..start(node + 1)].to_vec()).collect()
}

/// The rows of every class, in the order of the file.
fn classes(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut classes = BTreeMap::<u32, Vec<usize>>::new();
    labels.iter().enumerate().for_each(|(row, label)| classes.entry(*label).or_default().push(row));
    classes
}

fn dirichlet(
    labels: &[u32],
    nodes: usize,
    concentration: Concentration,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Vec<usize>>> {
    let mut shards = vec![Vec::new(); nodes];
    for mut rows in classes(labels).into_values() {
        rows.shuffle(rng);
        let (mut share, mut start) = (0.0, 0);
        for (node, weight) in shares(nodes, concentration, rng)?.into_iter().enumerate() {
            share += weight;
            let last = node + 1 == nodes;
            let end = if last { rows.len() } else { (share * rows.len() as f64).round() as usize };
            let end = end.clamp(start, rows.len());
            shards[node].extend_from_slice(&rows[start..end]);
            start = end;
        }
    }
    Ok(shards)
}

/// Shares that sum to 1 from the symmetric Dirichlet distribution: Gamma(a) variables over their sum. Those are Gamma(a
/// + 1) U^(1/a), of which logarithms are taken: for small a all of them would round to 0.
fn shares(nodes: usize, concentration: Concentration, rng: &mut ChaCha20Rng) -> Result<Vec<f64>> {
    let a = concentration.get();
    let gamma = Gamma::new(a + 1.0, 1.0).map_err(|error| Error::value("concentration", a, error.to_string()))?;
    let mut logarithm = || {
        let uniform: f64 = rng.sample(OpenClosed01);
        let gamma: f64 = gamma.sample(rng);
        gamma.ln() + uniform.ln() / a
    };
    let logarithms: Vec<f64> = (0..nodes).map(|_| logarithm()).collect();
    let largest = logarithms.iter().fold(f64::NEG_INFINITY, |largest, l| largest.max(*l));
    let weights: Vec<f64> = logarithms.into_iter().map(|l| (l - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    Ok(weights.into_iter().map(|weight| weight / sum).collect())
}

fn similar(labels: &[u32], nodes: usize, share: Share, rng: &mut ChaCha20Rng) -> Vec<Vec<usize>> {
    let (mut pool, mut sorted) = (Vec::new(), Vec::new());
    for mut rows in classes(labels).into_values() {
        rows.shuffle(rng);
        let pooled = ((share.get() * rows.len() as f64).round() as usize).min(rows.len());
        let mut rest = rows.split_off(pooled);
        rest.sort_unstable();
        pool.append(&mut rows);
        sorted.append(&mut rest);
    }
    pool.shuffle(rng);
    let mut shards = slices(&sorted, nodes);
    // The other way round: where neither divides, the nodes with one sorted row more are the last to have one more of
    // the pool.
    shards.iter_mut().rev().zip(slices(&pool, nodes)).for_each(|(rows, mut pooled)| rows.append(&mut pooled));
    shards
}

impl std::str::FromStr for Partition {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let unknown = || {
            let names: Vec<&str> = Self::WORDS.iter().map(|(name, _)| *name).collect();
            let allowed = format!("{}, dirichlet:CONCENTRATION, similarity:SHARE", names.join(", "));
            Error::value("partition", word, allowed)
        };
        match word.split_once(':') {
            None => Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, known)| *known).ok_or_else(unknown),
            Some(("dirichlet", number)) => {
                Concentration::new(number.parse().map_err(|_| unknown())?).map(Self::Dirichlet)
            }
            Some(("similarity", number)) => Share::new(number.parse().map_err(|_| unknown())?).map(Self::Similarity),
            Some(_) => Err(unknown()),
        }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dirichlet(concentration) => write!(f, "dirichlet:{}", concentration.get()),
            Self::Similarity(share) => write!(f, "similarity:{}", share.get()),
            word => f.write_str(Self::WORDS.iter().find(|(_, known)| known == word).map_or("", |(name, _)| name)),
        }
    }
}

impl TryFrom<String> for Partition {
    type Error = Error;

    fn try_from(word: String) -> Result<Self> {
        word.parse()
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_moments_of_their_law() {
        // One of four shares is Beta(a, 3a): E X = 1/4, E X^2 = (a + 1) / 4 (4a + 1); that is 1/8 at a = 1/2, E X^4
        // 7/128.
        let (mut rng, draws) = (Key::from_seed(11).stream(Role::Partition, 0), 20_000);
        let mut moments = |a: f64| {
            let concentration = Concentration::new(a).unwrap();
            let first: Vec<f64> = (0..draws).map(|_| shares(4, concentration, &mut rng).unwrap()[0]).collect();
            let mean = |power: i32| first.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(draws);
            (mean(1), mean(2))
        };
        // Five standard errors each: false alarm below 2e-6 for both.
        let error = |variance: f64| 5.0 * (variance / f64::from(draws)).sqrt();
        let near = |(first, second): (f64, f64)| {
            let (of_first, of_second) = (error(1.0 / 16.0), error(7.0 / 128.0 - 1.0 / 64.0));
            (first - 0.25).abs() < of_first && (second - 0.125).abs() < of_second
        };
        let found = moments(0.5);
        assert!(near(found), "{found:?}");
        let other = moments(0.7);
        assert!(!near(other), "{other:?}");
    }

    #[test]
    fn shares_sum_to_one_at_every_concentration() {
        let mut rng = Key::from_seed(12).stream(Role::Partition, 0);
        for a in [1e-9, 1e-3, 1.0, 1e3, 1e9] {
            let shares = shares(7, Concentration::new(a).unwrap(), &mut rng).unwrap();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?} at {a}");
        }
    }
}
