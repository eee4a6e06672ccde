//! The web configuration file of Prometheus' exporter-toolkit: TLS, users, headers, a rate limit.
//!
//! It is read as a whole, with all that it names, and taken as a whole or not at all.

mod certificates;
mod fields;
mod names;
mod tls;
mod users;
mod values;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;

pub(super) use names::ClientAuth;

use super::rate::Rate;
use crate::textfile::{self, Fault, Faults};

/// Largest file: twice what 10,000 users take.
const MOST_BYTES: u64 = 2 << 20;
/// Largest file with certificates or a key.
const MOST_PEM_BYTES: u64 = 1 << 20;

/// A way to read a file that the first one names.
pub type Open = fn(&Path) -> Result<Vec<u8>, String>;

/// The usual one.
///
/// # Errors
///
/// What is wrong with the file.
pub fn pem(path: &Path) -> Result<Vec<u8>, String> {
    textfile::read_at_most(path, MOST_PEM_BYTES)
}

/// What the file says, ready for use.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Hashes by name.
    pub(super) users: BTreeMap<String, String>,
    pub(super) rate: Option<Rate>,
    pub(super) clients: Asked,
    /// When the server's certificate expires, as Unix time.
    pub(super) expires: Option<i64>,
}

/// What is asked of clients' certificates: each is one thing more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// There has to be one.
    pub(super) required: bool,
    /// And somebody has to vouch for it.
    pub(super) verified: bool,
    /// And it has to be somebody's.
    pub(super) named: bool,
}

/// A file that was read.
#[derive(Debug)]
pub struct Read {
    /// What it says, or all that is wrong.
    result: Result<Rules, Vec<Fault>>,
    /// What is odd, and no reason to refuse it.
    pub warnings: Vec<Fault>,
    /// What it says, in words.
    pub summary: String,
    files: Files,
}

impl Read {
    /// Reads the file and what it names.
    pub fn file(path: &Path, most: usize) -> Self {
        Self::of(path, textfile::read_at_most(path, MOST_BYTES), most, pem)
    }

    /// Reads what the file holds, or takes note of why it cannot be read, and by this way the files that it names;
    /// lists at most so many faults.
    pub fn of(path: &Path, text: Result<Vec<u8>, String>, most: usize, open: Open) -> Self {
        let path: Arc<Path> = path.into();
        let mut files = Files::new(&path, open);
        let (mut faults, mut warnings) = (Faults::new(&path, most), Faults::new(&path, most));
        let (rules, summary) = match text {
            Ok(text) if text.len() as u64 > MOST_BYTES => {
                faults.add(0, format!("it is larger than {} MiB; is it the right file?", MOST_BYTES >> 20));
                Default::default()
            }
            Ok(text) => {
                let said = rules(&text, &mut files, &mut faults, &mut warnings);
                files.note(&path, Ok(&text));
                said
            }
            Err(what) => {
                faults.add(0, what.clone());
                files.note(&path, Err(&what));
                Default::default()
            }
        };
        let result = if faults.is_empty() { Ok(rules) } else { Err(faults.into_list()) };
        Self { result, warnings: warnings.into_list(), summary, files }
    }

    /// All that is wrong with it, if anything.
    ///
    /// # Errors
    ///
    /// Then.
    pub fn checked(&self) -> Result<(), &[Fault]> {
        self.result.as_ref().map(|_| ()).map_err(Vec::as_slice)
    }

    pub(super) fn into_parts(self) -> (Result<Rules, Vec<Fault>>, Vec<Fault>, Files) {
        (self.result, self.warnings, self.files)
    }
}

/// The files that were read, and fingerprints of what was in them: that may be secret.
#[derive(Clone, Debug)]
pub(super) struct Files {
    open: Open,
    /// What relative paths are relative to.
    folder: PathBuf,
    pub(super) seen: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
}

impl Files {
    fn new(path: &Path, open: Open) -> Self {
        Self { open, folder: path.parent().unwrap_or(Path::new("")).to_owned(), seen: BTreeMap::new() }
    }

    /// A file that the first one names.
    fn read(&mut self, name: &str) -> (PathBuf, Result<Vec<u8>, String>) {
        let path = self.folder.join(name);
        let text = (self.open)(&path);
        self.note(&path, text.as_deref());
        (path, text)
    }

    fn note(&mut self, path: &Path, text: Result<&[u8], &String>) {
        let print = |text: &[u8]| digest(&SHA256, text).as_ref().to_vec();
        self.seen.insert(path.to_owned(), text.map(print).map_err(Clone::clone));
    }
}

fn rules(text: &[u8], files: &mut Files, faults: &mut Faults, warnings: &mut Faults) -> (Rules, String) {
    let text = match str::from_utf8(text) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            faults.add(line, "this line is not UTF-8 text".to_owned());
            return Default::default();
        }
    };
    let root = match yaml::read(text) {
        Ok(root) => root,
        Err((line, what)) => {
            faults.add(line.min(text.lines().count().max(1)), what);
            return Default::default();
        }
    };
    let fields = fields::read(root.as_ref(), faults, warnings);
    let mut said = Vec::new();
    let mut expires = None;
    let tls = if fields.tls.is_enabled() {
        tls::build(&fields.tls, fields.http2, files, faults, warnings).map(|built| {
            said.push(built.summary);
            expires = built.expires;
            built.config
        })
    } else {
        said.push("no TLS".to_owned());
        None
    };
    said.push(match fields.users.len() {
        0 => "no users".to_owned(),
        1 => "1 user".to_owned(),
        n => format!("{n} users"),
    });
    said.extend(
        fields
            .rate
            .as_ref()
            .map(|rate| format!("a request every {:?} (burst {})", rate.interval, rate.burst)),
    );
    let required = fields.tls.client_auth.as_ref().filter(|at| at.value.is_required());
    let clients = Asked {
        required: required.is_some(),
        verified: required.is_some_and(|at| at.value.is_verified()),
        named: fields.tls.allowed_sans.is_some(),
    };
    let rules =
        Rules { tls, headers: fields.headers, users: fields.users, rate: fields.rate, clients, expires };
    (rules, said.join(", "))
}

/// The hash of a password.
///
/// # Errors
///
/// A line that says what is wrong with the password.
pub fn hash(password: &[u8], cost: u32) -> Result<String, String> {
    users::hash(password, cost)
}

/// The cost of a hash.
pub(super) fn cost(hash: &str) -> Option<u32> {
    users::cost(hash)
}
