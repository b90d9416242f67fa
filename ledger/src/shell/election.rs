//! Elections: a candidate asks everybody for a signed grant, and with a quorum of them its own core leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use genesis::ValidatorSet;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use wallet::{identity::Signature, units::NodeId};

use super::{
    shared::{PEER_TIMEOUT, Shared},
    terms::{Candidacy, Proof},
    transport::{PeerRefusal, PeerReply, PeerRequest, TransportFault},
    validator::Message,
};
use crate::{
    block::epoch_of,
    certificate::Leadership,
    finality::Input,
    vote::{Grant, SignedGrant},
};

/// A candidate asks again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Stands for leader whenever the voter says so.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut campaigns = shared.campaign.subscribe();
    loop {
        let candidacy = campaigns.borrow_and_update().clone();
        let Some(candidacy) = candidacy else {
            if campaigns.changed().await.is_err() {
                return;
            }
            continue;
        };
        // A later campaign replaces this one, which the end of its term would end anyway.
        tokio::select! {
            () = stand(&shared, &candidacy) => if campaigns.changed().await.is_err() { return },
            changed = campaigns.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes the own core leave the terms that are over.
pub(crate) async fn leave_ended_terms(shared: Arc<Shared>) {
    let mut entered = shared.terms.watch_entered();
    loop {
        let term = entered.borrow_and_update().term;
        if let Err(fault) = shared.leave_terms_before(term).await {
            return shared.fail(fault);
        }
        if entered.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when this node leads the term, or somebody else does, or the term is over.
async fn stand(shared: &Shared, candidacy: &Candidacy) {
    let term = candidacy.term;
    tracing::info!(term, "this node stands for leader");
    let mut grants: BTreeMap<NodeId, Signature> = BTreeMap::new();
    let (mut asked, mut waiting) = (FuturesUnordered::new(), BTreeSet::new());
    while is_open(shared, term) {
        // Who has not granted is asked again, but not before it answered: that may take longer than a round.
        for node in shared.lines.others().into_iter().filter(|node| !grants.contains_key(node)) {
            if waiting.insert(node) {
                asked.push(async move {
                    let request = PeerRequest::Candidate(Box::new(candidacy.clone()));
                    (node, shared.transport.request(node, request, PEER_TIMEOUT).await)
                });
            }
        }
        collect(shared, candidacy, &mut grants, &mut asked, &mut waiting).await;
        let Some(validators) = shared.validators_of(epoch_of(term)) else { return };
        if grants.len() >= validators.quorum() {
            let leadership =
                Leadership { term, leader: shared.me, grants: grants.iter().map(|(&n, &s)| (n, s)).collect() };
            let proof = Proof { leadership, permit: candidacy.permit.clone() };
            if let Err(refusal) = shared.terms.prove(&validators, &shared.name(), term, shared.me, proof) {
                return tracing::error!(term, %refusal, "a quorum of valid grants proves nothing");
            }
            shared.tell_validator(Message::Log);
            lead(shared, term).await;
            return;
        }
    }
}

/// Whether it is open who leads `term`.
fn is_open(shared: &Shared, term: u64) -> bool {
    shared.terms.entered().term <= term && shared.terms.leads().is_none_or(|proof| proof.leadership.term < term)
}

/// Takes what those that were asked answer, until a quorum granted or it is time to ask again.
async fn collect(
    shared: &Shared,
    candidacy: &Candidacy,
    grants: &mut BTreeMap<NodeId, Signature>,
    asked: &mut FuturesUnordered<impl Future<Output = (NodeId, Result<PeerReply, TransportFault>)>>,
    waiting: &mut BTreeSet<NodeId>,
) {
    let Some(validators) = shared.validators_of(epoch_of(candidacy.term)) else { return };
    let quorum = validators.quorum();
    if !grants.contains_key(&shared.me)
        && let Ok(PeerReply::Granted(grant)) = shared.ask_for_grant(shared.me, candidacy.clone()).await
    {
        grants.insert(shared.me, grant.signature);
    }
    let mut again = pin!(sleep(ASK_AGAIN));
    while grants.len() < quorum {
        let (node, reply) = tokio::select! {
            Some(answer) = asked.next() => answer,
            () = &mut again => return,
        };
        waiting.remove(&node);
        match reply {
            Ok(PeerReply::Granted(grant)) if shared.is_grant(&grant, node, candidacy.term, &validators) => {
                grants.insert(node, grant.signature);
            }
            Ok(PeerReply::TermOver(permit)) => {
                shared.tell_validator(Message::Input(Input::Nullification(*permit)));
            }
            Ok(PeerReply::Closing(proof)) => shared.tell_validator(Message::Input(Input::Closing(proof))),
            _ => {}
        }
    }
}

/// Makes the own core lead, which may be starting just now, or not have left its last term yet.
async fn lead(shared: &Shared, term: u64) {
    while shared.terms.entered().term <= term {
        if let Err(fault) = shared.leave_terms_before(term).await {
            return shared.fail(fault);
        }
        if shared.lead(term).await {
            return tracing::info!(term, "this node leads");
        }
        sleep(ASK_AGAIN).await;
    }
}

impl Shared {
    /// The own voter's answer to a candidate.
    pub(crate) async fn ask_for_grant(
        &self,
        candidate: NodeId,
        candidacy: Candidacy,
    ) -> Result<PeerReply, PeerRefusal> {
        if let Some(over) = self.over(candidacy.term)? {
            return Ok(over);
        }
        // The candidate may have seen the end of an epoch a moment earlier.
        let (mut entered, epoch) = (self.terms.watch_entered(), epoch_of(candidacy.term));
        let _ = timeout(PEER_TIMEOUT / 4, entered.wait_for(|entered| epoch_of(entered.term) >= epoch)).await;
        let (reply, answer) = oneshot::channel();
        self.tell_validator(Message::Candidate { candidate, candidacy: Box::new(candidacy), reply });
        // An error means that the voting thread could not keep up, or ended.
        let grant = answer.await.map_err(|_| PeerRefusal::NotReady)?;
        grant.map(PeerReply::Granted).ok_or(PeerRefusal::NotGranted)
    }

    /// Whether `node` granted `term` to this node.
    fn is_grant(&self, grant: &SignedGrant, node: NodeId, term: u64, validators: &ValidatorSet) -> bool {
        let consortium = self.name();
        let expected = Grant { consortium, epoch: validators.epoch, term, candidate: self.me };
        grant.validator == node && grant.statement == expected && grant.verify(validators, &consortium).is_ok()
    }
}
