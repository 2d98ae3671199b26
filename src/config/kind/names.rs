//! Kinds of values that HTTP names: addresses, hosts, methods, header names, paths, statuses, query
//! parameters.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use serde_json::json;
use toml::de::{DeTable, DeValue};

use super::definition::{Fault, Kind, Written, fault, wrong_type};
use super::values::{duration, duration_text, text};
use crate::config::origin_url::OriginUrl;
use crate::config::secret::{self, Secret};
use crate::key::canonical_host;
use crate::route::{PathPattern, QueryRule};
use crate::syntax::token;

/// Makes the kind of a type with a parser and a printed form of its own.
fn from_str_kind<T: FromStr + Display + 'static>(noun: &'static str, allowed: &'static str) -> Kind<T> {
    Kind::string(allowed, move |text| text.parse().map_err(|_| format!("{text:?} is not {noun}")), T::to_string)
}

/// An address to listen on.
pub(in crate::config) fn address() -> Kind<SocketAddr> {
    from_str_kind("an IP address with a port", r#"an IP address with a port, such as "127.0.0.1:8080" or "[::1]:8080""#)
}

/// A network or a single address.
pub(in crate::config) fn network() -> Kind<IpNet> {
    Kind::string(
        r#"a network or an address, such as "10.0.0.0/8" or "::1""#,
        |text| {
            text.parse::<IpAddr>()
                .map(IpNet::from)
                .or_else(|_| text.parse::<IpNet>())
                .map_err(|_| format!("{text:?} is neither a network nor an address"))
        },
        IpNet::to_string,
    )
}

/// A secret. The printed form does not read back: the output of `larder check` may end up anywhere.
pub(in crate::config) fn secret() -> Kind<Secret> {
    Kind::string(secret::ALLOWED, Secret::parse, |_| "(not shown)".to_owned())
}

/// A host with or without a port, in lower case; or `*.` and a domain.
pub(in crate::config) fn host_pattern() -> Kind<String> {
    Kind::string(
        r#"a host such as "example.org" or "[::1]", or "*.example.org" for every host below it; a port matters only if written"#,
        |text| {
            let host = text.strip_prefix("*.").unwrap_or(text);
            let canonical =
                host_and_port(host).and_then(|host| canonical_host(host).map_err(|error| error.to_string()))?;
            Ok(if host.len() < text.len() { format!("*.{canonical}") } else { canonical })
        },
        String::clone,
    )
}

/// Returns `text` if it is a host with or without a port, and nothing else.
fn host_and_port(text: &str) -> Result<&str, String> {
    match format!("http://{text}").parse::<OriginUrl>() {
        Ok(_) if !text.ends_with('/') => Ok(text),
        _ => Err(format!("{text:?} is not a host")),
    }
}

/// A host with or without a port.
pub(in crate::config) fn authority() -> Kind<String> {
    Kind::string(
        r#"a host with or without a port, such as "example.org" or "localhost:3000""#,
        |text| host_and_port(text).map(str::to_ascii_lowercase),
        String::clone,
    )
}

/// The origin's address.
pub(in crate::config) fn origin_url() -> Kind<OriginUrl> {
    Kind::string(OriginUrl::ALLOWED, str::parse, OriginUrl::to_string)
}

/// The address of a trace collector, with or without a path; a trailing `/` is dropped.
pub(in crate::config) fn collector() -> Kind<String> {
    Kind::string(
        r#"http://host[:port] with or without a path, such as "http://127.0.0.1:4318""#,
        |text| {
            if text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
                return Err(
                    "https to the collector is not available in this version: run a collector on this machine \
                            or network that forwards the spans"
                        .into(),
                );
            }
            let start = text.find("://").map_or(0, |at| at + 3);
            let (place, path) = text.split_at(text[start..].find('/').map_or(text.len(), |at| start + at));
            let is_path = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
            if !path.bytes().all(is_path) {
                return Err(format!("{path:?} is more than a path"));
            }
            Ok(format!("{}{}", place.parse::<OriginUrl>()?, path.trim_end_matches('/')))
        },
        String::clone,
    )
}

/// A method. Methods are case-sensitive (RFC 9110 §9.1), so `get` is almost certainly a slip.
pub(in crate::config) fn method() -> Kind<Method> {
    Kind::string(
        r#"a method in upper case, such as "GET" or "POST""#,
        |text| match Method::from_bytes(text.as_bytes()) {
            Ok(_) if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                Err(format!("{text:?} is in lower case; did you mean {:?}?", text.to_ascii_uppercase()))
            }
            Ok(method) => Ok(method),
            Err(_) => Err(format!("{text:?} is not a method")),
        },
        Method::to_string,
    )
}

/// The name of a header.
pub(in crate::config) fn field_name() -> Kind<HeaderName> {
    from_str_kind("a header name", r#"the name of a header, such as "accept-language""#)
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
pub(in crate::config) fn cookie_name() -> Kind<String> {
    Kind::string(
        r#"the name of a cookie, such as "session""#,
        |text| {
            let is_token = |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&byte);
            if text.is_empty() || !text.bytes().all(is_token) {
                return Err(format!("{text:?} is not the name of a cookie"));
            }
            Ok(text.to_owned())
        },
        String::clone,
    )
}

/// A protocol that a connection may switch to (RFC 9110 §7.8), in lower case.
///
/// Versions of HTTP and TLS are refused: RFC 9113 §3.1 has dropped h2c, and forwarding one would
/// open a path around the cache.
pub(in crate::config) fn protocol() -> Kind<String> {
    Kind::string(
        r#"a protocol of the Upgrade header, such as "websocket" or "tcp"; not HTTP or TLS"#,
        |text| {
            let (name, version) = text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
            let is_token = |part: &str| !part.is_empty() && part.bytes().all(token::is_token_byte);
            if !is_token(name) || !version.is_none_or(is_token) {
                return Err(format!("{text:?} is not the name of a protocol"));
            }
            let name = name.to_ascii_lowercase();
            match (&*name, version) {
                ("*", _) => Err("\"*\" is not a wildcard; name each protocol".to_owned()),
                ("websocket", Some(_)) => Err(format!("{text:?} has a version; write \"websocket\"")),
                _ if ["h2", "h3", "http", "spdy", "tls"].iter().any(|own| name.starts_with(own)) => {
                    Err(format!("{text:?} would bypass the cache, so it cannot be allowed"))
                }
                _ => Ok(text.to_ascii_lowercase()),
            }
        },
        String::clone,
    )
}

/// The path of a route: a prefix, an exact path or a glob.
pub(in crate::config) fn path_pattern() -> Kind<String> {
    Kind::string(
        r#"a prefix such as "/shop/", an exact path such as "=/shop", or a glob such as "/img/**/*.png""#,
        |text| PathPattern::parse(text).map(|_| text.to_owned()),
        String::clone,
    )
}

/// Lifetimes by status: a table of status codes and durations.
pub(in crate::config) fn ttl_by_status(range: RangeInclusive<Duration>) -> Kind<Vec<(StatusCode, Duration)>> {
    let each = duration(range);
    let allowed = format!("a table of status codes (200 to 599), each with {}", each.allowed());
    let read = move |written: &Written<'_>| {
        let DeValue::Table(table) = written.get_ref() else {
            return Err(fault(written, wrong_type("a table", written.get_ref())));
        };
        let (mut ttls, mut faults) = (Vec::new(), Vec::new());
        for (key, value) in table.iter() {
            let status = key.get_ref().parse::<u16>().ok().filter(|code| (200..600).contains(code));
            match status.and_then(|code| StatusCode::from_u16(code).ok()) {
                Some(status) => match each.read(value) {
                    Ok(ttl) => ttls.push((status, ttl)),
                    Err(found) => faults.extend(found),
                },
                None => faults.push(Fault {
                    span: key.span(),
                    what: format!("{:?} is not a status code between 200 and 599", key.get_ref()),
                }),
            }
        }
        if faults.is_empty() { Ok(ttls) } else { Err(faults) }
    };
    Kind::new(allowed, read, |ttls: &Vec<(StatusCode, Duration)>| {
        let pairs = ttls.iter().map(|(status, ttl)| (status.as_str().to_owned(), duration_text(ttl).into()));
        Some(toml::Value::Table(pairs.collect()))
    })
    .with_schema(json!({ "type": "object", "additionalProperties": { "type": "string" } }))
}

/// The rule that says which query parameters are part of the key.
pub(in crate::config) fn query_rule() -> Kind<QueryRule> {
    const PATTERNS_MAX: usize = 100;
    let names = text(200).list(PATTERNS_MAX);
    let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
    let read = move |written: &Written<'_>| match written.get_ref() {
        DeValue::String(word) if word == "all" => Ok(QueryRule::All),
        DeValue::String(word) if word == "none" => Ok(QueryRule::None),
        DeValue::Array(_) => names.read(written).map(|keep| QueryRule::Keep(boxed(keep))),
        DeValue::Table(table) => match only(table, "drop") {
            Some(dropped) => names.read(dropped).map(|dropped| QueryRule::Drop(boxed(dropped))),
            None => Err(fault(written, "expected exactly one key, `drop`".into())),
        },
        found => Err(fault(written, format!("{} is not a rule", describe(found)))),
    };
    let list = json!({ "type": "array", "maxItems": PATTERNS_MAX, "items": { "type": "string" } });
    let dropped = json!({ "type": "object", "additionalProperties": false, "properties": { "drop": list }, "required": ["drop"] });
    let schema = json!({ "anyOf": [{ "enum": ["all", "none"] }, list, dropped] });
    let strings = |names: &[Box<str>]| toml::Value::Array(names.iter().map(|name| (&**name).into()).collect());
    Kind::new(
        r#""all", "none", a list of names to keep, or { drop = ["utm_*", …] }; `*` matches any characters"#,
        read,
        move |rule: &QueryRule| {
            Some(match rule {
                QueryRule::All => "all".into(),
                QueryRule::None => "none".into(),
                QueryRule::Keep(names) => strings(names),
                QueryRule::Drop(names) => {
                    toml::Value::Table([("drop".to_owned(), strings(names))].into_iter().collect())
                }
            })
        },
    )
    .with_schema(schema)
}

/// Returns the value of `name` if it is the table's only key.
fn only<'t, 'd>(table: &'t DeTable<'d>, name: &str) -> Option<&'t Written<'d>> {
    table.get(name).filter(|_| table.len() == 1)
}

fn describe(found: &DeValue<'_>) -> String {
    found.as_str().map_or_else(|| found.type_str().to_owned(), |text| format!("{text:?}"))
}
