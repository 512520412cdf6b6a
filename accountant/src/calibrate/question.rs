//! What a search asks, again and again.

use super::{Calibrated, Uncalibrated};
use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::rdp::Rdp;

/// One parameter, one target.
pub(super) struct Question<'a> {
    pub(super) accountant: &'a dyn Accountant,
    pub(super) parameter: &'static str,
    pub(super) target: f64,
    pub(super) delta: Delta,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        accountant: &'a dyn Accountant,
        parameter: &'static str,
        target: Epsilon,
        delta: Delta,
    ) -> Result<Self, Uncalibrated> {
        let target = target.get();
        if target > 0.0 { Ok(Self { accountant, parameter, target, delta }) } else { Err(Uncalibrated::Target(target)) }
    }

    pub(super) fn ask(&self, event: &Event) -> Result<Bound, Uncalibrated> {
        match self.accountant.epsilon(event, self.delta) {
            // Numbers beyond f64 mean a loss beyond every target: the search goes on to more privacy.
            Err(Unaccountable::Overflow { .. }) => {
                Ok(Bound::new(0.0, f64::INFINITY, f64::INFINITY, self.accountant.name())
                    .map_err(Unaccountable::Contradiction)?)
            }
            // The search may pass through plans that the contour cannot certify: the Renyi bound holds there too, and the
            // answer says whose it is.
            Err(Unaccountable::Uncertified { .. }) => {
                Ok(Rdp::new(self.accountant.relation()).epsilon(event, self.delta)?)
            }
            answer => Ok(answer?),
        }
    }

    pub(super) fn answer<T>(&self, value: T, bound: Bound, capped: bool) -> Calibrated<T> {
        Calibrated { value, bound, slack: self.target - bound.upper(), capped }
    }

    /// Why nothing was found, when `least` is the bound at the private end of `from..to`.
    pub(super) fn unreachable(&self, from: f64, to: f64, least: Bound) -> Uncalibrated {
        if least.upper() == f64::INFINITY && least.estimate().is_finite() {
            let (accountant, estimate) = (least.accountant(), least.estimate());
            return Uncalibrated::Estimate { accountant, parameter: self.parameter, estimate };
        }
        let Self { parameter, target, .. } = *self;
        Uncalibrated::Unreachable { parameter, from, to, target, least: least.upper() }
    }
}
