//! The metrics page: every family, in the order in which it is read.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::process::Process;
use super::reload::Reloader;
use super::remember::Diary;
use super::rows::Rows;
use super::web_config::WebConfig;
use crate::build;
use crate::capture::{Board, Status};
use crate::exposition::{Family, Format, Page, Value, labels};
use crate::inventory::Inventory;
use crate::known::Known;
use crate::sources::{Snapshot, Sources};
use crate::vendor::Vendors;
use crate::web::Traffic;

/// What all series of one interface are labelled with.
pub(super) const INTERFACE: &str = "interface";

/// What the page is made of.
#[derive(Debug)]
pub struct Metrics {
    /// The sources.
    pub sources: Arc<Sources>,
    /// Who is known.
    pub known: Arc<Known>,
    /// How the inventory was read.
    pub reloader: Arc<Reloader>,
    /// How the web configuration was read; none if there is none.
    pub web_config: Option<Arc<WebConfig>>,
    /// Who has which prefix.
    pub vendors: Arc<Vendors>,
    /// What survives a restart; none if nothing does.
    pub diary: Option<Arc<Diary>>,
    /// The captures.
    pub board: Arc<Board>,
    /// The server's own counters.
    pub traffic: Arc<Traffic>,
    /// This process.
    pub process: Process,
}

impl Metrics {
    /// Writes the page from one snapshot. Its mark is the number of the newest source on it.
    ///
    /// Prometheus takes a series as it first sees it for its beginning: what is counted by then is missing from
    /// `increase()`. So a scraper that is known to have received the page marked `received` is shown the sources
    /// that came since at 0. The totals of the interfaces are true all the same.
    ///
    /// # Errors
    ///
    /// If it could not be written whole.
    pub fn render(&self, format: Format, received: Option<u64>, out: &mut dyn io::Write) -> io::Result<u64> {
        let begun = Instant::now();
        let (books, mark) = self.sources.numbered_snapshot();
        let captures = self.board.list();
        // In this order: a page that says that the inventory could be read is made with the one that was.
        let outcome =
            self.reloader.outcome().map(|outcome| (outcome.successful(), outcome.success_unix_ms()));
        let inventory = self.known.inventory();
        let mut page = Page::new(format, out);
        let rows = Rows::new(&books, inventory.as_deref());
        rows.write_counters(&mut page, received.unwrap_or(u64::MAX));
        rows.write_times(&mut page);
        rows.write_known(&mut page);
        write_inventory(&mut page, inventory.as_deref(), outcome);
        rows.write_info(&mut page, &self.vendors);
        write_captures(&mut page, &captures);
        write_books(&mut page, &books, self.sources.limits().most_per_interface());
        write_build(&mut page);
        if let Some(diary) = &self.diary {
            diary.write(&mut page);
        }
        self.write_server(&mut page);
        self.process.write(&mut page);
        page.family(SCRAPE_DURATION).add("", begun.elapsed().as_secs_f64());
        page.finish().map(|()| mark)
    }

    fn write_server(&self, page: &mut Page<'_>) {
        if let Some(web_config) = &self.web_config {
            page.family(Family::gauge(
                "macwatch_web_config_last_reload_successful",
                "Whether the web configuration could be used when it was last read; if not, the last good one is.",
            ))
            .add("", web_config.successful());
            if let Some(expires) = web_config.security().certificate_expires() {
                page.family(Family::gauge(
                    "macwatch_web_certificate_expiry_timestamp_seconds",
                    "Unix time when the server's certificate expires, or the first of those that it is sent with.",
                ))
                .add("", u64::try_from(expires).unwrap_or_default());
            }
        }
        let mut series = page.family(Family::counter(
            "macwatch_http_requests_total",
            "HTTP requests answered, by status code; those that cannot be read as HTTP are not counted.",
        ));
        for (code, count) in self.traffic.responses() {
            let labels = labels(&[("code", &code.to_string())]);
            series.add_since(&labels, count, self.process.started_unix_ms());
        }
        page.family(Family::gauge(
            "macwatch_http_requests_in_flight",
            "HTTP requests being answered now, this one included.",
        ))
        .add("", self.traffic.in_flight());
    }
}

/// With how the last reading went: whether it succeeded, and when the last one did that did.
fn write_inventory(page: &mut Page<'_>, inventory: Option<&Inventory>, outcome: Option<(bool, u64)>) {
    let Some((inventory, (successful, success_unix_ms))) = inventory.zip(outcome) else { return };
    page.family(Family::gauge("macwatch_inventory_entries", "Entries of the inventory, prefixes included."))
        .add("", inventory.len());
    page.family(Family::gauge(
        "macwatch_inventory_last_reload_successful",
        "Whether the inventory could be read when it was last tried; if not, the last good one is used.",
    ))
    .add("", successful);
    page.family(Family::gauge(
        "macwatch_inventory_last_reload_success_timestamp_seconds",
        "Unix time when the inventory in use was read.",
    ))
    .add("", Value::Milliseconds(success_unix_ms));
}

const SCRAPE_DURATION: Family = Family::gauge(
    "macwatch_scrape_duration_seconds",
    "Time it took to read the counters and write this page up to this line.",
);

fn write_captures(page: &mut Page<'_>, captures: &[Arc<Status>]) {
    let mut series = page.family(Family::gauge(
        "macwatch_interface_capture_up",
        "Whether frames are being captured on this interface: 1 while they are, else 0.",
    ));
    for capture in captures {
        series.add(&labels(&[(INTERFACE, capture.interface())]), capture.capture_up());
    }
    let mut series = page.family(Family::info(
        "macwatch_interface_info",
        "How this interface is captured, and its own MAC address. Always 1.",
    ));
    for capture in captures {
        let mac = capture.mac().map(|mac| mac.to_string()).unwrap_or_default();
        let engine = capture.engine();
        series.add(&labels(&[(INTERFACE, capture.interface()), ("engine", engine), ("mac", &mac)]), 1u64);
    }
    let mut series = page.family(Family::counter(
        "macwatch_interface_dropped_frames_total",
        "Frames that the kernel saw for this capture and could not hand over; a super-frame counts once.",
    ));
    for capture in captures {
        let labels = labels(&[(INTERFACE, capture.interface())]);
        series.add_since(&labels, capture.dropped_frames(), capture.since_unix_ms());
    }
    let mut series = page.family(Family::counter(
        "macwatch_interface_missed_notices_total",
        "Notices of new sources that the kernel engine lost on the way. No frame is lost with them.",
    ));
    for capture in captures {
        let labels = labels(&[(INTERFACE, capture.interface())]);
        series.add_since(&labels, capture.missed_notices(), capture.since_unix_ms());
    }
    let mut series = page.family(Family::counter(
        "macwatch_interface_rebinds_total",
        "Times that the capture had to be bound to this interface again.",
    ));
    for capture in captures {
        let labels = labels(&[(INTERFACE, capture.interface())]);
        series.add_since(&labels, capture.rebinds(), capture.since_unix_ms());
    }
}

fn write_books(page: &mut Page<'_>, books: &[Snapshot], limit: usize) {
    let mut column = |family, value: &dyn Fn(&Snapshot) -> u64| {
        let mut series = page.family(family);
        for books in books {
            let labels = labels(&[(INTERFACE, &books.interface)]);
            // Which of them count anything, the families know.
            series.add_since(&labels, value(books), books.opened_unix_ms);
        }
    };
    column(
        Family::counter(
            "macwatch_interface_frames_total",
            "All frames captured: those of live sources, expired ones and untracked ones, and runts.",
        ),
        &Snapshot::frames,
    );
    column(
        Family::counter(
            "macwatch_interface_bytes_total",
            "All bytes captured: those of live sources, expired ones and untracked ones. Runts add none.",
        ),
        &Snapshot::bytes,
    );
    column(
        Family::counter(
            "macwatch_interface_runt_frames_total",
            "Frames shorter than an Ethernet header; they have no source.",
        ),
        &|books| books.runt_frames,
    );
    column(
        Family::counter("macwatch_interface_untracked_frames_total", "Frames of sources beyond the limit."),
        &|books| books.untracked_frames,
    );
    column(
        Family::counter("macwatch_interface_untracked_bytes_total", "Bytes of sources beyond the limit."),
        &|books| books.untracked_bytes,
    );
    column(
        Family::counter(
            "macwatch_interface_expired_frames_total",
            "Frames of sources that have since been forgotten.",
        ),
        &|books| books.expired_frames,
    );
    column(
        Family::counter(
            "macwatch_interface_expired_bytes_total",
            "Bytes of sources that have since been forgotten.",
        ),
        &|books| books.expired_bytes,
    );
    column(Family::gauge("macwatch_interface_sources", "Sources tracked now."), &|books| {
        books.sources.len() as u64
    });
    column(
        Family::gauge(
            "macwatch_interface_sources_limit",
            "Most sources that may be tracked on this interface.",
        ),
        &|_| limit as u64,
    );
    column(
        Family::counter(
            "macwatch_interface_new_sources_total",
            "Sources that appeared, those that came back after being forgotten included, those restored not.",
        ),
        &|books| books.new_sources,
    );
    column(
        Family::counter(
            "macwatch_interface_expired_sources_total",
            "Sources that fell idle and were forgotten.",
        ),
        &|books| books.expired_sources,
    );
}

fn write_build(page: &mut Page<'_>) {
    let facts = labels(&[
        ("version", build::VERSION),
        ("revision", build::REVISION),
        ("rustversion", build::RUST),
        ("target", build::TARGET),
    ]);
    page.family(Family::info("macwatch_build_info", "What this program was built from. Always 1."))
        .add(&facts, 1u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::frame::wire::Wire;
    use crate::mac::Mac;
    use crate::sources::{Limits, Nobody};

    /// A reader at whose first piece something happens.
    struct Meanwhile<'m> {
        text: Vec<u8>,
        happens: &'m dyn Fn(),
    }

    impl io::Write for Meanwhile<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.text.is_empty() {
                (self.happens)();
            }
            self.text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_page_with_the_old_inventory_does_not_say_that_the_new_one_was_read() {
        let limits =
            Limits { per_interface: 500, total: 500, idle_timeout: std::time::Duration::from_secs(60) };
        let sources = Sources::new(limits, Arc::new(Nobody)).unwrap();
        let mut table = sources.open("eth0");
        // More than one piece of a page, and the first of them before what is told of the inventory.
        for n in 0..500u16 {
            let [a, b] = n.to_be_bytes();
            table.count(Some(Mac::new([2, 0, 0, 0, a, b])), Wire { frames: 1, bytes: 60 }, Moment::now());
        }
        let (file, known) = (tempfile::NamedTempFile::new().unwrap(), Arc::<Known>::default());
        let list = |text: &str| std::fs::write(file.path(), text).unwrap();
        list("02:00:00:00:00:01 printer\n");
        let reloader = Arc::new(Reloader::start(vec![file.path().to_owned()], Arc::clone(&known)).unwrap());
        list("five\n");
        reloader.reload("test").unwrap_err();
        let metrics = Metrics {
            sources,
            known,
            reloader: Arc::clone(&reloader),
            web_config: None,
            vendors: Arc::new(Vendors::embedded()),
            diary: None,
            board: Arc::default(),
            traffic: Arc::default(),
            process: Process::new(),
        };
        list("02:00:00:00:00:01 printer\n02:00:00:00:00:02 door\n");
        let told = || {
            let mut page = Meanwhile { text: Vec::new(), happens: &|| reloader.reload("test").unwrap() };
            metrics.render(Format::Text, None, &mut page).unwrap();
            let page = String::from_utf8(page.text).unwrap();
            ["entries", "last_reload_successful"].map(|what| {
                let start = format!("macwatch_inventory_{what} ");
                page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
            })
        };
        assert_eq!(told(), ["1", "0"]);
        assert_eq!(told(), ["2", "1"]);
    }
}
