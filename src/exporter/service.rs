//! The exporter as a service: whether it is ready, how it is, and whether it is alive. Kubernetes asks for that; systemd
//! wants to be told.
//!
//! Alive is what scrapers need: the reactor, which runs all this, gets its turns; the supervisor looks at the
//! interfaces; each thread that captures comes round; and a page can be made. That one is made here, not asked for over
//! a connection: what a flood does to the server is no reason to end it. A part that does not answer is named in
//! the log, and systemd is not told that the exporter is alive until it does. A part that has failed and says so, like
//! an interface that is gone, is not stuck: starting anew would cost the others' counts and mend nothing.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::page::Metrics;
use crate::capture::{Link, Roll, Status};
use crate::exposition::Format;
use crate::systemd::Manager;

/// How things are is told at least so often, if it has changed; at first sooner, for whoever has just started it and looks.
const NEWS: Duration = Duration::from_secs(60);
const FIRST_NEWS: Duration = Duration::from_secs(4);

/// While it is not ready, systemd is asked for more time so often, and for so much; the first time soon, for whoever
/// looks at the line.
const FIRST_PLEA: Duration = Duration::from_secs(1);
const PLEA: Duration = Duration::from_secs(10);
const RESPITE: Duration = Duration::from_secs(60);

/// Most interfaces that are named in the line.
const NAMED: usize = 8;

/// See the module's docs.
#[derive(Debug)]
pub struct Service {
    manager: Manager,
    metrics: Arc<Metrics>,
    started: AtomicBool,
    told: AtomicBool,
    stopping: AtomicBool,
}

impl Service {
    /// Not ready, and nothing told.
    pub fn new(manager: Manager, metrics: Arc<Metrics>) -> Self {
        let [started, told, stopping] = Default::default();
        Self { manager, metrics, started, told, stopping }
    }

    /// Ready once every interface that was up at the start is being captured, and until the end. A missing
    /// interface is not waited for, and one that goes down later shows in its own metric.
    pub fn is_ready(&self) -> bool {
        if !self.started.load(Ordering::Relaxed) && self.awaited().is_empty() {
            self.started.store(true, Ordering::Relaxed);
        }
        self.started.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed)
    }

    /// It ends.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.manager.stopping();
    }

    /// Its configuration is about to be read anew.
    pub fn reloading(&self) {
        if self.told.load(Ordering::Relaxed) {
            self.manager.reloading();
        }
    }

    /// That is done, with whatever success: the line tells.
    pub fn reloaded(&self) {
        if self.told.load(Ordering::Relaxed) && self.is_ready() {
            self.manager.ready(&self.line());
        }
    }

    /// Tells the service manager, if there is one, for good; cancel it to stop.
    pub async fn attend(&self, roll: Roll) {
        if !self.manager.is_there() {
            return std::future::pending().await;
        }
        let mut looked = self.metrics.board.watch();
        let mut plea = Instant::now() + FIRST_PLEA;
        while !self.is_ready() {
            tokio::select! {
                _ = looked.changed() => {}
                () = sleep_until(plea) => {
                    if self.is_alive(&roll, PLEA).await {
                        let names = list(&self.awaited());
                        self.manager.extend(RESPITE, &format!("Waiting for frames to be captured on {names}"));
                    }
                    plea = Instant::now() + PLEA;
                }
            }
        }
        let mut line = self.line();
        self.manager.ready(&line);
        self.told.store(true, Ordering::Relaxed);
        let watchdog = self.manager.watchdog();
        // Twice in the time that it allows, as sd_watchdog_enabled(3) advises.
        let beat = watchdog.map_or(NEWS, |watchdog| NEWS.min(watchdog / 2));
        let (mut due, mut news) = (Instant::now(), FIRST_NEWS);
        loop {
            tokio::select! {
                _ = looked.changed() => {}
                () = sleep_until(due) => {
                    due = Instant::now() + beat.min(news);
                    news = beat.min(news * 2);
                    // Half of what is left is for the log to say why.
                    if watchdog.is_some() && self.is_alive(&roll, beat / 2).await {
                        self.manager.alive();
                    }
                }
            }
            let now = self.line();
            if now != line && self.is_ready() {
                self.manager.status(&now);
                line = now;
            }
        }
    }

    /// Waits until every part has answered. False if one has failed.
    async fn is_alive(&self, roll: &Roll, patience: Duration) -> bool {
        answered("captures", patience, roll.call()).await;
        let metrics = Arc::clone(&self.metrics);
        let page = move || metrics.render(Format::Text, None, &mut io::sink());
        match answered("page", patience, spawn_blocking(page)).await.map_err(io::Error::other).flatten() {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, "cannot make a page; the service manager is not told that this is alive");
                false
            }
        }
    }

    /// The interfaces that are up and not captured.
    fn awaited(&self) -> Vec<Arc<Status>> {
        let mut captures = self.metrics.board.list();
        captures.retain(|capture| capture.link() == Link::Up && !capture.capture_up());
        captures
    }

    /// How things are.
    fn line(&self) -> String {
        let Metrics { board, sources, reloader, web_config, .. } = &*self.metrics;
        let all = board.list();
        let up: Vec<_> = all.iter().filter(|capture| capture.capture_up()).cloned().collect();
        let engine = up.first().map_or_else(String::new, |first| format!(" ({} engine)", first.engine()));
        let mut line = match (all.len(), up.len()) {
            (0, _) => "No interface to capture on".to_owned(),
            (some, n) if some == n => format!("Capturing on {}{engine}", list(&up)),
            (some, n) => format!("Capturing on {n} of {some} interfaces: {}{engine}", list(&up)),
        };
        line += &match sources.tracked() {
            1 => "; 1 source".to_owned(),
            n => format!("; {n} sources"),
        };
        if reloader.outcome().is_some_and(|outcome| !outcome.successful()) {
            line += "; the inventory is broken, the last good one is used";
        }
        if web_config.as_ref().is_some_and(|web| !web.successful()) {
            line += "; the web configuration is broken, the last good one is used";
        }
        line
    }
}

/// Waits for an answer; says so when it takes longer than it should, and when it comes after all.
async fn answered<T>(part: &str, patience: Duration, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(patience, &mut answer).await {
        return answer;
    }
    tracing::error!(
        part,
        waited = ?patience,
        "stuck; the service manager is not told that this is alive, and may end it"
    );
    let answer = answer.await;
    tracing::info!(part, "no longer stuck");
    answer
}

/// The names, if they are few.
fn list(captures: &[Arc<Status>]) -> String {
    let names: Vec<&str> = captures.iter().take(NAMED).map(|capture| capture.interface()).collect();
    match captures.len().saturating_sub(NAMED) {
        0 if names.is_empty() => "none".to_owned(),
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
