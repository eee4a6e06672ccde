//! Memory that the kernel shares with us: mmap(2) of an eBPF array.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Words of shared memory, which change under the reader's eyes: hence atomics.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: it is memory of the whole process until it is dropped, and is reached through atomics alone.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the first `words` words of what `descriptor` refers to, to be read and written.
    ///
    /// # Errors
    ///
    /// That of mmap(2): `EINVAL` where the kernel's memory is smaller than that (kernel/bpf/arraymap.c,
    /// `array_map_mmap`), or none is asked for.
    pub(crate) fn new(descriptor: impl AsFd, words: usize) -> io::Result<Self> {
        let bytes = words.checked_mul(size_of::<AtomicU64>()).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: without a wish for an address the kernel chooses one where nothing is mapped yet.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                descriptor.as_fd(),
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }

    /// The memory. The kernel's program writes to it with aligned stores of eight bytes and atomic additions.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: that many words are mapped at this address, aligned to a page, until `self` is dropped; all that
        // anybody does with them in this process goes through these atomics.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and nothing that borrowed it is left.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
        debug_assert!(result.is_ok(), "munmap of what was mapped");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn is_the_memory_itself() {
        let file = memfd_create("mapped", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 8192).unwrap();
        let (one, other) = (Mapped::new(&file, 1024).unwrap(), Mapped::new(&file, 1024).unwrap());
        one.words()[1023].store(7, Ordering::Relaxed);
        assert_eq!(other.words()[1023].load(Ordering::Relaxed), 7);
        assert!(Mapped::new(&file, 0).is_err(), "mmap(2) refuses to map nothing");
        assert!(Mapped::new(&file, usize::MAX).is_err());
    }
}
