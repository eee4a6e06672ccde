//! The file on the disk: locked, replaced whole, never overwritten by what could not read it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Content;
use super::examine::looks_like_one;
use super::format::{self, Fault, MAGIC, MOST_BYTES};

/// Only the owner may read it: who was where when is nobody else's business.
const MODE: u32 = 0o600;
/// Most files that are kept for having been unreadable.
const MOST_ASIDE: u32 = 20;

/// Another process has it.
#[derive(Debug)]
pub struct InUse;

/// What came of reading.
#[derive(Debug)]
pub enum Loaded {
    /// What it says.
    Whole(Content),
    /// There is none yet.
    Missing,
    /// It could not be understood, and is now beside, under this name.
    SetAside(Fault, PathBuf),
}

/// See the module's docs.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Held for as long as this lives. The state file itself cannot be locked: it is replaced.
    lock: Option<File>,
    /// What is known to lie there: nothing, or what was read or written last. None before it was looked at.
    familiar: Option<Option<Identity>>,
}

/// Tells a file from another one, and from itself before it was changed.
type Identity = (u64, u64, u64, i64, i64);

impl StateFile {
    /// Claims the file for this process. That it could not be locked for another reason than that somebody
    /// else has it shows when it is written.
    ///
    /// # Errors
    ///
    /// Another process has it.
    pub fn claim(path: &Path) -> Result<(Self, io::Result<()>), InUse> {
        // Replacing a symbolic link would leave the file behind that it points to.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut file = Self { path, lock: None, familiar: None };
        match file.lock() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(InUse),
            result => Ok((file, result)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Locks a file beside it, which stays: whoever removed it could remove another's.
    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.beside(".lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            // Some network file systems have no locks. One writes there all the same.
            Err(TryLockError::Error(error)) => tracing::warn!(%error, "the state file cannot be locked"),
        }
        self.lock = Some(file);
        Ok(())
    }

    /// Reads what is there; sets it aside if it cannot be understood.
    ///
    /// # Errors
    ///
    /// It may be as good as ever, but cannot be read or set aside: it stays, and nothing is written.
    pub fn load(&mut self) -> io::Result<Loaded> {
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK, opening a FIFO waits for somebody to write into it.
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = match options.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.familiar = Some(None);
                return Ok(Loaded::Missing);
            }
            Err(error) => return Err(error),
        };
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        // One more, to notice one that is too large.
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let fault = if bytes.len() > MOST_BYTES {
            Fault::Damaged(format!("it is larger than {} MiB", MOST_BYTES >> 20))
        } else {
            match format::read(&bytes) {
                Ok(content) => {
                    self.familiar = Some(Some(identity(&facts)));
                    return Ok(Loaded::Whole(content));
                }
                // Somebody's list, named by mistake: to set it aside would take it away from whoever reads it.
                Err(Fault::Damaged(_)) if is_of_another_kind(&bytes) => {
                    return Err(io::Error::other(
                        "it is a text of another kind, and stays as it is; name another file",
                    ));
                }
                Err(fault) => fault,
            }
        };
        let aside = self.set_aside(&fault).map_err(|error| {
            io::Error::new(error.kind(), format!("{fault}; it cannot be set aside: {error}"))
        })?;
        self.familiar = Some(None);
        Ok(Loaded::SetAside(fault, aside))
    }

    /// Renames it to a name that is free.
    fn set_aside(&mut self, fault: &Fault) -> io::Result<PathBuf> {
        // Another process may be writing it.
        self.lock()?;
        let word = match fault {
            Fault::Damaged(_) => "damaged",
            Fault::Newer(_) => "newer",
        };
        for n in 1..=MOST_ASIDE {
            let aside = self.beside(&format!(".{word}-{n}"));
            match fs::symlink_metadata(&aside) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::rename(&self.path, &aside)?;
                    self.sync_folder()?;
                    return Ok(aside);
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Err(io::Error::other(format!(
            "there are {MOST_ASIDE} beside it already; look at them and remove some"
        )))
    }

    /// Whether it has to be loaded before it is written: it is not what was read or written last.
    ///
    /// # Errors
    ///
    /// That of stat(2).
    pub fn is_strange(&self) -> io::Result<bool> {
        let now = match fs::metadata(&self.path) {
            Ok(facts) => Some(identity(&facts)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(self.familiar != Some(now))
    }

    /// Makes sure that this process may write it.
    ///
    /// # Errors
    ///
    /// It cannot be locked; `WouldBlock` if another process has it.
    pub fn ready(&mut self) -> io::Result<()> {
        self.lock()
    }

    /// Replaces it: a crash at any moment leaves either the old or the new one, whole.
    ///
    /// # Errors
    ///
    /// The disk is full, or the like: the old one is still there.
    pub fn save(&mut self, bytes: &[u8]) -> io::Result<()> {
        let beside = self.beside(".new");
        let result = self.replace(&beside, bytes);
        if result.is_err() {
            // It may hold the room that others need.
            let _ = fs::remove_file(&beside);
        }
        result
    }

    fn replace(&mut self, beside: &Path, bytes: &[u8]) -> io::Result<()> {
        // Left behind by a crash.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(beside)?;
        file.write_all(bytes)?;
        // Otherwise the new name may reach the disk before the bytes do.
        file.sync_all()?;
        fs::rename(beside, &self.path)?;
        self.familiar = Some(Some(identity(&file.metadata()?)));
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Whether this is a text that was never a state file, nor the beginning of one.
fn is_of_another_kind(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    text && !MAGIC.as_bytes().starts_with(bytes) && !looks_like_one(bytes)
}

/// A rename changes none of it.
fn identity(facts: &fs::Metadata) -> Identity {
    (facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec())
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another macwatch has it")
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Waits for it: a program that another test is just starting has, for a moment, all that is open here, locks too.
    fn claim(path: &Path) -> StateFile {
        let begun = std::time::Instant::now();
        loop {
            match StateFile::claim(path) {
                Ok((file, locked)) => {
                    locked.unwrap();
                    return file;
                }
                Err(InUse) => assert!(begun.elapsed().as_secs() < 60, "{} is not given back", path.display()),
            }
            std::thread::yield_now();
        }
    }

    fn content(created_unix_ms: u64) -> Content {
        Content { created_unix_ms, entries: Vec::new() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut file = claim(&path);
        assert!(file.is_strange().unwrap());
        assert!(matches!(file.load(), Ok(Loaded::Missing)));
        assert!(!file.is_strange().unwrap());
        for created in [7, 8] {
            file.save(&format::write(&content(created))).unwrap();
            assert!(!file.is_strange().unwrap());
            assert!(matches!(file.load(), Ok(Loaded::Whole(read)) if read == content(created)));
        }
        assert_eq!(names(folder.path()), ["state", "state.lock"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn is_one_process_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = claim(&path);
        assert!(StateFile::claim(&path).is_err());
        drop(first);
        claim(&path);
    }

    #[test]
    fn what_cannot_be_understood_is_set_aside_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut file = claim(&path);
        for (bytes, name) in [
            (&b""[..], "state.damaged-1"),
            (b"garbage\xff", "state.damaged-2"),
            (b"macwatch-state 2\nwho knows", "state.newer-1"),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(file.is_strange().unwrap());
            let Ok(Loaded::SetAside(_, aside)) = file.load() else { panic!("{name}") };
            assert_eq!(aside, folder.path().join(name));
            assert_eq!(fs::read(&aside).unwrap(), bytes);
            assert!(!path.exists() && !file.is_strange().unwrap());
        }
        for n in 3..=MOST_ASIDE {
            fs::write(file.beside(&format!(".damaged-{n}")), "").unwrap();
        }
        fs::write(&path, b"the last\xff").unwrap();
        assert!(file.load().unwrap_err().to_string().contains("remove some"));
        assert_eq!(fs::read(&path).unwrap(), b"the last\xff");
        assert!(file.is_strange().unwrap());
    }

    #[test]
    fn a_list_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ethers");
        fs::write(&path, "02:42:ac:11:00:02 printer\n").unwrap();
        let mut file = claim(&path);
        assert!(file.load().unwrap_err().to_string().contains("another kind"));
        assert_eq!(fs::read(&path).unwrap(), b"02:42:ac:11:00:02 printer\n");
        // As long as it is there, nothing is written in its place.
        assert!(file.is_strange().unwrap());
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        let mut file = claim(&path);
        assert!(file.load().is_err() && file.is_strange().unwrap());
        fs::remove_dir(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(file.load().is_err() && file.is_strange().unwrap());
    }

    #[test]
    fn a_link_is_followed_and_a_leftover_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, format::write(&content(1))).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        fs::write(folder.path().join("real.new"), "half of it").unwrap();
        let mut file = claim(&link);
        assert!(matches!(file.load(), Ok(Loaded::Whole(_))));
        file.save(&format::write(&content(2))).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), format::write(&content(2)));
        assert_eq!(names(folder.path()), ["link", "real", "real.lock"]);
    }

    #[test]
    fn somebody_else_s_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut file = claim(&path);
        file.load().unwrap();
        file.save(&format::write(&content(1))).unwrap();
        fs::write(folder.path().join("backup"), format::write(&content(2))).unwrap();
        fs::rename(folder.path().join("backup"), &path).unwrap();
        assert!(file.is_strange().unwrap());
        fs::remove_file(&path).unwrap();
        assert!(file.is_strange().unwrap());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_of_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/state");
        let (mut file, locked) = StateFile::claim(&path).unwrap();
        assert!(locked.is_err());
        assert!(matches!(file.load(), Ok(Loaded::Missing)));
        assert!(file.ready().is_err() && file.save(b"x").is_err());
        fs::create_dir(folder.path().join("later")).unwrap();
        file.ready().unwrap();
        file.save(b"x").unwrap();
    }
}
