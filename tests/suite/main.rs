//! The real binary, on real frames, scraped by real clients.
//!
//! One test binary, so that it is linked once; each module is one subject. What a test needs of the network
//! it makes itself, in namespaces of its own, and removes again.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on ends, and says why"
)]

mod common;

mod api;
mod browser;
mod chain;
mod check;
mod cli;
mod clients;
mod concurrent;
mod counting;
mod deploy;
mod engines;
mod fleet;
mod flood;
mod following;
mod grafana;
mod guest;
mod healthcheck;
mod http;
mod known;
mod learn;
mod leftovers;
mod lifecycle;
mod limits;
mod load;
mod moving;
mod openmetrics;
mod page;
mod permissions;
mod prometheus;
mod restored;
mod rules;
mod seeds;
mod segments;
mod send;
mod signals;
mod site;
mod state;
mod stuck;
mod tls;
mod vendor;
mod watching;
mod webconfig;
mod wire;
mod zero;
