//! Threads that stay awake between kernels.
//!
//! A step of training is some hundreds of kernels, each of which takes from microseconds to milliseconds. Rayon lets a thread
//! sleep that finds no work, and waking one takes longer than many kernels do. So for the time of [`awake`] rayon's other
//! threads watch for kernels of one thread, the leader, and take pieces of them as they come; after two milliseconds without one
//! they watch at longer intervals. A kernel shares out its pieces with [`Shared`] instead of rayon's own methods. Who takes which
//! piece changes no bit of what the piece computes.

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};
use rayon::prelude::*;
use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Runs `work` on one of rayon's threads and keeps the others awake meanwhile, so that kernels called by `work` are shared out
/// among all of them at once. Without it kernels compute the same bits and wait for threads to wake up. The threads do other
/// work of rayon's, too, when it comes.
pub fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| {
        let threads = rayon::current_num_threads();
        if threads == 1 || !PLACE.with_borrow(|place| matches!(place, Place::Elsewhere)) {
            return work();
        }
        let (team, leader) = (Arc::new(Team::new(threads)), rayon::current_thread_index().unwrap_or(0));
        let _here = Here::at(Place::Leader(team.clone()));
        let _over = Over(&team.over);
        let followed = team.clone();
        rayon::spawn_broadcast(move |thread| {
            // Who leads a team of its own, or is in the middle of a kernel, must not be kept from it.
            if PLACE.with_borrow(|place| matches!(place, Place::Elsewhere)) {
                followed.follow((thread.index() + threads - leader) % threads);
            }
        });
        work()
    })
}

/// Threads among which a kernel that is called here would be shared out.
pub(crate) fn threads() -> usize {
    if PLACE.with_borrow(|place| matches!(place, Place::Piece)) { 1 } else { rayon::current_num_threads() }
}

/// Where a thread is.
enum Place {
    /// Between the kernels of a team that it leads.
    Leader(Arc<Team>),
    /// In a piece of a kernel. What a piece calls is not shared out once more.
    Piece,
    /// Elsewhere.
    Elsewhere,
}

thread_local! {
    static PLACE: RefCell<Place> = const { RefCell::new(Place::Elsewhere) };
}

/// The thread is at a place until this is dropped, and then where it was before.
struct Here(Place);

impl Here {
    fn at(place: Place) -> Self {
        Self(PLACE.replace(place))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        PLACE.set(std::mem::replace(&mut self.0, Place::Elsewhere));
    }
}

/// Set when this is dropped.
struct Over<'t>(&'t AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Indexed parallel iterators whose items are shared out among the team that this thread leads, or by rayon where there is none.
pub(crate) trait Shared: IndexedParallelIterator {
    /// Calls `f` with every item.
    fn each(self, f: impl Fn(Self::Item) + Sync + Send) {
        self.each_with(|| (), |(), item| f(item));
    }

    /// Calls `f` with every item and with what `init` made: one for each thread at a time, used again and again.
    fn each_with<S: Send>(self, init: impl Fn() -> S + Sync + Send, f: impl Fn(&mut S, Self::Item) + Sync + Send) {
        let team = PLACE.with_borrow(|place| match place {
            Place::Leader(team) => Some(Some(team.clone())),
            Place::Piece => Some(None),
            Place::Elsewhere => None,
        });
        let Some(team) = team else { return self.for_each_init(init, f) };
        let len = self.len();
        self.with_producer(Pieces { team, len, init, f });
    }

    /// What `f` makes of every item, in order.
    fn gather<R: Send>(self, f: impl Fn(Self::Item) -> R + Sync + Send) -> Vec<R> {
        self.gather_with(|| (), |(), item| f(item))
    }

    /// As [`Shared::gather`], with what `init` made.
    fn gather_with<S: Send, R: Send>(
        self,
        init: impl Fn() -> S + Sync + Send,
        f: impl Fn(&mut S, Self::Item) -> R + Sync + Send,
    ) -> Vec<R> {
        let mut results: Vec<Option<R>> = Vec::new();
        results.resize_with(self.len(), || None);
        self.zip(results.par_iter_mut()).each_with(init, |state, (item, result)| *result = Some(f(state, item)));
        results.into_iter().flatten().collect()
    }
}

impl<I: IndexedParallelIterator> Shared for I {}

/// The items of an iterator on their way to a team, or to this thread alone.
struct Pieces<I, F> {
    team: Option<Arc<Team>>,
    len: usize,
    init: I,
    f: F,
}

impl<T, S: Send, I: Fn() -> S + Sync, F: Fn(&mut S, T) + Sync> ProducerCallback<T> for Pieces<I, F> {
    type Output = ();

    fn callback<P: Producer<Item = T>>(self, producer: P) {
        /// A kernel of more items is cut into so many pieces: enough for threads of unequal speed to end together.
        const MOST: usize = 64;
        let Self { team, len, init, f } = self;
        let Some(team) = team.filter(|_| len > 1) else {
            let mut state = init();
            return producer.into_iter().for_each(|item| f(&mut state, item));
        };
        let count = len.min(MOST);
        let (mut pieces, mut rest) = (Vec::with_capacity(count), producer);
        for i in 0..count {
            let (piece, others) = rest.split_at((i + 1) * len / count - i * len / count);
            pieces.push(Mutex::new(Some(piece)));
            rest = others;
        }
        let states: Mutex<Vec<S>> = Mutex::default();
        team.share(count, &|i| {
            let Some(piece) = lock(&pieces[i]).take() else { return };
            let state = lock(&states).pop();
            let mut state = state.unwrap_or_else(&init);
            piece.into_iter().for_each(|item| f(&mut state, item));
            lock(&states).push(state);
        });
    }
}

/// Nothing that these mutexes hold is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that work on one kernel at a time.
struct Team {
    /// How many followers are at work, whether others may join them, and the number of the kernel.
    gate: AtomicUsize,
    /// The kernel, written while the gate is closed and nobody is at work.
    kernel: UnsafeCell<Kernel>,
    /// For every thread the next piece of its stretch.
    stretches: Vec<Stretch>,
    /// What the first piece that panicked on a follower said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Whether the leader is gone.
    over: AtomicBool,
}

// SAFETY: `kernel` is the only part that is not shareable by itself. The leader writes it while the gate is closed and nobody is at
// work: that is one thread, as only its `PLACE` has the team, and has it not during a kernel. Others read it only after having passed
// the gate and before leaving. It holds a pointer to a closure that is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; no part belongs to a certain thread.
unsafe impl Send for Team {}

/// A counter in a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Stretch(AtomicUsize);

/// The pieces of a kernel.
#[derive(Clone, Copy)]
struct Kernel {
    count: usize,
    run: *const (dyn Fn(usize) + Sync),
}

impl Kernel {
    fn piece(&self, i: usize) {
        // SAFETY: `Team::share` returns, and with it the closure ends, only after everybody who was let in has left, and this is
        // called by those and by the leader only.
        unsafe { (*self.run)(i) }
    }
}

/// Followers at work.
const AT_WORK: usize = OPEN - 1;
/// Set while followers may begin to work.
const OPEN: usize = 1 << 16;
/// The number of a kernel is counted in these units.
const NUMBER: usize = OPEN << 1;

impl Team {
    fn new(threads: usize) -> Self {
        Self {
            gate: AtomicUsize::new(0),
            kernel: UnsafeCell::new(Kernel { count: 0, run: &|_| () }),
            stretches: (0..threads).map(|_| Stretch::default()).collect(),
            panic: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// The pieces a thread takes first: near those it had in the kernel before, whose results are in its cache.
    fn stretch(&self, thread: usize, count: usize) -> std::ops::Range<usize> {
        thread * count / self.stretches.len()..(thread + 1) * count / self.stretches.len()
    }

    /// Calls `piece(0)` to `piece(count - 1)`, each once, on the leader, which is the calling thread, and those followers that
    /// come in time.
    fn share(&self, count: usize, piece: &(dyn Fn(usize) + Sync)) {
        for (thread, next) in self.stretches.iter().enumerate() {
            next.0.store(self.stretch(thread, count).start, Ordering::Relaxed);
        }
        // SAFETY: the lifetimes of the closure are forgotten; see `Kernel::piece`.
        let run = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(piece) };
        let kernel = Kernel { count, run };
        // SAFETY: the gate is closed and nobody is at work: so it is at first, and so `share` leaves it.
        unsafe { *self.kernel.get() = kernel };
        let number = (self.gate.load(Ordering::Relaxed) / NUMBER).wrapping_add(1).wrapping_mul(NUMBER);
        self.gate.store(number | OPEN, Ordering::Release);
        let own = catch_unwind(AssertUnwindSafe(|| self.work(0, &kernel)));
        self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut patience = Patience::default();
        while self.gate.load(Ordering::Acquire) & AT_WORK != 0 {
            patience.spin();
        }
        let panic = lock(&self.panic).take();
        if let Some(panic) = own.err().or(panic) {
            resume_unwind(panic);
        }
    }

    /// Takes pieces until there are none: first those of its own stretch, then what others have left of theirs.
    fn work(&self, place: usize, kernel: &Kernel) {
        let _here = Here::at(Place::Piece);
        let threads = self.stretches.len();
        for thread in (place..threads).chain(0..place) {
            let end = self.stretch(thread, kernel.count).end;
            loop {
                let i = self.stretches[thread].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                kernel.piece(i);
            }
        }
    }

    /// Works on every kernel that it sees until the leader is gone.
    fn follow(&self, place: usize) {
        let (mut last, mut patience) = (0, Patience::default());
        while !self.over.load(Ordering::Acquire) {
            let gate = self.gate.load(Ordering::Relaxed);
            let joins = gate & OPEN != 0 && gate / NUMBER != last;
            if !joins || self.gate.compare_exchange(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                patience.wait();
                continue;
            }
            // SAFETY: the gate was open, so the kernel was written before (`Acquire`), and will not be again until this thread has
            // left.
            let kernel = unsafe { *self.kernel.get() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(place, &kernel))) {
                lock(&self.panic).get_or_insert(panic);
            }
            self.gate.fetch_sub(1, Ordering::Release);
            (last, patience) = (gate / NUMBER, Patience::default());
        }
    }
}

/// How often a thread has looked in vain.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    /// A moment; at times the turn of another thread of the machine, and then true.
    fn spin(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        std::hint::spin_loop();
        let turn = self.0.is_multiple_of(64);
        if turn {
            std::thread::yield_now();
        }
        turn
    }

    /// As [`Patience::spin`], and at times rayon's other work gets done. After two milliseconds or so a nap.
    fn wait(&mut self) {
        const EAGER: u32 = 40_000;
        if self.spin() && rayon::yield_now() == Some(rayon::Yield::Executed) {
            self.0 = 0;
        }
        if self.0 > EAGER {
            rayon::yield_now();
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
