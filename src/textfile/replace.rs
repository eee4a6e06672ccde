//! Replacing a file whole: a crash at any moment leaves either the old or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, XattrFlags, accessat, fgetxattr, fsetxattr, getxattr};
use rustix::io::Errno;

/// Symbolic links that are followed, as many as the kernel would.
const MOST_LINKS: usize = 40;

/// What a path leads to: the end of its links, be there a file or not. Replacing a link would leave the file behind
/// that it points to.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(_) if is_trap(&path)? => {
                return Err(io::Error::new(
                    ErrorKind::PermissionDenied,
                    format!("{} is somebody else's link in a folder that all may write to", path.display()),
                ));
            }
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

/// Whether a link could have been put here to make us write elsewhere: what the kernel does not follow either, where
/// it is told so (fs.protected_symlinks in Documentation/admin-guide/sysctl/fs.rst).
fn is_trap(link: &Path) -> io::Result<bool> {
    const STICKY_AND_ALL_MAY_WRITE: u32 = 0o1002;
    let (folder, link) = (fs::metadata(folder(link))?, fs::symlink_metadata(link)?);
    let ours = rustix::process::geteuid().as_raw();
    Ok(folder.mode() & STICKY_AND_ALL_MAY_WRITE == STICKY_AND_ALL_MAY_WRITE
        && link.uid() != ours
        && link.uid() != folder.uid())
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

/// Puts these bytes in place of the file, or makes it. Its mode, access list and label stay, and so does its owner
/// where this process may give files away; a link to it stays a link.
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

/// What else says who may read the file: its access control list, without which the mode's group is its mask and means
/// another (acl(5)), and the label of SELinux.
const KEPT: [&str; 2] = ["system.posix_acl_access", "security.selinux"];

/// The longest value of an extended attribute (xattr(7)).
const MOST_VALUE: usize = 65_536;

/// Gives the new file what the old one has of an extended attribute.
fn keep(old: &Path, new: &File, attribute: &str) -> io::Result<()> {
    let mut value = vec![0; MOST_VALUE];
    let length = match getxattr(old, attribute, &mut value[..]) {
        Ok(length) => length,
        // There is none, or there are none on this file system.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut has = vec![0; MOST_VALUE];
    if fgetxattr(new, attribute, &mut has[..]).is_ok_and(|same| has[..same] == value[..length]) {
        return Ok(());
    }
    Ok(fsetxattr(new, attribute, &value[..length], XattrFlags::empty())?)
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
        for attribute in KEPT {
            keep(path, &file, attribute)?;
        }
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

    /// `user::rw- user:65534:r-- group::--- mask::r-- other::---`, as linux/posix_acl_xattr.h lays it out.
    #[test]
    fn an_access_list_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let mut list = vec![2, 0, 0, 0];
        for (tag, rights, id) in
            [(1u16, 6u16, u32::MAX), (2, 4, 65_534), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
        {
            list.extend(tag.to_le_bytes());
            list.extend(rights.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        let set = fsetxattr(File::open(&path).unwrap(), KEPT[0], &list, XattrFlags::empty());
        if set == Err(Errno::OPNOTSUPP) {
            println!("skipped: this file system has no access lists");
            return;
        }
        set.unwrap();
        replace(&path, b"new").unwrap();
        let mut value = [0; 100];
        let length = getxattr(&path, KEPT[0], &mut value[..]).unwrap();
        assert_eq!(value[..length], list);
    }

    #[test]
    fn a_strangers_link_in_a_shared_folder_is_no_way() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("elsewhere", &link).unwrap();
        probe(&link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        assert!(probe(&link).is_err() && replace(&link, b"new").is_err());
        assert_eq!(names(folder.path()), ["link"]);
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
