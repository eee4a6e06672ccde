//! The command line, as typed. [`crate::config`] makes valid values of it.
//!
//! Long, for it is all that `--help` says, in the order in which it says it.

mod learn;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::build;

pub use learn::LearnArgs;

/// Counts every Ethernet frame by the MAC address that sent it, and serves the counts to Prometheus.
///
/// Without a command it captures and serves: the main job, which needs no option. Each option below can be
/// given as an environment variable too; lists are separated by commas there.
#[derive(Debug, Parser)]
#[command(name = "macwatch", version = build::LONG_VERSION, args_conflicts_with_subcommands = true)]
#[command(after_help = "Root or CAP_NET_RAW is needed to capture. Metrics: http://localhost:10148/metrics")]
pub struct Cli {
    /// What to do instead of capturing and serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the main job.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl Cli {
    /// What this process was started with.
    ///
    /// # Errors
    ///
    /// Clap's own, help and version among them.
    pub fn from_process() -> Result<Self, clap::Error> {
        let command = without_empty_variables(Self::command());
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

/// Compose files and manifests leave variables empty rather than unset: then they say nothing.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unset = |arg: Arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(Resettable::Reset) } else { arg }
    };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

/// What to do instead of capturing and serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the source MAC of each frame as it arrives.
    Watch(WatchArgs),
    /// List the interfaces, and say of each why it is or is not watched.
    Interfaces(InterfacesArgs),
    /// Put a few test frames on the wire under a MAC of your choice: the fire drill.
    ///
    /// They have EtherType 0x88b5 (IEEE 802, local experimental), which no host answers, and a text for whoever
    /// finds them. Three of them, three seconds apart, are what an alert on unknown sources waits for: more than
    /// 5 s between a source's first frame and its newest. Root or CAP_NET_RAW is needed.
    ///
    /// A switch with port security may shut the port that a strange MAC appears on. So --yes is asked for where
    /// frames would leave through a network card. An exporter on this machine does not see the frames if it
    /// captures with --capture.direction in.
    Send(SendArgs),
    /// Learn who is there, and write an inventory: the first one, or what is missing in one.
    ///
    /// Listens for a while and writes a line for each MAC that sent something, on stdout or into the file of --output,
    /// whose own lines stay as they are. Names are made up, from leases where --import gives some: look at each line
    /// before you vouch for it. Ctrl-C ends early, and what was learnt by then is written. --from-state and --import
    /// read files instead, and need no privileges; with --for it listens too.
    Learn(LearnArgs),
    /// Say all that is wrong with an inventory, a web configuration or a state file, or what they say of one MAC.
    ///
    /// Exit code 0: the exporter would take them. 1: it would not; each fault is a line on stdout, with file and
    /// line. Files are read and nothing else: also while an exporter runs, and without privileges. The file - is
    /// stdin.
    Check(CheckArgs),
    /// Ask the exporter on this machine whether it serves: for containers, which have nothing else that could.
    ///
    /// Exit code 0: it answers on each of the addresses. 1: it does not. It asks for /-/healthy by plain HTTP, and takes
    /// for an answer too that a password or TLS is wanted: so it needs neither certificates nor passwords. It does
    /// not see the options of the exporter; where that serves elsewhere, set the variable for both.
    Healthcheck(HealthcheckArgs),
    /// Hash a password, for the web configuration: prints the line that goes below basic_auth_users.
    ///
    /// Asks for it twice on a terminal, without showing it; from a pipe it takes the first line. It is never an
    /// argument, which everybody on the machine could see.
    HashPassword(HashPasswordArgs),
}

/// Options of the main job.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Which interfaces.
    #[command(flatten)]
    pub interfaces: InterfaceArgs,
    /// How they are captured.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// What of them.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How much to remember.
    #[command(flatten)]
    pub sources: SourcesArgs,
    /// Who is known.
    #[command(flatten)]
    pub inventory: InventoryArgs,
    /// Whose prefixes they are.
    #[command(flatten)]
    pub vendor: VendorArgs,
    /// What survives a restart.
    #[command(flatten)]
    pub state: StateArgs,
    /// The server.
    #[command(flatten)]
    pub web: WebArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where the options of `watch` alone stand: after a flattened group they would stand in that.
const OUTPUT: &str = "Output";

/// Options of `watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Which interfaces.
    #[command(flatten)]
    pub interfaces: InterfaceArgs,
    /// What of them.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// Print each source once, when it is first seen
    #[arg(long, help_heading = OUTPUT)]
    pub new: bool,
    /// End after printing this many lines
    #[arg(
        long,
        short = 'c',
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        allow_negative_numbers = true,
        help_heading = OUTPUT
    )]
    pub count: Option<u64>,
    /// Print JSON, one object a line
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Options of `interfaces`.
#[derive(Args, Debug)]
pub struct InterfacesArgs {
    /// Which interfaces.
    #[command(flatten)]
    pub interfaces: InterfaceArgs,
}

/// Which interfaces to watch.
#[derive(Args, Debug)]
#[command(next_help_heading = "Interfaces")]
pub struct InterfaceArgs {
    /// Interface to watch, by name or pattern (*, ?, [a-z]); repeatable. One that does not exist yet is waited
    /// for. Default: every Ethernet interface that is up, except ports of bridges, bonds and teams
    #[arg(
        long = "interface",
        short = 'i',
        value_name = "GLOB",
        env = "MACWATCH_INTERFACE",
        value_delimiter = ','
    )]
    pub include: Vec<String>,
    /// Interface never to watch, by name or pattern; repeatable
    #[arg(
        long = "interface.exclude",
        value_name = "GLOB",
        env = "MACWATCH_INTERFACE_EXCLUDE",
        value_delimiter = ','
    )]
    pub exclude: Vec<String>,
}

/// What counts the frames.
#[derive(Args, Debug)]
#[command(next_help_heading = "Capture")]
pub struct EngineArgs {
    /// What counts frames: the kernel, where they are received, or this program, which is handed each of them
    #[arg(
        long = "capture.engine",
        value_name = "ENGINE",
        env = "MACWATCH_CAPTURE_ENGINE",
        value_enum,
        default_value_t
    )]
    pub engine: Engine,
}

/// See [`EngineArgs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The kernel where it can, else this program
    #[default]
    Auto,
    /// The kernel, by an eBPF program: takes CAP_BPF and Linux 5.11
    Kernel,
    /// This program, through pnet's channel
    Channel,
}

/// What to capture on them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Which frames count
    #[arg(
        long = "capture.direction",
        value_name = "DIRECTION",
        env = "MACWATCH_CAPTURE_DIRECTION",
        value_enum,
        default_value_t
    )]
    pub direction: Direction,
    /// Leave interfaces out of promiscuous mode: unicast frames meant for others are then not seen
    #[arg(
        long = "no-promiscuous",
        env = "MACWATCH_NO_PROMISCUOUS",
        value_parser = BoolishValueParser::new()
    )]
    pub no_promiscuous: bool,
}

/// Which frames count.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Direction {
    /// Those that arrive and those that this host sends
    #[default]
    Both,
    /// Those that arrive
    In,
    /// Those that this host sends
    Out,
}

/// How many sources to remember, and how long.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sources")]
pub struct SourcesArgs {
    /// Most sources tracked per interface; frames of further ones are counted as untracked
    #[arg(long = "sources.max", value_name = "N", env = "MACWATCH_SOURCES_MAX", default_value = "1024", value_parser = whole, allow_negative_numbers = true)]
    pub max: u32,
    /// Most sources tracked on all interfaces together
    #[arg(
        long = "sources.max-total",
        value_name = "N",
        env = "MACWATCH_SOURCES_MAX_TOTAL",
        default_value = "16384", value_parser = whole, allow_negative_numbers = true)]
    pub max_total: u32,
    /// A source that has been silent for longer is forgotten; like 24h, 90m or 1d12h
    #[arg(
        long = "sources.idle-timeout",
        value_name = "DURATION",
        env = "MACWATCH_SOURCES_IDLE_TIMEOUT",
        default_value = "24h"
    )]
    pub idle_timeout: String,
}

/// Who is known.
#[derive(Args, Debug)]
#[command(next_help_heading = "Inventory")]
pub struct InventoryArgs {
    /// File that lists the known MAC addresses and their names, in the manner of /etc/ethers; repeatable.
    /// Changes are picked up; without one, nobody is known or unknown
    #[arg(
        long = "inventory.file",
        value_name = "FILE",
        env = "MACWATCH_INVENTORY_FILE",
        value_delimiter = ','
    )]
    pub files: Vec<OsString>,
}

/// Whose prefixes the sources have.
#[derive(Args, Debug)]
#[command(next_help_heading = "Vendors")]
pub struct VendorArgs {
    /// File to take vendors from instead of the registry that is built in: Wireshark's manuf, or CSV of the IEEE
    #[arg(long = "vendor.file", value_name = "FILE", env = "MACWATCH_VENDOR_FILE")]
    pub vendor_file: Option<PathBuf>,
}

/// What survives a restart.
#[derive(Args, Debug)]
#[command(next_help_heading = "State")]
pub struct StateArgs {
    /// File to remember in when each source was first and last seen, across restarts. Default under systemd:
    /// the file `state` in the unit's StateDirectory; else none
    #[arg(long = "state.file", value_name = "FILE", env = "MACWATCH_STATE_FILE")]
    pub state_file: Option<PathBuf>,
}

/// Where to serve.
#[derive(Args, Debug)]
#[command(next_help_heading = "Web")]
pub struct ListenArgs {
    /// Addresses to serve on.
    #[arg(
        long = "web.listen-address",
        help = "Address to serve on; repeatable. Examples: :10148 (all addresses), 127.0.0.1:10148, [::1]:10148",
        value_name = "ADDRESS",
        env = "MACWATCH_WEB_LISTEN_ADDRESS",
        value_delimiter = ',',
        default_value = ":10148"
    )]
    pub listen_address: Vec<String>,
}

/// The server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Web")]
pub struct WebArgs {
    /// Where.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Serve on the sockets that systemd passes on (socket activation), and not on addresses of its own
    #[arg(
        long = "web.systemd-socket",
        env = "MACWATCH_WEB_SYSTEMD_SOCKET",
        value_parser = BoolishValueParser::new()
    )]
    pub systemd_socket: bool,
    /// File that turns on TLS, client certificates, users and passwords, headers or a rate limit: the format of
    /// Prometheus' exporter-toolkit. Changes are picked up, renewed certificates too
    #[arg(long = "web.config.file", value_name = "FILE", env = "MACWATCH_WEB_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// Path of the metrics page
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        env = "MACWATCH_WEB_TELEMETRY_PATH",
        default_value = "/metrics"
    )]
    pub telemetry_path: String,
    /// Most metrics requests answered at the same time, beside one for each client; further ones get 503. 0 for no limit
    #[arg(
        long = "web.max-requests",
        value_name = "N",
        env = "MACWATCH_WEB_MAX_REQUESTS",
        default_value = "40", value_parser = whole, allow_negative_numbers = true)]
    pub max_requests: u32,
    /// Allow reloading by POST to /-/reload, for anyone who may reach the port
    #[arg(
        long = "web.enable-lifecycle",
        env = "MACWATCH_WEB_ENABLE_LIFECYCLE",
        value_parser = BoolishValueParser::new()
    )]
    pub enable_lifecycle: bool,
    /// Tell in OpenMetrics since when each counter counts, as a sample `_created` of its own. Prometheus stores it as
    /// one more series unless its feature created-timestamp-zero-ingestion is on
    #[arg(
        long = "web.openmetrics-created",
        env = "MACWATCH_WEB_OPENMETRICS_CREATED",
        value_parser = BoolishValueParser::new()
    )]
    pub openmetrics_created: bool,
    /// Show scrapers the true count of a new source at once: increase() then misses what it sent before
    #[arg(
        long = "web.no-zero-first",
        env = "MACWATCH_WEB_NO_ZERO_FIRST",
        value_parser = BoolishValueParser::new()
    )]
    pub no_zero_first: bool,
}

/// The log.
#[derive(Args, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Log only messages of this severity or above
    #[arg(long = "log.level", value_name = "LEVEL", env = "MACWATCH_LOG_LEVEL", value_enum, default_value_t)]
    pub level: LogLevel,
    /// How a line of the log is written
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        env = "MACWATCH_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: LogFormat,
}

/// Severities.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogLevel {
    /// More than most need
    Debug,
    /// Starts, stops, interfaces that come and go
    #[default]
    Info,
    /// What may need a look
    Warn,
    /// What does not work
    Error,
}

/// Formats of a log line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// key=value pairs
    #[default]
    Logfmt,
    /// One JSON object a line
    Json,
}

/// Options of `send`. They have no variables: what is set for the exporter is not meant for a drill.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// Interface to send on
    #[arg(long, short = 'i', value_name = "NAME")]
    pub interface: String,
    /// MAC that the frames come from. Take one that no device has, like 02:00:00:00:be:ef: switches learn from
    /// these frames where it is, and would send a real device's traffic here
    #[arg(long, value_name = "MAC")]
    pub source: String,
    /// MAC that they go to. The default is a locally administered group that nobody joins: switches flood it as
    /// they flood broadcasts, but no host is woken. Take ff:ff:ff:ff:ff:ff for an exporter with --no-promiscuous
    /// or a switch that holds back unknown groups
    #[arg(long, value_name = "MAC", default_value = "03:6d:61:63:77:61")]
    pub destination: String,
    /// How many frames
    #[arg(
        long,
        short = 'c',
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..),
        allow_negative_numbers = true
    )]
    pub count: u32,
    /// Time between two of them; like 3s or 500ms
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub interval: String,
    /// Send, though a switch with port security may shut the port
    #[arg(long)]
    pub yes: bool,
}

/// Options of `check`. The files have the variables that the exporter has.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Inventory to check; repeatable: several are checked together, as the exporter would merge them
    #[arg(
        long = "inventory.file",
        value_name = "FILE",
        env = "MACWATCH_INVENTORY_FILE",
        value_delimiter = ','
    )]
    pub inventories: Vec<OsString>,
    /// State file to check
    #[arg(long = "state.file", value_name = "FILE", env = "MACWATCH_STATE_FILE")]
    pub state_file: Option<PathBuf>,
    /// Web configuration to check, with the certificates and keys that it names
    #[arg(long = "web.config.file", value_name = "FILE", env = "MACWATCH_WEB_CONFIG_FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Tell how macwatch sees this MAC, instead of what the files hold
    #[arg(long, value_name = "MAC")]
    pub explain: Option<String>,
}

/// Options of `healthcheck`.
#[derive(Args, Debug)]
pub struct HealthcheckArgs {
    /// Where the exporter serves.
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Options of `hash-password`.
#[derive(Args, Debug)]
pub struct HashPasswordArgs {
    /// Name of the user; without one, only the hash is printed
    #[arg(value_name = "USER")]
    pub user: Option<String>,
    /// How much work a comparison takes: one more doubles it
    #[arg(
        long,
        value_name = "N",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(4..=16),
        allow_negative_numbers = true
    )]
    pub cost: u32,
}

/// A number, or what one looks like. Options that take one take what begins with a minus too: to be told what they want.
fn whole(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("take a whole number up to {}", u32::MAX))
}
