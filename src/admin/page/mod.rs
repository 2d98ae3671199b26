//! The dashboard: a page of a few files that are part of the program.
//!
//! The policy in the response's headers restricts the page to this listener: no script, style or
//! connection from elsewhere, nothing inline, no surrounding frame. URLs, which anybody can make
//! up, are only ever written as text.

use axum::extract::Path;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};

/// The policy of the page (CSP Level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The files under `/page/`, with their types.
const FILES: [(&str, &str, &str); 11] = [
    ("app.js", SCRIPT, include_str!("app.js")),
    ("charts.js", SCRIPT, include_str!("charts.js")),
    ("live.js", SCRIPT, include_str!("live.js")),
    ("operate.js", SCRIPT, include_str!("operate.js")),
    ("panels.js", SCRIPT, include_str!("panels.js")),
    ("show.js", SCRIPT, include_str!("show.js")),
    ("theme.js", SCRIPT, include_str!("theme.js")),
    ("uplot.js", SCRIPT, include_str!("vendor/uPlot.iife.min.js")),
    ("uplot.css", STYLE, include_str!("vendor/uPlot.min.css")),
    ("uplot-licence.txt", "text/plain; charset=utf-8", include_str!("vendor/LICENSE")),
    ("style.css", STYLE, include_str!("style.css")),
];

/// Responds with the page.
pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html"))
}

/// Responds with a file of the page; `None` if there is none of this name.
pub(super) async fn part(Path(name): Path<String>) -> Option<Response> {
    FILES.iter().find(|(known, ..)| *known == name).map(|(_, kind, text)| file(kind, text))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let fields: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (fields, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_page_is_inline_or_from_elsewhere() {
        let page = include_str!("index.html");
        for forbidden in ["src=\"http", "href=\"http", "=\"//", "style=", "onclick", "<style", "srcdoc", "javascript:"]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for tag in page.split("<script").skip(1) {
            let (head, rest) = tag.split_once('>').unwrap();
            assert!(head.contains("src=\"/page/") && rest.starts_with("</script>"), "<script{head}>");
        }
        let users = [page, include_str!("app.js"), include_str!("panels.js")];
        for (name, ..) in FILES {
            assert!(users.iter().any(|text| text.contains(name)), "{name} is not used");
        }
    }

    #[test]
    fn text_from_outside_is_written_as_text() {
        let own = FILES.iter().filter(|(name, kind, _)| *kind == SCRIPT && *name != "uplot.js");
        for (name, _, text) in own {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }
}
