//! Memory: what was freed is kept for the next step, and what will be written is not cleared first.

use super::team::Shared;
use super::{Real, once};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Asks the system's allocator to keep what the process frees instead of handing it back.
///
/// Every step of training allocates and frees the same large tensors. glibc returns such pieces to the kernel at once, which
/// then clears every page again at the next step: a fifth to a third of a step's time. Programs that train call this once at
/// their start; a library must not decide it for its process. Elsewhere than under glibc it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// What the heap grows by.
        const GROWTH: libc::c_int = 32 << 20;
        // SAFETY: `mallopt` takes two integers, knows these parameters, and may be called at any time.
        unsafe {
            // One heap for all threads, which keeps all it has: large tensors are allocated and freed by whichever thread comes
            // along, and pieces mapped for themselves are always given back.
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, GROWTH);
        }
    }
}

/// A vector of `len` elements, written on all threads in chunks of `chunk` by `write(number of the chunk, chunk, scratch)`, and
/// what came of each. The chunk comes back as a slice of elements: nobody has one without having written it.
pub(crate) fn written<T: Real, S: Default + Send, R: Send>(
    len: usize,
    chunk: usize,
    write: impl for<'a> Fn(usize, &'a mut [MaybeUninit<T>], &mut S) -> (&'a mut [T], R) + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut out: Vec<T> = Vec::with_capacity(len);
    let chunks = out.spare_capacity_mut()[..len].par_chunks_mut(chunk).enumerate();
    let results = chunks.gather_with(S::default, |scratch, (i, chunk)| {
        let (start, size) = (chunk.as_ptr().cast::<T>(), chunk.len());
        let (written, result) = write(i, chunk, scratch);
        assert!(written.as_ptr() == start && written.len() == size, "a chunk came back as another one");
        result
    });
    // SAFETY: `len` is within the capacity, and every chunk of the elements came back as a slice of the same elements, which were
    // written therefore.
    unsafe { out.set_len(len) };
    (out, results)
}

/// As many zeros, written on all threads.
pub(crate) fn cleared<T: Real>(len: usize) -> Vec<T> {
    const CHUNK: usize = 1 << 15;
    written(len, CHUNK, |_, chunk, (): &mut ()| (zeroed(chunk), ())).0
}

/// The slice with every element zero.
pub(crate) fn zeroed<T: Real>(slice: &mut [MaybeUninit<T>]) -> &mut [T] {
    slice.iter_mut().for_each(|element| {
        element.write(T::zero());
    });
    // SAFETY: every element has just been written, and `MaybeUninit<T>` lies in memory as `T` does.
    unsafe { &mut *(std::ptr::from_mut(slice) as *mut [T]) }
}

/// The slice with copies of `row` one after another, the last one cut off where the slice ends.
pub(crate) fn copies<'s, T: Real>(slice: &'s mut [MaybeUninit<T>], row: &[T]) -> &'s mut [T] {
    rows_of(slice, row.len(), |_| row)
}

/// The slice with copies of rows of `size` elements one after another, the last one cut off where the slice ends.
pub(crate) fn rows_of<'s, 'r, T: Real>(
    slice: &'s mut [MaybeUninit<T>],
    size: usize,
    row: impl Fn(usize) -> &'r [T],
) -> &'s mut [T] {
    for (i, chunk) in slice.chunks_mut(size.max(1)).enumerate() {
        let row = &row(i)[..chunk.len()];
        chunk.iter_mut().zip(row).for_each(|(element, value)| {
            element.write(*value);
        });
    }
    // SAFETY: every chunk had a row of as many elements, so every element has just been written, and `MaybeUninit<T>` lies in
    // memory as `T` does.
    unsafe { &mut *(std::ptr::from_mut(slice) as *mut [T]) }
}

/// The slice with the values rounded to its type; there are as many.
pub(crate) fn rounded<'s, T: Real>(slice: &'s mut [MaybeUninit<T>], values: &[f64]) -> &'s mut [T] {
    of_each(
        slice,
        values,
        #[inline(always)]
        |value| T::from_f64(value),
    )
}

/// The slice with what `f` makes of each value; there are as many.
pub(crate) fn of_each<'s, A: Copy, T: Real>(
    slice: &'s mut [MaybeUninit<T>],
    values: &[A],
    f: impl Fn(A) -> T,
) -> &'s mut [T] {
    assert_eq!(slice.len(), values.len(), "values for a slice");
    let to = &mut *slice;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (element, value) in once(to).iter_mut().zip(values) {
                element.write(f(*value));
            }
        },
    );
    // SAFETY: there were as many values as elements, so every element has just been written, and `MaybeUninit<T>` lies in memory
    // as `T` does.
    unsafe { &mut *(std::ptr::from_mut(slice) as *mut [T]) }
}

/// The slice with what `f` makes of each pair of values; there are as many of both.
pub(crate) fn of_pairs<'s, T: Real>(
    slice: &'s mut [MaybeUninit<T>],
    (a, b): (&[T], &[T]),
    f: impl Fn(T, T) -> T,
) -> &'s mut [T] {
    assert!(slice.len() == a.len() && a.len() == b.len(), "pairs of values for a slice");
    let to = &mut *slice;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for ((element, a), b) in once(to).iter_mut().zip(a).zip(b) {
                element.write(f(*a, *b));
            }
        },
    );
    // SAFETY: there were as many values as elements, so every element has just been written, and `MaybeUninit<T>` lies in memory
    // as `T` does.
    unsafe { &mut *(std::ptr::from_mut(slice) as *mut [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_written_once() {
        let (values, sizes) = written::<f32, (), _>(10, 4, |i, chunk, ()| {
            let chunk = zeroed(chunk);
            chunk.fill(i as f32);
            let size = chunk.len();
            (chunk, size)
        });
        assert_eq!((values, sizes), (vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0], vec![4, 4, 2]));
        assert!(written::<f64, (), _>(0, 4, |_, chunk, ()| (zeroed(chunk), ())).0.is_empty());
    }

    #[test]
    fn rows_are_copied_to_the_end() {
        let mut five = [MaybeUninit::new(9.0); 5];
        assert_eq!(copies(&mut five, &[1.0, 2.0]), [1.0, 2.0, 1.0, 2.0, 1.0]);
        assert!(copies::<f32>(&mut [], &[]).is_empty());
        assert_eq!(rows_of(&mut five, 2, |i| [&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]][i]), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn values_and_pairs_are_mapped_one_by_one() {
        let (a, b): (Vec<f32>, Vec<f32>) = (0..37).map(|i| (i as f32, (i * i) as f32)).unzip();
        let mut slice = vec![MaybeUninit::new(-1.0f32); 37];
        assert_eq!(of_each(&mut slice, &a, |x: f32| 2.0 * x), a.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
        assert_eq!(of_pairs(&mut slice, (&a, &b), |a, b| b - a), a.iter().map(|x| x * x - x).collect::<Vec<_>>());
        assert_eq!(rounded(&mut slice[..2], &[0.1, 1.0]), [0.1f32, 1.0]);
    }

    #[test]
    #[should_panic(expected = "another one")]
    fn another_slice_is_no_proof() {
        written::<f32, (), _>(4, 4, |_, chunk, ()| (zeroed(&mut chunk[..2]), ()));
    }
}
