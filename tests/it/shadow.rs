//! Shadow mode: every response passes unchanged, and Larder reports how live mode would have
//! answered.

mod passing;
mod predictions;
mod reporting;

use larder::route::RouteMode;
use serde_json::Value;

use crate::harness::cache::Setup;
use crate::harness::origin::Request;
use crate::harness::{Cache, Origin, Reply, Response};

fn shadow(setup: &mut Setup) {
    setup.rule.mode = RouteMode::Shadow;
}

/// Starts a cache in shadow mode in front of an origin with this script.
fn with(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Cache) {
    let origin = Origin::start(script);
    let cache = Cache::with(&origin, shadow);
    (origin, cache)
}

/// Returns `/shadow`.
#[track_caller]
fn report(cache: &Cache) -> Value {
    let response = cache.admin().get("/shadow");
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Returns the predicted outcome in Cache-Status, such as `hit:fresh`.
#[track_caller]
fn predicted_in(response: &Response) -> String {
    let status = response.cache_status();
    let detail = status.split("; ").find_map(|own| own.strip_prefix("detail=shadow:"));
    detail.unwrap_or_else(|| panic!("{status} says nothing of shadow mode")).to_owned()
}

/// A public page with this body, which the guard leaves alone.
fn public(body: impl AsRef<[u8]>) -> Reply {
    Reply::ok().header("Cache-Control", "public, max-age=60").body(body)
}
