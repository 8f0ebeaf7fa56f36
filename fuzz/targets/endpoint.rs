#![no_main]

#[allow(dead_code, reason = "a target uses a part of the harness")]
#[path = "../../tests/edge/harness.rs"]
mod harness;
#[allow(dead_code, reason = "a target uses a part of the harness")]
#[path = "../../tests/edge/endpoint.rs"]
mod endpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(endpoint::judge(bytes));
});
