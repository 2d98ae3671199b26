//! Configurations that are refused, with their messages; the reference file; printing and reading
//! back.

use super::*;
use crate::route::QueryRule;

const REFERENCE: &str = include_str!("../../config.toml");

/// Reads a configuration without flags.
fn read(text: &str) -> Result<Settings, ConfigProblems> {
    parse("config.toml", text, &Flags::default())
}

/// Reads a configuration that must be valid.
fn valid(text: &str) -> Settings {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Asserts that the broken file has exactly one problem: on this line, with this key, and with
/// these words in the fault and in the allowed values.
fn check(text: &str, line: usize, key: &str, what: &str, allowed: &str) {
    let problems = read(text).expect_err("the file is broken");
    let [problem] = problems.list() else { panic!("more than one problem:\n{problems}") };
    assert_eq!((problems.line(problem), problem.key.as_str()), (Some(line), key), "\n{problems}");
    assert!(problem.what.contains(what), "{what:?} is not in\n{problems}");
    assert!(problem.allowed.contains(allowed), "{allowed:?} is not in\n{problems}");
    let shown = problems.to_string();
    assert!(shown.contains(&format!("--> config.toml:{line}:")) && shown.contains(key), "{shown}");
}

/// Includes a file that is broken on purpose.
macro_rules! broken {
    ($name:literal) => {
        include_str!(concat!("../../tests/it/broken/", $name, ".toml"))
    };
}

#[test]
fn typos_are_reported_with_line_and_key() {
    check(broken!("unknown_key"), 3, "memory.object_byte_max", "did you mean `object_bytes_max`?", "variants_max");
    check(broken!("unknown_table"), 3, "origins", "did you mean `origin`?", "memory");
    check(broken!("syntax"), 5, "memory.capacity", "must be quoted", "from 1MiB to 16TiB");
    check(broken!("duplicate_key"), 3, "server.workers", "duplicate key", "each key once per table");
    check(broken!("wrong_type"), 2, "compression.enabled", "found a string", "true or false");
    check(broken!("word_unknown"), 3, "route[0].cache", "did you mean \"force\"?", r#""obey" or "force" or "bypass""#);
    check(broken!("route_not_a_list"), 1, "route", "found table", "[[route]]");
    check(broken!("query_rule_misread"), 3, "route[0].key.query", "`drop`", r#""all", "none""#);
}

#[test]
fn values_out_of_range_are_reported_with_the_range() {
    check(broken!("span_without_unit"), 3, "origin.response_timeout", "is not a duration", "from 10ms to 1h");
    check(broken!("span_out_of_range"), 3, "origin.connect_timeout", "2m is above the maximum, 1m", "from 10ms to 1m");
    check(broken!("byte_count_misread"), 2, "memory.capacity", "is not a size", "from 1MiB to 16TiB");
    check(broken!("byte_count_out_of_range"), 2, "server.head_bytes_max", "1KiB is below the minimum, 4KiB", "1MiB");
    check(broken!("number_out_of_range"), 2, "compression.level", "22 is above the maximum, 19", "from 1 to 19");
    check(
        broken!("fraction_out_of_range"),
        2,
        "cache.heuristic_fraction",
        "1.5 is above the maximum, 1.0",
        "0.0 to 1.0",
    );
    check("[cache]\nguard_sample = 0", 2, "cache.guard_sample", "0 is below the minimum, 1", "from 1 to 1000000");
    check(
        "[cache]\npersonalised_for = \"2d\"",
        2,
        "cache.personalised_for",
        "above the maximum, 1day",
        "from 0s to 1day",
    );
    check(
        "[cache]\nignore_cookies = [\"a b\"]",
        2,
        "cache.ignore_cookies",
        "is not the name of a cookie",
        "at most 100",
    );
    check(broken!("routes_too_many"), 511, "route", "too many (256)", "at most 255");
}

#[test]
fn names_that_http_does_not_allow_are_reported() {
    check(broken!("address_without_port"), 1, "listen", "is not an IP address with a port", "127.0.0.1:8080");
    check(broken!("network_misread"), 2, "server.trusted_proxies", "\"10.0.0.0/33\"", "10.0.0.0/8");
    check(broken!("host_misread"), 2, "site[0].hosts", "\"https://example.net/\" is not a host", "*.example.org");
    check(broken!("method_in_small_letters"), 3, "route[0].methods", "did you mean \"HEAD\"?", "in upper case");
    check(broken!("field_name_misread"), 3, "route[0].key.headers", "\"accept language\"", "name of a header");
    check(broken!("path_without_slash"), 2, "route[0].path", "does not start with `/`", "\"/shop/\"");
    check(broken!("status_misread"), 2, "cache.ttl_by_status", "\"999\"", "200 to 599");
    check(broken!("origin_with_path"), 2, "origin.url", "must not have a path", "http://host[:port]");
    check(broken!("origin_https"), 2, "origin.url", "https", "http://host[:port]");
    for (protocol, what) in [
        ("h2c", "would bypass the cache"),
        ("HTTP/2.0", "would bypass the cache"),
        ("SPDY/3.1", "would bypass the cache"),
        ("TLS/1.2", "would bypass the cache"),
        ("websocket/13", "write \"websocket\""),
        ("*", "not a wildcard"),
        ("a b", "is not the name of a protocol"),
        ("", "is not the name of a protocol"),
    ] {
        let text = format!("[server]\nupgrades = [{protocol:?}]");
        check(&text, 2, "server.upgrades", what, "not HTTP or TLS");
    }
}

#[test]
fn keys_that_contradict_each_other_are_reported() {
    check(broken!("object_above_share"), 3, "memory.object_bytes_max", "more than an eighth", "at most 8MiB");
    check(broken!("force_without_ttl"), 6, "route[0].cache", "no `ttl`", "ttl = \"5m\"");
    check(broken!("origin_is_larder"), 4, "origin.url", "where Larder itself listens", "the app");
    check(broken!("admin_same_as_listen"), 4, "admin.listen", "where the proxy listens", "another port");
    check(broken!("admin_not_loopback"), 2, "admin.listen", "needs `token` or `token_file`", "`token` or `token_file`");
    check(broken!("admin_token_short"), 2, "admin.token", "too short (7 characters; at least 16)", "openssl rand");
    check(broken!("admin_token_file_missing"), 2, "admin.token_file", "cannot read", "openssl rand");
    check(broken!("purge_network_misread"), 2, "purge.method_from", "\"10.0.0.0/33\"", "10.0.0.0/8");
    check(broken!("origin_is_admin"), 2, "origin.url", "where Larder's admin interface listens", "the app");
    check(broken!("admin_two_tokens"), 3, "admin.token_file", "two tokens", "one of the two");
    check(broken!("route_names_twice"), 6, "route[1].name", "already used by route 1", "a unique name");
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_file() {
    let problems = read(broken!("many_at_once")).unwrap_err();
    let found: Vec<_> = problems.list().iter().map(|problem| (problems.line(problem), &*problem.key)).collect();
    let expected = [
        (Some(1), "listen"),
        (Some(4), "server.scheme"),
        (Some(5), "server.workers"),
        (Some(8), "memory.capcity"),
        (Some(11), "cache.stale_if_error"),
        (Some(15), "route[0].ttl"),
    ];
    assert_eq!(found, expected, "\n{problems}");
}

#[test]
fn a_broken_line_does_not_hide_the_others() {
    let problems = read("listen = \"nowhere\"\n[memory]\ncapacity = 1MiB\nvariants_max = 0\n").unwrap_err();
    let lines: Vec<_> = problems.list().iter().filter_map(|problem| problems.line(problem)).collect();
    assert_eq!(lines, [1, 3, 4], "\n{problems}");
}

#[test]
fn a_value_that_cannot_be_read_contradicts_nothing() {
    check("[[route]]\ncache = \"force\"\nttl = \"soon\"\n", 3, "route[0].ttl", "is not a duration", "1s");
    check("[memory]\ncapacity = \"1B\"\nobject_bytes_max = \"512MiB\"\n", 2, "memory.capacity", "below", "1MiB");
}

#[test]
fn every_broken_file_is_in_a_table_above() {
    let source = include_str!("tests.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/broken");
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() >= 15);
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(source.contains(&format!("broken!(\"{name}\")")), "{name} is not tested");
    }
}

#[test]
fn the_reference_is_the_default() {
    assert_eq!(valid(REFERENCE), Settings::default());
    assert_eq!(valid(""), Settings::default());
}

/// Removes the comment signs from the examples of keys and tables in the reference file.
fn uncommented() -> String {
    let is_example = |line: &str| {
        let word = line.split([' ', '=']).next().unwrap_or_default();
        let is_key = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte))
        };
        line.starts_with("[[") || (line.contains(" = ") && is_key(word))
    };
    let lines = REFERENCE.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_example(rest) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn examples_in_comments_of_the_reference_are_valid() {
    let mut text = uncommented();
    if cfg!(not(feature = "otel")) {
        text = text.replace("\nendpoint = ", "\n# endpoint = ");
    }
    let checked = valid(&text);
    assert_eq!(checked.origin.url.unwrap().authority(), "127.0.0.1:3000");
    assert_eq!(checked.sites[0].hosts.len(), 2);
    assert_eq!(checked.routes[0].key.query, QueryRule::Drop(["utm_*".into()].into()));
}

#[test]
fn every_key_is_in_the_reference() {
    #[derive(Default)]
    struct KeyNames(Vec<String>);
    impl visit::Keys for KeyNames {
        fn key<T: 'static>(&mut self, name: &'static str, _: &mut T, _: kind::Kind<T>) {
            self.0.push(format!("{name} = "));
        }
        fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
            self.0.push(name.to_owned());
            body(self);
        }
        fn tables<T: Default>(
            &mut self,
            name: &'static str,
            _: &mut Vec<T>,
            _: usize,
            body: impl Fn(&mut T, &mut Self),
        ) {
            self.0.push(format!("[[{name}]]"));
            body(&mut T::default(), self);
        }
    }
    let mut names = KeyNames::default();
    Settings::default().keys(&mut names);
    assert!(names.0.len() > 60);
    for name in names.0 {
        assert!(uncommented().contains(&name), "{name} is not in config.toml");
    }
}

/// Returns the first violation of a schema by a value, as text.
fn breach(schema: &serde_json::Value, value: &serde_json::Value, path: &str) -> Option<String> {
    let no = |what: &str| Some(format!("{path}: {value} is not {what}"));
    if let Some(any) = schema["anyOf"].as_array() {
        return if any.iter().any(|schema| breach(schema, value, path).is_none()) {
            None
        } else {
            no(&schema.to_string())
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) { None } else { no(&schema["enum"].to_string()) };
    }
    if !schema["const"].is_null() {
        return if schema["const"] == *value { None } else { no(&schema["const"].to_string()) };
    }
    match schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type: {schema}")) {
        "string" if value.is_string() => None,
        "boolean" if value.is_boolean() => None,
        "integer" | "number" if value.is_number() => {
            let within = value.as_f64() >= schema["minimum"].as_f64() && value.as_f64() <= schema["maximum"].as_f64();
            if within && (value.is_u64() || schema["type"] == "number") { None } else { no("in the range") }
        }
        "array" if value.is_array() => {
            value.as_array().into_iter().flatten().find_map(|item| breach(&schema["items"], item, &format!("{path}[]")))
        }
        "object" if value.is_object() => value.as_object().into_iter().flatten().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (serde_json::Value::Null, more) if more.is_object() => breach(more, value, &path),
                (serde_json::Value::Null, _) => Some(format!("{path} is no key")),
                (known, _) => breach(known, value, &path),
            }
        }),
        other => no(other),
    }
}

#[test]
fn the_schema_accepts_the_reference_and_its_examples() {
    let schema = schema();
    for text in [REFERENCE, &uncommented(), FULL] {
        let value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        assert_eq!(breach(&schema, &value, ""), None);
    }
    for (text, part) in [
        ("listne = 1", ".listne is no key"),
        ("[server]\nworkers = 0", ".server.workers"),
        ("[cache]\nset_cookie = \"eat\"", ".cache.set_cookie"),
        ("[[route]]\nkey.query = { keep = [] }", ".route[].key.query"),
        ("[log]\nlevel = true", ".log.level"),
    ] {
        let value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        assert!(breach(&schema, &value, "").is_some_and(|breach| breach.contains(part)), "{text}");
    }
}

const FULL: &str = r#"
    listen = "[::1]:80"
    [server]
    scheme = "https"
    workers = 3
    trusted_proxies = ["10.0.0.0/8", "::1"]
    [[site]]
    hosts = ["Example.org", "*.example.net"]
    [origin]
    url = "http://App:3000/"
    host = "localhost:3000"
    pool_idle_timeout = "1.5s"
    [memory]
    capacity = "1GB"
    object_bytes_max = 12345
    [compression]
    ask_origin = "client"
    [cache]
    heuristic_fraction = 1
    ttl_by_status = { 404 = "10s", 301 = "1h" }
    [admin]
    listen = "off"
    [log]
    level = "debug"
    access = "json"
    access_file = 'a "b".log'
    [[route]]
    name = "im\"ages"
    path = "/img/**/*.png"
    host = "*.example.org"
    methods = ["GET", "REPORT"]
    cache = "force"
    ttl = "1m 30s"
    key = { query = ["page", "sort"], headers = ["Accept-Language"] }
    [[route]]
    key.query = { drop = ["utm_*"] }
    key.cookies = ["currency"]
    object_bytes_max = 0
    [[route]]
    key.query = "none"
"#;

#[test]
fn printed_settings_read_back() {
    for text in ["", FULL] {
        let checked = valid(text);
        let printed = checked.to_toml();
        assert_eq!(valid(&printed), checked, "{printed}");
        assert!(toml::from_str::<toml::Table>(&printed).is_ok(), "{printed}");
    }
}

#[test]
fn a_token_allows_other_addresses_and_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let origin = "origin.url = \"http://app\"\n[admin]\nlisten = \"0.0.0.0:9180\"\n";
    for token in ["token = \"0123456789abcdef\"".to_owned(), format!("token_file = \"{}\"", file.display())] {
        let checked = valid(&format!("{origin}{token}\n"));
        assert_eq!(checked.assemble().unwrap().admin.token, Some(admin::Token::new("0123456789abcdef")));
        assert!(checked.warnings().iter().any(|warning| warning.contains("requires the token")));
        assert!(
            !checked.to_toml().contains("0123456789abcdef") && !format!("{checked:?}").contains("0123456789abcdef")
        );
    }
    let printed = valid(&format!("{origin}token = \"0123456789abcdef\"")).to_toml();
    assert!(read(&printed).is_err(), "the placeholder is not a token");
}

#[test]
fn the_assembled_configuration_is_the_written_one() {
    let server = valid(FULL).assemble().unwrap();
    assert_eq!((server.workers, server.listen.port()), (3, 80));
    assert_eq!((server.origin.authority.as_str(), server.origin.host.as_deref()), ("app:3000", Some("localhost:3000")));
    assert_eq!(server.origin.pool_idle_timeout.as_millis(), 1500);
    assert_eq!(server.proxy.hosts, ["example.org", "*.example.net"]);
    assert!(!server.proxy.ask_identity && server.proxy.compress);
    assert_eq!(server.store.capacity, 1_000_000_000);
    assert_eq!(server.admin.listen, None);
    assert_eq!(server.access.unwrap().format, access::AccessFormat::Json);
    assert_eq!(server.route_names, ["im\"ages", "*", "*"]);
    assert!(Settings::default().assemble().is_none());
}

#[test]
fn a_collector_has_an_address_with_or_without_a_path() {
    let problem = |endpoint: &str| {
        let problems = read(&format!("[traces]\nendpoint = \"{endpoint}\"")).unwrap_err();
        problems.list()[0].what.clone()
    };
    for (endpoint, part) in [
        ("https://collector", "not available"),
        ("127.0.0.1:4318", "did you mean \"http://127.0.0.1:4318\""),
        ("http://c:4318/v1?x", "more than a path"),
        ("http://c?x", "path or query"),
        ("http:///v1", "not a host"),
        ("http://me:secret@c", "user name"),
        ("", "no scheme"),
    ] {
        assert!(problem(endpoint).contains(part), "{endpoint}: {}", problem(endpoint));
    }
    check("[traces]\nsample = 1.5", 2, "traces.sample", "above the maximum, 1.0", "0.0 to 1.0");
}

#[cfg(feature = "otel")]
#[test]
fn a_collectors_address_loses_its_trailing_slash() {
    for (written, kept) in [
        ("http://C", "http://c:80"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
        ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp"),
    ] {
        let checked = valid(&format!("[traces]\nendpoint = \"{written}\""));
        assert_eq!(checked.traces.endpoint.as_deref(), Some(kept));
        assert_eq!(valid(&checked.to_toml()), checked);
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn without_the_feature_traces_are_refused_with_the_build_command() {
    let text = "[traces]\nsample = 0.5\nendpoint = \"http://127.0.0.1:4318\"";
    check(text, 3, "traces.endpoint", "built without traces", "`cargo build --release --features otel`");
}

#[test]
fn a_small_capacity_lowers_the_object_limit_unless_it_is_set() {
    assert_eq!(valid("[memory]\ncapacity = \"64MiB\"").memory.object_bytes_max, 8 << 20);
    assert_eq!(valid("[memory]\ncapacity = \"4GiB\"").memory.object_bytes_max, 10 << 20);
}

#[test]
fn flags_override_the_file_and_its_faults() {
    let listen = Some("127.0.0.1:81".parse().unwrap());
    let flags = Flags { listen, origin: Some("http://b".parse().unwrap()), admin: Some(AdminListen::Off) };
    let text = "listen = \"127.0.0.1\"\n[origin]\nurl = \"http://a/x\"\n[admin]\nlisten = \"0.0.0.0:1\"\n";
    let checked = parse("config.toml", text, &flags).unwrap();
    assert_eq!((Some(checked.listen), checked.admin.listen), (listen, None));
    assert_eq!(checked.origin.url.unwrap().authority(), "b:80");
    assert_eq!(read(text).unwrap_err().list().len(), 3);

    let clash = Flags { listen: Some("127.0.0.1:9180".parse().unwrap()), ..Flags::default() };
    let problems = parse("config.toml", "", &clash).unwrap_err();
    assert_eq!((problems.list()[0].key.as_str(), problems.list()[0].span.clone()), ("admin.listen", None));
    assert!(problems.to_string().contains("config.toml"), "{problems}");
}

#[test]
fn likely_slips_cause_warnings() {
    let check = |text: &str, part: &str| {
        let warnings = valid(text).warnings();
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part:?} is not in {warnings:?}");
    };
    check("", "`origin.url` is not set");
    check("listen = \"0.0.0.0:80\"", "no [[site]]");
    check("server.trusted_proxies = [\"0.0.0.0/0\"]", "0.0.0.0/0");
    check("log.access_file = \"a\"", "no effect");
    check("[[route]]\n[[route]]\npath = \"/a/\"", "Route 1 matches every request");
    check("[[route]]\ncache = \"bypass\"\nttl = \"1s\"", "no effect together");
    for (first, second) in [
        ("path = \"/shop/\"", "path = \"/shop/cart/\""),
        ("path = \"/shop\"", "path = \"=/shop\""),
        ("path = \"/*.css\"", "path = \"/*.css\"\nhost = \"a\""),
        ("path = \"/a/\"\nmethods = [\"GET\", \"POST\"]", "path = \"/a/\"\nmethods = [\"POST\"]"),
    ] {
        check(&format!("[[route]]\n{first}\n[[route]]\n{second}"), "Route 2 is unreachable: route 1");
    }
    let calm = "origin.url = \"http://a\"\n[[route]]\npath = \"/a/\"";
    for second in ["path = \"/\"", "path = \"/ab\"", "path = \"=/a\"", "path = \"/*/b\"", "host = \"a\""] {
        assert_eq!(valid(&format!("{calm}\n[[route]]\n{second}")).warnings(), [""; 0], "{second}");
    }
    let narrower = "\nmethods = [\"GET\"]\n[[route]]\npath = \"/a/\"\n[[route]]\npath = \"/a/b\"\nhost = \"b\"";
    assert!(valid(&format!("{calm}{narrower}")).warnings()[0].starts_with("Route 3 is unreachable: route 2"));
}

#[test]
fn hosts_become_canonical() {
    let hosts = |text: &str| valid(&format!("[[site]]\nhosts = [{text:?}]")).sites[0].hosts.clone();
    for (text, canonical) in [
        ("Shop.example:443", "shop.example:443"),
        ("shop.example:80", "shop.example:80"),
        ("shop.example:08080", "shop.example:8080"),
        ("*.Shop.example:081", "*.shop.example:81"),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
    ] {
        assert_eq!(hosts(text), [canonical]);
    }
}

#[test]
fn malformed_bytes_cause_no_panic() {
    for text in
        ["\u{feff}listen = 1", "[[route]]\npath = 'ü", "a", "]", "[server", "\"", "é = é", "a.b.c = 1\r\n[a.b]", "\0"]
    {
        let problems = read(text).unwrap_err();
        assert!(!problems.to_string().is_empty(), "{text}");
    }
}
