//! A real browser without a window, driven by the WebDriver protocol.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http,
    poll::eventually,
    process::{Spawned, command, find},
    scratch::scratch,
};

/// For the driver and the browser to start, on a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// No sandbox of its own, for it may be root's; and no calls to its maker.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one tab, its own profile, and nothing from before.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Spawned,
    _dir: TempDir,
}

impl Browser {
    #[track_caller]
    pub fn start() -> Self {
        let dir = scratch();
        let mut program = command(find("chromedriver"));
        program.arg("--port=0").env("HOME", dir.path());
        let mut start = || Spawned::start("chromedriver", &mut program, dir.path());
        let mut process = start();
        let port = eventually("the port of chromedriver", START_DEADLINE, || {
            // It takes a free port of IPv6 and then the same of IPv4. Where that is another's, it ends.
            if !process.is_running() {
                process = start();
            }
            let log = process.log();
            let (_, port) = log.split_once("started successfully on port ")?;
            port.split('.').next()?.parse().ok()
        });
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([profile.as_str()]).collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": find("chromium"), "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let made = ask(driver, "POST", "/session", &wanted).expect("a browser that starts");
        let session = made["sessionId"].as_str().expect("a session").to_owned();
        let browser = Self { driver, session, _process: process, _dir: dir };
        // It shows a page of its own first; what that asks for is not what a test looks at.
        browser.open("about:blank");
        browser.requests();
        browser
    }

    /// A narrow screen that is touched.
    #[track_caller]
    pub fn as_phone(&self) {
        let screen = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.tell("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// A screen as before [`Self::as_phone`].
    #[track_caller]
    pub fn as_desktop(&self) {
        self.tell("Emulation.clearDeviceMetricsOverride", &json!({}));
    }

    /// As on a machine whose owner has asked for dark pages.
    #[track_caller]
    pub fn in_the_dark(&self) {
        let dark = json!({ "name": "prefers-color-scheme", "value": "dark" });
        self.tell("Emulation.setEmulatedMedia", &json!({ "features": [dark] }));
    }

    #[track_caller]
    fn tell(&self, what: &str, how: &Value) {
        self.call("POST", "goog/cdp/execute", &json!({ "cmd": what, "params": how }));
    }

    /// Opens an address and waits until its page is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.call("POST", "url", &json!({ "url": url }));
    }

    /// The size of the window, in pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        self.call("POST", "window/rect", &json!({ "width": width, "height": height }));
    }

    /// What this function body returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the first element that fits, as a person sees it; none as well while another
    /// page is on its way.
    #[track_caller]
    pub fn text(&self, selector: &str) -> Option<String> {
        let script = format!("return document.querySelector({selector:?})?.innerText");
        let body = json!({ "script": script, "args": [] });
        let answer = self.ask("POST", "execute/sync", &body);
        answer.ok()?.as_str().map(str::to_owned)
    }

    /// Waits until an element is there whose text holds this.
    #[track_caller]
    pub fn wait_for(&self, selector: &str, text: &str, deadline: Duration) {
        let what = format!("{text:?} in {selector}");
        eventually(&what, deadline, || self.text(selector).filter(|it| it.contains(text)));
    }

    /// Presses a key as a person does, on what has the focus.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let press = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": [
            { "type": "keyDown", "value": key }, { "type": "keyUp", "value": key },
        ]}]});
        self.call("POST", "actions", &press);
    }

    /// Keeps what the window shows as `target/screenshots/<name>.png`.
    #[track_caller]
    pub fn screenshot(&self, name: &str) {
        let shot = self.call("GET", "screenshot", &Value::Null);
        let bytes = BASE64.decode(shot.as_str().expect("a picture").as_bytes()).expect("base64");
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        fs::create_dir_all(&dir).expect("a writable target folder");
        fs::write(dir.join(format!("{name}.png")), bytes).expect("a writable target folder");
    }

    /// What the console has said since the last call: errors, blocked loads, exceptions.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let said = self.call("POST", "se/log", &json!({ "type": "browser" }));
        let said = said.as_array().expect("a list of lines");
        said.iter().map(|line| format!("{}: {}", line["level"], line["message"])).collect()
    }

    /// The addresses of all requests since the last call.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let events = self.call("POST", "se/log", &json!({ "type": "performance" }));
        let events = events.as_array().expect("a list of events").clone();
        let url = |event: &Value| {
            let message: Value = serde_json::from_str(event["message"].as_str()?).ok()?;
            let message = &message["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            sent.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        events.iter().filter_map(url).collect()
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        ask(self.driver, method, &format!("/session/{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; what is killed with the driver would leave it behind.
        let path = format!("/session/{}", self.session);
        let _ = http::try_send(self.driver, "DELETE", &path, &head(self.driver), "");
    }
}

fn head(driver: SocketAddr) -> String {
    format!("Host: {driver}\r\nContent-Type: application/json\r\n")
}

/// What the driver answers; its error is one, too.
#[track_caller]
fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = http::send(driver, method, path, &head(driver), &body);
    let value: Value = serde_json::from_str(&answer.body).expect("JSON of the driver");
    if answer.status == 200 { Ok(value["value"].clone()) } else { Err(value) }
}
