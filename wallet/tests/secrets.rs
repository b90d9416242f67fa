//! Nothing that holds a secret prints it, and no secret is written as text.

use std::fmt::Debug;

use serde::Serialize;
use wallet::{
    chain::{ChainKey, Link, PageHashKey, RestKey},
    codec::encode,
    content::ContentChain,
    digest::{Digest, to_hex},
    gate::{Gate, GateId, GateKind, GateLabel, GateSecret, SecretNumber, dkg::CeremonySeed},
    grant::WalletAddress,
    identity::{PublicKey, RegionId, SecretKey, Signature, context},
    kem::KemSecret,
    page::{Dtype, Page, StreamDescriptor},
    policy::JurisdictionPolicy,
    prekey::ExchangeSecret,
    schedule::MigrationKey,
    seal::{
        envelope::{OfferSecrets, TailContents},
        pages::{DataKey, PageOpener, PageRoute, PageSealer},
        rest::RestFile,
    },
    tenant::{TenantKey, TenantMaster, WalletSecret},
    ticket::Blind,
    units::{GateEpoch, KeyEpoch, NodeId, PageIndex, TokenPosition},
};

/// The secret bytes that must not show, in hexadecimal or as a list of numbers.
const SECRET: [u8; 32] = [0xA7; 32];

fn does_not_show(value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        for shown in [to_hex(&SECRET[..4]), "167, 167".to_owned(), "167,\n".to_owned()] {
            assert!(!text.contains(&shown), "a secret shows in {text}");
        }
    }
}

fn stream() -> StreamDescriptor {
    let (model, numerics) = (Digest([1; 32]), Digest([2; 32]));
    StreamDescriptor { model, dtype: Dtype::F32, numerics, layers: 1, kv_heads: 1, head_dim: 1, block: 16 }
}

fn route() -> PageRoute {
    PageRoute { wallet: WalletAddress(Digest([3; 32])), epoch: KeyEpoch::ZERO, stream: stream() }
}

fn tail() -> TailContents {
    let eu = RegionId::try_from("eu".to_owned()).expect("a region name");
    let policy = JurisdictionPolicy { allowed: [eu.clone()].into() };
    TailContents {
        page: SECRET.to_vec(),
        continuation: SECRET.to_vec(),
        journal: SECRET.to_vec(),
        record: SECRET.to_vec(),
        root: Digest(SECRET),
        blind: Blind::from_bytes(SECRET),
        resume_secret_hash: Digest(SECRET),
        tenant_key: TenantKey::from_bytes(SECRET),
        policy: policy.tree(&[eu].into(), &WalletSecret::from_bytes(SECRET)).expect("known regions"),
        client_cursor: TokenPosition::ZERO,
    }
}

fn offer() -> OfferSecrets {
    OfferSecrets {
        data_key: DataKey::from_bytes(SECRET),
        link: Link::from_bytes(SECRET),
        page_hash_key: PageHashKey::from_bytes(SECRET),
        stream: stream(),
        pages: 1,
        blind: Blind::from_bytes(SECRET),
    }
}

#[test]
fn no_secret_shows_in_debug_output() {
    let exchange = ExchangeSecret::from_bytes(&SECRET);
    let shared = exchange.agree(&ExchangeSecret::from_bytes(&[1; 32]).public_key()).expect("contributory");
    let shown = format!("{shared:?}");
    assert_eq!(shown, "SharedSecret(redacted)");
    let page = Page::new(&stream(), PageIndex::ZERO, 16, &[0xA7; 128], None).expect("a valid page");
    let (data_key, hash_key) = (DataKey::from_bytes(SECRET), PageHashKey::from_bytes(SECRET));
    let number = SecretNumber::draw(&mut |bytes: &mut [u8]| bytes.fill(0xA7));
    let hidden = to_hex(&number.expose()[..4]);
    let id =
        GateId { consortium: Digest::ZERO, kind: GateKind::Tenant(WalletAddress::default()), epoch: GateEpoch::ZERO };
    let (gate, share) = Gate::single(id, NodeId::ZERO, number).expect("not zero");
    let label = GateLabel::unlock(&WalletAddress::default(), KeyEpoch::ZERO, NodeId::ZERO);
    let (ciphertext, gate_secret) = gate.encapsulate(&label, &mut |bytes: &mut [u8]| bytes.fill(1));
    let part = share.release(&gate.verify(&label, &ciphertext).expect("just made")).expect("its gate");
    let shown = format!("{share:?} {:?} {gate_secret:?} {part:?}", share.secret());
    assert!(!shown.contains(&hidden) && !shown.contains(&to_hex(&gate_secret.expose()[..4])), "{shown}");
    assert!(!shown.contains(&to_hex(&encode(&part)[4..8])), "a part shows in {shown}");
    let secrets: [&dyn Debug; 22] = [
        &KemSecret::from_bytes(SECRET),
        &CeremonySeed::from_bytes(SECRET),
        &GateSecret::from_bytes(SECRET),
        &Blind::from_bytes(SECRET),
        &TenantMaster::from_bytes(SECRET),
        &WalletSecret::from_bytes(SECRET),
        &TenantKey::from_bytes(SECRET),
        &ChainKey::from_bytes(SECRET),
        &Link::from_bytes(SECRET),
        &hash_key,
        &RestKey::from_bytes(SECRET),
        &MigrationKey::from_bytes(SECRET),
        &data_key,
        &SecretKey::from_seed(&SECRET),
        &exchange,
        &page,
        &tail(),
        &offer(),
        &PageSealer::new(route(), data_key.clone()),
        &PageOpener::new(route(), data_key.clone(), hash_key.clone()),
        &RestFile::new(RestKey::from_bytes(SECRET), "journal"),
        &ContentChain::new(hash_key.clone()),
    ];
    secrets.into_iter().for_each(does_not_show);
}

#[test]
fn no_secret_is_written_as_text() {
    fn is_refused(value: &impl Serialize) {
        assert!(serde_json::to_string(value).is_err());
    }
    is_refused(&TenantMaster::from_bytes(SECRET));
    is_refused(&DataKey::from_bytes(SECRET));
    is_refused(&offer());
    is_refused(&tail());
}

#[test]
fn rfc_8032_test_1_gives_its_public_key() {
    let seed =
        wallet::digest::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("hex");
    let key = SecretKey::from_seed(&seed);
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(key.public_key(), public.parse::<PublicKey>().expect("hex"));
    let signature: Signature = key.sign(context::WALLET_GRANT, b"");
    assert!(key.public_key().verify(context::WALLET_GRANT, b"", &signature).is_ok());
}
