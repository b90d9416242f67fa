//! One whole hop through the public API with fixed randomness: what both sides do, and the bytes that come out.

use std::collections::BTreeSet;

use wallet::{
    chain::ChainKey,
    content::ContentChain,
    digest::{Digest, sha256},
    entropy::Entropy,
    grant::{WalletGrant, WalletTerms},
    identity::{RegionId, SecretKey},
    page::{Dtype, Page, StreamDescriptor},
    policy::{JurisdictionPolicy, PolicyTree},
    prekey::ExchangeSecret,
    refusal::Refusal,
    schedule::{Gates, GlobalGate, HopKeys, HopLabel, RegionGate},
    seal::{
        envelope::{Envelope, OfferSecrets, TailContents},
        pages::{DataKey, PageOpener, PageRoute, PageSealer},
    },
    tenant::TenantMaster,
    ticket::{Blind, ContentCommitment, HandoffTicket, SignedTicket},
    units::{KeyEpoch, NodeId, PageIndex, TokenPosition},
};

const GATES: Gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt };
const CONSORTIUM: Digest = Digest([1; 32]);
const PAGES: u64 = 3;

/// Bytes that count up, so that every draw differs and every run agrees.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

fn region(name: &str) -> RegionId {
    RegionId::try_from(name.to_owned()).expect("a region name")
}

fn stream() -> StreamDescriptor {
    let (model, numerics) = (Digest([2; 32]), Digest([3; 32]));
    StreamDescriptor { model, dtype: Dtype::F32, numerics, layers: 2, kv_heads: 1, head_dim: 4, block: 16 }
}

/// What crosses from source to receiver, and what stands on the ledger.
struct Hop {
    grant: WalletGrant,
    label: HopLabel,
    opening: wallet::policy::VerifiedOpening,
    prekey: ExchangeSecret,
    confirm_key: wallet::identity::PublicKey,
    pages: Vec<Vec<u8>>,
    offer: Envelope,
    tail: Envelope,
    ticket: SignedTicket,
}

fn policy_tree(master: &TenantMaster) -> PolicyTree {
    let regions: BTreeSet<_> = [region("eu"), region("us")].into();
    let policy = JurisdictionPolicy { allowed: [region("eu")].into() };
    policy.tree(&regions, &master.wallet(&CONSORTIUM, &[5; 16]).0).expect("known regions")
}

fn source_side() -> Hop {
    let mut entropy = Counting(0);
    let master = TenantMaster::from_bytes([4; 32]);
    let nonce = [5; 16];
    let (secret, tenant_key) = master.wallet(&CONSORTIUM, &nonce);
    let tree = policy_tree(&master);
    let holder = NodeId::new(0);
    let grant = WalletTerms {
        consortium: CONSORTIUM,
        tenant_key: tenant_key.public_key(),
        policy: tree.commitment(),
        model: stream().model,
        numerics: stream().numerics,
        holder,
        nonce,
    }
    .sign(&tenant_key.secret_key());
    let address = grant.verify().expect("signed by the tenant");

    let chain = ChainKey::first(&address, &secret);
    let hash_key = chain.page_hash_key(&address);
    let page = |index: u64, fill| {
        let payload = vec![index as u8 + 1; stream().payload_bytes().expect("a possible stream")];
        Page::new(&stream(), PageIndex::new(index), fill, &payload, Some(&hash_key)).expect("a valid page")
    };
    let full: Vec<Page> = (0..PAGES).map(|index| page(index, 16)).collect();
    let mut content = ContentChain::new(hash_key.clone());
    full.iter().for_each(|page| content.push(&page.head().hash));

    let prekey = ExchangeSecret::draw(&mut entropy);
    let ephemeral = ExchangeSecret::draw(&mut entropy);
    let opening = tree.open(&region("eu")).expect("a leaf").verify(&tree.commitment()).expect("allowed");
    let label = HopLabel {
        consortium: CONSORTIUM,
        wallet: address,
        epoch: KeyEpoch::new(1),
        head: Digest([6; 32]),
        source: holder,
        receiver: NodeId::new(1),
        region: region("eu"),
        opening: *opening.hash(),
        policy: tree.commitment(),
        prekey: prekey.public_key(),
        ephemeral: ephemeral.public_key(),
        content: content.commit_pages(&Blind::from_bytes([7; 32])),
        numerics: stream().numerics,
    };
    let exchange = ephemeral.agree(&prekey.public_key()).expect("contributory");
    let keys = HopKeys::derive(&label, &opening, exchange, GATES).expect("a valid hop");

    let data_key = DataKey::from_bytes([8; 32]);
    let route = PageRoute { wallet: address, epoch: label.epoch, stream: stream() };
    let mut sealer = PageSealer::new(route, data_key.clone());
    let pages = full.iter().map(|page| sealer.seal(page).expect("full")).collect();
    let confirm_key = keys.confirm.public_key();
    let offer = keys.offer.seal(&OfferSecrets {
        data_key,
        link: chain.link(&label),
        page_hash_key: hash_key.clone(),
        stream: stream(),
        pages: PAGES,
        blind: Blind::from_bytes([7; 32]),
    });
    let mut tail = TailContents {
        page: page(PAGES, 5).as_bytes().to_vec(),
        continuation: b"continuation".to_vec(),
        journal: b"journal".to_vec(),
        record: b"record".to_vec(),
        root: Digest::ZERO,
        blind: Blind::from_bytes([9; 32]),
        resume_secret_hash: Digest([10; 32]),
        tenant_key,
        policy: tree,
        client_cursor: TokenPosition::new(53),
    };
    tail.root = content.root(&tail.digests(&hash_key));
    let ticket = HandoffTicket {
        wallet: address,
        head: Digest([11; 32]),
        epoch: label.epoch,
        source: label.source,
        receiver: label.receiver,
        content: ContentCommitment::new(&tail.root, &tail.blind),
        next_token: TokenPosition::new(53),
    }
    .sign(&SecretKey::from_seed(&[12; 32]));
    let tail = keys.tail.seal(&tail);
    Hop { grant, label, opening, prekey, confirm_key, pages, offer, tail, ticket }
}

#[test]
fn the_receiver_opens_verifies_and_confirms_what_the_source_sealed() {
    let hop = source_side();
    let exchange = hop.prekey.agree(&hop.label.ephemeral).expect("contributory");
    let keys = HopKeys::derive(&hop.label, &hop.opening, exchange, GATES).expect("the same hop");
    keys.check_confirm_key(&hop.confirm_key).expect("the offer names this hop's confirm key");

    let secrets = keys.offer.open(&hop.offer).expect("sealed for this hop");
    let route = PageRoute { wallet: hop.label.wallet, epoch: hop.label.epoch, stream: secrets.stream.clone() };
    let opener = PageOpener::new(route, secrets.data_key.clone(), secrets.page_hash_key.clone());
    let mut content = ContentChain::new(secrets.page_hash_key.clone());
    for (index, sealed) in hop.pages.iter().enumerate() {
        let page = opener.open(PageIndex::new(index as u64), sealed.clone()).expect("intact");
        content.push(&page.head().hash);
    }
    assert_eq!(content.commit_pages(&secrets.blind), hop.label.content);

    let tail = keys.tail.open(&hop.tail).expect("sealed for this hop");
    let promised = hop.ticket.ticket.content;
    tail.verify(&content, &secrets.page_hash_key, &promised).expect("what the ticket says");
    let other = ContentChain::new(secrets.page_hash_key.clone());
    assert_eq!(tail.verify(&other, &secrets.page_hash_key, &promised), Err(Refusal::ContentMismatch));

    let (holder_key, next) = (SecretKey::from_seed(&[13; 32]), ExchangeSecret::from_bytes(&[14; 32]));
    let opened = hop.ticket.sign_opened(&keys.confirm, &holder_key.public_key(), &next.public_key());
    let verdict = hop.ticket.verify_opened(&hop.confirm_key, &holder_key.public_key(), &next.public_key(), &opened);
    assert_eq!(verdict, Ok(()));

    // The new holder can go on: it opens leaves itself, and its chain key differs with its own fresh bytes.
    assert!(tail.policy.open(&region("us")).expect("a leaf").verify(&hop.label.policy).is_err());
    let chain = |fresh| *ChainKey::next(&secrets.link, &keys.migration, &[fresh; 32]).expose();
    assert_ne!(chain(1), chain(2));
}

#[test]
fn the_two_envelopes_have_different_keys() {
    let hop = source_side();
    let exchange = hop.prekey.agree(&hop.label.ephemeral).expect("contributory");
    let keys = HopKeys::derive(&hop.label, &hop.opening, exchange, GATES).expect("the same hop");
    assert_eq!(keys.tail.open(&hop.offer).err(), Some(Refusal::SealBroken { what: "envelope" }));
}

/// A second implementation of docs/formats/wallet.md, in Python and by the same author, gives the same values.
#[test]
fn the_bytes_of_a_hop_are_pinned() {
    let hop = source_side();
    let pages = sha256("golden", &[&hop.pages.concat()]);
    assert_eq!(
        hop.grant.terms.address().0.to_string(),
        "bf54814ae0e519cd37ff94bd4bb5a83bf4583f184ed9c7b4507ad65c68ff743d"
    );
    assert_eq!(
        hop.grant.terms.policy.0.to_string(),
        "576cc3d257ad5388c0e9a3c225796cec401d759fb27c5f6e08d8b33f0c3a936b"
    );
    assert_eq!(hop.label.content.0.to_string(), "065c1f0ed47964512a335c329242f9aca88111592d89ed8d7a44436067735f78");
    assert_eq!(hop.label.hash().to_string(), "79373a38a5bfe5dabd382884621e5df9ee6191cd27122a489d5a7b2a9c2eed18");
    assert_eq!(hop.confirm_key.to_string(), "7f3bd44148db894b7004cb4b82d7908c0b9cc3f60b1a0bf91a088890268f1511");
    assert_eq!(pages.to_string(), "4ac455191410479fed4a7efce912d560aa60089491e1bc8222ba2b100d1cf45d");
    assert_eq!(hop.offer.hash().to_string(), "f51eb97081f7b44e2ad9afa06329ea0d81dec720438d52577546420cc3d19dc7");
    assert_eq!(hop.tail.hash().to_string(), "601ee88034d81a1a66e7892b870ea9c630ab59f0edb7a396ca0db1f02480ec8c");
    assert_eq!(
        hop.ticket.ticket.content.0.to_string(),
        "ec375b458f6c2058193332a39c0290aa1700d1e4f6b94d44d5a87aa04e64517c"
    );
}
