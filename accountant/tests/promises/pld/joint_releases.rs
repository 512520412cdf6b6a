//! Several releases of one and the same Poisson sample.

use dp_accountant::{Accountant, Event, Moments, NoiseScale, Pld, Relation};

use crate::plans::{delta, gaussian, noise, rate};

#[test]
fn joint_releases() {
    // k Gaussians of noise z_i on one sample are one Gaussian of noise 1/sqrt(sum of z_i^-2) on it. Epsilon of one such
    // step solves (1-q) P(X > x) + q P(X > x - mu) - e^eps P(X > x) = delta, x = (ln(1 + (e^eps - 1)/q) + mu^2/2)/mu
    // (mpmath, 50 digits); the other direction costs less.
    let distinct = Event::composed((0..1500).map(|i| gaussian(f64::from(1000 + i) / 100.0)));
    let equal = gaussian(40.0).repeated(1500);
    for (event, q, d, want) in [
        (&distinct, 0.01, 1e-5, 5.332_182_948_029_224),
        (&equal, 0.01, 1e-5, 0.177_385_642_299_992_9),
        (&distinct, 0.3, 1e-9, 15.496_634_375_785_873),
        (&equal, 0.3, 1e-9, 4.562_974_984_461_829),
    ] {
        let event = event.clone().poisson_sampled(rate(q));
        for bound in [Pld::default().epsilon(&event, delta(d)), Moments::default().epsilon(&event, delta(d))] {
            let bound = bound.unwrap();
            assert!(bound.lower() <= want && want <= bound.upper(), "{bound:?}, want {want}");
            assert!(bound.upper() - bound.lower() < 1e-4 * want.max(1.0), "{bound:?}");
        }
    }
    // Adaptive clipping: 1.1 and twice 7 together are one Gaussian, in every relation and for many steps.
    let clip = Event::AdaptiveClip { noise_multiplier: noise(1.1), count_noise: NoiseScale::new(7.0).unwrap() };
    let single = 1.0 / 1.1_f64.powi(-2).mul_add(1.0, 14_f64.powi(-2)).sqrt();
    for relation in Relation::ALL {
        let of = |event: Event| {
            Pld::new(relation).epsilon(&event.poisson_sampled(rate(0.02)).repeated(300), delta(1e-6)).unwrap()
        };
        let (joint, one) = (of(clip.clone()), of(gaussian(single)));
        assert!(joint.lower() <= one.upper() && one.lower() <= joint.upper(), "{relation}: {joint:?} {one:?}");
        assert!((joint.upper() - one.upper()).abs() < 1e-9 && (joint.lower() - one.lower()).abs() < 1e-9, "{relation}");
    }
}
