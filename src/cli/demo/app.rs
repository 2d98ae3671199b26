//! The sample app: an ordinary small web app with the cache headers that real apps send.
//!
//! The app knows nothing of Larder, and Larder knows only the app's address. [`start`] runs the app
//! on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::page;
use crate::clock::{Clock, Timestamp};
use crate::syntax::entity_tag::{EntityTag, TagComparison};
use crate::syntax::{cookie, date, list};

/// The delay of the slow page: long enough to notice.
const SLOW: Duration = Duration::from_millis(1500);

/// A running sample app; dropping it ends it.
pub(super) struct App {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl App {
    /// Returns the address on which the app listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Starts the app on a free port, with a thread and a runtime of its own.
///
/// # Errors
/// If there is no free port or no thread.
pub(super) fn start() -> std::io::Result<App> {
    start_with(SLOW)
}

/// Starts the app as [`start`] does, with this delay for the slow page.
///
/// # Errors
/// As [`start`].
pub(super) fn start_with(slow: Duration) -> std::io::Result<App> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = async move {
        let listener = TcpListener::from_std(listener)?;
        tokio::select! {
            done = axum::serve(listener, router(Clock::System.now(), slow)) => done,
            _ = stopped => Ok(()),
        }
    };
    let thread = std::thread::Builder::new().name("sample-app".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the sample app ended");
        }
    })?;
    Ok(App { addr, stop: Some(stop), thread: Some(thread) })
}

/// State of the app.
struct DemoMemory {
    started: Timestamp,
    /// The delay of the slow page.
    slow: Duration,
    responses: AtomicU64,
    flaky: AtomicU64,
    visitors: AtomicU64,
    prices: AtomicU64,
}

type DemoState = State<Arc<DemoMemory>>;

/// Returns the app's routes.
fn router(started: Timestamp, slow_page: Duration) -> Router {
    let memory = DemoMemory {
        started,
        slow: slow_page,
        responses: AtomicU64::new(0),
        flaky: AtomicU64::new(0),
        visitors: AtomicU64::new(0),
        prices: AtomicU64::new(1),
    };
    Router::new()
        .route("/", get(index))
        .route("/articles/{number}", get(article))
        .route("/assets/{name}", get(asset))
        .route("/favicon.ico", get(icon))
        .route("/api/prices", get(prices).post(change_prices))
        .route("/slow", get(slow))
        .route("/search", get(search))
        .route("/big", get(big))
        .route("/flaky", get(flaky))
        .route("/account", get(account))
        .route("/checkout", get(checkout))
        .route("/unmarked", get(unmarked))
        .route("/moved", get(moved))
        .route("/broken", get(broken))
        .fallback(missing)
        .with_state(Arc::new(memory))
}

impl DemoMemory {
    /// Makes a page with these headers.
    fn page(&self, title: &str, main: &str, fields: &[(HeaderName, &str)]) -> Response {
        let number = self.responses.fetch_add(1, Ordering::Relaxed) + 1;
        let html = page::page(title, main, &page::made(SystemTime::now(), number));
        with(fields, (HTML, html).into_response())
    }

    /// Makes a page as [`DemoMemory::page`] does, with validators. The ETag is weak: `version`
    /// identifies the content of the page, but not the time at which it was made (RFC 9110 §8.8.1).
    /// A request that has this version gets a 304.
    fn validated(
        &self,
        headers: &HeaderMap,
        version: &str,
        page: (&str, &str),
        fields: &[(HeaderName, &str)],
    ) -> Response {
        let etag = format!("W/\"{version}\"");
        let mut response = if has(headers, &etag) {
            self.responses.fetch_add(1, Ordering::Relaxed);
            with(fields, StatusCode::NOT_MODIFIED.into_response())
        } else {
            self.page(page.0, page.1, fields)
        };
        put(&mut response, ETAG, &etag);
        response.headers_mut().insert(LAST_MODIFIED, date::header_value(self.started));
        response
    }
}

const HTML: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/html; charset=utf-8")];

/// Tells whether the request has the representation with this ETag (weak comparison, RFC 9110
/// §13.1.2).
fn has(headers: &HeaderMap, etag: &str) -> bool {
    let Some(own) = EntityTag::parse(etag.as_bytes()) else { return false };
    // No tag of this app contains a comma.
    let mut known = list::field_members(headers, IF_NONE_MATCH).filter_map(EntityTag::parse);
    known.any(|tag| tag.matches(own, TagComparison::Weak))
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn with(fields: &[(HeaderName, &str)], mut response: Response) -> Response {
    for (name, value) in fields {
        put(&mut response, name.clone(), value);
    }
    response
}

async fn index(State(memory): DemoState, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let main = page::index(host);
    memory.validated(
        &headers,
        "index-1",
        ("What a cache does for an app", &main),
        &[(CACHE_CONTROL, "public, max-age=30")],
    )
}

async fn article(State(memory): DemoState, Path(number): Path<String>, headers: HeaderMap) -> Response {
    let Some(number) = number.parse::<usize>().ok().filter(|number| (1..=page::ARTICLES.len()).contains(number)) else {
        return missing(State(memory)).await;
    };
    let (title, text) = page::ARTICLES[number - 1];
    let others: String = (1..=page::ARTICLES.len())
        .filter(|&other| other != number)
        .map(|other| format!("<li><a href=\"/articles/{other}\">{}</a></li>", page::ARTICLES[other - 1].0))
        .collect();
    let main = format!(
        "<p class=\"lead\">{text}</p><figure><img src=\"/assets/shelf.1.svg\" alt=\"A shelf with jars, bread and cheese\" \
         width=\"880\" height=\"300\"></figure><h2>More articles</h2><ul>{others}</ul>"
    );
    let fields = [(CACHE_CONTROL, "public, max-age=60, stale-while-revalidate=30")];
    memory.validated(&headers, &format!("article-{number}"), (title, &main), &fields)
}

/// Serves an asset. Assets have their version in their name, so they never change (RFC 8246).
async fn asset(State(memory): DemoState, Path(name): Path<String>, headers: HeaderMap) -> Response {
    const YEAR: &str = "public, max-age=31536000, immutable";
    let (kind, life, content) = match name.as_str() {
        "style.1.css" => ("text/css; charset=utf-8", YEAR, include_str!("assets/style.css")),
        "age.1.js" => ("text/javascript; charset=utf-8", YEAR, include_str!("assets/age.js")),
        "logo.1.svg" => ("image/svg+xml", YEAR, include_str!("assets/logo.svg")),
        "shelf.1.svg" => ("image/svg+xml", "public, max-age=86400", include_str!("assets/shelf.svg")),
        _ => return missing(State(memory)).await,
    };
    memory.responses.fetch_add(1, Ordering::Relaxed);
    let etag = format!("\"{name}\"");
    let fields = [(CACHE_CONTROL, life), (ETAG, &etag)];
    match has(&headers, &etag) {
        true => with(&fields, StatusCode::NOT_MODIFIED.into_response()),
        false => with(&fields, ([(CONTENT_TYPE, kind)], content).into_response()),
    }
}

/// Serves the icon that browsers request if no page names one, as with the API.
async fn icon(memory: DemoState, headers: HeaderMap) -> Response {
    asset(memory, Path("logo.1.svg".to_owned()), headers).await
}

async fn prices(State(memory): DemoState) -> Response {
    let number = memory.responses.fetch_add(1, Ordering::Relaxed) + 1;
    let round = memory.prices.load(Ordering::Relaxed);
    let made = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let cents = |base: u64| base + (round * 37) % 90;
    let body = axum::Json(serde_json::json!({
        "made_at": made,
        "response": number,
        "prices_cents": { "bread": cents(320), "cheese": cents(540), "jam": cents(410) },
    }));
    with(&[(CACHE_CONTROL, "s-maxage=5, stale-while-revalidate=30")], body.into_response())
}

/// Changes the prices. An unsafe method on the same URL makes caches invalidate their copy (RFC
/// 9111 §4.4).
async fn change_prices(State(memory): DemoState) -> Response {
    memory.responses.fetch_add(1, Ordering::Relaxed);
    memory.prices.fetch_add(1, Ordering::Relaxed);
    StatusCode::NO_CONTENT.into_response()
}

async fn slow(State(memory): DemoState, headers: HeaderMap) -> Response {
    tokio::time::sleep(memory.slow).await;
    let main = "<p class=\"lead\">The app took one and a half seconds for this page. For the next 20 seconds it is \
                instant for everybody else; and if a hundred visitors arrive while it is being made, they share one request.</p>";
    memory.validated(&headers, "slow-1", ("A slow page", main), &[(CACHE_CONTROL, "public, max-age=20")])
}

async fn search(State(memory): DemoState, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let wanted = parameter(query.as_deref().unwrap_or_default(), "q");
    let language = headers.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let greeting = match language.get(..2).unwrap_or_default() {
        "de" => "Gefunden zu",
        "fr" => "Trouvé pour",
        _ => "Results for",
    };
    let needle = wanted.to_lowercase();
    let hits: String = (1..)
        .zip(page::ARTICLES)
        .filter(|(_, (title, text))| format!("{title} {text}").to_lowercase().contains(&needle))
        .map(|(number, (title, _))| format!("<li><a href=\"/articles/{number}\">{title}</a></li>"))
        .collect();
    let hits = if hits.is_empty() { "<li>Nothing.</li>".to_owned() } else { hits };
    let wanted = page::escape(&wanted);
    let main = format!(
        "<form action=\"/search\"><input name=\"q\" value=\"{wanted}\" aria-label=\"Search\"><button>Search</button></form>\
         <p>{greeting} <strong>{wanted}</strong>:</p><ul>{hits}</ul>"
    );
    memory.page("Search", &main, &[(CACHE_CONTROL, "public, max-age=30"), (VARY, "Accept-Language")])
}

/// Returns the first value of a form parameter, decoded.
fn parameter(query: &str, name: &str) -> String {
    let raw = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let bytes = raw.map_or("", |(_, value)| value).as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

async fn big(State(memory): DemoState, headers: HeaderMap) -> Response {
    const LINES: usize = 1500;
    let mut main = "<p class=\"lead\">About 200 KB of text: compare the size on the wire.</p><ol>".to_owned();
    for line in 0..LINES {
        let (title, text) = page::ARTICLES[line % page::ARTICLES.len()];
        let words: Vec<_> = text.split(' ').skip(line % 7).take(15).collect();
        main.push_str(&format!("<li>{title}, {line}: {}</li>", words.join(" ")));
    }
    main.push_str("</ol>");
    memory.validated(&headers, "big-1", ("A big page", &main), &[(CACHE_CONTROL, "public, max-age=300")])
}

/// Serves a page that fails every other time.
async fn flaky(State(memory): DemoState) -> Response {
    if memory.flaky.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
        let main = "<p class=\"lead\">The app failed this time. Its last good page said <code>stale-if-error=60</code>, so \
                    behind a cache you should hardly ever see this page.</p>";
        let mut response = memory.page("503: temporary failure", main, &[(RETRY_AFTER, "1")]);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    let main = "<p class=\"lead\">Fresh for 3 seconds. After that the app is asked again, and fails every other time: \
                this page is then served instead, for up to a minute.</p>";
    memory.page("A flaky page", main, &[(CACHE_CONTROL, "public, max-age=3, stale-if-error=60")])
}

/// Serves a page of each visitor's own, identified by a cookie.
async fn account(State(memory): DemoState, headers: HeaderMap) -> Response {
    let known = cookie::cookies(&headers)
        .filter(|cookie| cookie.name == b"visitor")
        .find_map(|cookie| std::str::from_utf8(cookie.value?).ok()?.parse::<u64>().ok());
    let visitor = known.unwrap_or_else(|| memory.visitors.fetch_add(1, Ordering::Relaxed) + 1);
    let main = format!(
        "<p class=\"lead\">You are visitor <strong>{visitor}</strong>. Nobody else gets this page: it is <code>private</code>, \
         so a shared cache forwards it and stores nothing.</p>"
    );
    let mut response = memory.page("Your account", &main, &[(CACHE_CONTROL, "private, max-age=60")]);
    if known.is_none() {
        put(&mut response, SET_COOKIE, &format!("visitor={visitor}; Path=/; HttpOnly; SameSite=Lax"));
    }
    response
}

async fn checkout(State(memory): DemoState) -> Response {
    let main = "<p class=\"lead\">Pages with payment details say <code>no-store</code>, and are never stored.</p>";
    memory.page("Checkout", main, &[(CACHE_CONTROL, "no-store")])
}

async fn unmarked(State(memory): DemoState) -> Response {
    let main = "<p class=\"lead\">Like many pages, this one says nothing about caching. Larder does not guess without \
                <code>Last-Modified</code>; a route in <code>config.toml</code> can set a lifetime:</p>\
                <pre><code>[[route]]\npath = \"/unmarked\"\nttl = \"30s\"</code></pre>";
    memory.page("An unmarked page", main, &[])
}

async fn moved(State(memory): DemoState) -> Response {
    memory.responses.fetch_add(1, Ordering::Relaxed);
    let fields = [(LOCATION, "/articles/1"), (CACHE_CONTROL, "public, max-age=3600")];
    with(&fields, StatusCode::MOVED_PERMANENTLY.into_response())
}

async fn broken(State(memory): DemoState) -> Response {
    let mut response =
        memory.page("500: broken", "<p class=\"lead\">An error of the app, forwarded unchanged.</p>", &[]);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

async fn missing(State(memory): DemoState) -> Response {
    let main = "<p class=\"lead\">There is nothing here. <a href=\"/\">Back to the start</a></p>";
    let mut response = memory.page("404: not found", main, &[(CACHE_CONTROL, "public, max-age=10")]);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    fn app() -> Router {
        router(Timestamp::from_secs(0), Duration::ZERO)
    }

    async fn ask(app: &Router, path: &str, fields: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (head.status, head.headers, body)
    }

    #[tokio::test]
    async fn every_link_of_the_first_page_works() {
        let app = app();
        for path in page::linked_paths() {
            let (status, headers, _) = ask(&app, path, &[]).await;
            let expected = match path {
                "/missing" => 404,
                "/broken" => 500,
                "/moved" => 301,
                _ => 200,
            };
            assert_eq!(status, expected, "{path}");
            let says = headers.contains_key(CACHE_CONTROL);
            assert_eq!(says, !matches!(path, "/unmarked" | "/broken"), "{path}");
        }
    }

    #[tokio::test]
    async fn everything_that_a_page_links_to_exists() {
        let app = app();
        let (_, _, html) = ask(&app, "/articles/1", &[]).await;
        let names = html.split(['"']).filter(|part| part.starts_with('/'));
        for path in names.collect::<Vec<_>>() {
            assert_eq!(ask(&app, path, &[]).await.0, 200, "{path}");
        }
    }

    #[tokio::test]
    async fn validators_are_answered_with_304() {
        let app = app();
        for path in ["/", "/articles/1", "/assets/style.1.css", "/big"] {
            let (_, headers, _) = ask(&app, path, &[]).await;
            let etag = headers[ETAG].to_str().unwrap();
            let (status, again, body) = ask(&app, path, &[("if-none-match", &format!("\"x\", {etag}"))]).await;
            assert_eq!((status.as_u16(), body.len()), (304, 0), "{path}");
            assert_eq!((&again[ETAG], &again[CACHE_CONTROL]), (&headers[ETAG], &headers[CACHE_CONTROL]), "{path}");
        }
    }

    #[tokio::test]
    async fn every_other_answer_of_the_flaky_page_fails() {
        let app = app();
        for expected in [200, 503, 200, 503] {
            assert_eq!(ask(&app, "/flaky", &[]).await.0, expected);
        }
    }

    #[tokio::test]
    async fn visitors_are_recognised_by_their_cookie() {
        let app = app();
        let (_, headers, body) = ask(&app, "/account", &[]).await;
        assert!(body.contains("<strong>1</strong>") && headers[SET_COOKIE].to_str().unwrap().starts_with("visitor=1;"));
        let (_, headers, body) = ask(&app, "/account", &[("cookie", "a=b; visitor=7")]).await;
        assert!(body.contains("<strong>7</strong>") && !headers.contains_key(SET_COOKIE));
    }

    #[tokio::test]
    async fn request_text_never_becomes_markup() {
        let app = app();
        let (_, _, body) = ask(&app, "/search?q=%3Cscript%3Ealert(1)%3C/script%3E+%22x", &[]).await;
        assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt; &quot;x") && !body.contains("<script>"));
        let (_, _, body) = ask(&app, "/", &[("host", "a\"><b>")]).await;
        assert!(!body.contains("<b>"));
        assert_eq!(parameter("x=1&q=a%2", "q"), "a%2");
        assert_eq!(parameter("q=%e2%82%ac", "q"), "€");
    }

    #[tokio::test]
    async fn the_search_speaks_the_visitors_language() {
        let app = app();
        let (_, headers, body) = ask(&app, "/search?q=jam", &[("accept-language", "de-AT")]).await;
        assert!(body.contains("Gefunden zu") && headers[VARY] == "Accept-Language");
    }

    #[test]
    fn the_app_ends_when_it_is_dropped() {
        let app = start().unwrap();
        assert!(app.addr().ip().is_loopback() && app.addr().port() > 0);
        drop(app);
    }

    #[tokio::test]
    async fn the_big_page_is_about_200_kb() {
        let (_, _, body) = ask(&app(), "/big", &[]).await;
        assert!((150_000..300_000).contains(&body.len()), "{}", body.len());
    }
}
