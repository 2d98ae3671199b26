//! The admin side: its paths, their methods and bodies, and the JSON in their responses.

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use super::shape::Shape;
use super::{Items, check};
use crate::explain::question;
use crate::harness::origin::Request;
use crate::harness::{Cache, Client, Origin, Process, Reply, Response, eventually};

/// Sends a request to an admin side. Returns the answer, and an item that says what was sent, with
/// the answer's status, type, and authentication scheme.
fn exchange(mut client: Client, method: &str, target: &str, content: &str) -> (String, Response) {
    let json = [("Content-Type", "application/json")];
    let fields = if content.is_empty() { &[][..] } else { &json[..] };
    let response = client.exchange(method, target, fields, content.as_bytes());
    let field = |name| response.header(name).map(|value| format!(" {value}")).unwrap_or_default();
    let sent = if content.is_empty() { String::new() } else { format!(" {content}") };
    let answer = [response.status().to_string(), field("content-type"), field("www-authenticate")].concat();
    (format!("{method} {target}{sent}: {answer}"), response)
}

/// Purges with every field and kind.
const PURGES: [&str; 12] = [
    r#"{"url": "http://example.org/a"}"#,
    r#"{"urls": ["http://example.org/a"]}"#,
    r#"{"prefix": "example.org/a/"}"#,
    r#"{"prefixes": ["example.org/a/"]}"#,
    r#"{"host": "example.org"}"#,
    r#"{"hosts": ["example.org"]}"#,
    r#"{"tag": "news"}"#,
    r#"{"tags": ["news"]}"#,
    r#"{"all": true}"#,
    r#"{"all": true, "kind": "hard"}"#,
    r#"{"all": true, "kind": "soft"}"#,
    r#"{"all": true, "kind": "validate"}"#,
];

/// Questions to `explain` with every field.
const QUESTIONS: [&str; 4] = [
    r#"{"url": "http://example.org/a"}"#,
    r#"{"url": "http://example.org/a", "method": "HEAD", "headers": ["Accept-Language: de"]}"#,
    r#"{"url": "http://example.org/a", "response": "HTTP/1.1 200 OK\r\nETag: \"1\"\r\n", "received": "date"}"#,
    r#"{"url": "http://example.org/a", "response": "ETag: \"1\"\r\n", "status": 200, "received": "now"}"#,
];

/// Requests that are refused.
const REFUSED: [(&str, &str, &str); 6] = [
    ("GET", "/nothing", ""),
    ("GET", "/purge", ""),
    ("GET", "/log?colour=red", ""),
    ("POST", "/explain", "{}"),
    ("POST", "/purge", "{}"),
    ("POST", "/purge", ""),
];

#[test]
fn paths_of_the_admin_side() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let mut items = Items::new();
    let mut shape = Shape::default();
    let mut ask = |method: &str, target: &str, content: &str| {
        let (item, response) = exchange(cache.admin(), method, target, content);
        items.insert(item);
        response
    };
    let listed = json_of(&ask("GET", "/nothing", ""));
    let listed: Vec<&str> = listed["available"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    for path in &listed {
        let (method, target) = path.split_once(' ').unwrap();
        // Streams are asked for below, and POST with what it takes.
        if method == "GET" && !["/events", "/log"].contains(&target) {
            ask(method, target, "");
        }
    }
    PURGES.iter().for_each(|content| _ = ask("POST", "/purge", content));
    QUESTIONS.iter().for_each(|content| _ = ask("POST", "/explain", content));
    ask("POST", "/reload", "");
    for (method, target, content) in REFUSED {
        shape.add("refusal", &json_of(&ask(method, target, content)));
    }
    items.extend(listed.iter().map(|path| format!("available: {path}")));
    items.extend(shape.items());
    for query in
        ["", "?outcome=hit", "?reason=fresh", "?path=/a/", "?status=5xx", "?status=404", "?route=1", "?route=none"]
    {
        items.insert(streamed(&cache, &format!("/log{query}")));
    }
    items.insert(streamed(&cache, "/events"));
    items.insert(format!("GET /events: event {}", event(&cache).0));
    items.extend(alerts(&cache));
    items.insert(format!("GET /grafana.json: uid {}", json_of(&cache.admin().get("/grafana.json"))["uid"]));
    items.extend(with_token(&origin));
    items.extend(purged_by_method(&origin));
    check("admin.txt", &items);
}

#[track_caller]
fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
}

/// Asks for an answer that has no end; returns its item.
fn streamed(cache: &Cache, target: &str) -> String {
    let mut client = cache.admin();
    client.ask("GET", target, &[], b"");
    let head = client.head();
    format!("GET {target}: {} {}", head.status, head.header("content-type").unwrap_or_default())
}

/// Returns the name and the data of the first event.
fn event(cache: &Cache) -> (String, Value) {
    let mut client = cache.admin();
    client.ask("GET", "/events", &[], b"");
    assert_eq!(client.head().status, 200);
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        text.push_str(&String::from_utf8(client.at_least(1)).unwrap());
    }
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().to_owned();
    (field("event"), serde_json::from_str(&field("data")).unwrap())
}

/// Lists the rules of Prometheus, by whose names alerts are routed.
fn alerts(cache: &Cache) -> Items {
    let text = cache.admin().get("/alerts.yml").text();
    let documents = YamlLoader::load_from_str(&text).unwrap();
    let groups = documents[0]["groups"].as_vec().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().unwrap());
    let text = |value: &Yaml| value.as_str().unwrap().to_owned();
    let item = |rule: &Yaml| format!("alert {} {}", text(&rule["alert"]), text(&rule["labels"]["severity"]));
    rules.map(item).collect()
}

/// Lists how an admin side with a token answers with it and without it.
fn with_token(origin: &Origin) -> Items {
    let cache = Cache::configured(origin, "admin.token = 'a-long-secret-of-an-operator'\n");
    let without = exchange(cache.admin(), "POST", "/reload", "").0;
    let bearer = [("Authorization", "Bearer a-long-secret-of-an-operator")];
    let with = cache.admin().exchange("POST", "/reload", &bearer, b"").status();
    [format!("without the token: {without}"), format!("Authorization: Bearer (token): {with}")].into()
}

/// Lists the kinds that PURGE on the proxy's port takes.
fn purged_by_method(origin: &Origin) -> Items {
    let cache = Cache::configured(origin, "purge.method_from = ['127.0.0.1']\n");
    let item = |kind: &str| {
        let response = cache.request("PURGE", "/a", &[("Purge-Kind", kind)], b"");
        format!("PURGE, Purge-Kind: {kind}: {} {}", response.status(), response.header("content-type").unwrap())
    };
    ["hard", "soft", "validate"].map(item).into()
}

#[test]
fn json_of_the_admin_side() {
    let mut shape = Shape::default();
    serve_everything(&mut shape);
    explain_everything(&mut shape);
    shadow_everything(&mut shape);
    reload_everything(&mut shape);
    check("json.txt", &shape.items());
}

/// Adds `/stats` before and after a bit of everything, what the small paths say, and the answers to
/// purges.
fn serve_everything(shape: &mut Shape) {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/mine" => Reply::fresh(request.header("cookie").unwrap_or_default()),
        "/cookie" => Reply::ok().header("Set-Cookie", "a=b").body("x"),
        "/broken" => Reply::status("503 Service Unavailable").body("x"),
        "/cut" => Reply::fresh("x").length(9).cut(crate::harness::Cut::Fin),
        _ => Reply::fresh("x"),
    });
    let lines =
        "purge.method_from = ['127.0.0.1']\n[[route]]\npath = '/shop/'\n[[route]]\npath = '/new/'\nmode = 'shadow'\n";
    let cache = Cache::configured(&origin, lines);
    shape.add("GET /stats", &cache.stats());
    for target in ["/", "/", "/shop/", "/shop/", "/cookie", "/broken", "/cut", "/new/", "/new/"] {
        cache.get(target);
    }
    for cookie in ["a=1", "a=2", "a=3"] {
        cache.get_with("/mine", &[("Cookie", cookie)]);
    }
    let pass = cache.request("POST", "/form", &[], b"x");
    assert!(pass.has("fwd=method"), "{}", pass.cache_status());
    for content in PURGES {
        shape.add("POST /purge", &json_of(&cache.purge(content)));
    }
    shape.add("PURGE", &json_of(&cache.request("PURGE", "/", &[], b"")));
    cache.get("/shop/");
    cache.reload(false);
    eventually("all requests have ended", || cache.stats()["requests"]["total"] == 15);
    let mut streamed = Shape::default();
    streamed.add("GET /stats", &event(&cache).1);
    let mut stats = Shape::default();
    stats.add("GET /stats", &cache.stats());
    assert_eq!(streamed.items(), stats.items(), "an event has what /stats has");
    shape.add("GET /stats", &cache.stats());
    for path in ["/live", "/ready"] {
        shape.add(&format!("GET {path}"), &json_of(&cache.admin().get(path)));
    }
}

/// Adds the explanations of requests in as many states as there are.
fn explain_everything(shape: &mut Shape) {
    let mut origin = Origin::start(pages);
    let lines = "[cache]\nttl_by_status = { 404 = '1m' }\n[[route]]\npath = '/route/'\nhost = 'example.org'\n\
                 methods = ['GET']\nttl = '1m'\nkey.query = 'none'\nkey.headers = ['X-Key']\nkey.cookies = ['k']\n\
                 [[route]]\npath = '/by/'\ncache = 'bypass'\n[[route]]\npath = '/force/'\ncache = 'force'\nttl = '1m'\n\
                 [[route]]\npath = '/new/'\nmode = 'shadow'\n";
    let cache = Cache::configured(&origin, lines);
    let mut explain = |method: &str, target: &str, fields: &[(&str, &str)]| {
        shape.add("POST /explain", &cache.explain(&question(method, target, fields)));
    };
    let kinds =
        ["/", "/route/", "/s-maxage", "/expires", "/heuristic", "/status", "/swr", "/strict", "/no-cache", "/tagged"];
    for target in kinds {
        explain("GET", target, &[]);
        cache.get(target);
        explain("GET", target, &[]);
    }
    cache.get_with("/vary", &[("X-A", "1")]);
    [&[][..], &[("X-A", "1")]].iter().for_each(|fields| explain("GET", "/vary", fields));
    cache.get_with("/mine", &[("Cookie", "a=1")]);
    [&[("Cookie", "a=1")][..], &[("Cookie", "a=2")], &[]].iter().for_each(|fields| explain("GET", "/mine", fields));
    cache.get_with("/mine", &[("Cookie", "a=2")]);
    explain("GET", "/mine", &[("Cookie", "a=3")]);
    for (method, target, fields) in [
        ("POST", "/", &[][..]),
        ("TRACE", "/", &[]),
        ("OPTIONS", "/", &[("Max-Forwards", "0")]),
        ("GET", "/by/", &[]),
        ("GET", "/force/", &[]),
        ("GET", "/new/", &[]),
        ("GET", "/none", &[("Cache-Control", "only-if-cached")]),
        ("GET", "/", &[("Host", "another.example")]),
    ] {
        explain(method, target, fields);
    }
    for kind in ["soft", "validate", "hard"] {
        cache.get("/");
        cache.purge(&format!("{{\"url\": \"http://example.org/\", \"kind\": \"{kind}\"}}"));
        explain("GET", "/", &[]);
    }
    cache.step(61);
    kinds.iter().for_each(|target| explain("GET", target, &[]));
    origin.stop();
    kinds.iter().for_each(|target| explain("GET", target, &[]));
    for head in [
        "Cache-Control: max-age=60\r\nVary: X-A\r\nSurrogate-Key: a b\r\n",
        "Cache-Control: private\r\n",
        "CDN-Cache-Control: max-age=60\r\n",
        "Larder-Cache-Control: max-age=60\r\n",
        "ETag: \"1\"\r\n",
    ] {
        let mut question = question("GET", "/", &[("Cookie", "a=1")]);
        question["response"] = json!(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{head}"));
        shape.add("POST /explain", &cache.explain(&question));
    }
}

/// An origin with a page for each way in which a lifetime comes about.
fn pages(request: &Request) -> Reply {
    let cached = |value: &str| Reply::ok().header("Cache-Control", value).body("x");
    match request.target().as_str() {
        "/route/" => Reply::ok().body("x"),
        "/s-maxage" => cached("s-maxage=60").header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT"),
        "/expires" => Reply::ok().header("Expires", "Thu, 01 Jan 2026 00:01:00 GMT").body("x"),
        "/heuristic" => Reply::ok().header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT").body("x"),
        "/status" => Reply::status("404 Not Found").body("x"),
        "/swr" => cached("max-age=5, stale-while-revalidate=600"),
        "/strict" => cached("max-age=5, must-revalidate").header("ETag", "\"1\""),
        "/no-cache" => cached("no-cache").header("ETag", "\"1\""),
        "/tagged" => Reply::fresh("x").header("Surrogate-Key", "a b"),
        "/vary" => Reply::fresh("x").header("Vary", "X-A"),
        _ => Reply::fresh("x"),
    }
}

/// Adds the report of shadow mode, before it has seen anything and after pages that differ.
fn shadow_everything(shape: &mut Shape) {
    let origin = Origin::start(|request| {
        let (target, language) = (request.target(), request.header("accept-language").unwrap_or_default());
        let wanted = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("q="));
        let page = Reply::ok().header("Cache-Control", "public, max-age=60");
        match request.header("cookie") {
            Some(cookie) if target == "/price" => page.body(cookie),
            _ if target == "/silent" => Reply::ok().body("x"),
            _ => page.body(format!("{language} {}", wanted.unwrap_or_default())).header("Content-Language", &language),
        }
    });
    let plain = Cache::start(&origin);
    shape.add("GET /shadow", &json_of(&plain.admin().get("/shadow")));
    let some = Cache::configured(&origin, "[[route]]\npath = '/new/'\nmode = 'shadow'\n");
    shape.add("GET /shadow", &json_of(&some.admin().get("/shadow")));
    let cache = Cache::configured(&origin, "mode = 'shadow'\n");
    for (language, agent) in [("en", "a"), ("de", "b"), ("en", "b"), ("fr", "a")] {
        cache.get_with("/page", &[("Accept-Language", language), ("User-Agent", agent)]);
    }
    for cookies in ["currency=usd; id=1", "currency=usd; id=1", "currency=eur; id=1"] {
        cache.get_with("/price", &[("Cookie", cookies)]);
    }
    for query in ["q=a&utm=1", "q=a&utm=2", "q=b&utm=2", "q=b&utm=3", "q=a&utm=3", "q=a"] {
        cache.get(&format!("/search?{query}"));
    }
    (0..3).for_each(|_| _ = cache.get("/silent"));
    eventually("all requests have ended", || cache.stats()["requests"]["total"] == 16);
    shape.add("GET /shadow", &json_of(&cache.admin().get("/shadow")));
    shape.add("GET /stats", &cache.stats());
}

/// Adds the answers to reloads that apply, wait for a restart, and are refused.
fn reload_everything(shape: &mut Shape) {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let larder = Process::serve(&origin, "reload_on_change = false");
    for (lines, status) in [
        ("reload_on_change = false", 200),
        ("reload_on_change = false\n[server]\nworkers = 3", 200),
        ("reload_on_change = false\nnonsense = 1", 422),
        ("reload_on_change = false\norigin.host = ''", 422),
    ] {
        larder.configure(lines);
        let (found, answer) = larder.reload();
        assert_eq!(found, status, "{answer}");
        shape.add("POST /reload", &answer);
        shape.add("GET /stats", &larder.stats());
    }
}
