//! What a request has to pass before it is answered: the rate limit, then the users. And the headers that every answer
//! has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::Server;
use super::auth::Verdict;
use super::peer::Peer;
use super::routes::{self, Answer};
use super::scrapers::Delivery;
use super::secure::{Current, Security};
use super::unread::Reader;

/// Answers one request, if it may be answered.
pub(super) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
    peer: Option<Peer>,
    reader: Reader,
) -> Result<Response<Full<Delivery>>, Infallible> {
    let Some(security) = server.site.security.clone() else {
        return routes::answer(server, request, peer, reader).await;
    };
    let rules = security.rules();
    let scraper = peer.is_some_and(|peer| server.scrapers.is_remembered(peer));
    let mut answer = match refuse(&security, &rules, request.headers(), peer, scraper).await {
        None => routes::answer(server, request, peer, reader).await?,
        Some(refusal) => {
            server.traffic.count(refusal.status());
            refusal.map(|content| Full::new(Delivery::new(server.unread.hand_out(content, reader), None)))
        }
    };
    // What the file says is the last word.
    for (name, value) in &rules.headers {
        answer.headers_mut().insert(name, value.clone());
    }
    Ok(answer)
}

/// What is said to a request that is not let in.
async fn refuse(
    security: &Security,
    rules: &Current,
    asked: &HeaderMap,
    peer: Option<Peer>,
    scraper: bool,
) -> Option<Answer> {
    if rules.limiter.as_ref().is_some_and(|limiter| !limiter.allows(Instant::now())) {
        return Some(routes::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
    }
    if rules.users.is_empty() {
        return None;
    }
    match security.doorman().ask(&rules.users, asked, peer, scraper).await {
        Verdict::Right => None,
        Verdict::Wrong => {
            let mut answer = routes::text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            Some(answer)
        }
        Verdict::Busy => {
            let why = "Too many passwords to be checked, try again later.\n";
            let mut answer = routes::text(StatusCode::SERVICE_UNAVAILABLE, why);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Some(answer)
        }
    }
}
