//! How fast and how tight the accountant is: one JSON line for each case on stdout, the worst plan included.
//!
//! `cargo bench --bench accountant` runs everything; `-- grid` only the random plans, `-- criterion` only the statistics
//! of single questions by criterion. Times are of one core.
#![allow(clippy::unwrap_used)]

use criterion::Criterion;
use dp_accountant::{
    Accountant, Allocation, Bound, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate, by_name, calibrate,
};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Plans of the random grid.
const PLANS: usize = 300;

/// Each question is asked this often, the least time stands: other work on the machine only ever adds.
const REPETITIONS: usize = 3;

/// An epsilon that nobody states: plans beyond it are left out of the grid.
const MOST_EPSILON: f64 = 1e4;

struct Plan {
    noise_multiplier: f64,
    rate: f64,
    steps: u64,
    delta: f64,
}

impl Plan {
    fn event(&self) -> Event {
        gaussian(self.noise_multiplier).poisson_sampled(SamplingRate::new(self.rate).unwrap()).repeated(self.steps)
    }

    fn delta(&self) -> Delta {
        Delta::new(self.delta).unwrap()
    }

    fn json(&self) -> Value {
        json!({"noise_multiplier": self.noise_multiplier, "sampling_rate": self.rate, "steps": self.steps,
               "delta": self.delta})
    }
}

fn gaussian(noise_multiplier: f64) -> Event {
    Event::gaussian(NoiseMultiplier::new(noise_multiplier).unwrap())
}

/// SplitMix64 (Steele, Lea & Flood 2014): plans that are the same on every machine.
struct Draws(u64);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + (high / low).ln() * self.uniform()).exp()
    }
}

/// Plans of the whole domain, uniform in the logarithm of every parameter.
fn plans() -> Vec<Plan> {
    let mut draws = Draws(2026);
    let rdp = by_name("rdp", Relation::AddRemove).unwrap();
    let mut plans = Vec::new();
    while plans.len() < PLANS {
        let plan = Plan {
            steps: draws.log_uniform(1.0, 1e9).round() as u64,
            rate: draws.log_uniform(1e-7, 1.0),
            noise_multiplier: draws.log_uniform(0.3, 1000.0),
            delta: draws.log_uniform(1e-100, 1e-2),
        };
        if rdp.epsilon(&plan.event(), plan.delta()).is_ok_and(|bound| bound.upper() <= MOST_EPSILON) {
            plans.push(plan);
        }
    }
    plans
}

fn timed<T>(mut question: impl FnMut() -> T) -> (f64, T) {
    let mut best = (f64::INFINITY, question());
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let answer = question();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        if milliseconds < best.0 {
            best = (milliseconds, answer);
        }
    }
    best
}

fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    json!({"median": at(0.5), "p90": at(0.9), "p99": at(0.99), "worst": at(1.0)})
}

fn print(line: Value) {
    println!("{line}");
}

/// Every random plan by one accountant: how many were answered, how widely, how fast.
fn grid(name: &str, plans: &[Plan]) {
    let accountant = by_name(name, Relation::AddRemove).unwrap();
    let (mut widths, mut times, mut narrow, mut refused) = (Vec::new(), Vec::new(), 0, 0);
    let (mut widest, mut slowest) = ((-1.0, Value::Null), (-1.0, Value::Null));
    for plan in plans {
        let (milliseconds, answer) = timed(|| accountant.epsilon(&plan.event(), plan.delta()));
        times.push(milliseconds);
        if milliseconds > slowest.0 {
            slowest = (milliseconds, plan.json());
        }
        let Ok(bound) = answer else {
            refused += 1;
            continue;
        };
        let width = (bound.upper() - bound.lower()) / bound.upper().max(1.0);
        widths.push(width);
        narrow += usize::from(width <= 1e-6);
        if width > widest.0 {
            widest = (width, plan.json());
        }
    }
    print(json!({
        "bench": "accountant", "case": "random plans", "accountant": name, "plans": plans.len(), "refused": refused,
        "width_at_most_1e-6": narrow, "width": quantiles(widths), "widest": widest.1,
        "ms": quantiles(times), "slowest": slowest.1,
    }));
}

fn one(case: &str, accountant: &str, (milliseconds, bound): (f64, Bound)) {
    print(json!({"bench": "accountant", "case": case, "accountant": accountant, "answered": bound.accountant(),
                 "ms": milliseconds, "epsilon": bound, "width": bound.upper() - bound.lower()}));
}

/// Questions that people ask, once each.
fn cases() {
    let auto = by_name("auto", Relation::AddRemove).unwrap();
    let delta = Delta::new(1e-5).unwrap();
    let rate = SamplingRate::new(0.01).unwrap();
    let target = Epsilon::new(2.0).unwrap();
    let plan = |z: NoiseMultiplier| Event::gaussian(z).poisson_sampled(rate).repeated(10_000);
    let (time, noise) = timed(|| calibrate::noise_multiplier(auto.as_ref(), plan, target, delta).unwrap());
    one("calibrate noise", "auto", (time, noise.bound));
    let z = NoiseMultiplier::new(1.0).unwrap();
    let steps = |n: u64| Event::gaussian(z).poisson_sampled(rate).repeated(n);
    let (time, steps) = timed(|| calibrate::steps(auto.as_ref(), steps, target, delta).unwrap());
    one("calibrate steps", "auto", (time, steps.bound));
    let rates = |q: SamplingRate| Event::gaussian(z).poisson_sampled(q).repeated(10_000);
    let (time, found) = timed(|| calibrate::sampling_rate(auto.as_ref(), rates, target, delta).unwrap());
    one("calibrate rate", "auto", (time, found.bound));
    let segment = |k: u32| {
        let rate = SamplingRate::new(0.005 + 1e-5 * f64::from(k)).unwrap();
        gaussian(1.0 + 1e-3 * f64::from(k)).poisson_sampled(rate).repeated(10)
    };
    let segments = Event::composed((0..1000).map(segment));
    one("1000 distinct segments", "auto", timed(|| auto.epsilon(&segments, delta).unwrap()));
    for (z, steps, participations, epochs) in [(0.8, 200, 1, 5), (3.0, 100, 10, 1), (1.0, 1000, 1, 1)] {
        let allocation = Allocation::new(steps, participations).unwrap();
        let event = gaussian(z).randomly_allocated(allocation).repeated(epochs);
        let case = format!("random allocation: noise {z}, {steps} steps, {participations} of them, {epochs} epochs");
        one(&case, "auto", timed(|| auto.epsilon(&event, Delta::new(1e-6).unwrap()).unwrap()));
    }
}

/// One plan by every accountant that answers it, with criterion's statistics.
fn criterion() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    let plan = Plan { noise_multiplier: 1.1, rate: 0.01, steps: 1000, delta: 1e-5 };
    let event = plan.event();
    for name in dp_accountant::NAMES {
        let accountant: Box<dyn Accountant> = by_name(name, Relation::AddRemove).unwrap();
        if accountant.epsilon(&event, plan.delta()).is_ok() {
            criterion.bench_function(&format!("epsilon/{name}"), |bencher| {
                bencher.iter(|| accountant.epsilon(black_box(&event), plan.delta()));
            });
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wanted("grid") {
        let plans = plans();
        for name in ["moments", "pld", "auto", "rdp"] {
            grid(name, &plans);
        }
    }
    if wanted("cases") {
        cases();
    }
    if wanted("criterion") {
        criterion();
    }
}
