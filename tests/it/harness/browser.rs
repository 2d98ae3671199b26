//! A headless Chromium, driven over its debugging protocol. The browser opens a page, clicks and
//! types as a user does, and records the page's complaints and requests.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{BOUND, eventually};

/// The names under which Chromium is found.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A response that the browser received.
#[derive(Clone, Debug)]
pub(crate) struct PageResponse {
    /// The URL that was requested.
    pub(crate) url: String,
    /// The status code.
    pub(crate) status: u64,
    /// Larder's Cache-Status; empty where the response has none.
    pub(crate) cache_status: String,
}

impl PageResponse {
    fn of(response: &Value) -> Self {
        let fields = response["headers"].as_object().into_iter().flatten();
        let said = fields.filter(|(name, _)| name.eq_ignore_ascii_case("cache-status"));
        let cache_status = said.filter_map(|(_, value)| value.as_str()).next().unwrap_or_default().to_owned();
        let url = response["url"].as_str().unwrap().to_owned();
        Self { url, status: response["status"].as_u64().unwrap(), cache_status }
    }
}

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    _profile: TempDir,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
}

impl Browser {
    /// Starts a browser that shows an empty page.
    pub(crate) fn start() -> Self {
        let profile = TempDir::new().unwrap();
        let child = Command::new(program())
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
            ])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port_file = profile.path().join("DevToolsActivePort");
        let mut address = String::new();
        eventually("the browser prints its address", || {
            address = std::fs::read_to_string(&port_file).unwrap_or_default();
            address.lines().count() == 2
        });
        let (port, path) = address.split_once('\n').unwrap();
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).unwrap();
        let mut browser = Self { child, _profile: profile, socket, session: None, calls: 0, events: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page.
    pub(crate) fn open(&mut self, url: &str) {
        let reply = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(reply["errorText"], Value::Null, "{url}");
    }

    /// Shows the page as on a screen of this size.
    pub(crate) fn screen(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Sets the preferred colour scheme of the system: `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Evaluates an expression in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let reply = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert_eq!(reply["exceptionDetails"], Value::Null, "{expression}");
        reply["result"]["value"].clone()
    }

    /// Waits until an expression is true in the current page, across navigations.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let guarded = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        let params = json!({ "expression": guarded, "returnByValue": true });
        // While the page is being left, the browser answers with an error.
        let evaluate = |browser: &mut Self| browser.try_call("Runtime.evaluate", params.clone()).ok();
        eventually(expression, || evaluate(self).is_some_and(|reply| reply["result"]["value"] == true));
    }

    /// Returns the text of the first element that `selector` finds.
    #[track_caller]
    pub(crate) fn text(&mut self, selector: &str) -> String {
        self.eval(&format!("document.querySelector({selector:?}).innerText")).as_str().unwrap().to_owned()
    }

    /// Waits for the first element that `selector` finds, and clicks its middle.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.until(&format!("document.readyState === 'complete' && document.querySelector({selector:?})"));
        let place = self.eval(&format!(
            "(() => {{ const node = document.querySelector({selector:?}); node.scrollIntoView({{ block: 'center', \
             behavior: 'instant' }}); const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + \
             box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Types text at the cursor.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses Tab until the element with this id has the focus.
    #[track_caller]
    pub(crate) fn tab_to(&mut self, id: &str) {
        const STOPS_MAX: usize = 200;
        for _ in 0..STOPS_MAX {
            self.press("Tab");
            if self.eval("document.activeElement.id") == id {
                return;
            }
        }
        panic!("Tab does not lead to {id}");
    }

    /// Presses a key: `Tab`, `Enter`, `Space`, `ArrowDown`, …
    pub(crate) fn press(&mut self, key: &str) {
        let (key, code, text) = match key {
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            "Tab" => ("Tab", 9, ""),
            "ArrowUp" => ("ArrowUp", 38, ""),
            "ArrowDown" => ("ArrowDown", 40, ""),
            other => panic!("unknown key {other}"),
        };
        let event = |kind: &str| {
            let mut event = json!({ "type": kind, "key": key, "code": if key == " " { "Space" } else { key }, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            event
        };
        self.call("Input.dispatchKeyEvent", event("keyDown"));
        self.call("Input.dispatchKeyEvent", event("keyUp"));
    }

    /// Writes a screenshot of the whole page into the folder for screenshots, which lies outside
    /// the repository.
    pub(crate) fn picture(&mut self, name: &str) -> PathBuf {
        let reply = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let folder = std::env::var_os("LARDER_SCREENSHOTS")
            .map_or_else(|| std::env::temp_dir().join("larder-screenshots"), PathBuf::from);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, decode_base64(reply["data"].as_str().unwrap())).unwrap();
        path
    }

    /// Returns the page's complaints: console errors and warnings, exceptions, refused resources.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.eval("1");
        let is_bad = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                ["error", "warning", "assert"].contains(&event["params"]["type"].as_str().unwrap())
            }
            "Log.entryAdded" => ["error", "warning"].contains(&event["params"]["entry"]["level"].as_str().unwrap()),
            _ => false,
        };
        self.events.iter().filter(is_bad).map(Value::to_string).collect()
    }

    /// Returns the URLs that the page requested.
    pub(crate) fn requested_urls(&mut self) -> Vec<String> {
        self.eval("1");
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns every response, documents and subresources alike, from the network or the browser's
    /// cache.
    pub(crate) fn responses(&mut self) -> Vec<PageResponse> {
        self.eval("1");
        let responses = self.events.iter().filter_map(|event| match event["method"].as_str()? {
            "Network.responseReceived" => Some(&event["params"]["response"]),
            // A redirect has no event of its own: the next request reports it.
            "Network.requestWillBeSent" => {
                Some(&event["params"]["redirectResponse"]).filter(|response| !response.is_null())
            }
            _ => None,
        });
        responses.map(PageResponse::of).collect()
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Makes a call. Returns the browser's error where the call fails.
    #[track_caller]
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let id = self.calls;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut reply: Value = serde_json::from_str(&text).unwrap();
            if reply["id"] != id {
                self.events.push(reply);
                continue;
            }
            return if reply["error"].is_null() { Ok(reply["result"].take()) } else { Err(reply["error"].take()) };
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that is asked to close ends its own child processes. Killing is the fallback.
        let request = json!({ "id": 0, "method": "Browser.close" });
        let is_asked = self.socket.send(Message::text(request.to_string())).is_ok();
        let mut has_ended = || matches!(self.child.try_wait(), Ok(Some(_)));
        let started = std::time::Instant::now();
        while is_asked && !has_ended() && started.elapsed() < BOUND / 4 {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        if !has_ended() {
            let _: io::Result<()> = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Finds Chromium.
fn program() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("LARDER_CHROMIUM").map(PathBuf::from);
    let found = std::env::split_paths(&paths).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    named.into_iter().chain(found).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "the dashboard's tests need Chromium. Type:\n    apt-get install chromium\nor name one in LARDER_CHROMIUM"
        )
    })
}

fn decode_base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| LETTERS.iter().position(|letter| *letter == byte).unwrap() as u32)
        .collect();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
