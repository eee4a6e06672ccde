//! The heap as the system sees it.

/// Gives free memory back to the system. Only glibc keeps more than it needs; elsewhere it does nothing.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and the allocator's own lock, and leaves what is in use alone (malloc_trim(3)).
    let _was_any = unsafe { libc::malloc_trim(0) };
}
