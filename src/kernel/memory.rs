//! Memory that was freed, for the next step.

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
