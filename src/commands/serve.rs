//! The main job, from start to end: everything that can fail fails before the first frame is counted.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::shutdown::Shutdown;
use super::{Failure, MORE_FILES, cannot, drop_privileges, is_out_of_files, prepare};
use crate::build;
use crate::capture::Hearing;
use crate::capture::kernel::{self, Wants};
use crate::cli::ServeArgs;
use crate::config::{Engine, Listen, Serve};
use crate::exporter::{self, Opened, reload::Reloader, remember::Diary, web_config::WebConfig};
use crate::known::Known;
use crate::log;
use crate::privileges::{CapabilitySet, NEEDED};
use crate::sources::MOST_RESERVED;
use crate::systemd::{self, Manager, Passed};
use crate::vendor::Vendors;
use crate::web::listen::ListenAddress;

pub(super) async fn run(args: &ServeArgs) -> Result<(), Failure> {
    // Before all else: whoever asks it to end, or to read its files anew, may ask while it starts.
    let signals = Shutdown::listen().and_then(|shutdown| Ok((shutdown, signal(SignalKind::hangup())?)));
    let (shutdown, hangups) = signals.map_err(cannot("handle signals"))?;
    let (level, format) = (&args.log).into();
    log::start(level, format);
    let config = Serve::try_from(args)?;
    tracing::info!(version = build::VERSION, revision = build::REVISION, "starting macwatch");
    raise_open_files();
    let hearing = || hearing(&config);
    let (follower, sockets) = prepare(&config.exporter.capture.selection, hearing).await?;
    let manager = Manager::from_env();
    let listeners = listeners(&config.listen)?;
    drop_privileges(needed(sockets.hearing()))?;
    // After that, so that a reload cannot fail where the start did not.
    let known = Arc::<Known>::default();
    let reloader = Reloader::start(config.inventory, Arc::clone(&known)).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("inventory: {fault}")).collect();
        Failure::Cannot(lines.join("\nmacwatch: "))
    })?;
    let web_config = config.web_config.as_deref().map(WebConfig::start).transpose().map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("web configuration: {fault}")).collect();
        Failure::Cannot(lines.join("\nmacwatch: "))
    })?;
    warn_if_open(&listeners, &config.listen, web_config.as_ref());
    let web_config = web_config.map(Arc::new);
    let diary = config.state.map(|path| {
        Diary::open(&path, Arc::clone(&known)).map(Arc::new).map_err(|error| {
            Failure::Cannot(format!(
                "cannot use the state file {}: {error}; give each its own with --state.file",
                path.display()
            ))
        })
    });
    let diary = diary.transpose()?;
    let opened = Opened { sockets, follower, listeners, web_config, manager, hangups };
    let vendors = Arc::new(vendors(config.vendor_file.as_deref())?);
    exporter::run(config.exporter, opened, known, Arc::new(reloader), vendors, diary, shutdown.asked())
        .await
        .map_err(cannot("serve"))
}

/// The engine that was asked for, or the best there is.
fn hearing(config: &Serve) -> Result<Hearing, Failure> {
    let channel = Hearing::All(config.direction);
    if config.engine == Engine::Channel {
        return Ok(channel);
    }
    let limits = config.exporter.limits;
    let wants = Wants {
        direction: config.direction,
        per_interface: limits.per_interface,
        total: limits.total,
        reserved: MOST_RESERVED,
    };
    match kernel::Engine::load(wants) {
        Ok(engine) => Ok(Hearing::Notices(Arc::new(engine))),
        Err(why) if config.engine == Engine::Kernel => Err(Failure::Cannot(format!(
            "cannot use the kernel engine: {why}; --capture.engine auto falls back to the channel engine"
        ))),
        Err(why) => {
            tracing::warn!(%why, "no kernel engine; every frame goes through the channel engine");
            Ok(channel)
        }
    }
}

/// The capabilities that are needed for good.
fn needed(hearing: &Hearing) -> CapabilitySet {
    match hearing {
        Hearing::Notices(engine) if engine.needs_capability() => NEEDED | CapabilitySet::BPF,
        _ => NEEDED,
    }
}

/// Those of a file, or those that are built in.
fn vendors(file: Option<&Path>) -> Result<Vendors, Failure> {
    let Some(file) = file else { return Ok(Vendors::embedded()) };
    let vendors = Vendors::load(file).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("vendor file: {fault}")).collect();
        Failure::Cannot(lines.join("\nmacwatch: "))
    })?;
    tracing::info!(file = %file.display(), prefixes = vendors.len(), "read the vendor file");
    Ok(vendors)
}

/// Our own sockets, or those that systemd passes on.
fn listeners(listen: &Listen) -> Result<Vec<TcpListener>, Failure> {
    let passed = systemd::passed();
    let addresses = match listen {
        Listen::Addresses(addresses) => addresses,
        Listen::Passed => {
            return taken(&passed).map_err(|why| {
                Failure::Cannot(format!("cannot serve on systemd's sockets (--web.systemd-socket): {why}"))
            });
        }
    };
    if let Passed::Some(sockets) = passed {
        tracing::warn!(sockets, "systemd passed sockets that are not used; --web.systemd-socket takes them");
    }
    let listeners = addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    Ok(listeners.into_iter().flatten().collect())
}

fn taken(passed: &Passed) -> Result<Vec<TcpListener>, String> {
    match passed {
        Passed::Some(sockets) => {
            systemd::take().inspect(|_| tracing::info!(sockets, "serving on sockets that systemd passed"))
        }
        Passed::None => {
            Err("it passed none; start macwatch.socket first, or leave that option out".to_owned())
        }
        Passed::Unusable(why) => Err(why.clone()),
    }
}

fn bind(address: &ListenAddress) -> Result<Vec<TcpListener>, Failure> {
    address.bind().map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "; another program has it: stop that, or choose another port",
            ErrorKind::AddrNotAvailable => "; no interface has this address",
            ErrorKind::PermissionDenied => {
                "; ports below 1024 take CAP_NET_BIND_SERVICE: choose a higher one"
            }
            _ if is_out_of_files(&error) => MORE_FILES,
            _ => "; see --web.listen-address",
        };
        Failure::Cannot(format!("cannot listen on {address}: {}{remedy}", plain(&error)))
    })
}

/// Says once that anybody may read the page, where that may not be meant.
fn warn_if_open(listeners: &[TcpListener], listen: &Listen, web_config: Option<&WebConfig>) {
    let closed = web_config.is_some_and(|web| web.security().has_tls() || web.security().has_users());
    let everywhere =
        |listener: &&TcpListener| listener.local_addr().is_ok_and(|real| real.ip().is_unspecified());
    if let Some(listener) = listeners.iter().find(everywhere).filter(|_| !closed)
        && let Ok(address) = listener.local_addr()
    {
        let closing = match listen {
            Listen::Passed => "ListenStream=127.0.0.1:10148 in its socket unit",
            Listen::Addresses(_) => "--web.listen-address 127.0.0.1:10148",
        };
        tracing::warn!(
            %address,
            "whoever reaches this port can read who is there: no TLS, no authentication, all addresses; \
             --web.config.file adds them, and {closing} closes it to others"
        );
    }
}

/// The words of an error without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Allows as many open files as the system does: the usual soft limit of 1024 is for programs that use
/// select(2). It may fail without harm.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
