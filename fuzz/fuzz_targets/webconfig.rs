#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| macwatch_fuzz::webconfig::holds(input));
