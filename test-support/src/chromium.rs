//! A headless Chromium, driven over its DevTools protocol through a pipe. It resolves no name and
//! so reaches loopback only.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for something that a page does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page. Its calls block: the service under test runs on other threads.
pub struct Chromium {
    browser: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// Number of the last message.
    number: u64,
    /// The page.
    session: Option<String>,
    _profile: TempDir,
}

impl Chromium {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let options = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
                       --no-first-run \
                       --disable-background-networking --disable-component-update \
                       --remote-debugging-pipe";
        // The protocol's two descriptors are 3 and 4. A browser that hangs is ended.
        let script = format!(
            "exec timeout 300 chromium {options} '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE \
             127.0.0.1' \
             --user-data-dir={} about:blank 3<&0 4>&1",
            profile.path().display()
        );
        let mut command = Command::new("sh");
        let command = command
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut browser = command.spawn().expect("sh");
        let (to, from) =
            (browser.stdin.take(), BufReader::new(browser.stdout.take().expect("piped")));
        let mut chromium = Self { browser, to, from, number: 0, session: None, _profile: profile };
        let target = chromium.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = chromium.ask("Target.attachToTarget", &attach);
        chromium.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        chromium
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.ask("Page.navigate", &json!({ "url": url }));
        let path = url.split('#').next().unwrap_or_default();
        let loaded = format!(
            "return location.href.split('#')[0] === '{path}' && document.readyState === 'complete'"
        );
        self.until(&format!("`{url}` is loaded"), &loaded);
    }

    /// Types into the field of this name.
    pub fn type_into(&mut self, name: &str, text: &str) {
        self.run(&format!("document.querySelector('[name={name}]').focus()"));
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// Clicks with the mouse on what a CSS selector names.
    pub fn click(&mut self, css: &str) {
        self.until(
            &format!("`{css}` can be clicked"),
            &format!("return document.querySelector(`{css}`)?.disabled !== true"),
        );
        let middle = format!(
            "const at = document.querySelector(`{css}`).getBoundingClientRect(); \
             return [at.x + at.width / 2, at.y + at.height / 2]"
        );
        let at = self.run(&middle);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", &event);
        }
    }

    /// Runs the body of a function on the page and returns its result; null while the page is being
    /// replaced.
    pub fn run(&mut self, body: &str) -> Value {
        let expression = format!("(() => {{ {body} }})()");
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.ask("Runtime.evaluate", &parameters)["result"]["value"].take()
    }

    /// Waits until the page of this path shows this text somewhere.
    pub fn shows(&mut self, path: &str, text: &str) {
        let shown = format!(
            "return location.pathname === '{path}' && document.body.innerText.includes('{text}')"
        );
        self.until(&format!("`{path}` shows `{text}`"), &shown);
    }

    fn until(&mut self, what: &str, body: &str) {
        let begin = Instant::now();
        while self.run(body) != true {
            let seen = || "return [location.href, document.body?.innerText]";
            assert!(begin.elapsed() < PATIENCE, "never: {what}; {}", self.run(seen()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends one message and waits for its result; null for an error, which a page that is being
    /// replaced has.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let to = self.to.as_mut().expect("open until the end");
        to.write_all(format!("{message}\0").as_bytes())
            .expect("`chromium` of the package chromium reads");
        loop {
            let mut text = Vec::new();
            self.from.read_until(0, &mut text).expect("a message");
            assert!(!text.is_empty(), "`chromium` of the package chromium ended");
            let mut response: Value =
                serde_json::from_slice(&text[..text.len() - 1]).expect("JSON");
            if response["id"] == self.number {
                return response["result"].take();
            }
        }
    }
}

/// A browser whose pipe is closed ends.
impl Drop for Chromium {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = Command::new("kill").arg(self.browser.id().to_string()).status();
        let _ = self.browser.wait();
    }
}
