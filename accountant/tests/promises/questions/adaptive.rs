//! Releases chosen on the way: filters and the odometer.

use dp_accountant::filter::{Decision, Filter, GdpFilter, NoFilter, Odometer, RdpFilter};
use dp_accountant::{Accountant, Analytic, Auto, Event, Gdp, Moments, Rdp, Relation};

use crate::plans::{delta, dp_sgd, epsilon, gaussian, noise, order};

#[test]
fn an_rdp_filter_never_exceeds_and_resumes() {
    let (target, d) = (epsilon(2.0), delta(1e-5));
    let rdp = Rdp::default();
    let mut filter = Filter::new(&rdp, &dp_sgd(1.1, 0.01, 3000), target, d).unwrap();
    assert!(filter.epsilon(d).unwrap() <= 2.0 && filter.epsilon(d).unwrap() > 1.999_999);
    let mut granted = Vec::new();
    for step in 0..10_000_u32 {
        // Adaptive: what comes next depends on what came before.
        let release = dp_sgd(if granted.len() % 3 == 0 { 0.9 } else { 1.3 }, 0.01, 1);
        match filter.ask(&release).unwrap() {
            Decision::Granted => granted.push(release),
            Decision::Refused { cost, left } => {
                assert!(cost > left, "{cost} {left}");
                break;
            }
        }
        if step == 100 {
            let text = serde_json::to_string(&filter).unwrap();
            let resumed: Filter = serde_json::from_str(&text).unwrap();
            assert_eq!(resumed, filter, "{text}");
            filter = resumed;
        }
    }
    let Filter::Rdp(filter) = filter else { panic!() };
    assert!(granted.len() > 500 && filter.granted() == granted.len() as u64, "{}", granted.len());
    // The releases, had they been fixed in advance, cost what was spent and no more than the target.
    let all = Event::composed(granted);
    let spent = rdp.divergence(&all, filter.order()).unwrap();
    assert!(spent <= filter.spent() * (1.0 + 1e-12) && filter.spent() <= filter.budget(), "{spent} {filter:?}");
    assert!(rdp.epsilon(&all, d).unwrap().upper() <= 2.0);
    assert!(rdp.epsilon(&all, d).unwrap().upper() > 1.95);
}

#[test]
fn a_gdp_filter_spends_as_much_as_a_fixed_plan() {
    let mut filter = GdpFilter::new(Relation::AddRemove, 1.0).unwrap();
    // mu^2 = 1/16 each: sixteen would fit but for the safe side; a last one with more noise does.
    let granted = (0..20).filter(|_| filter.ask(&gaussian(4.0)).unwrap().is_granted()).count();
    assert_eq!(granted, 15);
    assert!(filter.ask(&gaussian(4.001)).unwrap().is_granted());
    assert!(filter.spent() <= 1.0 && filter.granted() == 16);
    let exact = Analytic::default().epsilon(&gaussian(1.0), delta(1e-5)).unwrap();
    assert!((filter.epsilon(delta(1e-5)).unwrap() / exact.upper() - 1.0).abs() < 1e-9);
    assert!(!filter.ask(&gaussian(4.0)).unwrap().is_granted());
    for refused in [dp_sgd(1.0, 0.1, 1), Event::laplace(noise(1.0)), Event::non_private("the data")] {
        let before = filter.clone();
        assert!(filter.ask(&refused).is_err());
        assert_eq!(filter, before);
    }
    // Under replace the same noise costs four times as much.
    let mut replace = GdpFilter::new(Relation::Replace, 1.0).unwrap();
    assert_eq!((0..20).filter(|_| replace.ask(&gaussian(4.0)).unwrap().is_granted()).count(), 3);
    let for_epsilon = GdpFilter::for_epsilon(Relation::AddRemove, epsilon(1.0), delta(1e-5)).unwrap();
    let reached = for_epsilon.epsilon(delta(1e-5)).unwrap();
    assert!(reached <= 1.0 && reached > 0.999_99, "{reached}");
}

#[test]
fn what_composes_profiles_has_no_filter() {
    for accountant in [&Auto::default() as &dyn Accountant, &Moments::default(), &Gdp::default()] {
        let refusal = Filter::new(accountant, &gaussian(1.0), epsilon(1.0), delta(1e-5)).unwrap_err();
        assert!(matches!(refusal, NoFilter::Profiles(_)), "{refusal}");
        assert!(refusal.to_string().contains("2602.06756"), "{refusal}");
    }
    let low = RdpFilter::for_epsilon(Relation::AddRemove, order(1.5), epsilon(1.0), delta(1e-5)).unwrap_err();
    assert!(matches!(low, NoFilter::Order { .. }) && low.to_string().contains("1.5"), "{low}");
    assert!(Filter::new(&Analytic::default(), &dp_sgd(1.0, 0.1, 1), epsilon(1.0), delta(1e-5)).is_err());
}

#[test]
fn an_odometer_shows_more_than_a_filter_and_not_much_more() {
    let d = delta(1e-5);
    let mut odometer = Odometer::new(Relation::AddRemove, d);
    assert_eq!(odometer.epsilon(), 0.0);
    let mut last = 0.0;
    for step in 0..300 {
        let release = dp_sgd(if step % 2 == 0 { 1.0 } else { 2.0 }, 0.02, 10);
        let foretold = odometer.epsilon_after(&release).unwrap();
        odometer.record(&release).unwrap();
        assert!(odometer.epsilon() == foretold && foretold >= last, "{step}");
        last = foretold;
    }
    let all = Event::composed((0..300).map(|step| dp_sgd(if step % 2 == 0 { 1.0 } else { 2.0 }, 0.02, 10)));
    let fixed = Rdp::default().epsilon(&all, d).unwrap().upper();
    assert!(last > fixed && last < 1.35 * fixed, "{last} beside {fixed}");
    let text = serde_json::to_string(&odometer).unwrap();
    assert_eq!(serde_json::from_str::<Odometer>(&text).unwrap(), odometer, "{text}");
    // Before anything is recorded a refused event changes nothing.
    assert!(odometer.record(&Event::non_private("x")).is_err());
    assert_eq!((odometer.epsilon(), odometer.recorded()), (last, 300));
    // A divergence beyond all numbers is written and read, too.
    odometer.record(&gaussian(1e-160)).unwrap();
    assert_eq!(odometer.epsilon(), f64::INFINITY);
    let text = serde_json::to_string(&odometer).unwrap();
    assert_eq!(serde_json::from_str::<Odometer>(&text).unwrap().epsilon(), f64::INFINITY);
}

#[test]
fn states_that_cannot_be_are_refused() {
    for text in [
        r#"{"relation":"add-remove","order":8.0,"budget":1.5,"spent":1.6,"granted":17}"#,
        r#"{"relation":"add-remove","order":1.0,"budget":1.5,"spent":0.2,"granted":17}"#,
        r#"{"relation":"add-remove","order":8.0,"budget":-1.0,"spent":0.0,"granted":0}"#,
        r#"{"relation":"add-remove","order":8.0,"budget":1.5,"spent":0.2,"granted":17,"more":1}"#,
    ] {
        assert!(serde_json::from_str::<RdpFilter>(text).is_err(), "{text}");
    }
    for text in [
        r#"{"relation":"add-remove","mu_squared":1.0,"spent":2.0,"granted":1}"#,
        r#"{"relation":"add-remove","mu_squared":0.0,"spent":0.0,"granted":1}"#,
    ] {
        assert!(serde_json::from_str::<GdpFilter>(text).is_err(), "{text}");
    }
    for text in [
        r#"{"relation":"add-remove","delta":1e-5,"orders":[2.0,4.0],"spent":[0.1],"recorded":3}"#,
        r#"{"relation":"add-remove","delta":1e-5,"orders":[2.0,2.0],"spent":[0.1,0.0],"recorded":3}"#,
        r#"{"relation":"add-remove","delta":1e-5,"orders":[],"spent":[],"recorded":3}"#,
        r#"{"relation":"add-remove","delta":1e-5,"orders":[2.0],"spent":[-0.1],"recorded":3}"#,
        r#"{"relation":"add-remove","delta":2.0,"orders":[2.0],"spent":[0.1],"recorded":3}"#,
    ] {
        assert!(serde_json::from_str::<Odometer>(text).is_err(), "{text}");
    }
    let good = r#"{"relation":"add-remove","delta":1e-5,"orders":[2.0,4.0],"spent":[0.1,0.2],"recorded":3}"#;
    assert!(serde_json::from_str::<Odometer>(good).is_ok());
    let good = r#"{"relation":"add-remove","order":8.0,"budget":1.5,"spent":0.2,"granted":17}"#;
    assert!(serde_json::from_str::<RdpFilter>(good).is_ok());
}

#[test]
fn the_loss_of_adaptive_releases_exceeds_the_odometer_no_more_often_than_delta() {
    // 2000 transcripts of 12 Gaussian releases, less noise whenever the loss has grown. An exceedance at any of the steps
    // has probability 0.05 at most; 150 of 2000 are 5.1 standard deviations above that: false alarm below 1e-6.
    let (runs, d) = (2000, delta(0.05));
    let mut random = Random(20_261_122);
    let (mut exceeded, mut control) = (0, 0);
    for _ in 0..runs {
        let orders = [3.0, 5.0, 9.0].map(order).to_vec();
        let mut odometer = Odometer::with_orders(Relation::AddRemove, d, orders).unwrap();
        let (mut loss, mut spent, mut above, mut above_control) = (0.0_f64, 0.0, false, false);
        for _ in 0..12 {
            let z = if loss > 0.3 { 2.0 } else { 4.0 };
            odometer.record(&gaussian(z)).unwrap();
            // The unit is there: N(1, z^2) against N(0, z^2).
            let x = 1.0 + z * random.normal();
            loss += (2.0 * x - 1.0) / (2.0 * z * z);
            spent += 0.5 / (z * z);
            above |= loss > odometer.epsilon();
            // Negative control: the mean loss alone is exceeded all the time.
            above_control |= loss > 2.0 * spent;
        }
        exceeded += u32::from(above);
        control += u32::from(above_control);
    }
    println!("{exceeded} of {runs} exceed, of the control {control}");
    assert!(exceeded <= 150, "{exceeded}");
    assert!(control > 600, "{control}");
}

/// SplitMix64 (Steele, Lea & Flood 2014) and the method of Box & Muller.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
