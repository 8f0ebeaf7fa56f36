#![no_main]

#[allow(dead_code, reason = "each target uses one judge")]
#[path = "../../tests/dsl/judge.rs"]
mod judge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge::path_form(bytes));
