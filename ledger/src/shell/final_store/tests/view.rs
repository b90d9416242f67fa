//! Hand-overs are read and verified once.

use super::*;
use crate::{
    epochs::Epochs,
    governance::{Action, Member},
    hand_over::HandOverInvalid,
    shell::memory::MemoryDisk,
    testing::{Session, consortium},
};

/// A store in which two epochs ended, and the first final states with one and with two hand-overs before them.
fn two_epochs() -> (Chain, Arc<MemoryDisk>, FinalStore, [Arc<Executed>; 2]) {
    let consortium = consortium(5);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    for ended in [4, 3] {
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(ended)))]).expect("valid");
        // The closing block is still of the epoch that it closes.
        chain.push(session.anchored(0, u64::from(5 - ended), Digest([1; 32]))).expect("valid");
    }
    let disk = Arc::new(MemoryDisk::default());
    let (store, states) = committed(disk.clone(), &chain);
    let first = |epoch| {
        let header = |state: &Arc<Executed>| store.header(state.height).expect("reads").expect("final");
        states.iter().find(|state| header(state).epochs_ended() == epoch).expect("it began").clone()
    };
    let first = [first(1), first(2)];
    (chain, disk, store, first)
}

#[test]
fn a_view_reads_no_hand_over_that_one_before_it_read() {
    let (chain, disk, store, [first, second]) = two_epochs();
    let rows = |state: &Arc<Executed>| {
        let before = disk.reads();
        let view = store.view(state.clone()).expect("reads");
        (view.hand_overs().len(), disk.reads() - before)
    };
    // Beside them a header and its certificate.
    assert_eq!([rows(&first), rows(&first)], [(1, 3), (1, 2)]);
    assert_eq!([rows(&second), rows(&second), rows(&first)], [(2, 3), (2, 2), (1, 2)]);
    assert_eq!(store.hand_overs(2).expect("reads"), chain.hand_overs);
    assert_eq!(store.hand_overs(1).expect("reads"), chain.hand_overs[..1]);
    assert!(matches!(store.hand_overs(3), Err(Fault::Missing { .. })));
    assert_eq!(store.hand_overs(2).expect("reads"), chain.hand_overs, "what is missing changes nothing");
}

#[test]
fn epochs_that_were_proven_are_extended_and_never_replaced_by_fewer() {
    let (chain, _, store, [first, second]) = two_epochs();
    let proven = |ended: usize| Epochs::proven(&chain.consortium, &chain.hand_overs[..ended], &[]);
    let found = |state: &Arc<Executed>| store.view(state.clone()).expect("reads").epochs(&chain.consortium);
    assert_eq!((found(&first), found(&second), found(&first)), (proven(1), proven(2), proven(1)));
    // Whoever looked at one of the first again would refuse it.
    let mut broken = chain.hand_overs.clone();
    broken[0].proof.certificate.signatures.clear();
    store.set_past(broken.clone());
    assert_eq!(found(&second), proven(2), "neither is verified again");
    assert!(matches!(found(&first), Err(HandOverInvalid::Certificate(_))), "what is from before is not kept");
    assert_eq!(found(&second), proven(2), "and does not take the place of what is");
}

#[test]
fn only_new_hand_overs_are_verified_and_one_that_proves_nothing_adds_nothing() {
    let (chain, _, store, [first, second]) = two_epochs();
    let found = |state: &Arc<Executed>| store.view(state.clone()).expect("reads").epochs(&chain.consortium);
    found(&first).expect("proven");
    let mut broken = chain.hand_overs.clone();
    broken[1].proof.certificate.signatures.clear();
    store.set_past(broken);
    assert!(matches!(found(&second), Err(HandOverInvalid::Certificate(_))), "it is new");
    let mut broken = chain.hand_overs.clone();
    broken[0].proof.certificate.signatures.clear();
    store.set_past(broken);
    assert_eq!(
        found(&second),
        Epochs::proven(&chain.consortium, &chain.hand_overs, &[]),
        "the first was verified before"
    );
}
