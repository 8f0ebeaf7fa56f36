#![no_main]

#[allow(dead_code, reason = "a target uses a part of the judge")]
#[path = "../../tests/edge/any_blocks.rs"]
mod any_blocks;
#[allow(dead_code, reason = "a target uses a part of the words")]
#[path = "../../tests/dsl/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(any_blocks::judge(bytes));
});
