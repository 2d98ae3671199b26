//! Isolation of clients: one client's request changes nothing for the others, neither their
//! responses, nor what is stored for them, nor their cost to the origin.

use crate::harness::{Cache, Client, Gate, Origin, Reply, WEBSOCKET};

/// An app whose page depends on a field of the request, and that sends the matching Vary.
fn varying(field: &'static str) -> Origin {
    Origin::start(move |request| {
        let value = request.header(field).unwrap_or_else(|| "none".into());
        Reply::fresh(format!("for {value}")).header("Vary", field)
    })
}

#[test]
fn rfc9111_s4_1_a_field_that_connection_hides_from_the_app_selects_nothing() {
    let origin = varying("RSC");
    let cache = Cache::start(&origin);
    cache.get_with("/", &[("RSC", "1"), ("Connection", "RSC")]).check(200, "for none", "stored");
    cache.get_with("/", &[("RSC", "1")]).check(200, "for 1", "stored");
    cache.get("/").check(200, "for none", "hit");
    cache.get_with("/", &[("RSC", "1")]).check(200, "for 1", "hit");
}

#[test]
fn a_field_that_connection_hides_from_the_app_is_no_part_of_the_key() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("in {}", request.header("X-Lang").unwrap_or_else(|| "en".into())))
    });
    let cache = Cache::configured(&origin, "[[route]]\nkey.headers = [\"x-lang\"]\n");
    cache.get_with("/", &[("X-Lang", "de"), ("Connection", "X-Lang")]).check(200, "in en", "stored");
    cache.get_with("/", &[("X-Lang", "de")]).check(200, "in de", "stored");
    cache.get_with("/", &[("X-Lang", "de")]).check(200, "in de", "hit");
    cache.get("/").check(200, "in en", "hit");
}

#[test]
fn a_field_that_only_a_trusted_proxy_may_send_selects_nothing() {
    let origin = varying("X-Original-URL");
    let cache = Cache::start(&origin);
    cache.get_with("/", &[("X-Original-URL", "/admin")]).check(200, "for none", "stored");
    cache.get("/").check(200, "for none", "hit");
}

#[test]
fn a_misspelt_field_that_apps_read_as_another_selects_nothing() {
    // Behind CGI, WSGI or Rack the app reads `HTTP_ACCEPT_LANGUAGE`, from either spelling of the
    // field.
    let origin = Origin::start(|request| {
        let read = |name| request.header(name);
        let known = ["Accept-Language", "Accept_Language", "Accept.Language"].into_iter().find_map(read);
        let language = known.unwrap_or_else(|| "none".into());
        Reply::fresh(format!("in {language}")).header("Vary", "Accept-Language")
    });
    let cache = Cache::start(&origin);
    for name in ["Accept_Language", "accept_language", "accept.language"] {
        let target = format!("/{name}");
        cache.get_with(&target, &[(name, "evil")]);
        cache.get(&target).check(200, "in none", "hit");
    }
    cache.get_with("/", &[("Accept-Language", "de")]).check(200, "in de", "stored");
}

#[test]
fn a_page_that_varies_by_the_clients_address_is_for_that_client_alone() {
    for field in ["X-Forwarded-For", "Forwarded"] {
        let origin = varying(field);
        let cache = Cache::start(&origin);
        for _ in 0..3 {
            let response = cache.get("/");
            assert!(response.text().contains("127.0.0.1") && !response.is_hit(), "{field}: {response:?}");
        }
        assert_eq!(origin.count(), 3, "{field}");
    }
}

#[test]
fn rfc9110_s7_8_an_http10_upgrade_is_ignored() {
    let origin = Origin::start(|request| match request.header("Upgrade") {
        Some(_) => Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        None => Reply::fresh("page"),
    });
    let cache = Cache::start(&origin);
    for expected in ["stored", "hit"] {
        let mut client = cache.client();
        let fields = WEBSOCKET.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        client.send(format!("GET / HTTP/1.0\r\nHost: example.org\r\n{fields}\r\n"));
        client.response().check(200, "page", expected);
        cache.settle();
    }
    assert_eq!((origin.count(), origin.last().header("Upgrade")), (1, None));
}

#[test]
fn a_leader_with_no_store_or_authorization_does_not_split_the_crowd() {
    for own in [("Cache-Control", "no-store"), ("Authorization", "Basic eDp5")] {
        let gate = Gate::new();
        let origin = {
            let gate = gate.clone();
            Origin::start(move |request| match request.target().as_str() {
                "/" => Reply::ok().header("Cache-Control", "max-age=60").hold(&gate).body("page"),
                _ => Reply::ok().header("Cache-Control", "no-store"),
            })
        };
        let cache = Cache::start(&origin);
        let mut leader = cache.client();
        leader.ask("GET", "/", &[own], b"");
        origin.wait_for(1);
        let mut crowd: Vec<Client> = (0..40).map(|_| cache.client()).collect();
        for client in &mut crowd {
            client.ask("GET", "/", &[], b"");
        }
        cache.catch_up("/after");
        let asked = || origin.targets().iter().filter(|target| *target == "/").count();
        assert_eq!(asked(), 1, "{own:?}: the crowd waits for the leader");
        gate.open();
        assert_eq!(leader.response().text(), "page");
        assert!(crowd.iter_mut().all(|client| client.response().text() == "page"));
        assert!(asked() <= 3, "{own:?}: {} requests", asked());
        cache.settle();
        cache.get("/").check(200, "page", "hit");
    }
}

#[test]
fn a_request_whose_response_is_not_stored_leaves_the_stored_page_alone() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "page", "stored");
    for fields in [
        &[("Cache-Control", "no-cache, no-store")][..],
        &[("Cache-Control", "max-age=0, no-store")],
        &[("Cache-Control", "no-cache"), ("Authorization", "Basic eDp5")],
    ] {
        let before = origin.count();
        cache.step(1);
        assert_eq!(cache.get_with("/", fields).text(), "page");
        assert_eq!(origin.count(), before + 1, "{fields:?}");
        cache.get("/").check(200, "page", "hit");
    }
}

#[test]
fn errors_caused_by_one_malformed_request_are_not_stored() {
    for status in [
        "401 Unauthorized",
        "406 Not Acceptable",
        "408 Request Timeout",
        "411 Length Required",
        "413 Content Too Large",
        "415 Unsupported Media Type",
        "422 Unprocessable Content",
        "424 Failed Dependency",
    ] {
        let origin = Origin::start(move |request| match request.header("Accept") {
            Some(_) => Reply::status(status).header("Cache-Control", "max-age=60").body("odd"),
            None => Reply::fresh("page"),
        });
        let cache = Cache::start(&origin);
        for _ in 0..3 {
            assert_eq!(cache.get_with("/", &[("Accept", "zz")]).text(), "odd");
        }
        cache.get("/").check(200, "page", "stored");
        cache.get("/").check(200, "page", "hit");
    }
}

#[test]
fn rfc9111_s3_2_a_304_does_not_relabel_what_is_stored() {
    let origin = Origin::start(|request| match request.header("If-None-Match") {
        Some(_) => Reply::not_modified().header("ETag", "\"a\"").header("Content-Encoding", "gzip"),
        None => Reply::ok().header("Cache-Control", "max-age=1").header("ETag", "\"a\"").body("plain"),
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "plain", "stored");
    cache.step(5);
    let response = cache.get("/");
    assert_eq!((response.text(), response.header("Content-Encoding")), ("plain".to_owned(), None));
}
