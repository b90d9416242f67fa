//! One decoder of the table in `tests/src/decoder` under libFuzzer, with the arguments of libFuzzer. `BATCHMIND_DECODER`
//! says which one. `scripts/fuzz` builds this with coverage and runs all of them.

#![no_main]

use std::{env, sync::LazyLock};

use tests::decoder::Decoder;

static DECODER: LazyLock<&Decoder> = LazyLock::new(|| {
    let name = env::var("BATCHMIND_DECODER").expect("BATCHMIND_DECODER names a decoder");
    Decoder::named(&name)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (DECODER.read)(bytes);
});
