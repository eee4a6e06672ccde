//! Reading the web configuration anew: when its file changes, or one that it names; on SIGHUP, or when asked over HTTP.
//!
//! A broken file costs nothing but its news: what held before holds on, a line of the log says what is wrong, and a
//! metric that something is.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;

use super::reload::RETRY;
use crate::inventory::Fault;
use crate::inventory::follow::Watcher;
use crate::web::{Reading, Security};

/// The file, and what is made of it.
#[derive(Debug)]
pub struct WebConfig {
    security: Arc<Security>,
    successful: AtomicBool,
}

impl WebConfig {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// All that is wrong: a server without the encryption that was asked for is worse than none.
    pub fn start(path: &Path) -> Result<Self, Vec<Fault>> {
        let (security, warnings) = Security::start(path)?;
        tracing::info!(file = %path.display(), says = security.summary(), "read the web configuration");
        warn(&warnings);
        Ok(Self { security: Arc::new(security), successful: AtomicBool::new(true) })
    }

    /// What holds now.
    pub fn security(&self) -> &Arc<Security> {
        &self.security
    }

    /// Whether the last reading succeeded.
    pub fn successful(&self) -> bool {
        self.successful.load(Ordering::Relaxed)
    }

    /// Reads it; says in one line what is wrong, if anything. What is the same as before is read only if it must be.
    pub(super) fn reload(&self, cause: &str, must: bool) -> Result<(), String> {
        match self.security.read(must) {
            Reading::Same => Ok(()),
            Reading::Taken(says, warnings) => {
                tracing::info!(cause, says, "web configuration reloaded");
                warn(&warnings);
                self.successful.store(true, Ordering::Relaxed);
                Ok(())
            }
            Reading::Refused(faults) => {
                let fault = faults.first().map_or_else(String::new, ToString::to_string);
                let more = faults.len().saturating_sub(1);
                // One alone may be of the change, which a check of the file knows nothing of.
                let all = if more > 0 { " (`macwatch check` lists all faults)" } else { "" };
                tracing::error!(
                    cause,
                    %fault,
                    more,
                    "web configuration not reloaded; the last good one stays{all}"
                );
                // Who looks into the log because of it finds why.
                self.successful.store(false, Ordering::Relaxed);
                Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Reads it whenever a file changes, for good; cancel it to stop.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            let Err(error) = self.follow_files().await;
            tracing::warn!(%error, retry_in = ?RETRY, "cannot watch the web configuration; SIGHUP still reloads it");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow_files(self: &Arc<Self>) -> io::Result<Infallible> {
        loop {
            let files = self.security.files();
            let mut watcher = Watcher::new(files.clone()).await?;
            // What changed before it was watched.
            self.look().await;
            while self.security.files() == files {
                watcher.changed().await?;
                self.look().await;
            }
        }
    }

    async fn look(self: &Arc<Self>) {
        let config = Arc::clone(self);
        drop(spawn_blocking(move || config.reload("change", false)).await);
    }
}

fn warn(warnings: &[Fault]) {
    for warning in warnings {
        tracing::warn!(%warning, "the web configuration is odd");
    }
}
