#![no_main]

#[allow(dead_code, reason = "a target uses a part of the harness")]
#[path = "../../tests/edge/harness.rs"]
mod harness;
#[allow(dead_code, reason = "a target uses a part of the harness")]
#[path = "../../tests/edge/recorder.rs"]
mod recorder;
#[allow(dead_code, reason = "a target uses a part of the harness")]
#[path = "../../tests/edge/any_frames.rs"]
mod any_frames;
#[allow(dead_code, reason = "a target uses a part of the words")]
#[path = "../../tests/dsl/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(any_frames::judge(bytes));
});
