//! The files in `golden/` are pinned: changing one is a change of format.

use std::{collections::BTreeMap, fs, io, path::Path};

use auditor::vectors;

#[test]
fn the_bytes_of_bundles_and_state_proofs_are_pinned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.expect("readable");
        (entry.file_name().into_string().expect("plain names"), fs::read(entry.path()).expect("readable"))
    };
    let mut pinned: BTreeMap<String, Vec<u8>> = fs::read_dir(folder).expect("it is there").map(read).collect();
    for (name, bytes) in vectors::one_for_each_check() {
        assert!(pinned.remove(&name).as_ref() == Some(&bytes), "{name} is another one, or missing");
    }
    assert!(pinned.is_empty(), "nobody builds {:?}", pinned.keys());
}
