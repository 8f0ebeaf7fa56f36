#![no_main]

#[allow(dead_code, reason = "each target uses one judge")]
#[path = "../../tests/dsl/judge_zones.rs"]
mod judge_zones;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge_zones::state(bytes));
