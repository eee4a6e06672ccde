//! Noticing that files have changed, by inotify(7): those of the inventory, and of the web configuration.
//!
//! The folders are watched, not the files: editors write beside and rename, and a Kubernetes ConfigMap swaps
//! a symbolic link in the folder. What a notice means is found by looking at the files themselves, on a thread beside:
//! a file system that is away for a while (NFS) keeps whoever looks for as long.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventStream, Inotify, WatchMask, Watches};
use tokio::task::spawn_blocking;

/// A change is complete when nothing more has happened for this long.
const QUIET: Duration = Duration::from_millis(100);

/// A folder that has gone is looked for this often; nothing announces its return.
const SEARCH: Duration = Duration::from_secs(5);

/// Links that lead from a name to its file; the kernel follows forty.
const MOST_LINKS: usize = 40;

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_ns: (i64, i64),
}

/// How files looked at some moment, without what is in them. Taken before they are read, it tells afterwards whether what
/// was read is still what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(Vec<Option<Fingerprint>>);

impl Seen {
    /// How they look now. It waits for a file system that is away.
    pub fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| fingerprint(file)).collect())
    }
}

/// Watches files for changes.
pub struct Watcher {
    files: Arc<[PathBuf]>,
    seen: Seen,
    watches: Watches,
    events: EventStream<Vec<u8>>,
    /// Some folder cannot be watched now.
    incomplete: bool,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Watches from now on. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// `EMFILE` where the user has too many inotify instances (fs.inotify.max_user_instances).
    pub async fn new(files: Vec<PathBuf>) -> io::Result<Self> {
        let mut watcher = Self::since(files, Seen::default())?;
        watcher.seen = watcher.look().await?;
        Ok(watcher)
    }

    /// Watches from now on; what has become of the files since they looked like this is the first change. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn since(files: Vec<PathBuf>, seen: Seen) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; 4096])?;
        Ok(Self { files: files.into(), seen, watches, events, incomplete: false })
    }

    /// Waits until a file has changed, or gone, or come back.
    ///
    /// # Errors
    ///
    /// If the kernel's notices cannot be read any more.
    pub async fn changed(&mut self) -> io::Result<()> {
        // What happened before the folders were watched, or before this was asked for, is announced by nothing.
        let mut announced = self.look().await? != self.seen;
        loop {
            let incomplete = self.incomplete;
            tokio::select! {
                () = std::future::ready(()), if announced => announced = false,
                event = self.events.next() => match event {
                    Some(event) => drop(event?),
                    None => return Err(io::Error::other("the inotify stream has ended")),
                },
                () = tokio::time::sleep(SEARCH), if incomplete => {}
            }
            // Until it is quiet: a change is often several.
            loop {
                while let Some(Some(event)) = self.events.next().now_or_never() {
                    drop(event?);
                }
                match tokio::time::timeout(QUIET, self.events.next()).await {
                    Ok(Some(event)) => drop(event?),
                    Ok(None) => return Err(io::Error::other("the inotify stream has ended")),
                    Err(_) => break,
                }
            }
            let now = self.look().await?;
            if now != self.seen {
                self.seen = now;
                return Ok(());
            }
        }
    }

    /// Watches the folders on the way to each file, and looks at the files.
    async fn look(&mut self) -> io::Result<Seen> {
        let (files, watches) = (Arc::clone(&self.files), self.watches.clone());
        let job = move || {
            let complete = watch(&files, watches);
            (complete, Seen::of(&files))
        };
        let (complete, seen) = spawn_blocking(job).await.map_err(io::Error::other)?;
        self.incomplete = !complete;
        Ok(seen)
    }
}

/// Watches the folders on the way to each file; those watched already stay so. False if some cannot be watched.
fn watch(files: &[PathBuf], mut watches: Watches) -> bool {
    let mask = WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::MOVED_TO
        | WatchMask::MOVED_FROM
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ATTRIB
        | WatchMask::ONLYDIR;
    let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders(file)).collect();
    let mut complete = true;
    for folder in folders {
        if let Err(error) = watches.add(&folder, mask) {
            tracing::debug!(folder = %folder.display(), %error, "cannot watch");
            complete = false;
        }
    }
    complete
}

/// The folders in which something may happen that changes which file a path leads to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = file.to_owned();
    for _ in 0..MOST_LINKS {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let link = fs::read_link(&path);
        folders.push(parent.clone());
        match link {
            Ok(target) => path = parent.join(target),
            Err(_) => break,
        }
    }
    // The folder itself may be reached through a link.
    folders.extend(fs::canonicalize(file).ok().and_then(|real| real.parent().map(Path::to_owned)));
    folders
}

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let facts = fs::metadata(file).ok()?;
    Some(Fingerprint {
        device: facts.dev(),
        inode: facts.ino(),
        bytes: facts.size(),
        changed_ns: (facts.mtime(), facts.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn in_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    async fn notices(watcher: &mut Watcher) {
        tokio::time::timeout(DEADLINE, watcher.changed()).await.expect("a notice").unwrap();
    }

    #[test]
    fn every_way_of_changing_a_file_is_noticed() {
        in_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("ethers");
            fs::write(&file, "a").unwrap();
            let mut watcher = Watcher::new(vec![file.clone()]).await.unwrap();
            // In place.
            fs::write(&file, "bb").unwrap();
            notices(&mut watcher).await;
            // Written beside and renamed.
            fs::write(folder.path().join("new"), "ccc").unwrap();
            fs::rename(folder.path().join("new"), &file).unwrap();
            notices(&mut watcher).await;
            // Gone, and back.
            fs::remove_file(&file).unwrap();
            notices(&mut watcher).await;
            fs::write(&file, "dddd").unwrap();
            notices(&mut watcher).await;
        });
    }

    #[test]
    fn what_changed_before_it_was_watched_is_noticed() {
        in_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let files = vec![folder.path().join("ethers")];
            fs::write(&files[0], "a").unwrap();
            let seen = Seen::of(&files);
            fs::write(&files[0], "").unwrap();
            let mut watcher = Watcher::since(files.clone(), seen).unwrap();
            notices(&mut watcher).await;
            assert!(tokio::time::timeout(5 * QUIET, watcher.changed()).await.is_err());
            let mut watcher = Watcher::since(files.clone(), Seen::of(&files)).unwrap();
            assert!(tokio::time::timeout(5 * QUIET, watcher.changed()).await.is_err());
        });
    }

    #[test]
    fn the_swap_of_a_config_map_is_noticed() {
        in_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            for (version, text) in [("..1", "a"), ("..2", "bb"), ("..3", "ccc")] {
                fs::create_dir(path(version)).unwrap();
                fs::write(path(version).join("ethers"), text).unwrap();
            }
            symlink("..1", path("..data")).unwrap();
            symlink("..data/ethers", path("ethers")).unwrap();
            let mut watcher = Watcher::new(vec![path("ethers")]).await.unwrap();
            for version in ["..2", "..3"] {
                symlink(version, path("..data_tmp")).unwrap();
                fs::rename(path("..data_tmp"), path("..data")).unwrap();
                notices(&mut watcher).await;
            }
        });
    }

    #[test]
    fn neighbours_are_no_change() {
        in_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("ethers");
            fs::write(&file, "a").unwrap();
            let mut watcher = Watcher::new(vec![file.clone()]).await.unwrap();
            fs::write(folder.path().join("other"), "x").unwrap();
            // Long enough for the neighbour to have been looked at.
            assert!(tokio::time::timeout(5 * QUIET, watcher.changed()).await.is_err());
            fs::write(&file, "bb").unwrap();
            notices(&mut watcher).await;
        });
    }
}
