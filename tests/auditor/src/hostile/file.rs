//! What is wrong with the file: its bytes, its version, its genesis document.

use ledger::bundle::{Bundle, Check, VERSION};
use wallet::{codec::encode, digest::Digest};

use super::{Vectors, first_move};
use crate::documents;

pub(super) fn add(all: &mut Vectors) {
    let story = first_move();
    let (genesis, bundle) = (story.consortium.id(), story.bundle());
    bytes(all, &bundle, genesis);
    lengths(all, &bundle, genesis);
    variants(all, &bundle, genesis);
    for (name, document, hash) in documents::broken() {
        let bytes = Bundle { consortium: document, ..bundle.clone() }.to_bytes();
        all.bytes(format!("document: {name}"), bytes, hash, Check::GenesisDocument);
    }
    for (name, document, hash) in documents::unsigned() {
        let bytes = Bundle { consortium: document, ..bundle.clone() }.to_bytes();
        all.bytes(format!("document signed: {name}"), bytes, hash, Check::GenesisSignatures);
    }
    for (name, hash) in [("zeros", Digest::ZERO), ("ones", Digest([0xff; 32])), ("another's", first_move_of_seven())] {
        all.bytes(format!("genesis hash: {name}"), bundle.to_bytes(), hash, Check::GenesisHash);
    }
}

fn first_move_of_seven() -> Digest {
    ledger::testing::consortium(7).id()
}

fn bytes(all: &mut Vectors, bundle: &Bundle, genesis: Digest) {
    let good = bundle.to_bytes();
    for length in (0..4).chain((5..good.len()).step_by(good.len() / 24)).chain([good.len() - 1]) {
        all.bytes(format!("cut after {length} bytes"), good[..length].to_vec(), genesis, Check::Decode);
    }
    for more in [1, 8, 4_096] {
        let longer = [good.clone(), vec![0; more]].concat();
        all.bytes(format!("{more} bytes too many"), longer, genesis, Check::Decode);
    }
    all.bytes("twice", [good.clone(), good.clone()].concat(), genesis, Check::Decode);
    all.bytes("larger than any bundle", vec![2; (16 << 20) + 1], genesis, Check::Decode);
    all.bytes("version alone", VERSION.to_le_bytes().to_vec(), genesis, Check::Decode);
    all.bytes("a text", b"-----BEGIN BUNDLE-----".to_vec(), genesis, Check::Version);
    for version in [0, 1, 2, 3, 4, 6, 5 << 8, u32::MAX] {
        let other = Bundle { version, ..bundle.clone() };
        all.bytes(format!("version {version}"), other.to_bytes(), genesis, Check::Version);
    }
    for lineage in [0, 2, 3, 1 << 8, u32::MAX] {
        let other = Bundle { lineage, ..bundle.clone() };
        all.bytes(format!("lineage {lineage}"), other.to_bytes(), genesis, Check::Lineage);
    }
}

/// Lengths that are not those of what follows.
fn lengths(all: &mut Vectors, b: &Bundle, genesis: Digest) {
    let good = b.to_bytes();
    let certificate =
        encode(&(b.certificate.kind, b.certificate.view, b.certificate.height, b.certificate.block)).len();
    let after = |parts: &[usize]| 8 + parts.iter().sum::<usize>();
    let (consortium, hand_overs, header) =
        (encode(&b.consortium).len(), encode(&b.hand_overs).len(), encode(&b.header).len());
    let (whole, carriers) = (encode(&b.certificate).len(), encode(&b.carriers).len());
    let (members, entries) = (encode(&b.members).len(), encode(&b.entries).len());
    let (inclusion, decision) = (encode(&b.inclusion).len(), encode(&b.decision).len());
    let (later, record) = (encode(&b.later).len(), encode(&b.record).len());
    let before =
        [consortium, hand_overs, header, whole, carriers, members, entries, inclusion, decision, later, record];
    let places = [
        ("consortium", 8),
        ("hand-overs", after(&before[..1])),
        ("signatures", after(&before[..3]) + certificate),
        ("carriers", after(&before[..4])),
        ("members", after(&before[..5])),
        ("entries", after(&before[..6])),
        ("inclusion", after(&before[..7])),
        ("decision", after(&before[..8])),
        ("later", after(&before[..9])),
        ("record", after(&before[..10])),
        ("record path", after(&before)),
        ("prekey path", after(&before) + encode(&b.record_path).len()),
    ];
    for (name, at) in places {
        let found = u64::from_le_bytes(good[at..at + 8].try_into().expect("eight bytes"));
        for (how, length) in [
            ("one more", found + 1),
            ("one less", found.wrapping_sub(1)),
            ("2^32 more", found + (1 << 32)),
            ("2^63 more", found + (1 << 63)),
            ("as many as there are numbers", u64::MAX),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
            all.bytes(format!("length of {name}: {how}"), bytes, genesis, Check::Decode);
        }
    }
}

/// Numbers of variants that do not exist, and flags that are neither 0 nor 1.
fn variants(all: &mut Vectors, bundle: &Bundle, genesis: Digest) {
    let good = bundle.to_bytes();
    let mut patch = |name: &str, needle: &[u8], at: usize, byte: u8| {
        let start = good.windows(needle.len()).position(|window| window == needle).expect("it is in the bundle");
        let mut bytes = good.clone();
        bytes[start + at] = byte;
        all.bytes(name, bytes, genesis, Check::Decode);
    };
    patch("a certificate of a third kind", &encode(&bundle.certificate), 0, 2);
    for placed in &bundle.entries {
        let (entry, body) = (encode(&placed.entry), encode(&placed.entry.body));
        let name = placed.entry.body.event.name();
        patch(&format!("{name} of no kind"), &entry, 52, 12);
        patch(&format!("{name} of a far kind"), &entry, 55, 1);
        patch(&format!("{name} signed in a third way"), &entry, body.len(), 2);
        let holder = if placed.entry.holder_signature.is_some() { 65 } else { 1 };
        patch(&format!("{name} with half a holder's signature"), &entry, entry.len() - holder, 2);
        if let Some(opening) = opening(&placed.entry.body.event) {
            patch(&format!("{name} that half allows"), &opening, 10, 2);
            patch(&format!("{name} to a region in capitals"), &opening, 8, b'E');
            patch(&format!("{name} to a region that is no UTF-8"), &opening, 9, 0x80);
            patch(&format!("{name} to a region without a name"), &opening, 0, 0);
            patch(&format!("{name} to a region with a long name"), &opening, 0, 17);
        }
    }
}

fn opening(event: &ledger::event::Event) -> Option<Vec<u8>> {
    match event {
        ledger::event::Event::WalletCreated(created) => Some(encode(&created.opening)),
        ledger::event::Event::MigrationOffered(offer) => Some(encode(&offer.opening)),
        _ => None,
    }
}
