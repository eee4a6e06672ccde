//! Reading a file that somebody else keeps: it may be anything, and nothing may hang.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest file: a hundred bytes for each of 640,000 entries.
const MOST_BYTES: u64 = 64 << 20;

/// The file's bytes.
///
/// # Errors
///
/// What is wrong, and what to do.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| explain(&error))?;
    let facts = file.metadata().map_err(|error| explain(&error))?;
    if !facts.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let too_large = || format!("it is larger than {} MiB; is it the right file?", MOST_BYTES >> 20);
    if facts.len() > MOST_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // One more, to notice a file that grows.
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| explain(&error))?;
    if bytes.len() as u64 > MOST_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read; check its owner and mode".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}
