//! What the crate promises, one module for each promise.
#![allow(clippy::unwrap_used, clippy::panic, clippy::excessive_precision)]

mod calibration;
mod contour_vectors;
mod contract;
mod cross_check;
mod documentation;
mod every_event;
mod examples;
mod extremes;
mod golden;
mod large_deltas;
mod laws;
mod plans;
mod pld;
mod questions;
mod rdp_events;
mod serialisation;
mod vectors;
