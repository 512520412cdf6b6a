//! Short words for the events the promises are about.

use dp_accountant::{Delta, Epsilon, Event, NoiseMultiplier, Order, SamplingRate};

pub(crate) fn noise(z: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(z).unwrap()
}

pub(crate) fn rate(q: f64) -> SamplingRate {
    SamplingRate::new(q).unwrap()
}

pub(crate) fn delta(d: f64) -> Delta {
    Delta::new(d).unwrap()
}

pub(crate) fn epsilon(e: f64) -> Epsilon {
    Epsilon::new(e).unwrap()
}

pub(crate) fn order(a: f64) -> Order {
    Order::new(a).unwrap()
}

pub(crate) fn gaussian(z: f64) -> Event {
    Event::gaussian(noise(z))
}

/// `steps` of a Gaussian release of noise multiplier `z` on a Poisson sample of rate `q`; a rate of 0 releases nothing
/// about anybody.
pub(crate) fn dp_sgd(z: f64, q: f64, steps: u64) -> Event {
    if q == 0.0 { Event::nothing() } else { gaussian(z).poisson_sampled(rate(q)).repeated(steps) }
}

/// The order grid of dp_accounting: 1.1, 1.2, .. 10.9, 11, .. 63, 128, 256, 512, 1024.
pub(crate) fn dp_accounting_orders() -> Vec<Order> {
    let tenths = (1..100).map(|x| 1.0 + f64::from(x) / 10.0);
    let whole = (11..64).map(f64::from).chain([128.0, 256.0, 512.0, 1024.0]);
    tenths.chain(whole).map(order).collect()
}

/// The order grid of Opacus: 1.1, .. 10.9, 12, .. 63.
pub(crate) fn opacus_orders() -> Vec<Order> {
    (1..100).map(|x| 1.0 + f64::from(x) / 10.0).chain((12..64).map(f64::from)).map(order).collect()
}

/// Numbers in [0, 1) from a fixed seed (xorshift, Marsaglia 2003).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-uniform between two numbers.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + self.next() * (high / low).ln()).exp()
    }
}
