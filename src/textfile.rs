//! Text files that somebody else keeps: reading one, which may be anything and must not hang, and saying what is
//! wrong with it, and where; replacing one.

mod replace;

use std::fmt;
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

pub use replace::{probe, replace};

/// Most faults of one file that are listed: a binary file would fill the log.
pub const MOST_FAULTS: usize = 50;

/// Largest file: a hundred bytes for each of 640,000 lines.
pub const MOST_BYTES: u64 = 64 << 20;

/// A line of a file, or the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Its line, from 1; 0 is the file as a whole.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// All that is wrong with one file; the list is cut after some.
#[derive(Debug)]
pub struct Faults {
    file: Arc<Path>,
    most: usize,
    list: Vec<Fault>,
    untold: usize,
}

impl Faults {
    /// Nothing wrong so far; at most so many lines will be listed, usually [`MOST_FAULTS`].
    pub fn new(file: &Arc<Path>, most: usize) -> Self {
        Self { file: Arc::clone(file), most, list: Vec::new(), untold: 0 }
    }

    /// Something is wrong in this line; 0 is the file as a whole.
    pub fn add(&mut self, line: usize, what: String) {
        if self.list.len() < self.most {
            self.list.push(Fault { place: Place { file: Arc::clone(&self.file), line }, what });
        } else {
            self.untold += 1;
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The list, with how many were left out.
    pub fn into_list(mut self) -> Vec<Fault> {
        if self.untold > 0 {
            let place = Place { file: self.file, line: 0 };
            let faults = if self.untold == 1 { "fault" } else { "faults" };
            self.list.push(Fault { place, what: format!("{} more {faults} like these", self.untold) });
        }
        self.list
    }
}

/// The file's bytes.
///
/// # Errors
///
/// What is wrong, and what to do.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_at_most(path, MOST_BYTES)
}

/// As [`read`], for files that are never so large.
///
/// # Errors
///
/// As [`read`].
pub fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| explain(path, &error))?;
    let facts = file.metadata().map_err(|error| explain(path, &error))?;
    if !facts.is_file() {
        return Err(format!("it is not a regular file but {}", kind(facts.file_type())));
    }
    if facts.len() > most {
        return Err(too_large(most));
    }
    read_to_end(file, most)
        .map_err(|error| error.map_or_else(|| too_large(most), |error| explain(path, &error)))
}

/// The file's bytes, if there is a file.
///
/// # Errors
///
/// As [`read`].
pub fn read_if_any(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => read(path).map(Some),
    }
}

/// What a pipe holds, to its end: whoever asks for this waits for whoever writes into it.
///
/// # Errors
///
/// What is wrong, and what to do.
pub fn read_pipe(pipe: impl Read) -> Result<Vec<u8>, String> {
    read_to_end(pipe, MOST_BYTES).map_err(|error| {
        error.map_or_else(|| too_large(MOST_BYTES), |error| format!("it cannot be read: {error}"))
    })
}

/// None if it is too large.
fn read_to_end(source: impl Read, most: u64) -> Result<Vec<u8>, Option<io::Error>> {
    let mut bytes = Vec::new();
    // One more, to notice what is larger than its size told, or grows.
    source.take(most + 1).read_to_end(&mut bytes).map_err(Some)?;
    if bytes.len() as u64 > most { Err(None) } else { Ok(bytes) }
}

fn too_large(most: u64) -> String {
    format!("it is larger than {} MiB; is it the right file?", most >> 20)
}

fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    }
}

fn explain(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => match fs::metadata(path) {
            Ok(facts) => format!(
                "it may not be read; check its owner and mode: it is user {}'s, mode {:04o}, and this is user {}",
                facts.uid(),
                facts.mode() & 0o7777,
                rustix::process::geteuid().as_raw()
            ),
            Err(_) => "it may not be read; check the owners and modes of the folders it is in".to_owned(),
        },
        _ => format!("it cannot be read: {error}"),
    }
}
