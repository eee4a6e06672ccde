//! The web configuration in force, which is replaced as a whole when its file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;

use super::auth::{Doorman, Users};
use super::config::{Asked, Files, Read, Rules};
use super::rate::Limiter;
use crate::textfile::{Fault, MOST_FAULTS, Place};

/// What holds for connections and requests that begin now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
    pub(super) limiter: Option<Limiter>,
    clients: Asked,
    expires: Option<i64>,
}

/// See the module's docs.
pub struct Security {
    path: PathBuf,
    current: RwLock<Arc<Current>>,
    doorman: Doorman,
    /// What it says, in words.
    summary: String,
    /// What was read last, be it good or not.
    seen: Mutex<Files>,
}

/// What a reading came to.
#[derive(Debug)]
pub enum Reading {
    /// Nothing has changed since the last one.
    Same,
    /// It holds from now on: what it says, in words, and what is odd about it.
    Taken(String, Vec<Fault>),
    /// What holds stays; all that is wrong.
    Refused(Vec<Fault>),
}

impl Security {
    /// Reads the file for the first time. What is odd about it comes beside.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn start(path: &Path) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let read = Read::file(path, MOST_FAULTS);
        let summary = read.summary.clone();
        let (rules, warnings, files) = read.into_parts();
        let doorman = Doorman::new().ok_or_else(|| vec![fault(path, "the system has no random numbers")])?;
        let current = RwLock::new(Arc::new(current(rules?, None)));
        Ok((Self { path: path.to_owned(), current, doorman, summary, seen: Mutex::new(files) }, warnings))
    }

    /// Reads the file, and all that it names, anew; takes what is the same as last time only if it must.
    pub fn read(&self, must: bool) -> Reading {
        let read = Read::file(&self.path, MOST_FAULTS);
        let summary = read.summary.clone();
        let (rules, warnings, files) = read.into_parts();
        let before = std::mem::replace(&mut *self.seen.lock(), files.clone());
        if before.seen == files.seen && !must {
            return Reading::Same;
        }
        match rules.and_then(|rules| self.replaces(rules)) {
            Ok(()) => Reading::Taken(summary, warnings),
            Err(faults) => Reading::Refused(faults),
        }
    }

    /// A file that was emptied, or is written while it is read, is a good one that opens the door. So what lets more
    /// people in than before does not hold until somebody says so by a restart.
    fn replaces(&self, rules: Rules) -> Result<(), Vec<Fault>> {
        let old = self.rules();
        let change = match (&old.tls, &rules.tls) {
            (None, Some(_)) => {
                "it turns TLS on, which takes a restart: clients that speak to this port do not use it"
            }
            (Some(_), None) => "it turns TLS off, which takes a restart: it may be a mistake",
            _ if rules.users.is_empty() && !old.users.is_empty() => {
                "it lets everybody in without a password, which takes a restart: it may be a mistake, or a file half \
                 written"
            }
            _ if asks_less(rules.clients, old.clients) => {
                "it asks less of clients' certificates, which takes a restart: it may be a mistake, or a file half \
                 written"
            }
            _ => {
                let new = current(rules, old.limiter.as_ref());
                let same = new.users == old.users;
                *self.current.write() = Arc::new(new);
                // A renewed certificate makes nobody wait.
                if !same {
                    self.doorman.forget();
                }
                return Ok(());
            }
        };
        Err(vec![fault(&self.path, change)])
    }

    /// The file and those that it named when it was read last.
    pub fn files(&self) -> Vec<PathBuf> {
        self.seen.lock().seen.keys().cloned().collect()
    }

    /// What the file said at the start, in words.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// Whether names and passwords are asked for.
    pub fn has_users(&self) -> bool {
        !self.rules().users.is_empty()
    }

    /// When the certificate that is served, or one of those beside it, expires, as Unix time; none without TLS.
    pub fn certificate_expires(&self) -> Option<i64> {
        self.rules().expires
    }

    /// Whether clients have to show a certificate.
    pub fn wants_certificates(&self) -> bool {
        self.rules().clients.required
    }

    pub(super) fn rules(&self) -> Arc<Current> {
        Arc::clone(&self.current.read())
    }

    pub(super) fn doorman(&self) -> &Doorman {
        &self.doorman
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("path", &self.path).finish_non_exhaustive()
    }
}

fn asks_less(now: Asked, before: Asked) -> bool {
    before.required && !now.required || before.verified && !now.verified || before.named && !now.named
}

fn fault(path: &Path, what: &str) -> Fault {
    Fault { place: Place { file: path.into(), line: 0 }, what: what.to_owned() }
}

/// A rate that stays the same goes on where it was.
fn current(rules: Rules, before: Option<&Limiter>) -> Current {
    let Rules { tls, headers, users, rate, clients, expires } = rules;
    let limiter = rate.map(|rate| match before.filter(|before| *before.rate() == rate) {
        Some(same) => same.clone(),
        None => Limiter::new(rate),
    });
    Current { tls, headers, users: Users::new(users), limiter, clients, expires }
}
