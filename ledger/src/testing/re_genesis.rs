//! The sample consortium that begins anew.

use wallet::{digest::Digest, units::Timestamp};

use super::{CREATED_MS, Chain, operator_key};
use crate::{
    block::{Block, View},
    certificate::Certificate,
    event::Entry,
    execute::Executed,
    governance::Member,
    hand_over::{ClosingProof, HandOver},
    re_genesis::{self, Dropped, ReGenesis, ReGenesisProof, Signatories},
    refusal::Refusal,
};

impl Chain {
    /// What the operators that are left say where `lost` are lost, and nothing was seen above the final state.
    pub fn beginning(&self, lost: Vec<Member>) -> ReGenesis {
        let dropped = Dropped { highest: self.tip.height, entries: 0 };
        ReGenesis { lineage: self.tip.state.lineage() + 1, lost, reason: "two operators left".to_owned(), dropped }
    }

    /// The block that says so, by node `author`.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn draft(&self, author: u32, event: ReGenesis) -> Result<(Block, Executed), Refusal> {
        let author = self.signer(wallet::units::NodeId::new(author)).expect("the key of a validator");
        let now = Timestamp::new(CREATED_MS + 100 * (self.tip.height.get() + 1) + self.later_ms);
        re_genesis::draft(&self.consortium, self.place(View::START), &author, [0xA0; 16], now, event)
    }

    /// The certificate of such a block, by the first keys of the sample's operators.
    pub fn signed_by_operators(&self, block: &Block, executed: &Executed) -> Certificate {
        let keys: Vec<_> = (0..16).map(operator_key).collect();
        let signature = |public: &_| {
            let key = keys.iter().find(|key| key.public_key() == *public)?;
            Some(re_genesis::sign(&block.header, key).expect("a key in memory signs"))
        };
        let signatories = Signatories::of(executed).expect("it was executed");
        signatories.certify(signature).expect("the sample has their keys")
    }

    /// Goes on from the final state by the word of those that are left, the first of whom runs node `author`. Gives the
    /// re-genesis' name.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn begin_anew(&mut self, author: u32, lost: Vec<Member>) -> Result<Digest, Refusal> {
        self.begin_with(author, self.beginning(lost))
    }

    /// [`Self::begin_anew`] with all that they say.
    ///
    /// # Errors
    /// What the rules say against it.
    pub fn begin_with(&mut self, author: u32, event: ReGenesis) -> Result<Digest, Refusal> {
        let (block, executed) = self.draft(author, event)?;
        let certificate = self.signed_by_operators(&block, &executed);
        let hand_over = self.hand_over_by(&block, &executed, certificate.clone());
        self.leaf_hashes.extend(block.entries.iter().map(Entry::leaf_hash));
        self.hand_overs.push(hand_over);
        self.tip = executed;
        let name = block.header.digest();
        self.blocks.push((block, certificate));
        Ok(name)
    }

    /// The hand-over by a re-genesis on the final state.
    ///
    /// # Panics
    /// If the block is none.
    pub fn hand_over_by(&self, block: &Block, executed: &Executed, certificate: Certificate) -> HandOver {
        let (last, _) = self.blocks.last().expect("something is final");
        let (before, old, next) = (&self.tip, self.tip.validators(), executed.validators());
        let proof = ReGenesisProof::of(last.header.clone(), &before.state, before.log.clone(), block, [&old, &next]);
        let closing = block.header.clone();
        let re_genesis = Some(Box::new(proof.expect("a re-genesis")));
        HandOver { closing, proof: ClosingProof::from(certificate), next, re_genesis }
    }
}
