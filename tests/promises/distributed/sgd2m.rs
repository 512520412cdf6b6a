//! Clip21-SGD2M: checks R5, R6, R7 and R15 of the reproduction suite.

use super::clip21::cycling;
use super::{SMOOTHNESS, at_once, formula, hosted, logistic, mean, nodes, private, run, uplink};
use dp_accountant::{Event, NoiseMultiplier};
use dpsgd::distributed::memory::Memory;
use dpsgd::distributed::uplink::Trust;
use dpsgd::distributed::vector::{add, difference, norm};
use dpsgd::distributed::{Algorithm, Clip21, Sgd2m};
use dpsgd::seed::Key;

#[test]
fn r5_client_momentum_takes_the_median_away() {
    // The step and the threshold at which Clip21-SGD stays at 0.9975.
    for (client, bias, unit) in [(0.1, 0.0579, 1e-4), (0.01, 0.0050, 1e-4), (0.002, 0.0, 1e-5)] {
        let found = at_once(|| {
            let (mut nodes, mut local) = hosted(vec![cycling()]);
            let mut sgd2m = Sgd2m::new(vec![0.0], 1, 0.001, (client, 1.0), uplink(0.01)).unwrap();
            run(&mut sgd2m, &mut nodes, &mut local, 100_000);
            (0..100_000).map(|_| run(&mut sgd2m, &mut nodes, &mut local, 1)[0]).sum::<f64>() / 100_000.0
        });
        assert!((found - bias).abs() <= unit, "{found} and not {bias} at momentum {client}");
    }
}

/// The difference between what the server knows and what the nodes' memories hold.
fn gap(sgd2m: &Sgd2m) -> Vec<f64> {
    let known: Vec<Vec<f64>> = sgd2m.memories().map(|memory| memory.known().to_vec()).collect();
    difference(sgd2m.estimate(), &mean(&known))
}

#[test]
fn r6_the_server_is_off_by_the_noise_so_far_and_nothing_else() {
    const SERVER: f64 = 0.3;
    let key = Key::from_seed(6);
    let (mut nodes, mut local) = nodes(logistic());
    let uplink = private(0.1, 2.0, Trust::Local, key.clone());
    let mut sgd2m = Sgd2m::new(vec![0.5; 20], 10, 0.01, (0.2, SERVER), uplink).unwrap();
    // The same noise, on messages that say nothing.
    let mut twin = private(0.1, 2.0, Trust::Local, key);
    let (mut walk, mut longest) = (vec![0.0; 20], 0.0_f64);
    for round in 0..300 {
        let cost = sgd2m.round(&mut nodes, &mut local).unwrap();
        assert_eq!(cost, Event::gaussian(NoiseMultiplier::new(2.0).unwrap()));
        twin.resume(round);
        let noise: Vec<Vec<f64>> =
            (0..10).map(|node| twin.sent(node, &[0.0; 20]).unwrap().arriving().to_vec()).collect();
        add(&mut walk, SERVER, &mean(&noise));
        longest = longest.max(norm(&difference(&gap(&sgd2m), &walk)));
    }
    assert!(longest < 1e-13, "{longest}");
    assert!(norm(&walk) > 0.5, "the walk is long enough to be told from nothing: {}", norm(&walk));
}

#[test]
fn r6_the_gap_grows_as_the_root_of_the_rounds() {
    const DIM: usize = 2000;
    let (nodes, rounds, server, deviation) = (4, 50, 0.5, 1.5);
    let oracles = (0..nodes).map(|_| formula(DIM, |_, _| vec![0.0; DIM])).collect();
    let (mut hosts, mut local) = hosted(oracles);
    let uplink = private(1.0, deviation, Trust::Local, Key::from_seed(16));
    let mut sgd2m = Sgd2m::new(vec![0.0; DIM], nodes, 0.0, (1.0, server), uplink).unwrap();
    run(&mut sgd2m, &mut hosts, &mut local, rounds);
    let found = norm(&gap(&sgd2m)) / (DIM as f64).sqrt();
    let expected = server * deviation * (rounds as f64 / nodes as f64).sqrt();
    // Seed 16; five standard errors of a deviation from 2,000 normals: false alarm below 1e-6.
    assert!((found / expected - 1.0).abs() < 5.0 / (2.0 * DIM as f64).sqrt(), "{found} and not {expected}");
}

/// The largest difference between the points of SGD2M and `other`, which moves one round earlier.
fn apart(t: f64, mut other: impl FnMut(&[f64]) -> Vec<f64>) -> f64 {
    let (mut nodes, mut local) = nodes(logistic());
    let mut sgd2m = Sgd2m::new(vec![0.5; 20], 10, 1.0 / SMOOTHNESS, (1.0, 1.0), uplink(t)).unwrap();
    let mut point = run(&mut sgd2m, &mut nodes, &mut local, 1);
    let mut apart = 0.0_f64;
    for _ in 0..200 {
        point = other(&point);
        let found = run(&mut sgd2m, &mut nodes, &mut local, 1);
        let largest = difference(&found, &point).iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        apart = apart.max(largest);
    }
    apart
}

#[test]
fn r7_without_momentum_it_is_clip21_and_without_clipping_gradient_descent() {
    let (mut clip21_nodes, mut local) = nodes(logistic());
    let mut clip21 = Clip21::new(vec![0.5; 20], 10, 1.0 / SMOOTHNESS, uplink(0.1)).unwrap();
    let found = apart(0.1, |_| run(&mut clip21, &mut clip21_nodes, &mut local, 1));
    assert!(found < 1e-13, "{found} from Clip21");
    let (mut all, _) = nodes(logistic());
    let mut descent = |point: &[f64]| {
        let mut point = point.to_vec();
        let gradient = mean(&all.gradients(&point).unwrap());
        add(&mut point, -1.0 / SMOOTHNESS, &gradient);
        point
    };
    let found = apart(1e9, &mut descent);
    assert!(found < 1e-13, "{found} from gradient descent");
    // The control: with clipping it is not gradient descent.
    assert!(apart(0.1, &mut descent) > 1e-3);
}

#[test]
fn r7_without_noise_the_server_knows_the_mean_of_the_memories() {
    let (mut nodes, mut local) = nodes(logistic());
    let mut sgd2m = Sgd2m::new(vec![0.5; 20], 10, 0.01, (0.3, 0.4), uplink(0.1)).unwrap();
    for _ in 0..200 {
        run(&mut sgd2m, &mut nodes, &mut local, 1);
        assert!(norm(&gap(&sgd2m)) < 1e-13);
    }
}

#[test]
fn r15_momentum_carries_a_record_through_rounds_in_which_it_is_not_sampled() {
    let (mut nodes, mut local) = hosted(vec![formula(1, |_, round| vec![if round == 3 { 1.0 } else { 0.0 }])]);
    let mut sgd2m = Sgd2m::new(vec![0.0], 1, 0.01, (0.1, 1.0), uplink(0.1)).unwrap();
    let printed = [0.0, 0.0, 0.0, 0.1, -0.01, -0.009, -0.0081, -0.0073, -0.0066, -0.0059, -0.0053, -0.0048];
    let mut known = vec![0.0];
    for (round, expected) in printed.iter().enumerate() {
        sgd2m.round(&mut nodes, &mut local).unwrap();
        let now = sgd2m.memories().next().map(Memory::known).unwrap().to_vec();
        let message = difference(&now, &known)[0];
        known = now;
        assert!((message - expected).abs() < 1e-4, "{message} and not {expected} in round {round}");
        assert!(round <= 3 || message.abs() > 4e-3, "nothing is left of the record in round {round}");
    }
}

#[test]
fn momenta_that_are_none_are_refused() {
    for (step, client, server) in
        [(0.1, 0.0, 1.0), (0.1, 1.1, 1.0), (0.1, 1.0, 0.0), (0.1, 1.0, f64::NAN), (-0.1, 1.0, 1.0)]
    {
        assert!(Sgd2m::new(vec![0.0], 1, step, (client, server), uplink(1.0)).is_err(), "{step}, {client}, {server}");
    }
}
