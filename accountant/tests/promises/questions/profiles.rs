//! Whole curves, and the limit that is no bound.

use dp_accountant::{Accountant, Analytic, Auto, Delta, Epsilon, Gdp, Moments, Rdp, curve};

use crate::plans::{delta, dp_sgd, epsilon};
use crate::vectors::{number, rows};

#[test]
fn a_limit_is_an_estimate_and_never_a_bound() {
    for row in rows("gdp_clt") {
        let event = dp_sgd(number(&row, "sigma"), number(&row, "q"), row["steps"].as_u64().unwrap());
        let d = delta(number(&row, "delta"));
        let bound = Gdp::default().epsilon(&event, d).unwrap();
        let between = row["epsilon_between"].as_array().unwrap();
        let (low, high) = (between[0].as_f64().unwrap(), between[1].as_f64().unwrap());
        assert!(low < bound.estimate() && bound.estimate() < high, "{bound:?} {row}");
    }
    let event = dp_sgd(1.5, 0.04, 2249);
    let bound = Gdp::default().epsilon(&event, delta(1e-5)).unwrap();
    assert_eq!((bound.lower(), bound.upper()), (0.0, f64::INFINITY));
    // The truth is 6.767: a "guarantee" of 6.6 would have been false.
    let truth = Moments::default().epsilon(&event, delta(1e-5)).unwrap();
    assert!(bound.estimate() < 0.98 * truth.lower() && (truth.lower() - 6.767).abs() < 1e-3, "{bound:?} {truth:?}");
    let bound = Gdp::default().delta(&event, epsilon(3.0)).unwrap();
    assert!(bound.lower() == 0.0 && bound.upper() == 1.0 && bound.estimate() < 1.0, "{bound:?}");
}

#[test]
fn a_curve_is_what_single_questions_say_and_falls() {
    let event = dp_sgd(1.1, 0.01, 1000);
    for accountant in [&Auto::default() as &dyn Accountant, &Moments::default(), &Analytic::default()] {
        let Ok(points) = curve::deltas(accountant, &event, &curve::usual_epsilons()) else {
            assert_eq!(accountant.name(), "analytic");
            continue;
        };
        for point in &points {
            if let Ok(alone) = accountant.delta(&event, point.at) {
                assert!(point.bound.lower() >= alone.lower() && point.bound.upper() <= alone.upper(), "{point:?}");
            }
        }
        let falls = |pair: &[curve::Point<Epsilon>]| {
            pair[0].bound.lower() >= pair[1].bound.lower() && pair[0].bound.upper() >= pair[1].bound.upper()
        };
        assert!(points.windows(2).all(falls) && points.len() == curve::usual_epsilons().len());
        let points = curve::epsilons(accountant, &event, &curve::usual_deltas()).unwrap();
        assert!(points.windows(2).all(|pair| pair[0].bound.upper() >= pair[1].bound.upper()));
        assert_eq!(points[7].bound.upper(), accountant.epsilon(&event, delta(1e-5)).unwrap().upper());
    }
}

#[test]
fn places_without_a_certificate_have_their_neighbours_bounds() {
    // The contour cannot certify one step at a small rate everywhere.
    let (event, moments) = (dp_sgd(1.0, 0.01, 3), Moments::default());
    let places: Vec<Delta> = (1..=16).map(|k| delta(10.0_f64.powi(-k))).collect();
    let refused = places.iter().filter(|at| moments.epsilon(&event, **at).is_err()).count();
    let Ok(points) = curve::epsilons(&moments, &event, &places) else {
        assert_eq!(refused, places.len());
        return;
    };
    println!("{refused} of {} refused", places.len());
    for point in points {
        let rdp = Rdp::default().epsilon(&event, point.at).unwrap();
        assert!(point.bound.upper() >= rdp.lower(), "{point:?} {rdp:?}");
    }
}
