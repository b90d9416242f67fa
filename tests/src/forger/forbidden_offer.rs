//! A modified operator offers a session to a region that its tenant forbids.
//!
//! Honest software would stop before it signed anything. This one signs, with the operator's real keys, every offer
//! that a liar could think of: with the tenant's true word about the region, with that word turned round, with the word
//! about an allowed region, and with a policy of its own.

use genesis::Consortium;
use ledger::event::{Entry, EntryBody, Event, MigrationOffered, WalletCreated, next_head};
use wallet::{
    digest::Digest,
    grant::{WalletAddress, WalletTerms},
    identity::{RegionId, SecretKey},
    policy::{PolicyOpening, PolicyTree},
    prekey::ExchangeSecret,
    tenant::TenantMaster,
    ticket::{Blind, ContentCommitment},
    units::{BlockHeight, KeyEpoch, NodeId},
};

use super::{
    NotTried, Puppet, Verdict, policy_allowing, random,
    validators::{Attempt, Validators},
};

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// The modified source.
    pub source: Puppet,
    /// The forbidden destination.
    pub to: NodeId,
    /// The destination's real node key, if both ends collude. Without it the offered prekey is forged as well.
    pub receiver_key: Option<SecretKey>,
    /// To ask the validators with.
    pub auditor_key: String,
}

/// Creates a wallet that may be in the source's region only, and offers it to the destination.
///
/// # Errors
/// [`NotTried`] if no wallet could be created.
pub async fn run(consortium: &Consortium, options: &Options) -> Result<Verdict, NotTried> {
    let validators = Validators::open(consortium, &options.auditor_key)?;
    let victim = Victim::new(consortium, options)?;
    let created = victim.created();
    validators.make_final(&created).await?;
    validators.until_all_know(victim.address()).await?;
    println!("wallet {} may be in region {} only", victim.address().0, victim.home);

    let height = validators.height().await?;
    let deadline = BlockHeight::new(height.get() + consortium.parameters().offer_deadline_blocks / 2);
    // Without the destination's key its prekey is forged as well, and that is looked at first.
    let breaks: &[&str] = if options.receiver_key.is_some() { &["L-217", "L-218", "L-219"] } else { &["L-221"] };
    let offer = |(what, opening)| Attempt { what, entry: victim.offered(&created, opening, deadline), breaks };
    let offers: Vec<Attempt> = victim.openings()?.into_iter().map(offer).collect();
    Ok(validators.try_all(&offers).await)
}

/// A session whose tenant trusts the wrong operator.
struct Victim<'a> {
    consortium: &'a Consortium,
    options: &'a Options,
    home: RegionId,
    forbidden: RegionId,
    tree: PolicyTree,
    terms: WalletTerms,
    tenant_key: SecretKey,
    epoch_key: SecretKey,
}

impl<'a> Victim<'a> {
    fn new(consortium: &'a Consortium, options: &'a Options) -> Result<Self, NotTried> {
        let region = |node| {
            let node = consortium.node(node).ok_or_else(|| NotTried::because("genesis lists no such node"))?;
            Ok::<_, NotTried>(node.region.clone())
        };
        let (home, forbidden) = (region(options.source.node)?, region(options.to)?);
        if home == forbidden {
            return Err(NotTried(format!("both ends are in region {home}, so there is nothing to forbid")));
        }
        let nonce = random();
        let (secret, tenant_key) = TenantMaster::from_bytes(random()).wallet(&consortium.id(), &nonce);
        let tree = policy_allowing(consortium, &home, secret.expose())?;
        let terms = WalletTerms {
            consortium: consortium.id(),
            tenant_key: tenant_key.public_key(),
            policy: tree.commitment(),
            model: Digest::ZERO,
            numerics: Digest::ZERO,
            holder: options.source.node,
            nonce,
        };
        let (tenant_key, epoch_key) = (tenant_key.secret_key(), SecretKey::from_seed(&random()));
        Ok(Self { consortium, options, home, forbidden, tree, terms, tenant_key, epoch_key })
    }

    fn address(&self) -> WalletAddress {
        self.terms.address()
    }

    /// The wallet's honest beginning.
    fn created(&self) -> Entry {
        let opening = self.tree.open(&self.home).expect("the tree has a leaf for each region");
        let event = WalletCreated {
            grant: self.terms.clone().sign(&self.tenant_key),
            holder_key: self.epoch_key.public_key(),
            opening,
        };
        self.sign(Event::WalletCreated(event))
    }

    /// What the forger shows as the tenant's word about the forbidden region.
    fn openings(&self) -> Result<[(&'static str, PolicyOpening); 5], NotTried> {
        let open = |region| self.tree.open(region).expect("the tree has a leaf for each region");
        let (home, truth) = (open(&self.home), open(&self.forbidden));
        let own_policy = policy_allowing(self.consortium, &self.forbidden, &random())?;
        Ok([
            ("the tenant's true no", truth.clone()),
            ("the no turned into a yes", PolicyOpening { allowed: true, ..truth }),
            ("the yes for home under the other name", PolicyOpening { region: self.forbidden.clone(), ..home.clone() }),
            ("the yes for home", home),
            ("a yes from a policy of the forger's own", own_policy.open(&self.forbidden).map_err(NotTried::because)?),
        ])
    }

    fn offered(&self, created: &Entry, opening: PolicyOpening, deadline: BlockHeight) -> Entry {
        let prekey_signer = self.options.receiver_key.as_ref().unwrap_or(&self.options.source.key);
        let secret = || ExchangeSecret::from_bytes(&random());
        let event = MigrationOffered {
            wallet: self.address(),
            head: next_head(&Digest::ZERO, &created.id()),
            epoch: KeyEpoch::new(1),
            receiver: self.options.to,
            opening,
            prekey: secret().offer(self.options.to, prekey_signer),
            ephemeral: secret().public_key(),
            content: ContentCommitment::new(&Digest::ZERO, &Blind::from_bytes(random())),
            confirm_key: SecretKey::from_seed(&random()).public_key(),
            decision: Digest::ZERO,
            baseline: None,
            deadline,
        };
        self.sign(Event::MigrationOffered(event))
    }

    fn sign(&self, event: Event) -> Entry {
        let (consortium, author) = (self.consortium.id(), self.options.source.node);
        EntryBody { consortium, author, nonce: random(), event }.sign(&self.options.source.key, Some(&self.epoch_key))
    }
}
