//! Writes what each decoder takes as a seed corpus, into a folder of its name, and prints the names: `corpus FOLDER`. See
//! `scripts/fuzz`.

use std::{env, fs, io, path::PathBuf};

use tests::decoder::DECODERS;

fn main() -> io::Result<()> {
    let corpus = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("usage: corpus FOLDER"))?;
    for decoder in &DECODERS {
        let folder = corpus.join(decoder.name);
        fs::create_dir_all(&folder)?;
        for (i, sample) in (decoder.samples)().iter().enumerate() {
            fs::write(folder.join(format!("sample-{i}")), sample)?;
        }
        println!("{}", decoder.name);
    }
    Ok(())
}
