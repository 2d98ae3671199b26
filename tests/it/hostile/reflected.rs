//! Fields that apps reflect although no key contains them: a client that could send them would
//! poison everybody's page (RFC 9111 §7.3, RFC 7239 §8.1). Only those of a trusted proxy reach the
//! origin.

use super::tap::Tap;
use super::{exchange, get};

/// The value that must not reach the origin.
const EVIL: &str = "evil.example";

/// Fields from which apps and frameworks take another host, URL, method, scheme or client.
const FIELDS: &[&str] = &[
    "Base-Url",
    "CF-Connecting-IP",
    "Client-IP",
    "CloudFront-Forwarded-Proto",
    "Fastly-Client-IP",
    "Fastly-SSL",
    "Forwarded",
    "Forwarded-For",
    "Forwarded-Host",
    "Forwarded-Proto",
    "Front-End-Https",
    "Ssl-Offloaded",
    "Surrogate-Capability",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forward-For",
    "X-Forwarded",
    "X-Forwarded-By",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-URI",
    "X-Override-URL",
    "X-Proxy-URL",
    "X-Proxy-Host",
    "X-ProxyUser-Ip",
    "X-Real-IP",
    "X-Rewrite-URL",
    "X-React-Router-Prerender-Data",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme",
    "Proxy-Host",
    "CF-IPCountry",
    "CF-Ray",
    "CF-Visitor",
    "Client_IP",
    "Fly-Client-IP",
    "Proxy-Client-IP",
    "WL-Proxy-Client-IP",
    "WL-Proxy-SSL",
    "X_Forwarded_Host",
    "X-Forwarded_Host",
    "X_Anything",
    "X-Accel-Mapping",
    "X-Accel-Redirect",
    "X-ARR-ClientCert",
    "X-ARR-SSL",
    "X-Azure-ClientIP",
    "X-Azure-FDID",
    "X-Backend-Host",
    "X-Envoy-External-Address",
    "X-Envoy-Original-Path",
    "X-Host-Override",
    "X-HTTP-DestinationURL",
    "X-HTTP-Path-Override",
    "X-Invoke-Path",
    "X-Invoke-Status",
    "X-Matched-Path",
    "X-Middleware-Prefetch",
    "X-Middleware-Subrequest",
    "X-Now-Route-Matches",
    "X-Request-URI",
    "X-Sendfile-Type",
];

/// Similar fields that apps need.
const NEEDED: &[&str] = &["X-Nextjs-Data", "X-Requested-With", "X-Api-Key", "X-Request-Id", "CDN-Loop", "Priority"];

pub(crate) fn count() -> usize {
    FIELDS.len() + NEEDED.len() + TRUSTED.len()
}

#[test]
fn fields_that_apps_reflect_do_not_reach_them() {
    let tap = Tap::start();
    let cache = tap.cache();
    let mut through = Vec::new();
    for name in FIELDS {
        for name in [(*name).to_owned(), name.to_lowercase()] {
            exchange(cache.addr(), get(&format!("{name}: {EVIL}\r\nConnection: close\r\n")).as_bytes());
            let seen = tap.take(false).unwrap();
            assert_eq!(seen.whole.len(), 1, "{name}");
            if seen.raw.windows(EVIL.len()).any(|part| part == EVIL.as_bytes()) {
                through.push(name);
            }
        }
    }
    assert!(through.is_empty(), "{through:?}");
}

#[test]
fn fields_that_apps_need_reach_them() {
    let tap = Tap::start();
    let cache = tap.cache();
    for name in NEEDED {
        exchange(cache.addr(), get(&format!("{name}: {EVIL}\r\nConnection: close\r\n")).as_bytes());
        assert_eq!(tap.take(false).unwrap().whole[0].values(&name.to_lowercase()), [EVIL.as_bytes()], "{name}");
    }
}

/// Fields that apps receive from a trusted proxy.
const TRUSTED: &[&str] = &["X-Forwarded-Host", "X-Forwarded-For", "Forwarded", "CF-Connecting-IP", "X_Custom"];

#[test]
fn fields_of_a_trusted_proxy_reach_the_app() {
    let tap = Tap::start();
    let cache = tap.cache_with(|setup| setup.config.proxy.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    for name in TRUSTED {
        exchange(cache.addr(), get(&format!("{name}: {EVIL}\r\nConnection: close\r\n")).as_bytes());
        let seen = tap.take(false).unwrap();
        assert!(seen.raw.windows(EVIL.len()).any(|part| part == EVIL.as_bytes()), "{name}");
    }
}
