//! Client of the admin interface of a running Larder: its address, the token, and errors in plain
//! words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{RequestBuilder, Response, StatusCode};

use super::file::FileArgs;
use crate::config::{Flags, Settings};

/// The maximum wait for a complete response. Responses come from memory; an admin interface that
/// takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum silence on an endless response; the admin interface sends something more often.
const SILENCE: Duration = Duration::from_secs(3 * crate::admin::log::KEEPALIVE_INTERVAL.as_secs());

/// The maximum number of characters of an unexpected response that an error repeats.
const QUOTE_CHARS_MAX: usize = 2_000;

/// The flags that say which admin interface to contact, and with which token.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    pub(super) file: FileArgs,
    /// Admin address [default: from the configuration, else 127.0.0.1:9180]
    #[arg(short, long, value_name = "ADDR")]
    admin: Option<String>,
    /// Admin token [default: from the configuration]
    #[arg(long, value_name = "TOKEN", env = "LARDER_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// A client of one admin interface.
#[derive(Debug)]
pub(super) struct AdminClient {
    base: String,
    token: Option<String>,
}

impl AdminArgs {
    /// Tells whether an address was given on the command line.
    pub(super) fn names_an_address(&self) -> bool {
        self.admin.is_some()
    }

    /// Returns the client of the admin interface; flags override the configuration.
    ///
    /// # Errors
    /// A configuration that was named and cannot be read. A faulty `config.toml` that merely lies
    /// in the working directory is ignored.
    pub(super) fn resolve(&self) -> anyhow::Result<AdminClient> {
        let checked = match self.file.load(&Flags::default()) {
            Err(error) if self.file.config.is_some() => return Err(error.into()),
            loaded => loaded.unwrap_or_default(),
        };
        let configured =
            || checked.admin.listen.or(Settings::default().admin.listen).map(|addr| reachable(addr).to_string());
        let admin = self.admin.clone().or_else(configured).unwrap_or_default();
        let token = self.token.clone().or_else(|| checked.admin.secret().map(|secret| secret.expose().to_owned()));
        Ok(AdminClient::at(&admin, token))
    }
}

/// Returns the address at which this machine reaches a listener: a listener on all addresses is on
/// loopback too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

impl AdminClient {
    /// Makes a client from `host:port` or a URL.
    pub(super) fn at(admin: &str, token: Option<String>) -> Self {
        let base = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
        Self { base: base.trim_end_matches('/').to_owned(), token }
    }

    /// Returns the base URL.
    #[cfg(feature = "tui")]
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Requests `path`, and returns the response's text.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<String> {
        self.send(path, |client, url| client.get(url)).await
    }

    /// Posts JSON to `path`, and returns the response's text.
    pub(super) async fn post(&self, path: &str, content: &serde_json::Value) -> anyhow::Result<String> {
        self.send(path, |client, url| client.post(url).json(content)).await
    }

    /// Requests `path` with this query, and returns a response that may never end.
    pub(super) async fn follow(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Response> {
        let client = client().connect_timeout(TIMEOUT).read_timeout(SILENCE).build()?;
        self.request(path, client.get(format!("{}{path}", self.base)).query(query)).await
    }

    async fn send(
        &self,
        path: &str,
        make: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.base);
        let client = client().timeout(TIMEOUT).build()?;
        let response = self.request(path, make(&client, &url)).await?;
        text(&url, response).await
    }

    /// Sends a request for `path`, and returns the response if its status is a success.
    async fn request(&self, path: &str, mut request: RequestBuilder) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.base);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.with_context(|| {
            format!("cannot reach {url}: is Larder running, with this address as `listen` under [admin]?")
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            if self.token.is_some() {
                bail!("wrong admin token for {url}");
            }
            bail!("{url} needs the admin token: use --token, LARDER_ADMIN_TOKEN or --config");
        }
        let text = text(&url, response).await?;
        let message = serde_json::from_str::<serde_json::Value>(&text).ok();
        let message = message.and_then(|answer| answer["error"].as_str().map(quote)).unwrap_or_else(|| quote(&text));
        bail!("{url} answered {status}: {message}");
    }

    /// Returns the message for a response that is not `expected`.
    pub(super) fn unexpected(&self, path: &str, expected: &str, text: &str) -> String {
        format!("{}{path} is not a Larder admin interface (expected {expected}): {}", self.base, quote(text))
    }
}

/// Makes an HTTP client that uses no proxy, follows no redirect and does not retry.
fn client() -> reqwest::ClientBuilder {
    let redirect = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(redirect).retry(reqwest::retry::never())
}

async fn text(url: &str, response: Response) -> anyhow::Result<String> {
    response.text().await.with_context(|| format!("{url} aborted its response"))
}

/// Makes foreign text safe for a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn quote(text: &str) -> String {
    plain(text).chars().take(QUOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &AdminArgs) -> (String, Option<String>) {
        let admin = args.resolve().unwrap();
        (admin.base, admin.token)
    }

    #[test]
    fn flags_beat_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "[admin]\nlisten = \"0.0.0.0:99\"\ntoken = \"0123456789abcdef\"\n").unwrap();
        let args = |admin: Option<&str>, token: Option<&str>| AdminArgs {
            file: FileArgs { config: Some(file.clone()) },
            admin: admin.map(str::to_owned),
            token: token.map(str::to_owned),
        };
        let configured = ("http://127.0.0.1:99".to_owned(), Some("0123456789abcdef".to_owned()));
        assert_eq!(resolve(&args(None, None)), configured);
        let given = ("http://[::1]:1".to_owned(), Some("other".to_owned()));
        assert_eq!(resolve(&args(Some("[::1]:1"), Some("other"))), given);
        assert_eq!(resolve(&args(Some("http://h:1/"), None)).0, "http://h:1");
        let missing = FileArgs { config: Some(folder.path().join("none.toml")) };
        assert!(AdminArgs { file: missing, ..args(None, None) }.resolve().is_err());
    }
}
