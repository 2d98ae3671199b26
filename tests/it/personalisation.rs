//! The personalisation guard. An app that builds pages from cookies and omits Vary shows nobody
//! another user's page; every other app gets one extra request for each stored body, and the
//! samples.

mod comparison;
mod credentials;
mod crowd;
mod followers;
mod permission;
mod updates;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::origin::Request;
use crate::harness::{Cache, Origin, Reply, Response};

/// Returns the page that belongs to one user.
fn page_of(cookie: Option<&str>, authorization: Option<&str>) -> String {
    format!("the page of {} {}", cookie.unwrap_or("nobody"), authorization.unwrap_or(""))
}

/// An app that builds its page for the requesting user (the first cookie), and whose response
/// claims that anybody may have it.
fn personal(request: &Request) -> Reply {
    let cookies = request.header("cookie");
    let user = cookies.as_deref().and_then(|cookies| cookies.split("; ").next());
    Reply::fresh(page_of(user, request.header("authorization").as_deref()))
}

/// Sends one request as the user with this cookie; an empty string sends no cookie.
fn as_user(cache: &Cache, cookie: &str) -> Response {
    let fields = [("Cookie", cookie)];
    cache.get_with("/", if cookie.is_empty() { &[] } else { &fields })
}

/// Starts an app, and counts the requests that it receives.
fn counted(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let origin = Origin::unrecorded(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        script(request)
    });
    (origin, count)
}
