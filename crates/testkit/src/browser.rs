//! A real browser: Chromium, driven over WebDriver by `chromedriver`, both of Debian.
//!
//! The few calls that a test needs are written here: HTTP/1.1 to a program on loopback, with JSON (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";

/// The key of an element in answers, fixed by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take until it shows what is waited for. Generous: a test waits so long only when it fails.
const LIMIT: Duration = Duration::from_secs(30);

/// A browser with a window of its own and no memory of others. Ends with the value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Opens one. What it downloads goes into `downloads`; without `scripts` no page can run any.
    pub fn open(downloads: &Path, scripts: bool) -> Self {
        for program in [DRIVER, CHROMIUM] {
            assert!(Path::new(program).exists(), "{program} is missing: cargo xtask prepare");
        }
        let mut command = Command::new(DRIVER);
        command.arg("--port=0").env("HOME", downloads).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = match command.spawn() {
            Ok(driver) => driver,
            Err(error) => panic!("{DRIVER} cannot be started: {error}"),
        };
        let port = port_of(&mut driver);
        let mut browser = Self { driver, port, session: String::new() };
        let javascript = if scripts { 1 } else { 2 };
        let options = json!({
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900", "--hide-scrollbars"],
            "prefs": { "profile.managed_default_content_settings.javascript": javascript },
        });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let answer = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = text(&answer["sessionId"]);
        let allowed = json!({ "behavior": "allow", "downloadPath": downloads });
        browser.chrome("Browser.setDownloadBehavior", &allowed);
        browser
    }

    /// Goes to a page, and waits until it is there.
    pub fn go(&self, url: &str) {
        self.session_call("POST", "/url", &json!({ "url": url }));
    }

    /// Where it is.
    pub fn url(&self) -> String {
        text(&self.session_call("GET", "/url", &Value::Null))
    }

    /// Runs a script in the page, and returns what it returns.
    pub fn script(&self, script: &str) -> Value {
        self.session_call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The texts of all elements that the selector names, as they are seen.
    pub fn texts(&self, css: &str) -> Vec<String> {
        let found = self.session_call("POST", "/elements", &json!({ "using": "css selector", "value": css }));
        let found = found.as_array().cloned().unwrap_or_default();
        // What has gone in the meantime has no text.
        let text_of = |element: &Value| {
            let path = format!("/element/{}/text", text(&element[ELEMENT]));
            self.try_session_call("GET", &path, &Value::Null).ok().map(|answer| text(&answer))
        };
        found.iter().filter_map(text_of).collect()
    }

    /// Waits until some element that the selector names shows this text; returns its whole text.
    pub fn wait_for(&self, css: &str, wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            let texts = self.texts(css);
            if let Some(found) = texts.iter().find(|shown| shown.contains(wanted)) {
                return found.clone();
            }
            if begun.elapsed() > LIMIT {
                let page = self.texts("body").join("\n");
                panic!("{css} does not show {wanted:?} but {texts:?} at {}; the page:\n{page}", self.url());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes into a field, in the place of what is there.
    pub fn fill(&self, css: &str, value: &str) {
        let path = format!("/element/{}", self.one(css));
        self.session_call("POST", &format!("{path}/clear"), &json!({}));
        self.session_call("POST", &format!("{path}/value"), &json!({ "text": value }));
    }

    /// Presses the button, link or summary with this text, the first of those that the selector names.
    pub fn press(&self, css: &str, label: &str) {
        self.wait_for(css, label);
        let found = self.session_call("POST", "/elements", &json!({ "using": "css selector", "value": css }));
        for element in found.as_array().into_iter().flatten() {
            let path = format!("/element/{}", text(&element[ELEMENT]));
            if text(&self.session_call("GET", &format!("{path}/text"), &Value::Null)).contains(label) {
                self.session_call("POST", &format!("{path}/click"), &json!({}));
                return;
            }
        }
        panic!("{css} with {label:?} has gone from {}", self.url());
    }

    /// Gives pages this size of a screen, in CSS pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.chrome("Emulation.setDeviceMetricsOverride", &size);
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let answer = self.chrome("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        match base64::prelude::BASE64_STANDARD.decode(text(&answer["data"])) {
            Ok(bytes) => bytes,
            Err(error) => panic!("a picture cannot be read: {error}"),
        }
    }

    fn one(&self, css: &str) -> String {
        let begun = Instant::now();
        let wish = json!({ "using": "css selector", "value": css });
        loop {
            match self.try_session_call("POST", "/element", &wish) {
                Ok(found) => return text(&found[ELEMENT]),
                Err(why) => assert!(begun.elapsed() < LIMIT, "no {css} at {}: {why}", self.url()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command of Chromium's own protocol.
    fn chrome(&self, command: &str, parameters: &Value) -> Value {
        self.session_call("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn session_call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn try_session_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.try_call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        match self.try_call(method, path, body) {
            Ok(value) => value,
            Err(why) => panic!("{method} {path} {body}: {why}"),
        }
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.send(&request).map_err(|error| error.to_string())?;
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|error| format!("no JSON came back: {error}"))?;
        match &answer["value"]["error"] {
            Value::String(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            _ => Ok(answer["value"].clone()),
        }
    }

    /// The body of the answer. The driver leaves connections open, so only the length says where it ends.
    fn send(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(LIMIT * 2))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            match line.to_ascii_lowercase().trim().split_once(':') {
                Some(("content-length", value)) => {
                    length = value.trim().parse().map_err(std::io::Error::other)?;
                }
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        Ok(body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; the driver alone would leave it.
        let _ = self.try_session_call("DELETE", "", &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port at which the driver listens: it says so when it does.
fn port_of(driver: &mut Child) -> u16 {
    let Some(output) = driver.stdout.take() else { panic!("{DRIVER} has no output") };
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    // What it says later is taken, too: it must not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    match port {
        Some(port) => port,
        None => panic!("{DRIVER} does not say at which port it listens"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
