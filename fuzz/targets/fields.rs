#![no_main]

#[path = "../../tests/dsl/judge_fields.rs"]
mod judge_fields;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge_fields::fields(bytes));
