#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (tests::decoder::Decoder::named("key_generation").read)(bytes);
});
