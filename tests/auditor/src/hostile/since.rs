//! What is wrong with the checkpoint that the auditor kept, or with what leads on from it.

use ledger::{
    bundle::{Bundle, Check, Since},
    testing::consortium,
    tlog::{
        Checkpoint, Note,
        note::{NOTE_BYTES_MAX, NoteSignature},
    },
};
use sha2::{Digest as _, Sha256};
use wallet::{digest::Digest, identity::Signature};

use super::{Honest, Lies, Told, Vectors, anew, epochs, first_move, spoilt};
use crate::story::Story;

/// The size of the tree that the auditor kept: no power of two, so that the path begins with a node of both trees.
const SIZE: u64 = 5;
/// A witness from outside, whose line a reader passes over.
const WITNESS: &str = "witness.example/w1";

/// A bundle that goes on from a checkpoint of `size` entries that the auditor kept.
pub(super) fn honest(name: &'static str, story: Story, size: u64) -> Honest {
    let story = story.going_on_from(size);
    let kept = Some(story.kept(tree(&story)).to_string().into_bytes());
    let told = Told { genesis: story.consortium.id(), checkpoint: kept, ..Told::default() };
    Honest { name, bytes: story.bundle().to_bytes(), told, class: "several-must-lie" }
}

/// From trees of all forms, and with lines that a reader passes over.
pub(super) fn all_honest() -> Vec<Honest> {
    let size = first_move().bundle().header.log_size;
    let mut all = vec![
        honest("from the first entry on", first_move(), 1),
        honest("from a full tree on", first_move(), 8),
        honest("from the tree before the last entry on", first_move(), size - 1),
        honest("from its own tree on", first_move(), size),
        honest("from a tree of the last epoch on", epochs::second_move(), 26),
        anew::going_on(),
    ];
    let story = story();
    let extended = Checkpoint { extensions: vec!["a line".to_owned()], ..tree(&story) };
    let mut kept = story.kept(extended);
    let line = NoteSignature { name: WITNESS.to_owned(), key_id: [7; 4], signature: vec![9; 3] };
    kept.signatures.insert(0, line);
    let told =
        Told { genesis: story.consortium.id(), checkpoint: Some(kept.to_string().into_bytes()), ..Told::default() };
    let name = "from a checkpoint with an extension and a witness on";
    all.push(Honest { name, bytes: story.bundle().to_bytes(), told, class: "several-must-lie" });
    all
}

/// A first move in a log that goes on from the tree that the auditor kept.
fn story() -> Story {
    first_move().going_on_from(SIZE)
}

/// The tree from which the story's bundle goes on.
fn tree(story: &Story) -> Checkpoint {
    let Since { size, root, .. } = story.bundle().since.expect("the story goes on from one");
    Checkpoint::new(&story.consortium.id(), size, root)
}

pub(super) fn add(all: &mut Vectors) {
    notes(all);
    texts(all);
    checkpoints(all);
    trees(all);
    growth(all);
}

impl Vectors {
    /// A bundle before an auditor who kept something.
    fn kept(&mut self, name: &str, expected: Check, bundle: &Bundle, kept: impl Into<Vec<u8>>) {
        let told = Told { genesis: first_move().consortium.id(), checkpoint: Some(kept.into()), ..Told::default() };
        self.0.push(super::Vector { name: format!("kept: {name}"), bytes: bundle.to_bytes(), told, expected });
    }
}

/// Signature lines.
fn notes(all: &mut Vectors) {
    let (story, good) = (story(), story().kept(tree(&story())));
    let bundle = story.bundle();
    let lies: Lies<Note, 9> = [
        ("cosigned by too few", |n| n.signatures.truncate(2)),
        ("one cosignature three times", |n| n.signatures = vec![n.signatures[0].clone(); 3]),
        ("a cosignature with another key's id", |n| n.signatures[0].key_id[0] ^= 1),
        ("a cosignature by another's name", |n| n.signatures[0].name = n.signatures[1].name.clone()),
        ("a cosignature with a byte too many", |n| n.signatures[0].signature.push(0)),
        ("a cosignature with a byte too few", |n| _ = n.signatures[0].signature.pop()),
        ("a cosignature of another time", |n| n.signatures[0].signature[7] ^= 1),
        ("a cosignature after the end of time", |n| n.signatures[0].signature[0] |= 0x80),
        ("a good cosignature and a bad one of one key", |n| {
            let mut bad = n.signatures[0].clone();
            bad.signature[20] ^= 1;
            n.signatures.push(bad);
        }),
    ];
    for (name, lie) in lies {
        let mut note = good.clone();
        lie(&mut note);
        all.kept(name, Check::Checkpoint, &bundle, note.to_string());
    }
    let line = &good.signatures[1].signature;
    let sample = Signature(line[8..].try_into().expect("a cosignature"));
    for (name, bad) in spoilt(sample) {
        let mut note = good.clone();
        note.signatures[1].signature = [&line[..8], &bad.0].concat();
        all.kept(&format!("a cosignature {name}"), Check::Checkpoint, &bundle, note.to_string());
    }
}

/// Files that are no signed note of a checkpoint, though a reader that is not strict may see one.
fn texts(all: &mut Vectors) {
    let bundle = story().bundle();
    let good = story().kept(tree(&story())).to_string();
    let changes: [(&str, &str, &str); 14] = [
        ("a sign before the size", "\n5\n", "\n+5\n"),
        ("a zero before the size", "\n5\n", "\n05\n"),
        ("a space after the size", "\n5\n", "\n5 \n"),
        ("another size", "\n5\n", "\n6\n"),
        ("no size", "\n5\n", "\n"),
        ("no origin", "batchmind/", "\nbatchmind/"),
        ("an origin with another prefix", "batchmind/", "Batchmind/"),
        ("carriage returns", "\n5\n", "\r\n5\r\n"),
        ("a tabulator", "\n5\n", "\t5\n"),
        ("a root without padding", "=\n\n", "\n\n"),
        ("a line that is empty", "=\n\n", "=\n\n\n"),
        ("an empty line before an extension", "=\n\n", "=\n\nmore\n\n"),
        ("hyphens before the signatures", "\u{2014} ", "- "),
        ("two spaces before a signature", "/node-0 ", "/node-0  "),
    ];
    for (name, from, to) in changes {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{name}");
        all.kept(name, Check::Checkpoint, &bundle, changed);
    }
    let unsigned = good.split_inclusive("\n\n").next().expect("a text").to_owned();
    let files: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("a text without signatures", unsigned.clone().into_bytes()),
        ("a text with an empty line of signatures", format!("{unsigned}\n").into_bytes()),
        ("a note whose last line does not end", good.trim_end().as_bytes().to_vec()),
        ("a note with a line more", format!("{good}more\n").into_bytes()),
        ("a note that is no UTF-8", [&b"\xff"[..], good.as_bytes()].concat()),
        ("a note that is too long", [good.as_bytes(), &vec![b'x'; NOTE_BYTES_MAX]].concat()),
    ];
    for (name, file) in files {
        all.kept(name, Check::Checkpoint, &bundle, file);
    }
}

/// Whole checkpoints, of something else.
fn checkpoints(all: &mut Vectors) {
    let bundle = story().bundle();
    let other = Story::of(consortium(7), &[1]).going_on_from(SIZE);
    all.kept("that of another consortium", Check::Checkpoint, &bundle, other.kept(tree(&other)).to_string());
    let renamed = Checkpoint { origin: tree(&other).origin, ..tree(&story()) };
    all.kept("another origin", Check::Checkpoint, &bundle, story().kept(renamed).to_string());
    let strange = Checkpoint { extensions: vec!["a line".to_owned()], ..tree(&story()) };
    let extended = story().kept(strange).to_string().replace("a line", "a lie");
    all.kept("another extension", Check::Checkpoint, &bundle, extended);
    let mut later = epochs::second_move().going_on_from(4);
    let told = Told { genesis: later.consortium.id(), ..Told::default() };
    let by_later = later.kept_of(1, tree(&later)).to_string().into_bytes();
    later.since = Some(26);
    let by_earlier = later.kept_of(0, tree(&later)).to_string().into_bytes();
    for (name, size, kept) in
        [("by the set of a later epoch", 4, by_later), ("by the set of an earlier epoch", 26, by_earlier)]
    {
        let bytes = epochs::second_move().going_on_from(size).bundle().to_bytes();
        let told = Told { checkpoint: Some(kept), ..told.clone() };
        all.0.push(super::Vector { name: format!("kept: cosigned {name}"), bytes, told, expected: Check::Checkpoint });
    }
    all.0.push(anew::kept_of_what_was_left());
}

/// Checkpoints that hold, from which the log does not go on.
fn trees(all: &mut Vectors) {
    let (story, good) = (story(), story().bundle());
    let end = good.header.log_size;
    let empty = Digest(Sha256::digest([]).into());
    let note = |size, root| story.kept(Checkpoint::new(&story.consortium.id(), size, root)).to_string();
    let kept = note(SIZE, tree(&story).root);
    let mut check = |name: &str, bundle: &Bundle, kept: &str| all.kept(name, Check::Consistency, bundle, kept);
    check("not asked for", &first_move().bundle(), &kept);
    check("another past", &good, &note(SIZE, Digest([9; 32])));
    check("a fork", &first_move().going_on_from(end).bundle(), &note(end, Digest([9; 32])));
    check("newer than the bundle", &good, &note(end + 1, Digest([9; 32])));
    check("newer than any log", &good, &note(u64::MAX, Digest([9; 32])));
    check("no entries", &good, &note(0, empty));
    let of_none = Since { size: 0, root: empty, path: Vec::new() };
    check("no entries, and it goes on from there", &Bundle { since: Some(of_none), ..good.clone() }, &note(0, empty));
    for size in [1, SIZE - 1, SIZE + 1, end] {
        let other = first_move().going_on_from(size).bundle();
        check(&format!("it goes on from {size} entries instead"), &other, &kept);
    }
    let false_root = Digest([9; 32]);
    let mut liar = good.clone();
    if let Some(since) = &mut liar.since {
        since.root = false_root;
    }
    check("another past, which the bundle claims too", &liar, &note(SIZE, false_root));
}

/// What leads on from the tree is wrong; also for an auditor who kept nothing.
fn growth(all: &mut Vectors) {
    let kept = story().kept(tree(&story())).to_string();
    let lies: Lies<Since, 13> = [
        ("another root", |s| s.root.0[3] ^= 1),
        ("a root of zeros", |s| s.root = Digest::ZERO),
        ("one entry more", |s| s.size += 1),
        ("one entry less", |s| s.size -= 1),
        ("no entries", |s| s.size = 0),
        ("more entries than there are", |s| s.size = u64::MAX),
        ("no path", |s| s.path.clear()),
        ("a path without its first hash", |s| _ = s.path.remove(0)),
        ("a path without its last hash", |s| _ = s.path.pop()),
        ("a path with a hash too many", |s| s.path.push(Digest::ZERO)),
        ("a path with a hash too many before", |s| s.path.insert(0, Digest::ZERO)),
        ("a path in disorder", |s| s.path.reverse()),
        ("a path longer than any", |s| s.path = vec![Digest::ZERO; 66]),
    ];
    let mut wrong: Vec<(String, Since)> = Vec::new();
    let good = story().bundle();
    let Some(since) = &good.since else { return };
    for (name, lie) in lies {
        let mut changed = since.clone();
        lie(&mut changed);
        wrong.push((name.to_owned(), changed));
    }
    for at in 0..since.path.len() {
        let mut changed = since.clone();
        changed.path[at].0[at] ^= 1;
        wrong.push((format!("hash {at} of the path changed"), changed));
    }
    for (name, since) in wrong {
        let bundle = Bundle { since: Some(since), ..good.clone() };
        all.kept(&format!("goes on by {name}"), Check::Consistency, &bundle, kept.clone());
        let name = format!("nothing kept, goes on by {name}");
        all.bytes(name, bundle.to_bytes(), story().consortium.id(), Check::Consistency);
    }
}
