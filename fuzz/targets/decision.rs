#![no_main]

#[path = "../../tests/dsl/bucket.rs"]
mod bucket;
#[path = "../../tests/dsl/limit.rs"]
mod dsl;
#[path = "../../tests/dsl/judge_decision.rs"]
mod judge_decision;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge_decision::decision(bytes));
