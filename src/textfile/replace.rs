//! Replacing a file whole: a crash at any moment leaves either the old or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Symbolic links that are followed, as many as the kernel would.
const MOST_LINKS: usize = 40;

/// What a path leads to: the end of its links, be there a file or not. Replacing a link would leave the file behind
/// that it points to.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder(&path).join(next),
            // It is no link, or there is nothing.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file could be made or replaced here, as far as can be told without doing it.
///
/// # Errors
///
/// Why not.
pub fn probe(path: &Path) -> io::Result<()> {
    let path = target(path)?;
    match accessat(CWD, folder(&path), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        // Old kernels and sandboxes do not know the call (ENOSYS, EPERM): then writing will tell.
        Err(error @ (Errno::ACCESS | Errno::ROFS | Errno::NOENT | Errno::NOTDIR)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Puts these bytes in place of the file, or makes it. Its mode stays, and so does its owner where this process may
/// give files away; a link to it stays a link.
///
/// # Errors
///
/// The old file is still there, and nothing else is left.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = target(path)?;
    let mut name = path.clone().into_os_string();
    name.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(name);
    let result = write(&path, &beside, bytes);
    if result.is_err() {
        // It may hold the room that others need.
        let _ = fs::remove_file(&beside);
    }
    result
}

fn write(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = match fs::metadata(path) {
        Ok(facts) => Some(facts),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // What is to be private must not be readable for a moment. A new file is as the umask says.
    let mode = if old.is_some() { 0o600 } else { 0o666 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    if let Some(old) = old {
        // Where both cannot be kept, the group alone may be: it is what lets a service read the file.
        if fchown(&file, Some(old.uid()), Some(old.gid())).is_err() {
            let _ = fchown(&file, None, Some(old.gid()));
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    }
    file.write_all(bytes)?;
    // Otherwise the new name may reach the disk before the bytes do.
    file.sync_all()?;
    fs::rename(beside, path)?;
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn mode_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/real"), "old").unwrap();
        fs::set_permissions(path("sub/real"), Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("sub/real", path("link")).unwrap();
        std::os::unix::fs::symlink("link", path("second")).unwrap();
        probe(&path("second")).unwrap();
        replace(&path("second"), b"new").unwrap();
        assert_eq!(fs::read(path("sub/real")).unwrap(), b"new");
        assert_eq!(fs::metadata(path("sub/real")).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        assert_eq!(names(&path("sub")), ["real"]);
    }

    #[test]
    fn a_link_to_nothing_yet_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("later", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(folder.path().join("later")).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["later", "link"]);
    }

    #[test]
    fn the_owner_stays_where_it_may() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
        replace(&path, b"new").unwrap();
        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (65_534, 65_534));
    }

    #[test]
    fn what_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let around = folder.path().join("around");
        std::os::unix::fs::symlink("around", &around).unwrap();
        assert_eq!(replace(&around, b"x").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        // A folder cannot be replaced by a file.
        fs::create_dir(folder.path().join("sub")).unwrap();
        assert!(replace(&folder.path().join("sub"), b"x").is_err());
        let nowhere = folder.path().join("none/file");
        assert!(probe(&nowhere).is_err() && replace(&nowhere, b"x").is_err());
        assert_eq!(names(folder.path()), ["around", "sub"]);
    }
}
