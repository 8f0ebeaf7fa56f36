#![no_main]

use weir_test::judge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge::rewrite::rewrite(bytes));
