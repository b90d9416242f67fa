//! Every decoder that reads bytes which somebody else wrote: a peer, a file, an auditor's mail.
//!
//! One table serves `tests/fuzz`, which looks for inputs with coverage, and the test
//! `tests/it/decoders.rs`, which tries a fixed number of damaged inputs on stable Rust. Two things must hold for every
//! input: no panic, and what decodes encodes to the same bytes.

mod files;
mod samples;

use std::{collections::BTreeSet, fmt::Debug};

use genesis::Document;
use gpu::{
    continuation::{Body, ContinuationHead, DecodeBody, Entry as JournalEntry, Record, SignedContinuation, v1},
    dispatch::{Event, Request},
};
use ledger::{
    archive::{self, ArchiveReader},
    block::{Block, Header},
    bundle::{self, Bundle},
    certificate::Certificate,
    event::Entry,
    evidence::{EvidenceFile, Receipt},
    hand_over::{HandOver, re_geneses},
    re_genesis::ReGenesisFile,
    shell::{
        final_store::StoredHeader,
        log_store::Chained,
        transport::{PeerReply, PeerRequest},
        vote_record::Votes,
    },
    snapshot::{Blocks, ChunkPath, HEADERS_MAX, Offer},
    state_proof::{self, StateProofFile},
    tlog::{Checkpoint, ConsistencyProof, CosignedCheckpoint, LogProof, Note, TilePath},
    tree::{partial::PartialTree, parts::Part},
    vote::Vote,
};
use node::{
    checkpoint::messages::CosignReply,
    joining::request::{Asked, SignedRequest},
    keys::token_uri::TokenUri,
    network::{
        message::PeerMessage,
        stream::message::{StreamReply, StreamRequest},
    },
    peer::{SessionReply, SessionRequest},
    session::{start::SessionTerms, tokens::TokenPayload},
};
use scheduler::{
    decision::{Cause, Decision},
    record::BatchRecord,
};
use serde::{Serialize, de::DeserializeOwned};
use wallet::{
    codec,
    digest::Digest,
    gate::{
        Gate, GateCiphertext, Partial, Release, SealedRelease, SignedRelease,
        dkg::{Notice, SignedPackage, Transcript},
    },
    keystore::wrapped::{Work, WrappedKey},
    page::{HEAD_BYTES, Page, PageHead},
    policy::PolicyTree,
    seal::envelope::{OfferSecrets, TailContents},
    ticket::SignedTicket,
    units::Timestamp,
};

/// A decoder under test.
pub struct Decoder {
    /// What `scripts/fuzz` calls it.
    pub name: &'static str,
    /// Decodes; whether the bytes were taken. Panics if what was taken does not encode to the same bytes.
    pub read: fn(&[u8]) -> bool,
    /// Inputs that it takes, to be damaged.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub static DECODERS: [Decoder; 51] = [
    Decoder { name: "genesis_text", read: genesis_text, samples: samples::ledger::genesis_texts },
    Decoder { name: "genesis_bytes", read: genesis_bytes, samples: samples::ledger::genesis_bytes },
    Decoder { name: "config", read: files::config, samples: samples::ledger::configs },
    Decoder { name: "wrapped_key", read: wrapped_key, samples: samples::keys::wrapped_keys },
    Decoder { name: "token_uri", read: token_uri, samples: samples::keys::token_uris },
    Decoder { name: "entry", read: canonical::<Entry>, samples: samples::ledger::entries },
    Decoder { name: "governance_event", read: canonical::<ledger::event::Event>, samples: samples::ledger::events },
    Decoder { name: "block", read: canonical::<Block>, samples: samples::ledger::blocks },
    Decoder { name: "vote", read: canonical::<Vote>, samples: samples::ledger::votes },
    Decoder { name: "certificate", read: canonical::<Certificate>, samples: samples::ledger::certificates },
    Decoder { name: "bundle", read: bundle, samples: samples::ledger::bundles },
    Decoder { name: "kept_checkpoint", read: kept_checkpoint, samples: samples::tlog::kept_checkpoints },
    Decoder { name: "state_proof", read: state_proof, samples: samples::ledger::state_proofs },
    Decoder { name: "re_genesis", read: re_genesis, samples: samples::ledger::re_geneses },
    Decoder { name: "evidence", read: evidence, samples: samples::ledger::evidence },
    Decoder { name: "partial_state", read: partial_state, samples: samples::ledger::partial_states },
    Decoder { name: "receipt", read: receipt, samples: samples::ledger::receipts },
    Decoder { name: "archive", read: archive, samples: samples::ledger::archives },
    Decoder { name: "vote_record", read: canonical::<Votes>, samples: samples::stored::vote_records },
    Decoder { name: "raft_log", read: canonical::<Chained>, samples: samples::stored::raft_log },
    Decoder { name: "stored_header", read: canonical::<StoredHeader>, samples: samples::stored::stored_headers },
    Decoder { name: "node_request", read: node_request, samples: samples::snapshot::requests },
    Decoder { name: "snapshot_offer", read: canonical::<Offer>, samples: samples::snapshot::offers },
    Decoder { name: "snapshot_chunk", read: snapshot_chunk, samples: samples::snapshot::chunks },
    Decoder { name: "snapshot_path", read: snapshot_path, samples: samples::snapshot::paths },
    Decoder { name: "checkpoint", read: checkpoint, samples: samples::tlog::checkpoints },
    Decoder { name: "log_proof", read: log_proof, samples: samples::tlog::log_proofs },
    Decoder { name: "consistency_proof", read: consistency_proof, samples: samples::tlog::consistency_proofs },
    Decoder { name: "tile_path", read: tile_path, samples: samples::tlog::tile_paths },
    Decoder { name: "peer_message", read: peer_message, samples: samples::peers::peer_messages },
    Decoder { name: "ledger_request", read: canonical::<PeerRequest>, samples: samples::ledger::ledger_requests },
    Decoder { name: "ledger_reply", read: canonical::<PeerReply>, samples: samples::ledger::ledger_replies },
    Decoder { name: "session_request", read: canonical::<SessionRequest>, samples: samples::peers::session_requests },
    Decoder { name: "session_reply", read: canonical::<SessionReply>, samples: samples::peers::session_replies },
    Decoder { name: "token", read: canonical::<TokenPayload>, samples: samples::peers::token_payloads },
    Decoder { name: "cosign_reply", read: cosign_reply, samples: samples::peers::cosign_replies },
    Decoder { name: "stream_request", read: canonical::<StreamRequest>, samples: samples::peers::stream_requests },
    Decoder { name: "stream_reply", read: stream_reply, samples: samples::peers::stream_replies },
    Decoder { name: "page", read: page, samples: samples::batch::pages },
    Decoder { name: "envelope", read: envelope, samples: samples::batch::envelopes },
    Decoder { name: "ticket", read: canonical::<SignedTicket>, samples: samples::batch::tickets },
    Decoder { name: "gate", read: gate, samples: samples::gate::gates },
    Decoder { name: "release", read: release, samples: samples::gate::releases },
    Decoder { name: "key_generation", read: key_generation, samples: samples::gate::key_generation },
    Decoder { name: "continuation", read: continuation, samples: samples::batch::continuations },
    Decoder { name: "journal", read: canonical::<Record>, samples: samples::batch::journal_records },
    Decoder { name: "moved_journal", read: canonical::<Vec<JournalEntry>>, samples: samples::batch::moved_journals },
    Decoder { name: "dispatch", read: dispatch, samples: samples::disk::messages },
    Decoder { name: "segment", read: segment, samples: samples::disk::segments },
    Decoder { name: "record", read: record, samples: samples::batch::records },
    Decoder { name: "decision", read: decision, samples: samples::batch::decisions },
];

impl Decoder {
    /// The decoder of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(name: &str) -> &'static Self {
        DECODERS.iter().find(|decoder| decoder.name == name).unwrap_or_else(|| panic!("no decoder is named {name}"))
    }
}

fn canonical<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
    let Ok(value) = codec::decode::<T>(bytes) else { return false };
    assert_eq!(codec::encode(&value), bytes, "{value:?}");
    // What is logged of a value from outside must not panic either.
    assert!(!format!("{value:?}").is_empty());
    true
}

fn gate(bytes: &[u8]) -> bool {
    canonical::<Gate>(bytes) || canonical::<GateCiphertext>(bytes) || canonical::<Partial>(bytes)
}

fn release(bytes: &[u8]) -> bool {
    canonical::<Release>(bytes) || canonical::<SignedRelease>(bytes) || canonical::<SealedRelease>(bytes)
}

fn key_generation(bytes: &[u8]) -> bool {
    canonical::<Notice>(bytes) || canonical::<SignedPackage>(bytes) || canonical::<Transcript>(bytes)
}

/// A text has many spellings: what is read and written comes back as the same document.
fn genesis_text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(document) = genesis::parse(text) else { return false };
    assert_eq!(genesis::parse(&document.to_toml()).as_ref(), Ok(&document));
    drop(document.verify());
    true
}

/// What is read is not opened: that takes work, which the text may not ask too much of.
fn wrapped_key(bytes: &[u8]) -> bool {
    let Some(key) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<WrappedKey>().ok()) else {
        return false;
    };
    let work = key.work();
    assert!(u64::from(work.memory_kib()) * u64::from(work.passes()) <= Work::WRITTEN_KIB_MAX);
    assert_eq!(key.to_string().as_bytes(), bytes);
    true
}

/// Percent-encoding has several spellings: what is read and written is read again as the same name.
fn token_uri(bytes: &[u8]) -> bool {
    let Some(uri) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<TokenUri>().ok()) else {
        return false;
    };
    assert_eq!(uri.to_string().parse(), Ok(uri));
    true
}

fn genesis_bytes(bytes: &[u8]) -> bool {
    let Ok(document) = Document::from_bytes(bytes) else { return false };
    assert_eq!(document.to_bytes(), bytes);
    drop(document.verify());
    true
}

/// The verifier must stand whatever a stranger mails to an auditor.
fn bundle(bytes: &[u8]) -> bool {
    // Named or not, what leads to a re-genesis is looked at.
    let named = codec::decode::<Bundle>(bytes).map(|bundle| re_geneses(&bundle.hand_overs)).unwrap_or_default();
    let kept = samples::tlog::kept_checkpoints();
    for genesis in [Digest::ZERO, samples::ledger::consortium().id()] {
        for checkpoint in [None, kept.first().map(Vec::as_slice)] {
            let verdict = judged(bytes, &genesis, &named, checkpoint);
            assert!(verdict.is_ok() || verdict.is_err_and(|failure| !failure.to_string().is_empty()));
        }
    }
    canonical::<Bundle>(bytes)
}

/// What an auditor kept of an earlier day, beside a whole bundle: from any other tree than that of its own log it does not
/// go on.
fn kept_checkpoint(bytes: &[u8]) -> bool {
    let (whole, genesis) = (samples::ledger::bundles(), samples::ledger::consortium().id());
    match judged(&whole[0], &genesis, &[], Some(bytes)) {
        Ok(report) => report.pinned == Some(samples::ledger::KEPT_AT),
        Err(failure) => {
            assert!(!failure.to_string().is_empty());
            false
        }
    }
}

/// As `batchmind audit verify`, with the decision.
fn judged(
    bytes: &[u8],
    genesis: &Digest,
    named: &[Digest],
    checkpoint: Option<&[u8]>,
) -> Result<bundle::Report, bundle::Failure> {
    let read = |moved: &bundle::Move| Cause::of_move(&moved.decision, moved.wallet, moved.destination.0);
    bundle::judge(bytes, genesis, named, checkpoint, read).map(|(report, _)| report)
}

/// Whatever is changed of a proof, it says of no key what the whole one would not say.
fn state_proof(bytes: &[u8]) -> bool {
    assert!(state_proof::verify(bytes, &Digest::ZERO, &[], None).is_err_and(|failure| !failure.to_string().is_empty()));
    let (chain, _) = samples::ledger::recorded();
    match state_proof::verify(bytes, &chain.consortium.id(), &[], None) {
        Ok(report) => assert_eq!(report.record, chain.tip.state.record(report.key)),
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
    canonical::<StateProofFile>(bytes)
}

/// So must the one who is asked to blame somebody. What a damaged file says is what the whole one said, or nothing.
/// All of it, with the hash of the document that the samples begin with.
fn archive(bytes: &[u8]) -> bool {
    let genesis = samples::ledger::consortium().id();
    let Ok(mut reader) = ArchiveReader::open(bytes, &genesis) else { return false };
    let mut again = archive::head(reader.consortium());
    loop {
        match reader.next_block() {
            Ok(Some(block)) => again.extend(archive::block(block)),
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    loop {
        match reader.next_grounds() {
            Ok(Some((by, grounds))) => again.extend(archive::grounds(by, grounds)),
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    again.extend(archive::end(reader.end().expect("it was read to its end")));
    assert_eq!(again, bytes);
    true
}

/// What an operator is asked to sign.
fn re_genesis(bytes: &[u8]) -> bool {
    let Ok(mut file) = ReGenesisFile::from_bytes(bytes) else { return false };
    assert_eq!(file.to_bytes(), bytes);
    assert!(!format!("{file:?}").is_empty() && file.block().block.header == *file.header());
    if file.sign(&ledger::testing::operator_key(0)).is_ok() {
        ReGenesisFile::from_bytes(&file.to_bytes()).expect("it is signed by an operator that stays");
    }
    true
}

fn evidence(bytes: &[u8]) -> bool {
    let Ok(file) = EvidenceFile::from_bytes(bytes) else { return false };
    assert_eq!(file.to_bytes(), bytes);
    assert!(!format!("{file:?}").is_empty());
    let consortium = samples::ledger::consortium();
    for genesis in [Digest::ZERO, consortium.id()] {
        match file.verify(&genesis, &[]) {
            Ok((_, culprits)) => {
                assert!(!culprits.is_empty() && samples::ledger::evidence().iter().any(|whole| whole == bytes));
            }
            Err(invalid) => assert!(!invalid.to_string().is_empty()),
        }
    }
    true
}

/// What evidence shows of the state: a tree that reads as it says and takes what is put, or none.
fn partial_state(bytes: &[u8]) -> bool {
    if !canonical::<PartialTree>(bytes) {
        return false;
    }
    let shown: PartialTree = codec::decode(bytes).expect("it was decoded just now");
    let Some(mut tree) = shown.tree() else { return true };
    let keys: BTreeSet<Digest> = tree.iter().map(|(key, _)| *key).collect();
    let again = tree.partial(&keys).expect("each of them is shown").tree().expect("a part of a tree");
    assert_eq!(again.root(), tree.root());
    for key in keys.iter().copied().chain([Digest::ZERO, Digest([0xff; 32])]) {
        tree.insert(key, bytes.to_vec());
        assert_eq!(tree.get(&key), Some(bytes));
    }
    true
}

/// What a damaged receipt says is what the whole one said, or nothing.
fn receipt(bytes: &[u8]) -> bool {
    let Ok(receipt) = Receipt::from_bytes(bytes) else { return false };
    assert_eq!(receipt.to_bytes(), bytes);
    match receipt.verify(&samples::ledger::consortium().id(), &[], None) {
        Ok(_) => assert!(samples::ledger::receipts().iter().any(|whole| whole == bytes)),
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    true
}

/// A note with a checkpoint, as anybody may hand it to an auditor. Whoever cosigned it, it is the tree that they cosigned.
fn checkpoint(bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else { return false };
    assert_eq!(note.to_string().as_bytes(), bytes);
    let Ok(checkpoint) = Checkpoint::parse(&note.text) else { return false };
    assert_eq!(checkpoint.to_string(), note.text);
    let consortium = samples::ledger::consortium();
    match CosignedCheckpoint::from_note(&note, consortium.validators(), &consortium.id()) {
        Ok(cosigned) => assert_eq!(cosigned.checkpoint, samples::tlog::cosigned().checkpoint),
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    true
}

fn log_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = LogProof::parse(bytes) else { return false };
    assert_eq!(proof.to_string().as_bytes(), bytes);
    let consortium = samples::ledger::consortium();
    if let Err(invalid) = proof.verify(&Digest::ZERO, &consortium, &[]) {
        assert!(!invalid.to_string().is_empty());
    } else {
        panic!("nothing has the leaf hash zero");
    }
    true
}

fn consistency_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = ConsistencyProof::parse(bytes) else { return false };
    assert_eq!(proof.to_string().as_bytes(), bytes);
    let (earlier, consortium) = (samples::tlog::earlier(), samples::ledger::consortium());
    match proof.verify(&earlier.to_note(consortium.validators(), &consortium.id()), &consortium, &[]) {
        Ok(grown) => assert_eq!(grown.later.checkpoint, samples::tlog::cosigned().checkpoint),
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    true
}

fn tile_path(bytes: &[u8]) -> bool {
    let Some(path) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<TilePath>().ok()) else {
        return false;
    };
    assert_eq!(path.to_string().as_bytes(), bytes);
    for size in [0, 1, 70_000, u64::MAX] {
        assert!(path.range_within(size).is_none_or(|range| range.end <= size && range.end - range.start <= 256));
    }
    true
}

/// Of which kind a chunk is says the path that it was asked by.
fn snapshot_chunk(bytes: &[u8]) -> bool {
    let is_one = [canonical::<Vec<HandOver>>, canonical::<Vec<Header>>, canonical::<Blocks>, canonical::<Part>];
    let is_one = is_one.map(|read| read(bytes)).contains(&true);
    samples::snapshot::wanted().for_each(|(extent, wanted)| drop(wanted.check(extent, bytes)));
    is_one
}

fn snapshot_path(bytes: &[u8]) -> bool {
    let Some(path) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<ChunkPath>().ok()) else {
        return false;
    };
    assert_eq!(path.to_string().as_bytes(), bytes);
    if let ChunkPath::Headers { first, last } | ChunkPath::Blocks { first, last } = path {
        assert!(first.get() > 0 && first <= last && last.get() - first.get() < HEADERS_MAX);
    }
    true
}

/// A changed request asks for nothing.
fn node_request(bytes: &[u8]) -> bool {
    let Some(request) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<SignedRequest>().ok()) else {
        return false;
    };
    assert_eq!(request.to_string().as_bytes(), bytes);
    let Asked { consortium, api, path } = samples::snapshot::asked();
    let is_whole = samples::snapshot::requests().iter().any(|whole| whole == bytes);
    for now in [samples::snapshot::asked_at(), Timestamp::ZERO, Timestamp::new(u64::MAX)] {
        let verified = request.verify(&Asked { consortium, api, path }, now);
        assert!(verified.is_ok_and(|()| is_whole) || verified.is_err_and(|invalid| !invalid.to_string().is_empty()));
    }
    true
}

/// A cosignature counts only as that of a validator over the tree that was asked about.
fn cosign_reply(bytes: &[u8]) -> bool {
    if let Ok(CosignReply { cosignature: Some(cosignature) }) = codec::decode(bytes) {
        let known = samples::tlog::cosigned();
        let verified = cosignature.verify(&known.checkpoint, samples::ledger::consortium().validators());
        assert_eq!(verified.is_ok(), known.cosignatures.contains(&cosignature));
    }
    canonical::<CosignReply>(bytes)
}

fn peer_message(bytes: &[u8]) -> bool {
    let Some(message) = PeerMessage::from_bytes(bytes.to_vec()) else { return false };
    assert_eq!(message.into_bytes(), bytes);
    true
}

fn stream_reply(bytes: &[u8]) -> bool {
    let Ok(reply) = StreamReply::decode(bytes.to_vec().into()) else { return false };
    assert_eq!(reply.encode(), bytes);
    assert!(!format!("{reply:?}").is_empty());
    true
}

fn page(bytes: &[u8]) -> bool {
    let head = bytes.first_chunk::<HEAD_BYTES>().and_then(|head| Some((head, PageHead::decode(head).ok()?)));
    if let Some((bytes, head)) = head {
        assert_eq!(&head.encode(), bytes);
    }
    let Ok(page) = Page::parse(bytes.to_vec(), &samples::batch::stream(), None) else { return false };
    assert_eq!(page.as_bytes(), bytes);
    true
}

/// What is kept of a segment is read again as the same pages.
fn segment(bytes: &[u8]) -> bool {
    let read = [None, Some(samples::disk::key())].map(|key| {
        let Ok(contents) = gpu::stream::decode_segment(bytes, key.as_ref()) else { return false };
        let kept = &bytes[..usize::try_from(contents.end).expect("not longer than the bytes")];
        let again = gpu::stream::decode_segment(kept, key.as_ref()).expect("what was kept is whole");
        assert_eq!((again.end, again.entries, again.after), (contents.end, contents.entries, contents.after));
        true
    });
    read[0] || read[1]
}

/// What lies in an envelope was sealed by another operator, who may lie.
fn envelope(bytes: &[u8]) -> bool {
    let (offer, tail) = (canonical::<OfferSecrets>(bytes), canonical::<TailContents>(bytes));
    let policy = canonical::<PolicyTree>(bytes);
    offer || tail || policy
}

/// A signed one, and what is behind the signature: head, body of each schema, and what a host keeps in it.
fn continuation(bytes: &[u8]) -> bool {
    let signed = SignedContinuation::decode(bytes.to_vec(), &samples::batch::signer().verifying_key());
    if let Ok(signed) = &signed {
        assert_eq!(signed.as_bytes(), bytes);
        drop(signed.body().map(|body| format!("{body:?}")));
    }
    if let Some((head, rest)) = bytes.split_first_chunk::<{ ContinuationHead::BYTES }>()
        && let Ok(decoded) = ContinuationHead::decode(head)
    {
        assert_eq!(&decoded.encode(), head);
        drop(Body::read(&decoded, rest));
    }
    let first = v1::Continuation::decode(bytes);
    if let Ok(first) = &first {
        assert_eq!(first.encode(), bytes);
    }
    let parts = [canonical::<DecodeBody>(bytes), canonical::<SessionTerms>(bytes)];
    signed.is_ok() || first.is_ok() || parts.contains(&true)
}

/// What the other side of an engine's queue says.
fn dispatch(bytes: &[u8]) -> bool {
    let (request, event) = (canonical::<(u64, Request)>(bytes), canonical::<(u64, Event)>(bytes));
    request || event
}

fn record(bytes: &[u8]) -> bool {
    let Ok(record) = BatchRecord::decode(bytes) else { return false };
    assert_eq!(record.encode(), bytes);
    true
}

/// A decision that decodes is replayed, too: an auditor does that with the decisions of a bundle.
fn decision(bytes: &[u8]) -> bool {
    let Ok(decision) = Decision::decode(bytes) else { return false };
    assert_eq!(decision.encode(), bytes);
    drop(scheduler::decision::replay(&decision));
    true
}
