//! Every code that this crate gives out has a page in `docs/errors/`, and every page a code.

use std::{collections::BTreeSet, fs, path::Path};

/// The codes in this crate's own text, so that a new one cannot be forgotten: each literal `"N-123"`.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable file");
            let literals = text.split('"').filter(|part| is_code(part)).map(str::to_owned);
            found.extend(literals);
        }
    }
}

fn is_code(text: &str) -> bool {
    text.strip_prefix("N-").is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut given = BTreeSet::new();
    codes(&root.join("src"), &mut given);
    let folder = root.join("../docs/errors");
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .expect("docs/errors exists")
        .filter_map(|file| {
            file.expect("a readable folder").file_name().to_str()?.strip_suffix(".md").map(str::to_owned)
        })
        .filter(|code| is_code(code))
        .collect();
    assert_eq!(given, pages);
    for code in pages {
        let page = fs::read_to_string(folder.join(format!("{code}.md"))).expect("a readable page");
        assert!(page.starts_with(&format!("# {code}: ")), "{code}.md begins with its code");
    }
}
