//! What was built, from what, with what.

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit it was built from; `unknown` outside a checkout.
pub const REVISION: &str = env!("BUILD_REVISION");
/// Branch it was built from; `unknown` outside a checkout.
pub const BRANCH: &str = env!("BUILD_BRANCH");
/// Version of the compiler.
pub const RUST: &str = env!("BUILD_RUST");
/// Machine it was built for.
pub const TARGET: &str = env!("BUILD_TARGET");

/// Unix time of the commit, in seconds: a clock that shows less is not set.
pub const DATE: u64 = match u64::from_str_radix(env!("BUILD_DATE"), 10) {
    Ok(date) => date,
    // The build script passes nothing else on.
    Err(_) => 0,
};

/// What `--version` prints after "macwatch, version ", in the form of the official exporters. clap would put
/// a space before their comma.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (branch: ",
    env!("BUILD_BRANCH"),
    ", revision: ",
    env!("BUILD_REVISION"),
    ")\n  rust version:     ",
    env!("BUILD_RUST"),
    "\n  platform:         ",
    env!("BUILD_TARGET"),
);
