//! Facts of the build that `--version` and `macwatch_build_info` report.

use std::env;
use std::process::Command;

/// The first line that a command prints, if it runs and succeeds.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

fn main() {
    // Packagers build from an archive without git: they may say the revision themselves.
    let revision = env::var("MACWATCH_REVISION")
        .ok()
        .or_else(|| first_line("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    let branch = env::var("MACWATCH_BRANCH")
        .ok()
        .or_else(|| first_line("git", &["rev-parse", "--abbrev-ref", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    // "rustc 1.95.0 (59807616e 2026-04-14)": the number alone is what people compare.
    let rust = first_line(&env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), &["--version"])
        .and_then(|line| line.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    // Before this no clock that is right can be: the commit's date, so that the same source builds the same
    // program. An archive without git, and without the variable, has that of the first version.
    let date = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| first_line("git", &["log", "-1", "--format=%ct"]))
        .filter(|date| date.parse::<u32>().is_ok())
        .unwrap_or_else(|| "1790000000".to_owned());
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());

    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    println!("cargo::rustc-env=BUILD_BRANCH={branch}");
    println!("cargo::rustc-env=BUILD_RUST={rust}");
    println!("cargo::rustc-env=BUILD_TARGET={target}");
    println!("cargo::rustc-env=BUILD_DATE={date}");
    println!("cargo::rerun-if-env-changed=MACWATCH_REVISION");
    println!("cargo::rerun-if-env-changed=MACWATCH_BRANCH");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(head) = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
}
