//! Check K4: algorithms that are each other in special cases, and sums that stay what they are.

use super::{family, gossip, ring};
use crate::distributed::{mean, nodes};
use dpsgd::distributed::objective::{Objective, Quadratic};
use dpsgd::distributed::vector::{add, norm};
use dpsgd::distributed::{Algorithm, Dsgd, Gossip, GradientTracking, Kgt, Scaffold, Start, Topology, Variate, Width};
use dpsgd::seed::Key;

/// The largest distance of the points of two algorithms, in 50 rounds on the family of eight nodes.
fn apart(one: &mut dyn Algorithm, other: &mut dyn Algorithm) -> f64 {
    let ((mut nodes_of_one, mut local), (mut nodes_of_other, _)) = (nodes(family(8, 1.0)), nodes(family(8, 1.0)));
    let mut most = 0.0_f64;
    for _ in 0..50 {
        one.round(&mut nodes_of_one, &mut local).unwrap();
        other.round(&mut nodes_of_other, &mut local).unwrap();
        let (points, others) = (one.points(), other.points());
        for (node, point) in points.iter().enumerate() {
            // A server stands where everybody stands.
            let other = others.get(node).unwrap_or(&others[0]);
            most = most.max((point[0] - other[0]).abs());
        }
    }
    most
}

fn complete() -> Gossip {
    gossip(&Topology::Complete, 8)
}

#[test]
fn k4_corrections_have_the_sum_zero_at_any_width() {
    for width in [Width::F64, Width::F32] {
        for start in [Start::Mean, Start::Own] {
            let ring = Gossip::new(Topology::Ring.mixing(8, &Key::from_seed(0)).unwrap(), width);
            let mut kgt = Kgt::new(vec![0.3], 8, (0.1, 1.0), 5, start, ring).unwrap();
            let (mut nodes, mut local) = nodes(family(8, 1.0));
            for _ in 0..300 {
                kgt.round(&mut nodes, &mut local).unwrap();
                let corrections = &kgt.state().vectors["correction"];
                let (sum, size) = corrections.iter().fold((0.0, 0.0), |(sum, size), c| (sum + c[0], size + c[0].abs()));
                assert!(size > 0.0 && sum.abs() <= 1e-12 * size, "{sum} of {size} at {width:?}");
            }
        }
    }
}

#[test]
fn k4_trackers_have_the_sum_of_the_gradients_at_any_width() {
    for width in [Width::F64, Width::F32] {
        for start in [Start::Mean, Start::Own] {
            let ring = Gossip::new(Topology::Ring.mixing(8, &Key::from_seed(0)).unwrap(), width);
            let mut tracking = GradientTracking::new(vec![0.3], 8, 0.1, 5, start, ring).unwrap();
            let (mut nodes, mut local) = nodes(family(8, 1.0));
            for _ in 0..300 {
                tracking.round(&mut nodes, &mut local).unwrap();
                let state = tracking.state();
                let (tracked, own) = (mean(&state.vectors["tracker"])[0], mean(&state.vectors["gradient"])[0]);
                assert!((tracked - own).abs() < 1e-12, "{tracked} and not {own} at {width:?}");
            }
        }
    }
}

#[test]
fn k4_one_local_step_is_gradient_tracking() {
    for start in [Start::Mean, Start::Own] {
        let mut kgt = Kgt::new(vec![0.0], 8, (0.1, 1.0), 1, start, ring(8)).unwrap();
        let mut tracking = GradientTracking::new(vec![0.0], 8, 0.1, 1, start, ring(8)).unwrap();
        let most = apart(&mut kgt, &mut tracking);
        assert!(most < 1e-13, "{most}");
        // And two local steps are not.
        let mut kgt = Kgt::new(vec![0.0], 8, (0.1, 1.0), 2, start, ring(8)).unwrap();
        let mut tracking = GradientTracking::new(vec![0.0], 8, 0.1, 2, start, ring(8)).unwrap();
        let control = apart(&mut kgt, &mut tracking);
        assert!(control > 1e-5, "{control}");
    }
}

#[test]
fn k4_on_a_complete_graph_kgt_is_scaffold() {
    for outer in [1.0, 0.5] {
        for start in [Start::Mean, Start::Own] {
            let kgt = || Kgt::new(vec![0.0], 8, (0.05, outer), 7, start, complete()).unwrap();
            let scaffold =
                |variate| Scaffold::new(vec![0.0], 8, (0.05, outer), 7, (variate, start), Width::F64).unwrap();
            let most = apart(&mut kgt(), &mut scaffold(Variate::Steps));
            assert!(most < 1e-13, "{most} with the outer step {outer}");
            // Option I is another algorithm, and so is K-GT on a ring.
            let control = apart(&mut kgt(), &mut scaffold(Variate::Gradient));
            assert!(control > 1e-5, "{control}");
            let mut on_ring = Kgt::new(vec![0.0], 8, (0.05, outer), 7, start, ring(8)).unwrap();
            let control = apart(&mut on_ring, &mut scaffold(Variate::Steps));
            assert!(control > 1e-5, "{control}");
        }
    }
}

#[test]
fn k4_kgt_on_a_complete_graph_without_corrections_is_local_sgd() {
    let mut kgt = Kgt::new(vec![0.0], 8, (0.1, 1.0), 5, Start::Own, complete()).unwrap();
    let mut local_sgd = Dsgd::new(vec![0.0], 8, 0.1, 5, complete()).unwrap();
    let ((mut nodes_of_kgt, mut local), (mut nodes_of_sgd, _)) = (nodes(family(8, 1.0)), nodes(family(8, 1.0)));
    for _ in 0..50 {
        kgt.round(&mut nodes_of_kgt, &mut local).unwrap();
        local_sgd.round(&mut nodes_of_sgd, &mut local).unwrap();
        for (point, other) in kgt.points().iter().zip(local_sgd.points()) {
            assert!((point[0] - other[0]).abs() < 1e-13, "{} and not {}", point[0], other[0]);
        }
        let mut state = kgt.state();
        let corrections = state.vectors.get_mut("correction").unwrap();
        assert!(corrections.iter().any(|c| c[0] != 0.0));
        corrections.iter_mut().for_each(|c| c[0] = 0.0);
        kgt.resume(state).unwrap();
    }
}

#[test]
fn scaffold_is_exact_with_both_options_where_local_sgd_is_not() {
    for variate in [Variate::Gradient, Variate::Steps] {
        for start in [Start::Mean, Start::Own] {
            let mut scaffold = Scaffold::new(vec![0.0], 8, (0.1, 1.0), 10, (variate, start), Width::F64).unwrap();
            let (mut nodes, mut local) = nodes(family(8, 1.0));
            (0..400).for_each(|_| drop(scaffold.round(&mut nodes, &mut local).unwrap()));
            let found = scaffold.points()[0][0];
            assert!((found - 1.0 / 9.0).abs() < 1e-14, "{found} with {variate:?}");
            let extra = if variate == Variate::Gradient { 400 } else { 0 } + u32::from(start == Start::Mean);
            assert_eq!(nodes.answers(), vec![4000 + extra; 8]);
        }
    }
}

#[test]
fn one_node_with_one_local_step_is_gradient_descent() {
    let objective = || Quadratic::new(vec![2.0, 0.5, 0.5, 1.0], vec![1.0, -3.0], 0.0).unwrap();
    let (start, alone) = (vec![0.7, -0.2], || gossip(&Topology::Ring, 1));
    let mut algorithms: Vec<Box<dyn Algorithm>> = vec![Box::new(Dsgd::new(start.clone(), 1, 0.1, 1, alone()).unwrap())];
    for from in [Start::Mean, Start::Own] {
        algorithms.push(Box::new(Kgt::new(start.clone(), 1, (0.1, 1.0), 1, from, alone()).unwrap()));
        algorithms.push(Box::new(GradientTracking::new(start.clone(), 1, 0.1, 1, from, alone()).unwrap()));
        for variate in [Variate::Gradient, Variate::Steps] {
            let scaffold = Scaffold::new(start.clone(), 1, (0.1, 1.0), 1, (variate, from), Width::F64).unwrap();
            algorithms.push(Box::new(scaffold));
        }
    }
    for mut algorithm in algorithms {
        let (mut nodes, mut local) = nodes(vec![objective()]);
        let mut point = start.clone();
        for _ in 0..20 {
            algorithm.round(&mut nodes, &mut local).unwrap();
            let gradient = objective().gradient(&point);
            add(&mut point, -0.1, &gradient);
            let off = norm(&dpsgd::distributed::vector::difference(algorithm.points()[0], &point));
            assert!(off < 1e-14, "{off} of {}", algorithm.name());
        }
    }
}
