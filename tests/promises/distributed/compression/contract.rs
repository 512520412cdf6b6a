//! Methods on compressed messages: what they become in special cases, and what every algorithm must keep.

use super::super::{Member, mean, nodes, private, uplink};
use super::{SHIFTS, by, rounds, three, top};
use dpsgd::clip::ClipNorm;
use dpsgd::distributed::compress::{Contractive, RandK, TopK};
use dpsgd::distributed::uplink::{NodeNoise, Trust};
use dpsgd::distributed::vector::{difference, norm, scaled};
use dpsgd::distributed::{
    Algorithm, Clip21, Compress, CompressedDescent, Ef21, ErrorFeedback, FirstMemory, Radius, Transport, Uplink, Width,
};
use dpsgd::seed::Key;

/// Every method on three numbers, with a random compressor and, but for whole gradients, with noise.
pub(crate) fn members() -> Vec<Member> {
    let start = || vec![1.0; 3];
    let methods = |uplink: &dyn Fn() -> Uplink, firsts: &[FirstMemory]| {
        let mut methods: Vec<Box<dyn Algorithm>> = vec![
            Box::new(CompressedDescent::new(start(), 0.05, uplink()).unwrap()),
            Box::new(ErrorFeedback::new(start(), 3, 0.05, uplink()).unwrap()),
        ];
        for first in firsts {
            methods.push(Box::new(Ef21::new(start(), 3, 0.05, *first, uplink()).unwrap()));
        }
        methods
    };
    let random = || by(RandK::biased(1).unwrap());
    let noisy = |trust| private(0.5, 0.7, trust, Key::from_seed(8));
    let firsts = [FirstMemory::Zero, FirstMemory::Compressed, FirstMemory::Full];
    let member = |private| move |algorithm| Member { algorithm, nodes: 3, private };
    let mut all: Vec<Member> = methods(&random, &firsts).into_iter().map(member(false)).collect();
    for trust in [Trust::Local, Trust::Central] {
        all.extend(methods(&|| noisy(trust), &firsts[..2]).into_iter().map(member(true)));
    }
    all
}

#[test]
fn ef21_with_a_clip_is_clip21_and_a_round_later_when_started_at_zero() {
    let new = |start| Ef21::new(vec![5.0; 3], 3, 0.01, start, uplink(0.7)).unwrap();
    let (mut at_zero, mut compressed) = (new(FirstMemory::Zero), new(FirstMemory::Compressed));
    let mut clip21 = Clip21::new(vec![5.0; 3], 3, 0.01, uplink(0.7)).unwrap();
    let problem = || nodes(three(SHIFTS));
    let ((mut ours, mut local), (mut theirs, mut other), (mut third, mut last)) = (problem(), problem(), problem());
    at_zero.round(&mut ours, &mut local).unwrap();
    assert_eq!(at_zero.points(), [[5.0; 3]], "nothing is known yet");
    for round in 0..300 {
        at_zero.round(&mut ours, &mut local).unwrap();
        clip21.round(&mut theirs, &mut other).unwrap();
        compressed.round(&mut third, &mut last).unwrap();
        assert_eq!(at_zero.points(), clip21.points(), "round {round}");
        assert_eq!(at_zero.memories(), clip21.memories(), "round {round}");
        assert_eq!(compressed.points(), clip21.points(), "round {round}");
    }
}

#[test]
fn without_compression_every_method_is_gradient_descent() {
    let identity = || by(Radius::INFINITE);
    let start = vec![1.0, -2.0, 0.5];
    let ef21 = |begin| Box::new(Ef21::new(start.clone(), 3, 0.02, begin, identity()).unwrap());
    let methods: [Box<dyn Algorithm>; 4] = [
        Box::new(CompressedDescent::new(start.clone(), 0.02, identity()).unwrap()),
        Box::new(ErrorFeedback::new(start.clone(), 3, 0.02, identity()).unwrap()),
        ef21(FirstMemory::Full),
        ef21(FirstMemory::Compressed),
    ];
    let (mut reference, _) = nodes(three(SHIFTS));
    let mut point = start.clone();
    for _ in 0..50 {
        let gradient = mean(&reference.gradients(&point).unwrap());
        point = difference(&point, &scaled(0.02, &gradient));
    }
    for mut method in methods {
        let (mut nodes, mut local) = nodes(three(SHIFTS));
        rounds(method.as_mut(), &mut nodes, &mut local, 50);
        let off = norm(&difference(method.points()[0], &point));
        assert!(off < 1e-13, "{}: {off}", method.name());
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    let random = || by(RandK::biased(1).unwrap());
    let ef21 = |start| Box::new(Ef21::new(vec![1.0; 3], 3, 0.005, start, random()).unwrap()) as Box<dyn Algorithm>;
    let methods: [&dyn Fn() -> Box<dyn Algorithm>; 5] = [
        &|| Box::new(CompressedDescent::new(vec![1.0; 3], 0.005, random()).unwrap()),
        &|| Box::new(ErrorFeedback::new(vec![1.0; 3], 3, 0.005, random()).unwrap()),
        &|| ef21(FirstMemory::Zero),
        &|| ef21(FirstMemory::Compressed),
        &|| ef21(FirstMemory::Full),
    ];
    for new in methods {
        for interrupted in [0, 1, 17] {
            let ((mut nodes, mut local), mut whole) = (nodes(three(SHIFTS)), new());
            rounds(whole.as_mut(), &mut nodes, &mut local, interrupted);
            let state = whole.state();
            rounds(whole.as_mut(), &mut nodes, &mut local, 20);
            let mut resumed = new();
            resumed.resume(state.clone()).unwrap();
            assert_eq!(resumed.state(), state, "{}", whole.name());
            rounds(resumed.as_mut(), &mut nodes, &mut local, 20);
            assert_eq!(resumed.state(), whole.state(), "{} after {interrupted}", whole.name());
            let mut other = state;
            other.vectors.insert("point".into(), vec![vec![0.0; 2]]);
            assert!(resumed.resume(other).is_err(), "{}", whole.name());
        }
    }
}

#[test]
fn what_cannot_run_is_refused() {
    for step in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(CompressedDescent::new(vec![0.0; 3], step, top(1)).is_err());
        assert!(ErrorFeedback::new(vec![0.0; 3], 3, step, top(1)).is_err());
        assert!(Ef21::new(vec![0.0; 3], 3, step, FirstMemory::Zero, top(1)).is_err());
    }
    // An unbiased compressor is no contraction before it is scaled.
    let unbiased = || Box::new(RandK::unbiased(1).unwrap());
    let unscaled = || Uplink::new(unbiased(), Width::F64, Key::from_seed(0));
    assert!(Ef21::new(vec![0.0; 3], 3, 0.1, FirstMemory::Zero, unscaled()).is_err());
    assert!(ErrorFeedback::new(vec![0.0; 3], 3, 0.1, unscaled()).is_err());
    assert!(Ef21::new(vec![0.0; 3], 3, 0.1, FirstMemory::Zero, by(Contractive::new(unbiased()))).is_ok());
    // A whole gradient has no noise.
    let noise = NodeNoise {
        radius: ClipNorm::new(1.0).unwrap(),
        noise_multiplier: dp_accountant::NoiseMultiplier::new(1.0).unwrap(),
        trust: Trust::Local,
    };
    let private = || Uplink::private(noise, Width::F64, Key::from_seed(0));
    assert!(Ef21::new(vec![0.0; 3], 3, 0.1, FirstMemory::Full, private()).is_err());
    assert!(Ef21::new(vec![0.0; 3], 3, 0.1, FirstMemory::Compressed, private()).is_ok());
    for wrong in [0.0, 0.5, f64::NAN, f64::INFINITY] {
        assert!(Ef21::theta(wrong).is_err() && Ef21::step_nonconvex(wrong, 1.0, 1.0).is_err());
    }
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let class = TopK::new(1).unwrap().class(3).unwrap();
        assert!(CompressedDescent::step(&class, wrong).is_err());
        assert!(CompressedDescent::factor(&class, 0.1, wrong).is_err());
        assert!(Ef21::step_nonconvex(3.0, wrong, 1.0).is_err() && Ef21::step_nonconvex(3.0, 1.0, wrong).is_err());
        assert!(Ef21::step_pl(3.0, 1.0, 1.0, wrong).is_err());
    }
}

#[test]
fn a_round_moves_the_bytes_of_its_messages() {
    let (mut nodes, mut local) = nodes(three(SHIFTS));
    let mut dcgd = CompressedDescent::new(vec![1.0; 3], 0.01, top(1)).unwrap();
    rounds(&mut dcgd, &mut nodes, &mut local, 10);
    let sent: Vec<u64> = local.traffic().iter().map(|traffic| traffic.sent).collect();
    // A number of 64 bits and a place of two make 9 bytes; node 0 hands three numbers to the two others.
    assert_eq!(sent, [10 * 2 * 24, 10 * 9, 10 * 9]);
}
