//! From request to response.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::body::Content;
use super::foreign::is_foreign;
use super::negotiate::{self, Coding};
use super::packed::Packed;
use super::peer::{Origin, Peer};
use super::render::Renderer;
use super::resource::{Failure, Maker, Makers, Matter, Resource, Verdict, is_current};
use super::scrapers::{self, Delivery, Receipt};
use super::unread::Reader;
use super::{Reload, Server, Site, Traffic, Wanted};

/// Where a server says that it serves.
pub(super) const HEALTHY: &str = "/-/healthy";

/// Paths that are taken, whatever the site.
pub(super) const RESERVED: [&str; 3] = [HEALTHY, "/-/ready", "/-/reload"];

const TEXT: &str = "text/plain; charset=utf-8";
const METHODS: &str = "GET, HEAD";
/// As Prometheus has it.
const RELOAD_METHODS: &str = "POST, PUT";

pub(super) type Answer = Response<Content>;

enum Route<'a> {
    Metrics,
    Resource(&'a Resource),
    Healthy,
    Ready,
    Reload,
}

impl Route<'_> {
    /// The methods that it takes, in the form of the `Allow` header.
    fn methods(&self) -> &'static str {
        match self {
            Self::Reload => RELOAD_METHODS,
            _ => METHODS,
        }
    }
}

fn route<'a>(site: &'a Site, path: &str) -> Option<Route<'a>> {
    match path {
        path if path == site.telemetry_path => Some(Route::Metrics),
        HEALTHY => Some(Route::Healthy),
        "/-/ready" => Some(Route::Ready),
        "/-/reload" => Some(Route::Reload),
        path => site.resources.iter().find(|resource| resource.path == path).map(Route::Resource),
    }
}

/// Answers one request; whatever goes wrong is an answer too.
pub(super) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
    peer: Option<Peer>,
    reader: Reader,
) -> Result<Response<Full<Delivery>>, Infallible> {
    let _in_flight = InFlight::begin(Arc::clone(&server.traffic));
    let mut receipt = None;
    let answer = match route(&server.site, request.uri().path()) {
        None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Some(route) if !route.methods().split(", ").any(|method| method == request.method().as_str()) => {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.methods()));
            answer
        }
        Some(Route::Metrics) => {
            let scraper = peer.filter(|_| is_scrape(&request));
            let answer;
            (answer, receipt) = metrics(&server, request.headers(), peer, scraper).await;
            answer
        }
        Some(Route::Resource(one)) => resource(&server, one, &request, peer).await,
        Some(Route::Healthy) => text(StatusCode::OK, "macwatch is healthy.\n"),
        Some(Route::Ready) if (server.site.ready)() => text(StatusCode::OK, "macwatch is ready.\n"),
        Some(Route::Reload)
            if is_foreign(request.headers(), request.uri().authority().map(Authority::as_str)) =>
        {
            text(StatusCode::FORBIDDEN, "Another site may not ask for this.\n")
        }
        Some(Route::Reload) => reload(&server).await,
        Some(Route::Ready) => text(StatusCode::SERVICE_UNAVAILABLE, "macwatch is not ready yet.\n"),
    };
    server.traffic.count(answer.status());
    Ok(answer.map(|content| Full::new(Delivery::new(server.unread.hand_out(content, reader), receipt))))
}

/// Whether a scraper asks, whose pages are remembered. With HEAD it receives none.
fn is_scrape(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && scrapers::is_announced(request.headers())
}

/// The metrics page, and what to note once the scraper, if it is one, has received it.
async fn metrics(
    server: &Arc<Server>,
    asked: &HeaderMap,
    peer: Option<Peer>,
    scraper: Option<Peer>,
) -> (Answer, Option<Receipt>) {
    // A place is held while the page is made, not while a slow client reads it.
    let who = peer.filter(|peer| server.scrapers.is_remembered(*peer)).map(Origin::alone);
    let who = who.unwrap_or_else(|| Origin::of(peer));
    let place = server.places.as_ref().map(|places| places.take(who));
    if let Some(None) = place {
        let most = server.site.max_requests;
        let why = format!("Limit of concurrent requests reached ({most}), try again later.\n");
        return (text(StatusCode::SERVICE_UNAVAILABLE, why), None);
    }
    let place = place.flatten();
    let known = scraper.filter(|_| server.site.remember_scrapers);
    let received = known.and_then(|scraper| server.scrapers.received(scraper, Instant::now()));
    let offer = negotiate::offer(asked, &server.site.offers);
    let wanted = Wanted { offer, received };
    let Some((page, mark)) = Renderer::metrics(Arc::clone(server), wanted, place).await else {
        let why = "The page could not be made; the log says why.\n";
        return (text(StatusCode::INTERNAL_SERVER_ERROR, why), None);
    };
    let content_type = server.site.offers.get(offer).map_or(TEXT, |offer| offer.content_type);
    let mut answer = coded(asked, content_type, page);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    let scrapers = || Arc::clone(&server.scrapers);
    (answer, scraper.map(|scraper| Receipt { scrapers: scrapers(), scraper, mark }))
}

async fn reload(server: &Server) -> Answer {
    let Some(requests) = &server.site.reload else {
        return text(
            StatusCode::FORBIDDEN,
            "Lifecycle API is not enabled: start with --web.enable-lifecycle.\n",
        );
    };
    let (tell, told) = oneshot::channel();
    // At the end of the program nobody listens.
    let result = match requests.send(Reload(tell)).await {
        Ok(()) => told.await.unwrap_or_else(|_| Err("macwatch is stopping".to_owned())),
        Err(_) => Err("macwatch is stopping".to_owned()),
    };
    match result {
        Ok(()) => text(StatusCode::OK, ""),
        Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload: {why}\n")),
    }
}

/// What the site has beside the metrics page.
async fn resource(
    server: &Server,
    resource: &Resource,
    request: &Request<Incoming>,
    peer: Option<Peer>,
) -> Answer {
    let (asked, content_type) = (request.headers(), resource.content_type);
    let mut answer = match &resource.matter {
        Matter::Fixed { packed, plain, tag } => fixed(asked, content_type, packed, plain, tag),
        Matter::Made(maker) => {
            let query = request.uri().query().unwrap_or_default();
            made(&server.makers, maker, query, asked, (content_type, peer)).await
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in resource.headers {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    answer
}

/// What is made for whoever asks; it is old as soon as it is there.
async fn made(
    makers: &Makers,
    maker: &Arc<Maker>,
    query: &str,
    asked: &HeaderMap,
    (content_type, peer): (&'static str, Option<Peer>),
) -> Answer {
    let (maker, query) = (Arc::clone(maker), query.to_owned());
    match makers.make(peer, move |out| maker(&query, out)).await {
        Ok((page, verdict)) => {
            let mut answer = coded(asked, content_type, page);
            if verdict == Verdict::Refused {
                *answer.status_mut() = StatusCode::BAD_REQUEST;
            }
            answer
        }
        Err(Failure::Busy) => {
            let why = "Too many ask for this at the same time, try again later.\n";
            let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            answer
        }
        Err(Failure::Broken) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be made; the log says why.\n")
        }
    }
}

/// What is always the same: not sent again to a client that says that it has it.
fn fixed(asked: &HeaderMap, content_type: &'static str, packed: &Packed, plain: &Bytes, tag: &str) -> Answer {
    let kept = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut answer = if kept.into_iter().any(|value| is_current(value, tag)) {
        let mut answer = Response::new(Content::Whole(Bytes::new()));
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let mut answer = coded(asked, content_type, packed.clone());
        if matches!(answer.body(), Content::Text(_)) {
            *answer.body_mut() = Content::Whole(plain.clone());
        }
        answer
    };
    let headers = answer.headers_mut();
    // Kept, but asked for whenever it is used: the next version of the program has another.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

/// A page, coded as the client likes it.
fn coded(asked: &HeaderMap, content_type: &'static str, page: Packed) -> Answer {
    let coding = negotiate::coding(asked);
    let content = match coding {
        Coding::Gzip => Content::Whole(page.gzip),
        Coding::Identity => Content::Text(page),
    };
    let mut answer = whole(StatusCode::OK, content_type, content);
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    whole(status, TEXT, Content::Whole(body.into()))
}

fn whole(status: StatusCode, content_type: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Who is there, now. What never changes says otherwise.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Counts a request as in flight until it is answered, also when its client goes away.
struct InFlight(Arc<Traffic>);

impl InFlight {
    fn begin(traffic: Arc<Traffic>) -> Self {
        traffic.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(traffic)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
