//! From what was typed to what is valid. The only reader of what [`crate::cli`] holds, and the only validation.
//!
//! Long as the list of options is.

mod learn;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::capture::{Direction, Settings};
use crate::cli::{
    self, CaptureArgs, CheckArgs, HashPasswordArgs, HealthcheckArgs, InterfaceArgs, ListenArgs, LogArgs,
    SendArgs, ServeArgs, SourcesArgs, StateArgs, WatchArgs, WebArgs,
};
use crate::exporter;
use crate::interface::select::{NamePattern, Selection};
use crate::log;
use crate::mac::{self, Mac};
use crate::sources::Limits;
use crate::web::{self, listen::ListenAddress};

pub use learn::Learn;

/// A value that cannot be used: exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// None if there is none where one is needed.
    value: Option<String>,
    option: &'static str,
    why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "invalid value '{value}' for '{}': {}", self.option, self.why),
            None => write!(f, "'{}' is missing: {}", self.option, self.why),
        }
    }
}

impl std::error::Error for Invalid {}

fn invalid<'a>(option: &'static str, value: &'a str) -> impl FnOnce(String) -> Invalid + use<'a> {
    move |why| Invalid { value: Some(value.to_owned()), option, why }
}

/// All that the main job needs.
#[derive(Clone, Debug)]
pub struct Serve {
    /// What to capture, remember and serve.
    pub exporter: exporter::Config,
    /// What counts them.
    pub engine: Engine,
    /// Which frames count.
    pub direction: Direction,
    /// Files of the inventory; none for no inventory.
    pub inventory: Vec<PathBuf>,
    /// Where vendors are read from; none for the registry that is built in.
    pub vendor_file: Option<PathBuf>,
    /// File to remember sources in; none for no memory.
    pub state: Option<PathBuf>,
    /// Where to serve.
    pub listen: Listen,
    /// How to serve there; none for plain HTTP for everybody.
    pub web_config: Option<PathBuf>,
}

impl TryFrom<&ServeArgs> for Serve {
    type Error = Invalid;

    fn try_from(args: &ServeArgs) -> Result<Self, Invalid> {
        let capture = settings(&args.interfaces, &args.capture)?;
        let limits = limits(&args.sources)?;
        let (listen, telemetry_path) = web(&args.web)?;
        let max_requests = args.web.max_requests as usize;
        Ok(Self {
            exporter: exporter::Config {
                capture,
                limits,
                telemetry_path,
                max_requests,
                lifecycle: args.web.enable_lifecycle,
                openmetrics_created: args.web.openmetrics_created,
                zero_first: !args.web.no_zero_first,
            },
            inventory: paths(&args.inventory.files)?,
            state: state(&args.state, std::env::var_os("STATE_DIRECTORY")),
            engine: match args.engine.engine {
                cli::Engine::Auto => Engine::Auto,
                cli::Engine::Kernel => Engine::Kernel,
                cli::Engine::Channel => Engine::Channel,
            },
            direction: direction(&args.capture),
            vendor_file: args.vendor.vendor_file.clone(),
            listen,
            web_config: file(args.web.config_file.as_ref()),
        })
    }
}

/// Where to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On sockets of our own.
    Addresses(Vec<ListenAddress>),
    /// On those that systemd passes on.
    Passed,
}

/// What counts the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The kernel where it can, else the channel.
    Auto,
    /// The kernel.
    Kernel,
    /// The channel.
    Channel,
}

/// All that `watch` needs.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What to capture.
    pub capture: Settings,
    /// Which frames count.
    pub direction: Direction,
    /// First sightings only.
    pub new_only: bool,
    /// Lines to print; none for no end.
    pub count: Option<u64>,
    /// JSON instead of columns.
    pub json: bool,
}

impl TryFrom<&WatchArgs> for Watch {
    type Error = Invalid;

    fn try_from(args: &WatchArgs) -> Result<Self, Invalid> {
        Ok(Self {
            capture: settings(&args.interfaces, &args.capture)?,
            direction: direction(&args.capture),
            new_only: args.new,
            count: args.count,
            json: args.json,
        })
    }
}

/// All that `send` needs.
#[derive(Clone, Debug)]
pub struct Drill {
    /// The interface's name.
    pub interface: String,
    /// Where the frames say they come from.
    pub source: Mac,
    /// Where they go.
    pub destination: Mac,
    /// How many.
    pub count: u32,
    /// Time between two.
    pub interval: Duration,
    /// Somebody answers for what a switch may do.
    pub yes: bool,
}

impl TryFrom<&SendArgs> for Drill {
    type Error = Invalid;

    fn try_from(args: &SendArgs) -> Result<Self, Invalid> {
        let name = args.interface.as_str();
        let refuse = invalid("--interface <NAME>", name);
        match NamePattern::new(name) {
            Ok(pattern) if pattern.literal().is_none() => {
                return Err(refuse("frames are sent on one interface; give its name".to_owned()));
            }
            Ok(_) if name.is_empty() => return Err(refuse("give the name of an interface".to_owned())),
            Ok(_) => {}
            Err(why) => return Err(refuse(why)),
        }
        Ok(Self {
            interface: name.to_owned(),
            source: address("--source <MAC>", &args.source)?,
            destination: address("--destination <MAC>", &args.destination)?,
            count: args.count,
            interval: interval(&args.interval)?,
            yes: args.yes,
        })
    }
}

fn address(option: &'static str, text: &str) -> Result<Mac, Invalid> {
    mac::parse(text).map_err(invalid(option, text))
}

/// Test frames are harmless because they are few.
fn interval(text: &str) -> Result<Duration, Invalid> {
    let refuse = |why: String| invalid("--interval <DURATION>", text)(why);
    let interval = humantime::parse_duration(text)
        .map_err(|error| refuse(format!("{error}; write it like 3s, 500ms or 1m30s")))?;
    if interval < Duration::from_millis(10) {
        return Err(refuse("take at least 10ms: a hundred frames a second are enough".to_owned()));
    }
    Ok(interval)
}

/// All that `check` needs.
#[derive(Clone, Debug)]
pub struct Check {
    /// Inventories.
    pub inventories: Vec<PathBuf>,
    /// The state file.
    pub state: Option<PathBuf>,
    /// The web configuration. There is at least one file of any kind, or an address.
    pub web_config: Option<PathBuf>,
    /// The address to explain, with what there is.
    pub explain: Option<Mac>,
}

impl TryFrom<&CheckArgs> for Check {
    type Error = Invalid;

    fn try_from(args: &CheckArgs) -> Result<Self, Invalid> {
        let inventories = paths(&args.inventories)?;
        let (state, web_config) = (file(args.state_file.as_ref()), file(args.web_config_file.as_ref()));
        let option = "--inventory.file <FILE>";
        let files = inventories.iter().chain(&state).chain(&web_config);
        if files.clone().next().is_none() && args.explain.is_none() {
            let why = "name what to check: one or more inventories, --state.file or --web.config.file; or an address to \
                       --explain"
                .to_owned();
            return Err(Invalid { value: None, option, why });
        }
        if files.filter(|file| file.as_os_str() == "-").count() > 1 {
            return Err(invalid(option, "-")("stdin can be read once".to_owned()));
        }
        let explain = args.explain.as_deref().map(|text| address("--explain <MAC>", text)).transpose()?;
        Ok(Self { inventories, state, web_config, explain })
    }
}

/// All that `healthcheck` needs.
#[derive(Clone, Debug)]
pub struct Healthcheck {
    /// Where the exporter serves.
    pub listen: Vec<ListenAddress>,
}

impl TryFrom<&HealthcheckArgs> for Healthcheck {
    type Error = Invalid;

    fn try_from(args: &HealthcheckArgs) -> Result<Self, Invalid> {
        Ok(Self { listen: listen(&args.listen)? })
    }
}

/// All that `hash-password` needs.
#[derive(Clone, Debug)]
pub struct HashPassword {
    /// The user's name, for a line that can be copied.
    pub user: Option<String>,
    /// How much work it is.
    pub cost: u32,
}

impl TryFrom<&HashPasswordArgs> for HashPassword {
    type Error = Invalid;

    fn try_from(args: &HashPasswordArgs) -> Result<Self, Invalid> {
        if let Some(user) = args.user.as_ref().filter(|user| user.contains(':')) {
            let why = "clients send name:password, so a name cannot have a colon".to_owned();
            return Err(invalid("[USER]", user)(why));
        }
        Ok(Self { user: args.user.clone(), cost: args.cost })
    }
}

impl From<&LogArgs> for (log::Level, log::Format) {
    fn from(args: &LogArgs) -> Self {
        let level = match args.level {
            cli::LogLevel::Debug => log::Level::DEBUG,
            cli::LogLevel::Info => log::Level::INFO,
            cli::LogLevel::Warn => log::Level::WARN,
            cli::LogLevel::Error => log::Level::ERROR,
        };
        let format = match args.format {
            cli::LogFormat::Logfmt => log::Format::Logfmt,
            cli::LogFormat::Json => log::Format::Json,
        };
        (level, format)
    }
}

impl TryFrom<&InterfaceArgs> for Selection {
    type Error = Invalid;

    fn try_from(args: &InterfaceArgs) -> Result<Self, Invalid> {
        let include = patterns("--interface <GLOB>", &args.include)?;
        let exclude = patterns("--interface.exclude <GLOB>", &args.exclude)?;
        let selection = Self { include, exclude };
        let both = selection.literals().find(|name| selection.excludes(name));
        if let Some(name) = both {
            let why = "--interface.exclude excludes it; drop one of the two".to_owned();
            return Err(invalid("--interface <GLOB>", name)(why));
        }
        Ok(selection)
    }
}

fn patterns(option: &'static str, texts: &[String]) -> Result<Vec<NamePattern>, Invalid> {
    let items: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
    none_empty(option, &items)?;
    items.into_iter().map(|text| NamePattern::new(text).map_err(invalid(option, text))).collect()
}

fn paths(files: &[OsString]) -> Result<Vec<PathBuf>, Invalid> {
    let shown: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    none_empty("--inventory.file <FILE>", &shown)?;
    Ok(files.iter().map(PathBuf::from).collect())
}

/// An item that names nothing is most likely a script's variable that is not set: without an inventory nobody would be
/// unknown, without an interface all would be watched, and without one of two half the network would not be. Variables of
/// the environment that are empty, as Compose files and manifests leave them, are not given at all.
fn none_empty(option: &'static str, items: &[impl AsRef<str>]) -> Result<(), Invalid> {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    let why = match items.iter().filter(|item| item.is_empty()).count() {
        0 => return Ok(()),
        empty if empty == items.len() => "it names nothing; leave the option out if that is meant",
        _ => "one of them names nothing, as a variable that is not set; leave it out if that is meant",
    };
    Err(invalid(option, &items.join(","))(why.to_owned()))
}

/// None if it is empty.
fn file(file: Option<&PathBuf>) -> Option<PathBuf> {
    file.filter(|file| !file.as_os_str().is_empty()).cloned()
}

/// systemd names the folders that it made for the unit (systemd.exec(5)), separated by colons.
fn state(args: &StateArgs, folders: Option<OsString>) -> Option<PathBuf> {
    file(args.state_file.as_ref()).or_else(|| {
        let folders = folders?;
        let first =
            folders.as_bytes().split(|byte| *byte == b':').next().filter(|first| !first.is_empty())?;
        Some(PathBuf::from(OsString::from_vec(first.to_vec())).join("state"))
    })
}

fn settings(interfaces: &InterfaceArgs, capture: &CaptureArgs) -> Result<Settings, Invalid> {
    Ok(Settings { selection: interfaces.try_into()?, promiscuous: !capture.no_promiscuous })
}

fn direction(args: &CaptureArgs) -> Direction {
    match args.direction {
        cli::Direction::Both => Direction::Both,
        cli::Direction::In => Direction::In,
        cli::Direction::Out => Direction::Out,
    }
}

fn limits(args: &SourcesArgs) -> Result<Limits, Invalid> {
    for (option, value) in [("--sources.max <N>", args.max), ("--sources.max-total <N>", args.max_total)] {
        if value == 0 {
            return Err(invalid(option, "0")("no source could be tracked; take at least 1".to_owned()));
        }
    }
    let text = args.idle_timeout.as_str();
    let refuse = |why: &str| invalid("--sources.idle-timeout <DURATION>", text)(why.to_owned());
    let idle_timeout = humantime::parse_duration(text)
        .map_err(|error| refuse(&format!("{error}; write it like 24h, 90m or 1d12h")))?;
    if idle_timeout < Duration::from_secs(1) {
        return Err(refuse("sources would be forgotten between two frames; take at least 1s"));
    }
    Ok(Limits { per_interface: args.max as usize, total: args.max_total as usize, idle_timeout })
}

fn listen(args: &ListenArgs) -> Result<Vec<ListenAddress>, Invalid> {
    let parse = |text: &String| {
        ListenAddress::parse(text.trim()).map_err(invalid("--web.listen-address <ADDRESS>", text))
    };
    args.listen_address.iter().map(parse).collect()
}

fn web(args: &WebArgs) -> Result<(Listen, String), Invalid> {
    let listen = listen(&args.listen)?;
    let path = args.telemetry_path.as_str();
    let refuse = |why: &str| Err(invalid("--web.telemetry-path <PATH>", path)(why.to_owned()));
    if !path.starts_with('/') {
        return refuse("a path begins with a slash, like /metrics");
    }
    if web::is_reserved(path) || exporter::is_reserved(path) {
        return refuse("macwatch serves something else there; take another, like /metrics");
    }
    if path.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '%')) {
        return refuse("no request can ask for this path; leave out spaces, '?', '#' and '%'");
    }
    let listen = if args.systemd_socket { Listen::Passed } else { Listen::Addresses(listen) };
    Ok((listen, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn serve(args: &[&str]) -> Result<Serve, Invalid> {
        let cli = Cli::try_parse_from([&["macwatch"], args].concat()).unwrap();
        Serve::try_from(&cli.serve)
    }

    #[test]
    fn no_option_is_fine() {
        let config = serve(&[]).unwrap();
        assert_eq!(config.listen, Listen::Addresses(vec![ListenAddress::parse(":10148").unwrap()]));
        assert_eq!(config.exporter.telemetry_path, "/metrics");
        assert_eq!(config.exporter.max_requests, 40);
        let day = Duration::from_secs(86_400);
        assert_eq!(config.exporter.limits, Limits { per_interface: 1024, total: 16_384, idle_timeout: day });
        assert_eq!(config.direction, Direction::Both);
        assert_eq!(config.engine, Engine::Auto);
        assert!(config.exporter.capture.promiscuous);
        assert_eq!(config.exporter.capture.selection, Selection::default());
    }

    #[test]
    fn bad_values_are_named_with_what_to_do() {
        for (args, value, remedy) in [
            (&["-i", "eth["][..], "'eth['", "character"),
            (&["-i", "eth0", "--interface.exclude", "eth*"], "'eth0'", "drop one"),
            (&["--sources.max", "0"], "'0'", "at least 1"),
            (&["--sources.max-total", "0"], "'0'", "at least 1"),
            (&["--sources.idle-timeout", "soon"], "'soon'", "24h"),
            (&["--sources.idle-timeout", "5ms"], "'5ms'", "1s"),
            (&["--web.listen-address", "10148"], "'10148'", ":10148"),
            (&["--web.telemetry-path", "metrics"], "'metrics'", "slash"),
            (&["--web.telemetry-path", "/"], "'/'", "another"),
            (&["--web.telemetry-path", "/-/ready"], "'/-/ready'", "another"),
            (&["--web.telemetry-path", "/a b"], "'/a b'", "spaces"),
        ] {
            let error = serve(args).unwrap_err().to_string();
            assert!(error.contains(value) && error.contains(remedy), "{args:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_state_file_is_the_one_given_or_systemd_s() {
        let file = |given: Option<&str>, folders: Option<&str>| {
            let args = StateArgs { state_file: given.map(PathBuf::from) };
            state(&args, folders.map(OsString::from)).map(|path| path.display().to_string())
        };
        assert_eq!(file(None, None), None);
        assert_eq!(file(Some(""), Some("")), None);
        assert_eq!(file(Some("a"), Some("/var/lib/macwatch")).as_deref(), Some("a"));
        assert_eq!(file(None, Some("/var/lib/macwatch")).as_deref(), Some("/var/lib/macwatch/state"));
        assert_eq!(file(None, Some("/var/lib/a:/var/lib/b")).as_deref(), Some("/var/lib/a/state"));
    }

    #[test]
    fn a_list_that_names_nothing_is_an_error() {
        for args in [["-i", ""], ["-i", " , "], ["--interface.exclude", ""], ["--inventory.file", ","]] {
            let error = serve(&args).unwrap_err().to_string();
            assert!(error.contains(args[0].trim_start_matches("-i")), "{error}");
            assert!(error.contains("it names nothing; leave the option out"), "{error}");
        }
    }

    #[test]
    fn no_item_of_a_list_is_empty() {
        for args in [
            &["-i", "", "-i", "eth0"][..],
            &["-i", "eth0,, eth1"],
            &["--interface.exclude", "eth0,"],
            &["--inventory.file", "a", "--inventory.file", ""],
        ] {
            let error = serve(args).unwrap_err().to_string();
            assert!(error.contains("one of them names nothing, as a variable"), "{args:?}: {error}");
        }
        let config = serve(&["-i", "eth0, eth1"]).unwrap();
        let selection = &config.exporter.capture.selection;
        assert_eq!(selection.literals().collect::<Vec<_>>(), ["eth0", "eth1"]);
        assert_eq!(serve(&["--inventory.file", "a"]).unwrap().inventory, [PathBuf::from("a")]);
    }
}
