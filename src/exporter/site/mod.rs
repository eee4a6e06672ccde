//! What is served to people, and to programs that are not Prometheus: the page at `/`, and the API.
//!
//! | path | file |
//! |---|---|
//! | `/` | `page`, with its parts `summary`, `filter` and `table`, all written through [`html`] |
//! | `/api/v1/sources`, `/api/v1/interfaces` | `api` |
//! | what the page needs, and the API's description | `assets` |
//!
//! Both tell of one [`look`] at everything, and take the same [`query`]. What they tell are true counts: showing new
//! sources at 0 is for scrapers.

mod api;
mod filter;
mod form;
mod html;
mod look;
mod page;
mod query;
mod select;
mod summary;
mod table;
mod units;

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use crate::capture::Board;
use crate::known::Known;
use crate::sources::Sources;
use crate::vendor::Vendors;
use crate::web::{Resource, Security, Verdict};

use look::Look;
use query::Query;

/// What it is all made of.
#[derive(Debug)]
pub struct Pages {
    /// The sources.
    pub sources: Arc<Sources>,
    /// Who is known.
    pub known: Arc<Known>,
    /// Who has which prefix.
    pub vendors: Arc<Vendors>,
    /// The captures.
    pub board: Arc<Board>,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// The port that the server listens on.
    pub port: u16,
    /// What a scraper has to know and to show, if anything.
    pub security: Option<Arc<Security>>,
}

/// Sources of an answer of the API, unless it is asked for another number.
const API_LIMIT: usize = 1000;
/// The same for the page.
const PAGE_LIMIT: usize = 100;
/// Most of them on the page, whatever is asked for: browsers have to lay them out.
const PAGE_MOST: usize = 1000;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

const SOURCES: &str = "/api/v1/sources";
const INTERFACES: &str = "/api/v1/interfaces";

/// What never changes: path, type, text.
const ASSETS: [(&str, &str, &str); 4] = [
    ("/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("assets/app.js")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("/api/v1/openapi.json", JSON, include_str!("assets/openapi.json")),
];

/// The page takes scripts, styles and data from this server alone, none of them from within itself. The others are not
/// documents, and get nothing.
const PAGE_HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];
const OTHER_HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Whether something is served here at this path.
pub fn is_reserved(path: &str) -> bool {
    ["/", SOURCES, INTERFACES].contains(&path) || ASSETS.iter().any(|(asset, ..)| *asset == path)
}

/// Writes what there is for a query.
type Writer = fn(&Pages, &str, &mut dyn Write) -> io::Result<Verdict>;

impl Pages {
    /// All of it, as the server serves it.
    ///
    /// # Errors
    ///
    /// If something cannot be compressed.
    pub fn resources(self) -> io::Result<Vec<Resource>> {
        let pages = Arc::new(self);
        let made = |path, content_type, write: Writer| {
            let pages = Arc::clone(&pages);
            let maker = move |query: &str, out: &mut dyn Write| {
                // Both formats are written in many small pieces.
                let mut out = BufWriter::with_capacity(32 << 10, out);
                let verdict = write(&pages, query, &mut out)?;
                out.flush().map(|()| verdict)
            };
            Resource::made(path, content_type, Arc::new(maker))
        };
        let mut resources = vec![
            made("/", HTML, Self::page).with_headers(&PAGE_HEADERS),
            made(SOURCES, JSON, Self::sources).with_headers(&OTHER_HEADERS),
            made(INTERFACES, JSON, Self::interfaces).with_headers(&OTHER_HEADERS),
        ];
        for (path, content_type, text) in ASSETS {
            resources.push(Resource::fixed(path, content_type, text)?.with_headers(&OTHER_HEADERS));
        }
        Ok(resources)
    }

    fn look(&self) -> Look {
        Look::new(&self.sources, &self.board, &self.known)
    }

    fn sources(&self, query: &str, out: &mut dyn Write) -> io::Result<Verdict> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(wrong) => return api::write_wrong(&wrong, out).map(|()| Verdict::Refused),
        };
        let (look, limit) = (self.look(), query.limit.unwrap_or(API_LIMIT));
        let found = select::select(&look, &self.vendors, &query, limit);
        api::write_sources(&look, &query, limit, &found, out).map(|()| Verdict::Answered)
    }

    fn interfaces(&self, query: &str, out: &mut dyn Write) -> io::Result<Verdict> {
        if let Some((parameter, value)) = form::pairs(query).next() {
            let wrong = query::Wrong { parameter, value, allowed: "no parameters".to_owned() };
            return api::write_wrong(&wrong, out).map(|()| Verdict::Refused);
        }
        api::write_interfaces(&self.look(), out).map(|()| Verdict::Answered)
    }

    fn page(&self, query: &str, out: &mut dyn Write) -> io::Result<Verdict> {
        let (query, wrong) = match Query::parse(query) {
            Ok(query) => (query, None),
            Err(wrong) => (Query::default(), Some(wrong)),
        };
        let verdict = if wrong.is_some() { Verdict::Refused } else { Verdict::Answered };
        page::write(self, &self.look(), &query, wrong.as_ref(), out).map(|()| verdict)
    }
}
