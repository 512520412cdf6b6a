//! What the product promises, one module for each promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod account;
mod archive;
mod augmentation;
mod bad_input;
mod clipping_rules;
mod command_line;
mod configuration;
mod correlated_noise;
mod data;
mod distributed;
mod documents;
mod examples;
mod extension;
mod frozen;
mod interruption;
mod isolation;
mod nodes;
mod optimizers;
mod per_example_gradients;
mod perturbation;
mod plain_step;
mod privacy_flow;
mod published_data;
mod reports;
mod schedules;
mod shared_budget;
mod text;
