#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (tests::decoder::Decoder::named("re_genesis").read)(bytes);
});
