//! What people ask of an accountant beyond one epsilon: curves, attacks, groups, schedules, spending on the way.

mod adaptive;
mod attacks;
mod groups;
mod profiles;
mod schedules;

use std::num::NonZeroU64;

use dp_accountant::Probability;

fn probability(p: f64) -> Probability {
    Probability::new(p).unwrap()
}

fn size(k: u64) -> NonZeroU64 {
    NonZeroU64::new(k).unwrap()
}
