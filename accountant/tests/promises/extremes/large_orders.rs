//! Renyi orders whose double is no number.

use std::num::NonZeroU64;

use dp_accountant::filter::RdpFilter;
use dp_accountant::{Event, NoiseScale, Probability, Rdp, Relation};

use crate::plans::{delta, epsilon, noise, order, rate};

#[test]
fn large_orders() {
    for at in [8.9e307, 8.99e307, 1e308, 1.7e308, f64::MAX] {
        for loss in [1e-300, 0.1, 0.5, 1.0, 10.0, 1e300] {
            let scale = NoiseScale::new(1.0 / loss).unwrap();
            for event in [
                Event::laplace(noise(1.0 / loss)),
                Event::DiscreteLaplace { scale, sensitivity: NonZeroU64::MIN },
                Event::EpsilonDelta { epsilon: epsilon(loss), delta: Probability::new(0.0).unwrap() },
                Event::ExponentialMechanism { epsilon: epsilon(loss) },
            ] {
                for relation in Relation::ALL {
                    // The divergence was -infinity: 2 alpha - 1 overflowed and the ratio to it was 0.
                    let got = Rdp::new(relation).divergence(&event, order(at)).unwrap();
                    assert!(got >= loss * (1.0 - 1e-6), "{relation} {event:?} at {at}: {got}");
                    let sampled = event.clone().poisson_sampled(rate(0.1));
                    let got = Rdp::new(relation).divergence(&sampled, order(at)).unwrap();
                    let least = (0.1 * loss.exp_m1()).ln_1p().min(loss - 10_f64.ln());
                    assert!(got >= least * (1.0 - 1e-6), "{relation} sampled {event:?} at {at}: {got}");
                }
            }
        }
    }
}

#[test]
fn a_filter_of_the_largest_order_refuses_what_exceeds_its_budget() {
    for at in [8.98e307, 8.99e307, f64::MAX] {
        let mut filter = RdpFilter::new(Relation::AddRemove, order(at), 1.2).unwrap();
        // Half a unit each: two fit. A divergence of -infinity was granted for ever.
        let granted = (0..10).filter(|_| filter.ask(&Event::laplace(noise(2.0))).unwrap().is_granted()).count();
        assert!(granted == 2 && (1.0..=1.2).contains(&filter.spent()), "{at}: {granted} {filter:?}");
        assert!(!filter.ask(&Event::laplace(noise(0.1))).unwrap().is_granted());
        assert!(filter.epsilon(delta(1e-5)) >= 1.2);
    }
}
