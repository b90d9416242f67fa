//! Parameters and auditors.

use super::*;

#[test]
fn a_parameter_does_not_close_a_block() {
    let mut chain = chain();
    chain.enact(vec![cheaper()]).expect("valid");
    assert_eq!((chain.tip.state.epoch(), chain.tip.is_closing()), (0, false));
    assert_eq!(chain.blocks.last().expect("blocks").0.header.next_validators, Digest::ZERO);
}

#[test]
fn a_parameter_changes_from_what_it_is_and_within_its_range() {
    let mut chain = chain();
    let mut proposed = |name: &str, from, to| chain.propose_actions(0, vec![parameter(name, from, to)]).map(drop);
    assert_eq!(proposed("credit_per_ms", 1, 2), Ok(()));
    let unfit = |name: &str, from| Err(Refusal::ParameterUnfit { name: name.to_owned(), from });
    assert_eq!(proposed("credit_per_ms", 7, 2), unfit("credit_per_ms", 7));
    assert_eq!(proposed("credits", 1, 2), unfit("credits", 1));
    assert!(matches!(proposed("credit_per_ms", 1, 9_999_999), Err(Refusal::GenesisRule { .. })));
    let fixed = Err(Refusal::ParameterFixed { name: "heartbeat_ms".to_owned() });
    assert_eq!(proposed("heartbeat_ms", 200, 201), fixed, "no node would go by it");
}

#[test]
fn the_rules_read_the_parameters_of_the_state() {
    let mut chain = chain();
    let session = Session::in_eu(&chain.consortium, 0);
    chain.push(session.created()).expect("valid");
    chain.enact(vec![parameter("offer_deadline_blocks", 1_000, 5)]).expect("valid");
    let wallet = session.record(&chain);
    let now = chain.tip.height.get();
    let far = chain.push(session.offered(&wallet, session.offer(&wallet, 1, now + 100)));
    assert!(matches!(far, Err(Refusal::DeadlineOutOfRange { .. })));
    chain.push(session.offered(&wallet, session.offer(&wallet, 1, now + 5))).expect("within the new range");
}

#[test]
fn auditors_are_granted_and_revoked() {
    let mut chain = chain();
    chain.enact(vec![Action::GrantAuditor(auditor(2)), Action::GrantAuditor(auditor(1))]).expect("valid");
    assert_eq!(chain.tip.state.founded().auditors, [1, 2].map(|number| Digest([number; 32])));
    let twice = chain.propose_actions(0, vec![Action::GrantAuditor(auditor(1))]);
    assert!(matches!(twice, Err(Refusal::MemberExists { .. })));
    chain.enact(vec![Action::RevokeAuditor(Digest([1; 32]))]).expect("valid");
    let record = chain.tip.state.auditor(Digest([1; 32])).expect("it stays on record");
    assert!(!record.granted);
    let gone = chain.propose_actions(0, vec![Action::RevokeAuditor(Digest([1; 32]))]);
    assert!(matches!(gone, Err(Refusal::MemberUnknown { .. })));
    let again =
        chain.propose_actions(0, vec![Action::GrantAuditor(Auditor { name: "Other".to_owned(), ..auditor(1) })]);
    assert!(matches!(again, Err(Refusal::MemberExists { .. })), "others may have the key");
    let namesake =
        chain.propose_actions(0, vec![Action::GrantAuditor(Auditor { key_hash: Digest([9; 32]), ..auditor(2) })]);
    assert_eq!(namesake, Err(Refusal::MemberExists { what: "the name Auditor 2".to_owned() }));
    let blank = Auditor { name: " ".to_owned(), ..auditor(3) };
    let blank = chain.propose_actions(0, vec![Action::GrantAuditor(blank)]);
    assert!(matches!(blank, Err(Refusal::GenesisRule { .. })));
}

#[test]
fn the_key_of_a_models_owner_is_made_no_auditors() {
    let mut draft = consortium(4).document().draft().clone();
    let owner = |number: u8| Owner { name: format!("Owner {number}"), key_hash: Digest([number; 32]) };
    draft.models = [5, 6]
        .map(|number| Model {
            hash: Digest([number; 32]),
            name: format!("model-{number}"),
            operator: operator_id(0),
            owner: Some(owner(number)),
        })
        .to_vec();
    draft.signatures = Default::default();
    let mut document = Document::new(draft).expect("it keeps the rules");
    (0..4).for_each(|number| document.sign(&operator_id(number), &operator_key(number)).expect("its own key"));
    let mut chain = Chain::new(Arc::new(document.verify().expect("signed by all")));
    let owners = chain.propose_actions(0, vec![Action::GrantAuditor(auditor(6))]);
    let (key_hash, model) = (Digest([6; 32]), "model-6".to_owned());
    assert_eq!(owners, Err(Refusal::OwnersKey { key_hash, model }));
    chain.enact(vec![Action::GrantAuditor(auditor(7))]).expect("nobody's key");
}
