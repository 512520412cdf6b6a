//! Which vector instructions the processor has, found out at run time: builds are portable.

/// Asks for the elements to be in the second cache soon. They are read later all the same, or not at all: only time depends on it.
#[inline(always)]
pub(crate) fn prefetch<T>(elements: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        /// Bytes that come together.
        const LINE: usize = 64;
        for line in elements.chunks((LINE / size_of::<T>().max(1)).max(1)) {
            // SAFETY: every processor of the target has SSE, and a prefetch reads nothing that a program could see.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = elements;
}

/// The instructions a kernel may use. Kernels give the same bits with all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instructions {
    /// What every processor of the target has.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The processor has AVX2: a value exists only where that was found to be so.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// The processor has AVX-512F: a value exists only where that was found to be so.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Instructions {
    /// The widest this processor has.
    pub(crate) fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512(Avx512(()));
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2(Avx2(()));
            }
        }
        Self::Portable
    }

    /// All that this processor has, to be compared with each other.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2(Avx2(())));
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512(Avx512(())));
            }
        }
        if all.len() < 3 {
            eprintln!("SKIPPED: this processor has only {all:?}: the wider kernels are not checked");
        }
        all
    }
}
