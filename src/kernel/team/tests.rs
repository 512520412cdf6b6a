use super::*;
use std::collections::HashSet;
use std::time::Instant;

/// Runs `test` without a team, and on teams of 1 to 8 threads, which may be more than the machine has.
fn on_teams(test: impl Fn(usize) + Send + Sync) {
    test(1);
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| awake(|| test(threads)));
    }
}

#[test]
fn every_item_is_taken_once_and_results_are_in_order() {
    on_teams(|_| {
        for len in [0, 1, 2, 63, 64, 65, 1000] {
            let mut counts = vec![0; len];
            counts.par_iter_mut().enumerate().each(|(i, count)| *count += i + 1);
            assert_eq!(counts, (1..=len).collect::<Vec<_>>());
            let squares = counts.par_chunks(7).gather(|chunk| chunk.iter().map(|x| x * x).sum::<usize>());
            assert_eq!(
                squares,
                counts.chunks(7).map(|chunk| chunk.iter().map(|x| x * x).sum()).collect::<Vec<usize>>()
            );
        }
    });
}

#[test]
fn a_thousand_kernels_one_after_another_see_what_the_one_before_wrote() {
    on_teams(|_| {
        let mut values = vec![0_u64; 100];
        for round in 0..1000 {
            values
                .par_chunks_mut(3)
                .each(|values| values.iter_mut().for_each(|x| *x = x.wrapping_mul(3).wrapping_add(round)));
        }
        let expected = (0..1000).fold(0_u64, |x, round| x.wrapping_mul(3).wrapping_add(round));
        assert!(values.iter().all(|x| *x == expected), "{values:?}");
    });
}

#[test]
fn all_threads_take_part_and_reuse_what_init_made() {
    on_teams(|threads| {
        let (states, seen) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
        let start = Instant::now();
        // Pieces are slow until every thread has had one, which a thread of the machine's choice may take its time for.
        while lock(&seen).len() < threads && start.elapsed() < Duration::from_secs(60) {
            (0..64).into_par_iter().each_with(
                || states.fetch_add(1, Ordering::Relaxed),
                |_, _| {
                    lock(&seen).insert(std::thread::current().id());
                    std::thread::sleep(Duration::from_micros(100));
                },
            );
        }
        assert!(lock(&seen).len() >= threads, "{} of {threads}", lock(&seen).len());
        if threads > 1 {
            states.store(0, Ordering::Relaxed);
            (0..1000).into_par_iter().each_with(|| states.fetch_add(1, Ordering::Relaxed), |_, _| ());
            assert!((1..=threads).contains(&states.load(Ordering::Relaxed)), "{states:?} for {threads} threads");
        }
    });
}

#[test]
fn a_panic_comes_out_and_the_team_goes_on() {
    on_teams(|_| {
        for bad in [0, 31, 63] {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                (0..64).into_par_iter().each(|i| assert_ne!(i, bad, "piece {bad}"));
            }));
            let message = panic.unwrap_err();
            assert!(message.downcast_ref::<String>().unwrap().contains(&format!("piece {bad}")));
            assert_eq!((0..64).into_par_iter().gather(|i| 2 * i).iter().sum::<i32>(), 64 * 63);
        }
    });
}

#[test]
fn kernels_in_pieces_are_not_shared_out_again() {
    on_teams(|_| {
        let sums = (0..10).into_par_iter().gather(|i| (0..i).into_par_iter().gather(|j| j * i).iter().sum::<usize>());
        assert_eq!(sums, (0..10).map(|i| (0..i).map(|j| j * i).sum()).collect::<Vec<usize>>());
        let alone = |_| PLACE.with_borrow(|place| matches!(place, Place::Elsewhere)) || threads() == 1;
        assert!((0..10).into_par_iter().gather(alone).into_iter().all(|alone| alone));
    });
}

#[test]
fn a_team_inside_another_and_two_beside_each_other_end() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let work = || {
        let mut all = 0;
        for _ in 0..300 {
            all += (0..50).into_par_iter().gather(|i| i).iter().sum::<usize>();
            // Rayon's own work, in the middle, for which its threads wait in their own way.
            all += (0..50).into_par_iter().sum::<usize>();
        }
        all
    };
    let expected = 300 * 2 * 1225;
    assert_eq!(pool.install(|| awake(|| awake(work))), expected);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.install(|| awake(work)))).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), expected));
    });
}

#[test]
fn threads_are_rayons_again_afterwards() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let failed = catch_unwind(AssertUnwindSafe(|| pool.install(|| awake(|| panic!("work that fails")))));
    assert!(failed.is_err());
    assert_eq!(pool.install(|| awake(|| 7)), 7);
    assert_eq!(pool.broadcast(|_| PLACE.with_borrow(|place| matches!(place, Place::Elsewhere))), [true, true]);
}
