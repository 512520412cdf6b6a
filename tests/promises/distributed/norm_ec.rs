//! alpha-NormEC: check R12 of the reproduction suite.

use super::{SMOOTHNESS, at_once, logistic, mean, nodes};
use dp_accountant::{Event, NoiseMultiplier};
use dpsgd::distributed::uplink::Trust;
use dpsgd::distributed::vector::{difference, norm};
use dpsgd::distributed::{Algorithm, NormEc, Normalised, Uplink, Width};
use dpsgd::seed::Key;

fn normalised(alpha: f64) -> Uplink {
    Uplink::new(Box::new(Normalised::new(alpha).unwrap()), Width::F64, Key::from_seed(0))
}

#[test]
fn r12_memories_stay_as_near_as_they_were_and_the_slope_below_its_bound() {
    const LARGEST_SMOOTHNESS: f64 = 42.6565;
    const ROUNDS: f64 = 4000.0;
    for (alpha, rate, step, least, bound) in [
        (0.01, 0.1, 0.0023, 0.0042, 12.694),
        (0.1, 0.1, 0.0023, 0.0025, 12.698),
        (1.0, 1.0, 0.0202, 0.0249, 12.551),
        (0.1, 1.0, 0.0231, 0.0584, 12.561),
    ] {
        let (mut nodes, mut local) = nodes(logistic());
        let start = vec![0.5; 20];
        let gap = nodes.losses(&start).unwrap().iter().sum::<f64>() / 10.0;
        let furthest = nodes.gradients(&start).unwrap().iter().map(|g| norm(g)).fold(0.0, f64::max);
        assert!((furthest - 6.214).abs() < 1e-3, "{furthest}");
        let allowed = rate * furthest / ((alpha + furthest) * LARGEST_SMOOTHNESS);
        assert!((allowed - step).abs() < 1e-4, "{allowed} and not {step}");
        let mut norm_ec = NormEc::new(start, 10, allowed, rate, normalised(alpha)).unwrap().normalised();
        let mut found = f64::INFINITY;
        at_once(|| {
            for round in 0..ROUNDS as u32 {
                let gradients = nodes.gradients(norm_ec.points()[0]).unwrap();
                for (memory, gradient) in norm_ec.memories().iter().zip(&gradients) {
                    let left = norm(&difference(gradient, memory.known()));
                    assert!(left <= furthest * (1.0 + 1e-14), "{left} in round {round}, alpha {alpha}, rate {rate}");
                }
                found = found.min(norm(&mean(&gradients)));
                norm_ec.round(&mut nodes, &mut local).unwrap();
            }
        });
        let proved = gap / (allowed * ROUNDS) + 2.0 * furthest + SMOOTHNESS * allowed / 2.0;
        assert!((proved - bound).abs() < 1e-3, "{proved} and not {bound}");
        assert!(found < proved, "{found}");
        // Normalised steps oscillate late: the check allows a factor of 1.5.
        assert!(found < 1.5 * least && found > least / 1.5, "{found} and not {least} at alpha {alpha}, rate {rate}");
    }
}

#[test]
fn noise_is_made_for_messages_of_length_1() {
    let multiplier = NoiseMultiplier::new(3.0).unwrap();
    let of = |seed| {
        let normalised = Normalised::new(0.1).unwrap();
        Uplink::private_normalised(normalised, (multiplier, Trust::Local), Width::F64, Key::from_seed(seed))
    };
    assert_eq!(of(0).noise().unwrap().radius.get(), 1.0);
    // 4,000 normals: five standard errors of their deviation. Seed 0; false alarm below 1e-6.
    let noise = of(0).sent(0, &[0.0; 4000]).unwrap().arriving().to_vec();
    let deviation = norm(&noise) / 4000.0_f64.sqrt();
    assert!((deviation / 3.0 - 1.0).abs() < 5.0 / 8000.0_f64.sqrt(), "{deviation}");
    let (mut nodes, mut local) = nodes(logistic());
    let mut norm_ec = NormEc::new(vec![0.5; 20], 10, 0.01, 0.1, of(1)).unwrap();
    assert_eq!(norm_ec.round(&mut nodes, &mut local).unwrap(), Event::gaussian(multiplier));
}

#[test]
fn a_rate_that_is_none_is_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(NormEc::new(vec![0.0], 1, 0.1, rate, normalised(0.1)).is_err(), "{rate}");
    }
}
