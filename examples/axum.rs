//! An axum service behind weir's queueing limiter: ten requests a second for each address, up to
//! twenty more wait their turn.
//!
//! `cargo run --example axum`, then
//! `curl -Z --no-progress-meter --parallel-immediate --parallel-max 30 -o /dev/null -w
//! '%{http_code} %{time_total}\n' 'localhost:3000/?[1-30]'`. A program of your own needs the
//! package `weir-limit` alone.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    routing::get,
};
use weir::limit::{Gate, Key, LimitLayer, Part, Rule, RuleSettings, Zone, ZoneSettings};

/// Address of the socket peer. Behind a proxy of yours, read the field that it writes instead.
fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

fn app() -> Result<Router, Box<dyn std::error::Error>> {
    let per_ip = Arc::new(Zone::new(ZoneSettings {
        name: "per_ip".into(),
        key: Key::of(vec![Part::ClientIp]),
        rate: "10r/s".parse()?,
        capacity: 100_000,
        exempt: Vec::new(),
    }));
    let gate = Gate::new(vec![Rule::new(per_ip, RuleSettings::burst(20))?])
        .map_err(|rules| format!("{rules} rules"))?;
    Ok(Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(LimitLayer::new(Arc::new(gate), peer)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
