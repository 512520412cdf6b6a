//! Differential-privacy accounting with bounds that err on the safe side.
//!
//! An [`Event`] says what was done to the data. An [`Accountant`] turns it into a [`Bound`]: the truth lies between
//! `lower` and `upper`, and `upper` is the number to state. What no accountant can bound is refused with a reason
//! ([`Unaccountable`]); nothing is ever approximated silently.
//!
//! ```
//! use dp_accountant::{Accountant, Auto, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate, calibrate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let delta = Delta::new(1e-5)?;
//! let rate = SamplingRate::new(0.01)?;
//! let plan = |z| Event::gaussian(z).poisson_sampled(rate).repeated(1000);
//!
//! // What does noise multiplier 1.1 cost?
//! let accountant = Auto::new(Relation::AddRemove);
//! let bound = accountant.epsilon(&plan(NoiseMultiplier::new(1.1)?), delta)?;
//! assert!(bound.lower() < bound.upper() && bound.upper() < 2.0);
//!
//! // How much noise does epsilon = 1 need?
//! let answer = calibrate::noise_multiplier(&accountant, plan, Epsilon::new(1.0)?, delta)?;
//! assert!(answer.bound.upper() <= 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! | accountant | accounts for | tightness |
//! |---|---|---|
//! | [`Analytic`] | Gaussian releases without sampling; single Laplace, randomized-response and (epsilon, delta) releases | exact to rounding |
//! | [`Moments`] | Gaussian releases, Poisson-sampled or not | a certified interval, typically 1e-9 wide, for any number of steps |
//! | [`Pld`] | everything with a known pair of distributions | a certified interval: of 300 random plans half are known to 1.2e-5, nine in ten to 1.4e-2 |
//! | [`Rdp`] | everything but truncated batches and random allocation | a valid upper bound: some 5 to 25 % above the truth for long runs, more for few steps at small rates |
//! | [`Auto`] | all | the first narrow answer of these four, or what they say together |
//! | [`Gdp`] | Gaussian releases, Poisson-sampled or in fixed-size batches | an *estimate* by the central limit theorem: no guarantee |
//!
//! Other questions go to any of them: [`calibrate`] (how much noise, how many steps, how large a rate or batch),
//! [`curve`] (the whole privacy profile), [`trade_off`] (true and false positive rates, advantage, mu), [`group`] (users
//! with several records), [`schedule`] (epsilon after every step), [`filter`] (spending chosen on the way).
//!
//! Epsilon and delta are for one unit under a neighbouring [`Relation`]; the noise multiplier is always the noise
//! standard deviation over the clip norm.

mod accountant;
mod analytic;
mod auto;
mod bound;
mod by_name;
pub mod calibrate;
pub mod curve;
mod event;
mod exponentials;
pub mod filter;
mod gdp;
pub mod group;
mod ledger;
mod moments;
mod normal;
mod one_order;
mod parameters;
mod parts;
mod pld;
mod profile;
mod rdp;
mod relation;
pub mod schedule;
mod terms;
pub mod trade_off;
mod tree;

pub use accountant::{Accountant, Unaccountable};
pub use analytic::Analytic;
pub use auto::Auto;
pub use bound::{Bound, Disordered};
pub use by_name::{NAMES, UnknownAccountant, by_name};
pub use calibrate::{Calibrated, Uncalibrated};
pub use event::{Allocation, Batches, Event, GaussianMixture, Participation, RandomizedResponse, Repetitions};
pub use gdp::Gdp;
pub use ledger::Ledger;
pub use moments::Moments;
pub use parameters::{
    Delta, Epsilon, NoiseMultiplier, NoiseScale, Order, OutOfDomain, Probability, Rho, SamplingRate, Sensitivity,
};
pub use parts::CountOverflow;
pub use pld::{Incompatible, Malformed, Pld, PrivacyLossDistribution};
pub use rdp::Rdp;
pub use relation::{Relation, UnknownRelation};
pub use trade_off::TradeOff;

/// The version of this crate, for reports: an epsilon is only as reproducible as the accountant that stated it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
