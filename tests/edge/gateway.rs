//! Clients that a container network hides: it is told once, and only when they are most.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Edge, GATEWAY, on_edge};

/// What this thread logs, from here on.
fn listen() -> (tracing::subscriber::DefaultGuard, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let to = Arc::clone(&heard);
    let writer = move || Heard(Arc::clone(&to));
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    (tracing::subscriber::set_default(subscriber), heard)
}

struct Heard(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// So many requests on one connection.
async fn ask(edge: &Edge, client: &str, times: usize) {
    let mut connection = edge.connect_from(client);
    let mut answers = Vec::new();
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let all = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(times - 1) + last;
    connection.write_all(all.as_bytes()).await.expect("an open pipe");
    connection.read_to_end(&mut answers).await.expect("an open pipe");
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count(), times);
}

#[tokio::test(start_paused = true)]
async fn hidden_clients_are_told_of_once_and_others_never() {
    let (_listening, heard) = listen();
    let told = || {
        String::from_utf8_lossy(&heard.lock().expect("no panic")).matches("trusted_proxies").count()
    };
    on_edge(&[], |edge| async move {
        ask(&edge, GATEWAY, 50).await;
        ask(&edge, "192.0.2.7", 50).await;
        assert_eq!(told(), 0, "half of them");
        ask(&edge, "192.0.2.7", 49).await;
        ask(&edge, GATEWAY, 51).await;
        assert_eq!(told(), 1, "most of them");
        ask(&edge, GATEWAY, 200).await;
        assert_eq!(told(), 1, "once is enough");
    })
    .await;
}
