//! The container image: built from its Dockerfile, and run with the capabilities that README gives it.
//!
//! Nothing is pulled: a stand-in for the image of the build stage has the folders of this machine's compiler instead
//! of one of its own. There is no engine either: the kernel's own tools make of the image what an engine would.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::elf::{ElfFile64, ProgramHeader as _};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, root, text as said, veth, wait_until};

const REVISION: &str = "0123456789ab";
/// The image that the Dockerfile builds in.
const BUILDER: &str = "docker.io/library/rust:1.95-slim-bookworm";
/// What the image may take: that of `--full`, which alone is built as users build it.
const MOST_BYTES: u64 = 12_000_000;
/// Capabilities that the program keeps: CAP_NET_RAW.
const KEPT: &str = "0000000000002000";

/// A store of images, gone when dropped.
struct Store(tempfile::TempDir);

impl Store {
    /// `buildah` on this store; it must succeed.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        // Whatever the store, it keeps a cache in /var/lib/containers.
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs tmpfs /var/lib; exec buildah \"$@\"",
            "buildah",
        ]);
        let folder = self.0.path().display();
        command.args([&format!("--root={folder}/root"), &format!("--runroot={folder}/run")]);
        let output = command.arg("--storage-driver=vfs").args(arguments).output().unwrap();
        assert!(output.status.success(), "buildah {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A container of an image, and its root folder.
    #[track_caller]
    fn container(&self, image: &str) -> (String, PathBuf) {
        let name = self.run(&["from", "--pull-never", image]);
        let folder = PathBuf::from(self.run(&["mount", &name]));
        (name, folder)
    }
}

/// Runs a program that says one line.
fn line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Builds the image; whether as users do, or quickly.
#[track_caller]
fn build(store: &Store, full: bool) {
    let (name, folder) = store.container("scratch");
    for link in ["bin", "lib", "lib64", "sbin"] {
        symlink(format!("usr/{link}"), folder.join(link)).unwrap();
    }
    for mount in ["usr", "etc", "tmp", "rust", "cargo"] {
        fs::create_dir(folder.join(mount)).unwrap();
    }
    let mut variables =
        vec!["PATH=/rust/bin:/usr/bin:/bin", "CARGO_HOME=/cargo", "CARGO_NET_OFFLINE=true", "TMPDIR=/tmp"];
    if !full {
        // The same command in a third of the time, and after a change in a fraction of that.
        variables.extend([
            "CARGO_INCREMENTAL=1",
            "CARGO_PROFILE_RELEASE_LTO=off",
            "CARGO_PROFILE_RELEASE_OPT_LEVEL=0",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16",
        ]);
    }
    let options = variables.iter().flat_map(|variable| ["--env", variable]);
    store.run(&["config"].into_iter().chain(options).chain([name.as_str()]).collect::<Vec<_>>());
    store.run(&["commit", "--quiet", "--rm", &name, BUILDER]);

    let cargo = std::env::var("CARGO_HOME")
        .unwrap_or_else(|_| format!("{}/.cargo", std::env::home_dir().unwrap().display()));
    // Kept, so that the next run has less to do.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(if full { "image-full" } else { "image" });
    fs::create_dir_all(&target).unwrap();
    let volumes = [
        "/usr:/usr:ro".to_owned(),
        // Where Debian says which compiler is cc.
        "/etc/alternatives:/etc/alternatives:ro".to_owned(),
        format!("{}:/rust:ro", line("rustc", &["--print", "sysroot"])),
        format!("{cargo}:/cargo"),
        format!("{}:/src/target", target.display()),
    ];
    let mut arguments =
        vec!["bud", "--isolation=chroot", "--pull-never", "--format=docker", "--tag=macwatch"];
    for volume in &volumes {
        arguments.extend(["--volume", volume]);
    }
    let revision = format!("REVISION={REVISION}");
    arguments.extend(["--build-arg", &revision, "--build-arg", "SOURCE_DATE_EPOCH=1790000001"]);
    let top = env!("CARGO_MANIFEST_DIR");
    let dockerfile = format!("{top}/deploy/container/Dockerfile");
    arguments.extend(["--file", &dockerfile, top]);
    store.run(&arguments);
}

/// What README tells Docker, word by word.
fn readme() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("\n### Docker\n").nth(1).unwrap().split("\n#").next().unwrap();
    let command = section.split("docker run ").nth(1).unwrap().split("```").next().unwrap();
    command.replace("\\\n", " ").split_whitespace().map(str::to_owned).collect()
}

/// All capabilities but these (in Docker's words), in capsh's.
pub(super) fn all_but(kept: &[&str]) -> String {
    let all = line("setpriv", &["--list-caps"]);
    let name = |capability: &&str| !kept.contains(&capability.to_uppercase().as_str());
    let without: Vec<String> = all.lines().filter(name).map(|name| format!("cap_{name}")).collect();
    assert_eq!(without.len(), all.lines().count() - kept.len(), "{all}");
    without.join(",")
}

/// The values of an option.
fn values<'a>(words: &'a [String], option: &str) -> Vec<&'a str> {
    words.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

/// An image, unpacked, and what it says of itself.
struct Image {
    root: PathBuf,
    config: Value,
    /// Capabilities that are taken away.
    without: String,
}

/// Mounts what an engine mounts, and becomes the program: root folder, state folder, capabilities to drop, arguments.
const ENGINE: &str = r#"
root=$1 state=$2 without=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$state" "$root/var/lib/macwatch"
mount -o remount,bind,ro "$root"
exec capsh --chroot="$root" --drop="$without" --no-new-privs --shell=/macwatch -- "$@"
"#;

impl Image {
    /// A command that becomes the program, as an engine would run it by what README tells Docker.
    fn command(
        &self,
        namespace: &Namespace,
        state: &Path,
        variables: &[&str],
        arguments: &[&str],
    ) -> Command {
        let mut command = namespace.command("unshare");
        command.args(["--mount", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(self.config["Env"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()));
        command.args(variables).args(["sh", "-ec", ENGINE, "engine"]).arg(&self.root).arg(state);
        command.arg(&self.without).args(arguments);
        command
    }

    /// What the image's health check says, and whether it is content.
    fn health(&self, namespace: &Namespace, state: &Path, variables: &[&str]) -> (bool, String) {
        let test: Vec<&str> = self.config["Healthcheck"]["Test"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        assert_eq!(test[..2], ["CMD", "/macwatch"]);
        let output = self.command(namespace, state, variables, &test[2..]).output().unwrap();
        (output.status.success(), said(&output))
    }
}

#[test]
fn the_image_is_one_static_program_that_runs_as_readme_says() {
    if !root() {
        return;
    }
    let full = std::env::var_os("MACWATCH_FULL").is_some();
    let store = Store(tempfile::tempdir().unwrap());
    build(&store, full);
    let image = look(&store, full);
    runs(&image);
}

/// What is in it.
#[track_caller]
fn look(store: &Store, full: bool) -> Image {
    let inspected: Value =
        serde_json::from_str(&store.run(&["inspect", "--type=image", "macwatch"])).unwrap();
    let config = inspected["Docker"]["config"].clone();
    let labels = &config["Labels"];
    for (label, value) in [
        ("title", "macwatch"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", REVISION),
        ("licenses", "MIT OR Apache-2.0"),
        ("description", "Prometheus exporter for Ethernet source addresses"),
    ] {
        assert_eq!(labels[format!("org.opencontainers.image.{label}")], value, "{labels}");
    }
    assert_eq!(config["Entrypoint"], serde_json::json!(["/macwatch"]));
    assert_eq!(config["ExposedPorts"], serde_json::json!({"10148/tcp": {}}));
    assert_eq!(config["Volumes"], serde_json::json!({"/var/lib/macwatch": {}}));
    assert_eq!(config["User"], "0:0");

    let (_, root) = store.container("localhost/macwatch");
    let listing = line("find", &[root.to_str().unwrap(), "-mindepth", "1", "-printf", "%M %U:%G /%P\\n"]);
    let files: BTreeSet<&str> = listing.lines().collect();
    let expected = [
        "-rwxr-xr-x 0:0 /macwatch",
        "drwx------ 0:0 /var/lib/macwatch",
        "drwxr-xr-x 0:0 /var",
        "drwxr-xr-x 0:0 /var/lib",
    ];
    assert_eq!(files, BTreeSet::from(expected));
    let program = root.join("macwatch");
    assert!(!wants_interpreter(&program), "it is linked dynamically");
    assert!(wants_interpreter(Path::new(crate::common::exporter::BINARY)), "as this one is");
    let bytes = program.metadata().unwrap().len();
    println!("the program has {bytes} bytes");
    assert!(!full || bytes < MOST_BYTES, "{bytes} bytes");

    let words = readme();
    for option in ["--read-only", "--network=host", "--cap-drop=ALL", "--security-opt=no-new-privileges"] {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let there = if value.is_empty() {
            words.iter().any(|word| word == name)
        } else {
            values(&words, name).contains(&value)
        };
        assert!(there, "README does not say {option}: {words:?}");
    }
    let kept = values(&words, "--cap-add");
    assert_eq!(kept, ["NET_RAW", "BPF"]);
    let without = all_but(&kept);
    // What engines put into every container.
    for folder in ["proc", "dev", "etc"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n127.0.0.1 monitoring.example\n").unwrap();
    Image { root, config, without }
}

/// Whether a program wants one that loads its libraries.
fn wants_interpreter(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let endian = file.endian();
    file.elf_program_headers().iter().any(|header| header.p_type(endian) == object::elf::PT_INTERP)
}

/// What it does.
#[track_caller]
fn runs(image: &Image) {
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let state = tempfile::tempdir().unwrap();
    let mac = text(source(1));
    let (healthy, said) = image.health(&ours, state.path(), &[]);
    assert!(!healthy && said.contains(":10148 does not answer: Connection refused"), "{said}");

    let mut exporter = Exporter::spawn(&ours, image.command(&ours, state.path(), &[], &[]));
    exporter.wait_ready();
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &vec![frame(source(1), 60); 3]);
    let page = exporter.wait_frames("mw0", 3.0);
    assert_eq!(page.source("mw0", &mac), (3.0, 180.0));
    let engines: Vec<_> = page.matching("macwatch_interface_info{").collect();
    assert!(engines.len() == 1 && engines[0].0.contains("engine=\"kernel\""), "{engines:?}");
    let build: Vec<_> = page.matching("macwatch_build_info{").collect();
    assert!(build[0].0.contains(&format!("revision=\"{REVISION}\"")), "{build:?}");
    assert_eq!(image.health(&ours, state.path(), &[]), (true, ":10148: healthy\n".to_owned()));
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    for (key, value) in [("CapPrm", KEPT), ("CapEff", KEPT), ("NoNewPrivs", "1"), ("Uid", "0\t0\t0\t0")] {
        assert!(status.contains(&format!("{key}:\t{value}\n")), "{key}: {status}");
    }

    // The volume is written to, and survives the container.
    let file = state.path().join("state");
    wait_until("the state to be written", || fs::read_to_string(&file).is_ok_and(|text| text.contains(&mac)));
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    let first =
        format!("macwatch_source_first_seen_timestamp_seconds{{interface=\"mw0\",source_mac=\"{mac}\"}}");
    let before = exporter.scrape().value(&first);
    exporter.signal(Signal::TERM);
    assert_eq!(exporter.wait().code(), Some(0), "{}", exporter.log());
    assert!(!image.health(&ours, state.path(), &[]).0);

    // Names are looked up without a C library's files, and the health check follows the variable.
    let elsewhere = ["MACWATCH_WEB_LISTEN_ADDRESS=monitoring.example:10148"];
    let exporter = Exporter::spawn(&ours, image.command(&ours, state.path(), &elsewhere, &[]));
    exporter.wait_ready();
    assert_eq!(exporter.scrape().value(&first), before);
    assert_eq!(exporter.logged("listening address=127.0.0.1:10148"), 1, "{}", exporter.log());
    assert!(image.health(&ours, state.path(), &elsewhere).0);
}
