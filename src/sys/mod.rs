//! The only unsafe code: system calls that no crate of ours wraps. Each function is one call behind a safe
//! face; descriptors are borrowed or owned, results are looked at in the next line.
#![expect(unsafe_code, reason = "this is where it lives; each block says why it is sound")]

pub(crate) mod bpf;
pub(crate) mod heap;
pub(crate) mod mapped;
pub(crate) mod packet;
