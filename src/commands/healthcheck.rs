//! `macwatch healthcheck`: whether the exporter on this machine serves.

use std::io::{self, Write as _};
use std::time::Duration;

use super::{Failure, written};
use crate::cli::HealthcheckArgs;
use crate::config::Healthcheck;
use crate::web::listen::ListenAddress;
use crate::web::probe;

/// How long an address may take to answer. Docker gives up after 30 s by itself.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    let Healthcheck { listen } = args.try_into()?;
    for address in &listen {
        let why = match ask(address) {
            Ok(()) => continue,
            Err(why) => why,
        };
        let remedy = "is macwatch running, and does it listen there? This command knows the options of its own line \
                      and MACWATCH_WEB_LISTEN_ADDRESS, which both read";
        return Err(Failure::Cannot(format!("{address} does not answer: {why}; {remedy}")));
    }
    let all: Vec<String> = listen.iter().map(ToString::to_string).collect();
    written(writeln!(io::stdout().lock(), "{}: healthy", all.join(", ")))
}

/// One of the addresses of a name is enough: the exporter listens on those that this machine has.
fn ask(listen: &ListenAddress) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address on this machine");
    for address in listen.from_here()? {
        match probe::ask(address, PATIENCE) {
            Ok(()) => return Ok(()),
            // A family that this machine does not use says nothing of the exporter.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}
