//! Writes what each decoder takes as the seed corpus of its fuzz target: `cargo run -p tests --bin corpus`.

use std::{fs, io, path::Path};

use tests::decoder::DECODERS;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for decoder in &DECODERS {
        let folder = corpus.join(decoder.name);
        fs::create_dir_all(&folder)?;
        for (i, sample) in (decoder.samples)().iter().enumerate() {
            fs::write(folder.join(format!("sample-{i}")), sample)?;
        }
    }
    Ok(())
}
