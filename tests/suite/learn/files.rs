//! The file that is written: what a person keeps in it, and what may go wrong with it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::process::Signal;

use super::{APPLE, PHONE, PI, Site, assert_line, entries, stderr, stdout};
use crate::common::exporter::BINARY;
use crate::common::root;

#[test]
fn what_a_person_wrote_stays_to_the_byte() {
    if !root() {
        return;
    }
    let site = Site::new();
    for (name, before) in [
        ("plain", "# ours\n\nb8-27-EB-4F-10-07\toctoprint   # on the shelf\n"),
        ("cut", "b827.eb4f.1007 octoprint"),
        ("crlf", "# ours\r\nb8:27:eb:* raspberry\r\n"),
        ("empty", ""),
    ] {
        fs::write(site.path(name), before).unwrap();
        site.learn_from(&format!("-o {name}"), &[PI, APPLE]);
        let after = site.read(name);
        assert!(after.starts_with(before), "{after:?}");
        let new = if before.is_empty() { 2 } else { 1 };
        assert_eq!(entries(&after[before.len()..]).len(), new, "{after:?}");
        assert_eq!(
            after.matches("\r\n").count(),
            if name == "crlf" { after.matches('\n').count() } else { 0 }
        );
        assert_eq!(site.run(&format!("check --inventory.file {name}")).status.code(), Some(0));

        // Again: nothing is new, and the file is not even replaced.
        let inode = fs::metadata(site.path(name)).unwrap().ino();
        let again = site.learn_from(&format!("-o {name}"), &[APPLE, PI]);
        assert_eq!(site.read(name), after);
        assert_eq!(fs::metadata(site.path(name)).unwrap().ino(), inode);
        assert_line(&again.stderr(), &["2 addresses: 0 new, 2 already listed", "there is nothing to add"]);
        let more = site.learn_from(&format!("-o {name}"), &[PHONE]);
        assert!(site.read(name).starts_with(&after), "{}", more.stderr());
    }
}

#[test]
fn a_link_a_mode_and_an_owner_stay() {
    if !root() {
        return;
    }
    let site = Site::new();
    // As with sudo: root may write into the folder of another, and what is there stays theirs.
    let home = site.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("ethers"), "# mine\n").unwrap();
    fs::set_permissions(home.join("ethers"), fs::Permissions::from_mode(0o640)).unwrap();
    for path in [&home, &home.join("ethers")] {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_533)).unwrap();
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("home/ethers", site.path("link")).unwrap();
    site.learn_from("-o link", &[PI]);
    assert!(fs::symlink_metadata(site.path("link")).unwrap().is_symlink());
    let facts = fs::metadata(home.join("ethers")).unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (65_534, 65_533, 0o640));
    assert_eq!(entries(&site.read("home/ethers")).len(), 1);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_file_that_is_broken_is_refused_and_stays() {
    if !root() {
        return;
    }
    let site = Site::new();
    let broken = "02:00:00:00:00:01 a\n02:00:00:00:00 five\nnobody\n";
    fs::write(site.path("broken"), broken).unwrap();
    // At once, not after ten minutes.
    let refused = site.run("learn -i mw0 -o broken");
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), ""));
    let said: Vec<_> = stderr(&refused).lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_line(said[0], &["macwatch: cannot add to broken: it has faults, and stays as it is"]);
    assert_line(said[1], &["macwatch: broken:2: "]);
    assert_line(said[2], &["macwatch: broken:3: "]);
    assert_eq!(site.read("broken"), broken);
    for (file, part) in [("/dev/null", "not a regular file"), (".", "not a regular file")] {
        let refused = site.run(&format!("learn -i mw0 -o {file}"));
        assert_eq!(refused.status.code(), Some(1));
        assert_line(stderr(&refused), &["macwatch: cannot add to ", part]);
        assert_eq!(stderr(&refused).lines().count(), 1);
    }

    // It breaks while it listens: what was learnt is on stdout.
    fs::write(site.path("later"), "").unwrap();
    let mut learn = site.learn("-o later");
    site.send(&[PI]);
    fs::write(site.path("later"), broken).unwrap();
    learn.signal(Signal::INT);
    assert_eq!(learn.wait().code(), Some(1));
    assert_eq!(site.read("later"), broken);
    assert_eq!(entries(&learn.stdout()).len(), 1);
    assert_line(&learn.stderr(), &["macwatch: what was learnt is on stdout: cannot add to later"]);
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_learnt() {
    if !root() {
        return;
    }
    let site = Site::new();
    // A disk that is mounted read-only, in a mount namespace that ends with the program.
    let mut command = site.ours.command("sh");
    let script = "mount -t tmpfs -o ro none \"$2\" && exec \"$1\" learn -i mw0 -o \"$2/inventory\"";
    let output = command.args(["-c", script, "sh", BINARY]).arg(site.folder.path()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert_line(stderr(&output), &["macwatch: cannot write ", "/inventory: ", "Read-only file system"]);
    assert_eq!(stderr(&output).lines().count(), 1, "before it listens: {}", stderr(&output));

    fs::create_dir(site.path("folder")).unwrap();
    let mut learn = site.learn("-o folder/inventory");
    site.send(&[PI]);
    fs::remove_dir(site.path("folder")).unwrap();
    learn.signal(Signal::TERM);
    assert_eq!(learn.wait().code(), Some(1));
    assert_eq!(entries(&learn.stdout()).len(), 1);
    assert_line(
        &learn.stderr(),
        &["macwatch: what was learnt is on stdout: cannot write folder/inventory: "],
    );
}
