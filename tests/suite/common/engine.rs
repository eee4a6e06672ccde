//! The engine that the tests run on: `MACWATCH_TEST_ENGINE`, `kernel` if it is not set. `tests/run` runs them on both.
//!
//! It is asked for by name, so that a test never falls back to the other one without a word.

use std::env;

/// The variable that exporters read their engine from. A test that needs another says so with the option.
pub(crate) const VARIABLE: &str = "MACWATCH_CAPTURE_ENGINE";

/// What counts frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Kernel,
    Channel,
}

impl Engine {
    /// The one that this run is for.
    pub(crate) fn under_test() -> Self {
        match env::var("MACWATCH_TEST_ENGINE").as_deref() {
            Ok("channel") => Self::Channel,
            Ok("kernel") | Err(_) => Self::Kernel,
            Ok(other) => panic!("MACWATCH_TEST_ENGINE is {other}, neither kernel nor channel"),
        }
    }

    /// What users call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Channel => "channel",
        }
    }
}
