//! Graphs and mixing matrices from files.

use super::mixing::{Fault, Mixing};
use super::neighbours;
use crate::{Error, Place, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// What a file says of `nodes` nodes: a line `i j` for every edge, or a line of weights for every node. Empty lines and what
/// follows a `#` are skipped. A file whose first line is two whole numbers holds edges.
///
/// # Errors
/// When the file cannot be read, and with the line where it says something else.
pub(super) fn mixing(path: &Path, nodes: usize) -> Result<Mixing> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.zip(1_u64..).map(|(line, number)| (number, line.split_whitespace().collect::<Vec<_>>()));
    let lines: Vec<(u64, Vec<&str>)> = words.filter(|(_, words)| !words.is_empty()).collect();
    let edges = lines.first().is_none_or(|(_, words)| edge(words).is_some());
    let mixing = if edges { of_edges(path, nodes, &lines)? } else { of_weights(path, nodes, &lines)? };
    mixing.map_err(|fault: Fault| {
        let line = fault.row.filter(|_| !edges).and_then(|row| lines.get(row));
        let place = line.map_or_else(|| Place::file(path), |(number, _)| Place::line(path, *number));
        Error::data(place, fault.found, fault.expected)
    })
}

fn edge(words: &[&str]) -> Option<(usize, usize)> {
    let [one, other] = words else { return None };
    Some((one.parse().ok()?, other.parse().ok()?))
}

fn of_edges(path: &Path, nodes: usize, lines: &[(u64, Vec<&str>)]) -> Result<Result<Mixing, Fault>> {
    let mut seen = BTreeSet::new();
    for (number, words) in lines {
        let found = edge(words).filter(|(i, j)| i != j && *i < nodes && *j < nodes);
        if !found.is_some_and(|(i, j)| seen.insert((i.min(j), i.max(j)))) {
            let expected = format!("two of the nodes 0 to {}, every pair once", nodes - 1);
            return Err(Error::data(Place::line(path, *number), words.join(" "), expected));
        }
    }
    Ok(Mixing::of_graph(&neighbours(nodes, seen)))
}

fn of_weights(path: &Path, nodes: usize, lines: &[(u64, Vec<&str>)]) -> Result<Result<Mixing, Fault>> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for (number, words) in lines {
        if words.len() != nodes || rows.len() == nodes {
            let expected = format!("{nodes} lines of {nodes} weights, or the two nodes of an edge on every line");
            let found = format!("{} words", words.len());
            return Err(Error::data(Place::line(path, *number), found, expected));
        }
        let weight = |(column, word): (usize, &&str)| {
            let place = || Place::cell(path, *number, (column + 1).to_string());
            word.parse().map_err(|_| Error::data(place(), *word, "a weight from 0 to 1"))
        };
        rows.push(words.iter().enumerate().map(weight).collect::<Result<_>>()?);
    }
    if rows.len() != nodes {
        return Err(Error::data(
            Place::file(path),
            format!("{} lines", rows.len()),
            format!("one for each of {nodes} nodes"),
        ));
    }
    Ok(Mixing::checked(&rows))
}
