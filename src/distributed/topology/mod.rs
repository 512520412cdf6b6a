//! Who talks to whom, and with which weights.

mod file;
mod mixing;
mod spectrum;

pub use mixing::Mixing;

use crate::seed::{Key, Role};
use crate::{Error, Result};
use rand_chacha::rand_core::RngCore;
use std::path::PathBuf;

/// A graph of nodes. All but matrices from files have the weights of [`Mixing::metropolis`]: 1/3 on rings of three nodes and more,
/// 1/5 on tori with three and more to a side, 1/n on complete graphs and stars.
#[derive(Debug, Clone, PartialEq)]
pub enum Topology {
    /// Everybody and the next, the last and the first. Two nodes are one pair, with weights 1/2.
    Ring,
    /// A ring without its last edge.
    Path,
    /// Rows and columns, as nearly as many of one as of the other, each a ring.
    Torus,
    /// Node 0 and everybody else.
    Star,
    /// Everybody and everybody else.
    Complete,
    /// Node i and i + 1, i + 2, i + 4, ... around a ring, in both directions (Ying, Yuan, Chen, Hu, Pan and Yin 2021, arXiv
    /// 2110.13363, whose graph goes in one).
    Exponential,
    /// Every pair with the same chance, drawn again until the graph is in one piece.
    ErdosRenyi(EdgeChance),
    /// From a file: a line `i j` for every edge, or a line of weights for every node.
    File(PathBuf),
}

/// The chance of a pair of nodes to be peers, above 0 and at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeChance(f64);

impl EdgeChance {
    /// # Errors
    /// When the chance is not above 0 and at most 1.
    pub fn new(chance: f64) -> Result<Self> {
        if chance > 0.0 && chance <= 1.0 {
            return Ok(Self(chance));
        }
        Err(Error::value("chance of an edge", chance, "above 0 and at most 1"))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// How often a random graph is drawn before it is refused.
const DRAWS: u32 = 100;

impl Topology {
    /// The topologies that are words alone.
    const WORDS: [(&'static str, Self); 6] = [
        ("ring", Self::Ring),
        ("path", Self::Path),
        ("torus", Self::Torus),
        ("star", Self::Star),
        ("complete", Self::Complete),
        ("exponential", Self::Exponential),
    ];

    /// The mixing matrix of so many nodes. Random graphs are drawn from `key`, so every process of a run has the same; who
    /// sees the graph learns nothing of other draws of the key.
    ///
    /// # Errors
    /// When there are no nodes or more than [`Mixing::MOST`], so many nodes make no torus, none of 100 random graphs is in one piece, or
    /// the file does not hold a mixing matrix or a graph of so many nodes.
    pub fn mixing(&self, nodes: usize, key: &Key) -> Result<Mixing> {
        if !(1..=Mixing::MOST).contains(&nodes) {
            return Err(Error::value("nodes", nodes, format!("1 to {}", Mixing::MOST)));
        }
        let around = |hop: usize| (0..nodes).map(move |i| (i, (i + hop) % nodes));
        let peers = match self {
            Self::Ring => neighbours(nodes, around(1)),
            Self::Path => neighbours(nodes, (1..nodes).map(|i| (i - 1, i))),
            Self::Torus => neighbours(nodes, torus(nodes)?),
            Self::Star => neighbours(nodes, (1..nodes).map(|i| (0, i))),
            Self::Complete => neighbours(nodes, pairs(nodes)),
            Self::Exponential => {
                let hops = std::iter::successors(Some(1), |hop| Some(2 * hop)).take_while(|hop| *hop < nodes);
                neighbours(nodes, hops.flat_map(around))
            }
            Self::ErdosRenyi(chance) => random(nodes, *chance, key)?,
            Self::File(path) => return file::mixing(path, nodes),
        };
        Ok(Mixing::of_graph(&peers)?)
    }
}

impl std::str::FromStr for Topology {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let unknown = || {
            let names: Vec<&str> = Self::WORDS.iter().map(|(name, _)| *name).collect();
            Error::value("topology", word, format!("{}, erdos-renyi:CHANCE, file:PATH", names.join(", ")))
        };
        match word.split_once(':') {
            None => {
                Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, known)| known.clone()).ok_or_else(unknown)
            }
            Some(("erdos-renyi", chance)) => {
                let chance = chance.parse().map_err(|_| unknown())?;
                EdgeChance::new(chance).map(Self::ErdosRenyi)
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(_) => Err(unknown()),
        }
    }
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ErdosRenyi(chance) => write!(f, "erdos-renyi:{}", chance.get()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            word => f.write_str(Self::WORDS.iter().find(|(_, known)| known == word).map_or("", |(name, _)| name)),
        }
    }
}

/// The peers of every node, in their order. Edges may come twice, and from a node to itself, which is none.
fn neighbours(nodes: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let mut peers = vec![Vec::new(); nodes];
    for (i, j) in edges.into_iter().filter(|(i, j)| i != j) {
        peers[i].push(j);
        peers[j].push(i);
    }
    for of_node in &mut peers {
        of_node.sort_unstable();
        of_node.dedup();
    }
    peers
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |i| (i + 1..nodes).map(move |j| (i, j)))
}

/// The edges of a torus with as many rows as the largest divisor up to the square root: to the right and down.
fn torus(nodes: usize) -> Result<impl Iterator<Item = (usize, usize)>> {
    let rows = (1..=nodes.isqrt()).rev().find(|rows| nodes.is_multiple_of(*rows)).unwrap_or(1);
    if rows == 1 && nodes > 1 {
        return Err(Error::value("nodes of a torus", nodes, "a number that is no prime; `ring` takes any"));
    }
    let columns = nodes / rows;
    Ok((0..nodes).flat_map(move |i| {
        let (row, column) = (i / columns, i % columns);
        [(i, row * columns + (column + 1) % columns), (i, (row + 1) % rows * columns + column)]
    }))
}

/// A random graph in one piece (Erdos and Renyi 1959, in the form of Gilbert 1959): pairs in their order, each a peer with the given
/// chance, from a stream of its own for every draw.
fn random(nodes: usize, chance: EdgeChance, key: &Key) -> Result<Vec<Vec<usize>>> {
    let draw = |draw: u32| {
        let mut rng = key.stream(Role::Graph, draw);
        // 53 bits, as many as f64 holds.
        let mut uniform = || (rng.next_u64() >> 11) as f64 * (f64::EPSILON / 2.0);
        neighbours(nodes, pairs(nodes).filter(|_| uniform() < chance.get()))
    };
    (0..DRAWS).map(draw).find(|peers| mixing::reached(peers) == nodes).ok_or_else(|| {
        let allowed =
            format!("a chance with which one of {DRAWS} graphs of {nodes} nodes is in one piece; ln(n) / n is enough");
        Error::value("chance of an edge", chance.get(), allowed)
    })
}
