//! What stands in the place of MPI in a build without it.

use super::super::wire::{Message, Width};
use super::{Traffic, Transport};
use crate::{Error, Result};
use std::convert::Infallible;
use std::ops::Range;

/// The transport of a process that was started by `mpirun`. This build has none: there is no value of this type.
#[derive(Debug)]
pub struct Mpi(Infallible);

impl Mpi {
    /// Joins the processes that `mpirun` has started with this one.
    ///
    /// # Errors
    /// Always: it says which feature to build with.
    pub fn start() -> Result<Self> {
        Err(Error::value("--transport", "mpi", "local in this build; for mpi, build with --features mpi"))
    }

    /// Ends all processes of the run with this exit code.
    pub fn abort(&self, _: i32) -> ! {
        match self.0 {}
    }
}

impl Transport for Mpi {
    fn nodes(&self) -> usize {
        match self.0 {}
    }

    fn hosted(&self) -> Range<usize> {
        match self.0 {}
    }

    fn all_reduce_sum(&mut self, _: &[Vec<f64>], _: Width) -> Result<Vec<f64>> {
        match self.0 {}
    }

    fn collect(&mut self, _: Vec<Message>) -> Result<Option<Vec<Message>>> {
        match self.0 {}
    }

    fn broadcast(&mut self, _: Option<Message>) -> Result<Message> {
        match self.0 {}
    }

    fn exchange(&mut self, _: &[Vec<usize>], _: Vec<Message>) -> Result<Vec<Vec<Message>>> {
        match self.0 {}
    }

    fn traffic(&self) -> &[Traffic] {
        match self.0 {}
    }
}
