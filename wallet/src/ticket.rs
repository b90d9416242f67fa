//! The handoff ticket: a frozen holder's single-use word that the receiver may confirm.

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    digest::{Digest, sha256},
    grant::WalletAddress,
    identity::{PublicKey, SecretKey, Signature, context},
    prekey::ExchangeKey,
    refusal::Refusal,
    secret::secret,
    units::{KeyEpoch, NodeId, TokenPosition},
};

const COMMITMENT_DOMAIN: &str = "batchmind/v1/wallet/content-commitment";

/// Blinded commitment to the content of a hand-over: SHA-256(root || blind). Neither is on the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentCommitment(pub Digest);

secret! {
    /// Hides the root behind a commitment. Drawn for that commitment alone; travels sealed.
    Blind
}

/// What the frozen source hands over, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoffTicket {
    /// The wallet.
    pub wallet: WalletAddress,
    /// The wallet's head after the acceptance: any later entry voids the ticket.
    pub head: Digest,
    /// The epoch that begins with the confirm.
    pub epoch: KeyEpoch,
    /// The holder that froze.
    pub source: NodeId,
    /// The only node that may use the ticket.
    pub receiver: NodeId,
    /// Final content: pages, tail, continuation and record.
    pub content: ContentCommitment,
    /// Position of the next token to emit.
    pub next_token: TokenPosition,
}

/// A ticket under the source's epoch key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTicket {
    /// What is handed over.
    pub ticket: HandoffTicket,
    /// By the holder key of the epoch that ends.
    pub signature: Signature,
}

impl ContentCommitment {
    /// The commitment to `root`.
    pub fn new(root: &Digest, blind: &Blind) -> Self {
        Self(sha256(COMMITMENT_DOMAIN, &[root.as_bytes(), blind.expose()]))
    }
}

impl HandoffTicket {
    /// The ticket under the source's epoch key.
    pub fn sign(self, epoch_key: &SecretKey) -> SignedTicket {
        let signature = epoch_key.sign(context::WALLET_TICKET, &encode(&self));
        SignedTicket { ticket: self, signature }
    }
}

impl SignedTicket {
    /// Checks the signature under the holder key of record.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn verify(&self, holder_key: &PublicKey) -> Result<(), Refusal> {
        holder_key
            .verify(context::WALLET_TICKET, &encode(&self.ticket), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "ticket" })
    }

    /// The receiver's proof that it opened the envelope: by the confirm key, over ticket, new holder key and new
    /// exchange key.
    pub fn sign_opened(&self, confirm: &SecretKey, holder: &PublicKey, exchange: &ExchangeKey) -> Signature {
        confirm.sign(context::WALLET_CONFIRM, &encode(&(self, holder, exchange)))
    }

    /// Checks what [`Self::sign_opened`] made, under the offer's confirm key.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn verify_opened(
        &self,
        confirm: &PublicKey,
        holder: &PublicKey,
        exchange: &ExchangeKey,
        opened: &Signature,
    ) -> Result<(), Refusal> {
        confirm
            .verify(context::WALLET_CONFIRM, &encode(&(self, holder, exchange)), opened)
            .map_err(|_| Refusal::SignatureInvalid { what: "confirmation" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> HandoffTicket {
        HandoffTicket {
            wallet: WalletAddress(Digest([1; 32])),
            head: Digest([2; 32]),
            epoch: KeyEpoch::new(3),
            source: NodeId::new(4),
            receiver: NodeId::new(5),
            content: ContentCommitment::new(&Digest([6; 32]), &Blind::from_bytes([7; 32])),
            next_token: TokenPosition::new(8),
        }
    }

    #[test]
    fn every_field_of_a_ticket_is_signed() {
        let key = SecretKey::from_seed(&[9; 32]);
        let signed = ticket().sign(&key);
        assert_eq!(signed.verify(&key.public_key()), Ok(()));
        let alterations: [fn(&mut HandoffTicket); 7] = [
            |t| t.wallet = WalletAddress::default(),
            |t| t.head = Digest::ZERO,
            |t| t.epoch = KeyEpoch::ZERO,
            |t| t.source = NodeId::ZERO,
            |t| t.receiver = NodeId::ZERO,
            |t| t.content = ContentCommitment::default(),
            |t| t.next_token = TokenPosition::ZERO,
        ];
        for alter in alterations {
            let mut other = signed.clone();
            alter(&mut other.ticket);
            assert_eq!(other.verify(&key.public_key()), Err(Refusal::SignatureInvalid { what: "ticket" }));
        }
    }

    #[test]
    fn a_confirmation_is_bound_to_ticket_and_keys() {
        let (confirm, holder) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]).public_key());
        let signed = ticket().sign(&SecretKey::from_seed(&[9; 32]));
        let exchange = ExchangeKey([3; 32]);
        let opened = signed.sign_opened(&confirm, &holder, &exchange);
        let check = |holder, exchange| signed.verify_opened(&confirm.public_key(), &holder, &exchange, &opened);
        assert_eq!(check(holder, exchange), Ok(()));
        assert!(check(PublicKey::default(), exchange).is_err());
        assert!(check(holder, ExchangeKey::default()).is_err());
    }

    #[test]
    fn the_encoding_is_pinned() {
        let signed = ticket().sign(&SecretKey::from_seed(&[9; 32]));
        assert_eq!(
            sha256("golden", &[&encode(&signed)]).to_string(),
            "a2635022ba02c4dea2f83657ddecc28982109a331251045cd3241a5a42935372"
        );
    }
}
