//! Files of an ACME client on a listener that redirects.

use std::{fs, os::unix::fs::symlink};

use tempfile::TempDir;
use weir::downstream::listener::ListenerPolicy;

use crate::harness::{Edge, config, on_door, open_door, status};

const BELOW: &str = "/.well-known/acme-challenge";

async fn get(edge: &Edge, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    edge.exchange(&request).await
}

/// Runs a test on a listener that redirects, but for the files of this folder.
async fn on_challenges<F: Future<Output = ()>>(
    folder: &TempDir,
    test: impl FnOnce(std::rc::Rc<Edge>) -> F,
) {
    let path = Some(folder.path().join("tokens"));
    let mut config = config(&[]);
    config.listeners[0].http01.clone_from(&path);
    let door = ListenerPolicy { redirect: Some(443), http01: path, ..open_door() };
    on_door(config, door, test).await;
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("tokens")).expect("a folder");
    fs::write(folder.path().join("secret"), "secret").expect("a file");
    folder
}

#[tokio::test]
async fn http01_serves_the_file_of_a_token_and_redirects_all_else() {
    let folder = folder();
    fs::write(folder.path().join("tokens/aZ0-_"), "aZ0-_.digest").expect("a file");
    on_challenges(&folder, |edge| async move {
        let response = get(&edge, &format!("{BELOW}/aZ0-_")).await;
        assert_eq!(status(&response), 200, "{response}");
        assert!(response.ends_with("\r\n\r\naZ0-_.digest"), "{response}");
        assert!(response.contains("content-type: application/octet-stream\r\n"), "{response}");
        let head = "HEAD /.well-known/acme-challenge/aZ0-_ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let response = edge.exchange(head).await;
        assert!(status(&response) == 200 && response.ends_with("\r\n\r\n"), "{response}");
        assert!(response.contains("content-length: 12\r\n"), "{response}");
        for path in ["/", &format!("{BELOW}/"), BELOW, &format!("{BELOW}/a/b"), "/aZ0-_"] {
            assert_eq!(status(&get(&edge, path).await), 308, "{path}");
        }
        let post = format!("POST {BELOW}/aZ0-_ HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&edge.exchange(&post).await), 308);
        assert_eq!(status(&get(&edge, &format!("{BELOW}/none")).await), 404);
        assert_eq!(edge.seen.borrow().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn http01_reaches_nothing_but_files_of_the_directory() {
    let folder = folder();
    let tokens = folder.path().join("tokens");
    symlink(folder.path().join("secret"), tokens.join("out")).expect("a link");
    fs::write(tokens.join("own"), "own").expect("a file");
    symlink("own", tokens.join("in")).expect("a link");
    fs::create_dir(tokens.join("folder")).expect("a folder");
    fs::write(tokens.join("long"), "x".repeat(4_097)).expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, tokens.join("fifo"), rustix::fs::Mode::RUSR)
        .expect("a fifo");
    on_challenges(&folder, |edge| async move {
        for name in ["out", "in", "folder", "long", "fifo"] {
            assert_eq!(status(&get(&edge, &format!("{BELOW}/{name}")).await), 404, "{name}");
        }
        for name in ["../../secret", "..%2fsecret", "%6fwn", "own%00", "./own", "own/", "own;x"] {
            let response = get(&edge, &format!("{BELOW}/{name}")).await;
            assert!(matches!(status(&response), 308 | 400), "{name}: {response}");
            assert!(!response.ends_with("secret") && !response.ends_with("own"), "{response}");
        }
    })
    .await;
}
