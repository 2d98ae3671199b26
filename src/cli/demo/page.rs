//! Layout of the sample app's pages: the frame of every page, and the table of links on the first.

use std::fmt::Write;

/// A link on the first page.
struct Link {
    path: &'static str,
    title: &'static str,
    /// The cache headers of the app's response.
    says: &'static str,
    /// The behaviour to expect from Larder.
    expect: &'static str,
}

#[rustfmt::skip]
const LINKS: [Link; 14] = [
    Link {
        path: "/articles/1",
        title: "An article",
        says: "max-age=60, stale-while-revalidate=30 · ETag",
        expect: "First <code>fwd=uri-miss; stored</code>, then <code>hit</code> with its ttl for a minute. For half a minute after that it is served stale at once, while one request refreshes it.",
    },
    Link {
        path: "/assets/style.1.css",
        title: "Style sheet",
        says: "max-age=31536000, immutable",
        expect: "A hit for a year; a reload in the browser does not request it again.",
    },
    Link {
        path: "/assets/shelf.1.svg",
        title: "Picture",
        says: "max-age=86400 · strong ETag",
        expect: "A hit. Ranges are served from the cached copy: add <code>-r 0-99</code>.",
    },
    Link {
        path: "/api/prices",
        title: "JSON API",
        says: "s-maxage=5, stale-while-revalidate=30",
        expect: "Fresh for 5 s at the cache; then <code>detail=stale-while-revalidate</code>: nobody waits. A <code>POST</code> invalidates it.",
    },
    Link {
        path: "/slow",
        title: "Slow page",
        says: "max-age=20 · takes 1.5 s",
        expect: "1.5 s the first time, then instant for 20 s; concurrent visitors share one request.",
    },
    Link {
        path: "/search?q=jam",
        title: "Search",
        says: "max-age=30 · Vary: Accept-Language",
        expect: "One entry per query, with one variant per language.",
    },
    Link {
        path: "/big",
        title: "Big page",
        says: "max-age=300 · 200 KB of text",
        expect: "Stored as zstd; sent as zstd, br or gzip to clients that accept it: add <code>--compressed</code>.",
    },
    Link {
        path: "/flaky",
        title: "Flaky page",
        says: "max-age=3, stale-if-error=60 · every other response is a 503",
        expect: "After 3 s the app is asked again; if it fails, the last good page is served instead.",
    },
    Link {
        path: "/account",
        title: "Account",
        says: "private · Set-Cookie",
        expect: "Personal: never cached, <code>detail=private</code>.",
    },
    Link {
        path: "/checkout",
        title: "Checkout",
        says: "no-store",
        expect: "Never cached, <code>detail=no-store</code>.",
    },
    Link {
        path: "/unmarked",
        title: "Unmarked page",
        says: "no Cache-Control, no Last-Modified",
        expect: "Not cached: no lifetime given (<code>detail=no-lifetime</code>). Set <code>ttl</code> on a route.",
    },
    Link { path: "/moved", title: "Redirect", says: "301 · max-age=3600", expect: "Redirects are cached like pages." },
    Link {
        path: "/missing",
        title: "Missing page",
        says: "404 · max-age=10",
        expect: "A 404 is cached too, for its 10 s.",
    },
    Link { path: "/broken", title: "Broken page", says: "500", expect: "Forwarded unchanged, never cached." },
];

/// The articles: title and text.
#[rustfmt::skip]
pub(super) const ARTICLES: [(&str, &str); 6] = [
    ("What belongs in a larder", "Bread, cheese and jam keep well, and are needed every day. A good larder keeps at hand what was asked for before, and knows how long each item stays good."),
    ("How long jam keeps", "The maker of the jam writes a date on the jar. Before that date nobody needs to ask; after it you ask the maker, who often says that the jam is still good."),
    ("One errand for the whole house", "When ten people want bread at the same moment, one goes to the baker, and all ten share the bread. The baker sees one customer."),
    ("What is never put on the shelf", "Letters are for one reader. A letter marked private is delivered and never kept, however often it is asked for."),
    ("When the baker is closed", "Yesterday's bread is better than none, as long as the baker has not forbidden it. The bread is labelled with its true age, and the baker is tried again."),
    ("Shelves have an end", "A larder that takes in everything bursts. Items that nobody wanted for a long time make room, and nothing is larger than its share of the shelf."),
];

/// Returns a whole page. `title` and `main` are HTML; `made` is the line that says when the app
/// made the page.
pub(super) fn page(title: &str, main: &str, made: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Larder demo</title>
<link rel="icon" href="/assets/logo.1.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.1.css">
<script src="/assets/age.1.js" defer></script>
</head>
<body>
<header><div class="wide">
<a class="home" href="/"><img src="/assets/logo.1.svg" alt="" width="35" height="35">Larder demo</a>
<nav aria-label="Pages"><a href="/articles/1">Articles</a><a href="/search?q=jam">Search</a><a href="/slow">Slow</a><a href="/flaky">Flaky</a><a href="/account">Account</a><a href="/api/prices">API</a></nav>
</div></header>
<main class="wide">
<h1>{title}</h1>
{main}
<div class="made">{made}</div>
</main>
<footer><div class="wide">A sample app behind Larder. Every response says in <code>Cache-Status</code> how the request was handled.</div></footer>
</body>
</html>
"#
    )
}

/// Returns the first page's main part. `host` is the host that the client requested, so that the
/// commands go to the same server.
pub(super) fn index(host: &str) -> String {
    let host = escape(host);
    let mut rows = String::new();
    for Link { path, title, says, expect } in LINKS {
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{path}\">{title}</a></td><td>{says}</td>\
             <td>{expect}<code class=\"ask\">curl -sI '{host}{path}'</code></td></tr>"
        );
    }
    format!(
        r#"<p class="lead">Click around and reload while you watch the dashboard: the hit ratio climbs and the app gets fewer requests.</p>
<h2>Things to try</h2>
<div class="card"><table>
<thead><tr><th scope="col">Page</th><th scope="col">What the app says</th><th scope="col">What to expect (request it twice and compare Cache-Status)</th></tr></thead>
<tbody>
{rows}</tbody>
</table></div>
<h2>Follow one page</h2>
<pre><code>curl -s -o /dev/null -D - '{host}/articles/2' | grep -i -e cache-status -e age
curl -s -o /dev/null -w '%{{time_total}} s\n' '{host}/slow'
curl -s -X POST '{host}/api/prices'
curl -s -H 'Cache-Control: only-if-cached' -o /dev/null -w '%{{http_code}}\n' '{host}/articles/6'</code></pre>"#
    )
}

/// Returns the sentence that says when a page was made; `number` counts the app's responses.
pub(super) fn made(now: std::time::SystemTime, number: u64) -> String {
    let iso = humantime::format_rfc3339_seconds(now).to_string();
    let clock = iso.get(11..19).unwrap_or_default();
    format!(
        "Generated at <strong><time datetime=\"{iso}\">{clock} UTC</time></strong> (app response #<strong>{number}</strong>).\
         <small>If this does not change when you reload, the page came from the cache, or the app confirmed the cached copy.</small>"
    )
}

/// Escapes text for HTML, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Returns every path that the first page links to.
#[cfg(test)]
pub(super) fn linked_paths() -> impl Iterator<Item = &'static str> {
    LINKS.iter().map(|link| link.path)
}
