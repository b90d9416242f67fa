use std::{collections::BTreeSet, fs, io, path::PathBuf, sync::Arc, thread, time::Duration};

use gpu::{
    continuation::{ContinuationRefusal, Divergence, Entry, Journal},
    stream::{Cursor, Draft, Expect, Next, Stream as _, StreamFault, StreamWriter as _},
};
use wallet::{
    chain::{ChainKey, PageHashKey},
    codec,
    digest::sha256,
    identity::{RegionId, SecretKey},
    page::PageKind,
    policy::JurisdictionPolicy,
    refusal::Refusal,
    tenant::{TenantKey, WalletSecret},
    units::{KeyEpoch, NodeId},
};

use super::*;
use crate::migration::hop;
use crate::session::request::PrefixSalt;

const WALLET: WalletAddress = WalletAddress(Digest([1; 32]));

fn region() -> RegionId {
    RegionId::try_from("eu".to_owned()).expect("a region name")
}

pub(in crate::session) fn keys() -> HolderKeys {
    let regions = BTreeSet::from([region()]);
    let policy = JurisdictionPolicy { allowed: regions.clone() };
    HolderKeys {
        epoch: KeyEpoch::new(2),
        chain: ChainKey::from_bytes([3; 32]),
        holder: HolderSeed([4; 32]),
        page_hash: PageHashKey::from_bytes([5; 32]),
        tenant_key: TenantKey::from_bytes([6; 32]),
        policy: policy.tree(&regions, &WalletSecret::from_bytes([7; 32])).expect("a known region"),
        resume_secret_hash: Digest([8; 32]),
        prefix_salt: PrefixSalt([9; 32]),
        rest_salt: [10; 32],
        creation: None,
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn session_in(folder: &Path, key: SecretKey, other: Option<SecretKey>) -> SessionDir {
    SessionsDir::open(folder, &NodeKeys::new(key, other)).expect("writable").session(WALLET)
}

fn session() -> (tempfile::TempDir, SessionDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = session_in(folder.path(), key(11), None);
    (folder, session)
}

fn hash(bytes: &[u8]) -> String {
    sha256("golden", &[bytes]).to_string()[..16].to_owned()
}

#[test]
fn the_encodings_are_pinned() {
    let hop = HopSecrets { source: NodeId::new(1), blocks: 2, prekey: PrekeySeed([3; 32]) };
    let hashes = [codec::encode(&keys()), codec::encode(&hop)].map(|bytes| hash(&bytes));
    assert_eq!(hashes, ["0b920aca47b6668f", "7dd5c9359656ca3d"]);
}

#[test]
fn evidence_is_what_the_format_says_and_outlives_the_keys_of_its_session() {
    let (_folder, session) = session();
    let token = |token| Entry::Token { first: 60, token };
    let divergences = vec![Divergence { position: 9, recorded: token(7), offered: token(8) }];
    let [one, position, first] = [1_u64, 9, 60].map(u64::to_le_bytes);
    let [kind, recorded, offered] = [1_u32, 7, 8].map(u32::to_le_bytes);
    let fields: [&[u8]; 8] = [&one, &position, &kind, &first, &recorded, &kind, &first, &offered];
    assert_eq!(codec::encode(&divergences), fields.concat());

    session.save_keys(&keys()).expect("writable");
    session.save_divergences(&divergences).expect("writable");
    session.erase_keys().expect("writable");
    assert!(session.load_keys().expect("readable").is_none());
    assert_eq!(session.load_divergences().expect("readable"), divergences);
}

#[test]
fn what_was_kept_is_read_back_and_nothing_of_it_stands_in_the_clear() {
    let (_folder, session) = session();
    session.save_keys(&keys()).expect("writable");
    let read = session.load_keys().expect("readable").expect("just written");
    assert_eq!(codec::encode(&read), codec::encode(&keys()));
    let sealed = fs::read(session.dir.join(KEYS)).expect("readable");
    for secret in [3_u8, 4, 5, 6, 9] {
        assert!(!sealed.windows(8).any(|window| window == [secret; 8]), "secret {secret} stands in the file");
    }
}

#[test]
fn what_a_node_sealed_under_its_key_of_before_is_sealed_under_its_present_one_and_opens_without_the_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    session_in(folder.path(), key(11), None).save_keys(&keys()).expect("writable");
    assert!(session_in(folder.path(), key(12), None).load_keys().is_err());
    let both = SessionsDir::open(folder.path(), &NodeKeys::new(key(11), Some(key(12)))).expect("writable");
    let session = both.session(WALLET);
    both.seal_under(key(12).public_key());
    assert!(session.load_keys().expect("readable").is_some());
    session.seal_anew().expect("writable");
    assert!(session_in(folder.path(), key(12), None).load_keys().expect("readable").is_some());
    assert!(session_in(folder.path(), key(11), None).load_keys().is_err());
}

#[test]
fn another_nodes_key_another_wallet_and_a_flipped_bit_do_not_open_the_keys() {
    let (_folder, session) = session();
    session.save_keys(&keys()).expect("writable");
    let path = session.dir.join(KEYS);
    let own = key(11);
    assert!(open_stolen_keys(&path, &own, WALLET).is_ok());
    assert!(open_stolen_keys(&path, &key(12), WALLET).is_err());
    assert!(open_stolen_keys(&path, &own, WalletAddress(Digest([2; 32]))).is_err());
    let mut sealed = fs::read(&path).expect("readable");
    sealed[40] ^= 1;
    fs::write(&path, sealed).expect("writable");
    assert!(session.load_keys().is_err());
}

#[test]
fn continuation_tail_and_journal_open_under_the_keys_of_their_epoch_only() {
    let (_folder, session) = session();
    session.save_continuation(&keys(), b"continuation").expect("writable");
    session.save_tail(&keys(), b"tail").expect("writable");
    let journal = session.create_journal(&keys()).expect("writable");
    let mut journal = Journal::open(Arc::new(journal), keys().page_hash, 2).expect("it is new");
    journal.prompt(&[1, 2, 3]).expect("writable");
    journal.token(1, 7).expect("writable");
    drop(journal);
    let read = session.load_continuation(&keys()).expect("readable");
    assert_eq!(read.as_deref(), Some(b"continuation".as_slice()));
    assert_eq!(session.load_tail(&keys()).expect("readable").as_deref(), Some(b"tail".as_slice()));
    let reopened = || session.open_journal(&keys()).expect("readable").expect("just written");
    let journal = Journal::open(Arc::new(reopened()), keys().page_hash, 2).expect("readable");
    assert_eq!(journal.tokens(), [1, 2, 3, 7]);
    drop(journal);
    for other in
        [HolderKeys { chain: ChainKey::from_bytes([33; 32]), ..keys() }, HolderKeys { rest_salt: [34; 32], ..keys() }]
    {
        assert!(session.load_continuation(&other).is_err());
        assert!(session.load_tail(&other).is_err());
        assert!(session.open_journal(&other).is_err());
    }
    let journal = Journal::open(Arc::new(reopened()), keys().page_hash, 3);
    drop(journal.expect("a later epoch"));
    let stale = Journal::open(Arc::new(reopened()), keys().page_hash, 2);
    assert!(matches!(stale, Err(ContinuationRefusal::Fenced { epoch: 3 })));
}

#[test]
fn pages_of_a_move_are_there_after_a_restart_and_more_can_follow() {
    let (_folder, session) = session();
    let draft = Draft { encrypted: true, ..Draft::bytes(PageKind::Kv) };
    let hop = hop::descriptor(Digest([9; 32]));
    for position in 0..3 {
        let incoming = session.incoming(&hop).expect("readable");
        assert_eq!(incoming.state().tail, position);
        let page = [position as u8; 100];
        stream_took(&incoming, incoming.append(4, Expect::At(position), &draft, &page)).expect("writable");
        let stale = incoming.append(3, Expect::Any, &draft, &page);
        assert!(matches!(stream_took(&incoming, stale), Err(DiskFault::NotTaken { .. })));
        let Ok(Next::Item(page, _)) = incoming.next(Cursor(position)) else { panic!("no page") };
        assert_eq!(page.payload, vec![position as u8; 100]);
    }
    let other = hop::descriptor(Digest([8; 32]));
    assert_eq!(session.incoming(&other).expect("readable").state().tail, 0, "it is of another offer");
    session.drop_incoming().expect("writable");
    assert_eq!(session.incoming(&hop).expect("readable").state().tail, 0);
}

#[test]
fn nothing_is_concluded_from_what_cannot_be_read_now_or_by_this_version() {
    let io = || io::Error::from_raw_os_error(5);
    let stream = || StreamFault::Io { file: PathBuf::new(), source: io() };
    let newer = || ContinuationRefusal::SchemaUnknown { form: 1, found: 3, latest: 2 };
    for fault in [
        DiskFault::Io { file: PathBuf::new(), source: io() },
        DiskFault::Stream { folder: PathBuf::new(), fault: stream() },
        DiskFault::Journal(stream().into()),
        DiskFault::Journal(ContinuationRefusal::RecordMalformed { position: 1, reason: "of a later version" }),
        DiskFault::Continuation(newer()),
    ] {
        assert!(fault.may_be_whole(), "{fault}");
    }
    let damaged = || StreamFault::Damaged { position: 1, reason: "its hash" };
    for fault in [
        DiskFault::Damaged { file: PathBuf::new(), refusal: Refusal::ContentMismatch },
        DiskFault::Stream { folder: PathBuf::new(), fault: damaged() },
        DiskFault::Journal(damaged().into()),
        DiskFault::Journal(ContinuationRefusal::Fenced { epoch: 3 }),
        DiskFault::Continuation(ContinuationRefusal::SignatureInvalid),
    ] {
        assert!(!fault.may_be_whole(), "{fault}");
    }
}

#[test]
fn a_stream_that_another_is_just_closing_is_waited_for() {
    let (_folder, session) = session();
    let open = session.create_journal(&keys()).expect("writable");
    let closing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        drop(open);
    });
    assert!(session.open_journal(&keys()).expect("it is closed at last").is_some());
    closing.join().expect("it ended");
}

#[test]
fn nothing_is_left_of_what_is_erased() {
    let (_folder, session) = session();
    session.save_keys(&keys()).expect("writable");
    session.save_continuation(&keys(), b"continuation").expect("writable");
    session.save_tail(&keys(), b"tail").expect("writable");
    let (journal, kv) = (session.create_journal(&keys()), session.create_kv(&keys(), Digest([1; 32])));
    let secrets = HopSecrets { source: NodeId::new(1), blocks: 2, prekey: PrekeySeed([3; 32]) };
    session.save_hop(&secrets).expect("writable");
    let incoming = session.incoming(&hop::descriptor(Digest([9; 32]))).expect("writable");
    session.erase_keys().expect("writable, though the streams are open");
    let left = fs::read_dir(&session.dir).expect("readable").count();
    assert_eq!(left, 2, "what belongs to the hop");
    session.erase_hop().expect("writable");
    assert!(!session.dir.exists());
    drop((journal, kv, incoming));
}
