use wallet::units::LogIndex;

use super::*;
use crate::{
    bundle::FinalView as _,
    checks::Direct,
    epochs::Epochs,
    event::{Entry, ValidatorResumed},
    evidence::{Evidence, EvidenceInvalid},
    execute,
    governance::Action,
    hand_over::{HandOver, HandOverInvalid, ValidatorSets, re_geneses},
    replay::{Reason, Replay, ReplayInvalid, Signatures},
    state::{Standing, StateKey},
    testing::{Chain, Session, certify, consortium, node_key, operator_id, operator_key},
    tree::log::LogTree,
    vote::Vote,
};

fn operator(number: u32) -> Member {
    Member::Operator(operator_id(number))
}

fn node(number: u32) -> Member {
    Member::Node(NodeId::new(number))
}

/// Four operators with a node each and a wallet; the last two are about to be lost.
fn chain() -> (Chain, Session) {
    let consortium = consortium(4);
    let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
    chain.push(session.created()).expect("valid");
    (chain, session)
}

/// The word of a validator that it is back, in the name in force.
fn resumed(chain: &Chain, number: u8) -> Entry {
    chain.governing(Event::ValidatorResumed(ValidatorResumed { name: chain.tip.name, nonce: [number; 16] }))
}

fn blocks(chain: &Chain) -> Vec<FinalBlock> {
    let block = |(block, certificate): &(Block, Certificate)| FinalBlock {
        block: block.clone(),
        certificate: certificate.clone(),
        carriers: Vec::new(),
    };
    chain.blocks.iter().map(block).collect()
}

fn replay(chain: &Chain, named: &[Digest]) -> Result<Executed, ReplayInvalid> {
    let mut replay = Replay::new(chain.consortium.clone(), Signatures::Verified).naming(named);
    blocks(chain).iter().try_for_each(|block| replay.step(block))?;
    Ok(replay.finish()?.executed)
}

/// Why a re-genesis on the chain's final state is refused, by a node that was told its name.
fn refused(chain: &Chain, block: &Block, certificate: &Certificate) -> ReGenesisInvalid {
    let next = FinalBlock { block: block.clone(), certificate: certificate.clone(), carriers: Vec::new() };
    verify(&chain.consortium, &chain.tip, &next, &[block.header.digest()], &Direct).expect_err("not valid")
}

#[test]
fn those_that_are_left_go_on_from_the_last_final_block() {
    let (mut chain, session) = chain();
    let proposal = chain.propose_actions(0, vec![Action::Suspend(node(3))]).expect("valid");
    let before = chain.tip.clone();
    let name = chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    let state = &chain.tip.state;
    assert_eq!((state.lineage(), state.epoch(), chain.tip.digest), (2, before.state.epoch() + 1, name));
    assert_eq!(chain.tip.validators().members, before.validators().members[..2]);
    assert_eq!(state.electorate().len(), 2);
    assert_eq!(state.node(NodeId::new(3)).expect("it was a node").standing, Standing::Suspended);
    assert_ne!(state.founded().electorate, before.state.founded().electorate);
    assert!(chain.cast(1, proposal, true).is_err(), "what was proposed before is superseded");
    session.hop(&mut chain, 1, None).expect("what was kept goes on");
    chain.enact(vec![Action::RevokeKey(node_key(9).public_key())]).expect("they decide without the others");
    assert_eq!(replay(&chain, &[name]).expect("it follows"), chain.tip);
}

#[test]
fn what_operators_signed_in_what_was_dropped_or_in_another_re_genesis_decides_nothing() {
    let (mut chain, _) = chain();
    let (mut left, mut rival) = (chain.clone(), chain.clone());
    // As many changes of the electorate as the re-genesis makes, above the block on which it is drafted.
    left.enact(vec![Action::Suspend(operator(3))]).expect("valid");
    let other = ReGenesis { reason: "another draft".to_owned(), ..rival.beginning(vec![operator(2), operator(3)]) };
    rival.begin_with(0, other).expect("valid");
    chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    let current = chain.tip.state.founded().electorate;
    for past in [left, rival] {
        let made = past.terms(0, vec![Action::Suspend(node(1))]).sign(&operator_key(0));
        let named = made.terms.electorate;
        let again = chain.push(chain.governing(Event::ProposalMade(Box::new(made))));
        assert_eq!(again, Err(Refusal::ElectorateChanged { current, named }));
    }
}

#[test]
fn who_came_back_in_what_was_dropped_or_in_another_re_genesis_is_not_back() {
    let [(mut chain, _), (rival, _)] = twins();
    let (left, current) = (self::chain().0, chain.tip.name);
    for past in [left, rival] {
        let again = chain.push(resumed(&past, 1));
        assert_eq!(again, Err(Refusal::ResumedElsewhere { current, named: past.tip.name }));
    }
    assert_eq!(chain.tip.state.resumption(NodeId::ZERO), None);
    chain.push(resumed(&chain, 1)).expect("it is back here");
    assert!(chain.tip.state.resumption(NodeId::ZERO).is_some());
}

#[test]
fn nobody_takes_a_re_genesis_that_was_not_named() {
    let (mut chain, _) = chain();
    let name = chain.begin_anew(1, vec![operator(2), operator(3)]).expect("valid");
    chain.push(resumed(&chain, 1)).expect("valid");
    for named in [&[][..], &[Digest([7; 32])]] {
        let refused = replay(&chain, named).expect_err("nobody was told");
        assert_eq!(refused.reason, Reason::ReGenesis(Box::new(ReGenesisInvalid::NotNamed { found: name })));
        let sets = ValidatorSets::proven(&chain.consortium, &chain.hand_overs, named);
        assert_eq!(sets, Err(HandOverInvalid::NotNamed { found: name }));
    }
    let sets = ValidatorSets::proven(&chain.consortium, &chain.hand_overs, &[name]).expect("named");
    assert_eq!((sets.last(), sets.lineage()), (&chain.tip.validators(), 2));
}

#[test]
fn each_operator_that_stays_signs_and_nobody_else() {
    let (chain, _) = chain();
    let (block, executed) = chain.draft(0, chain.beginning(vec![operator(3)])).expect("valid");
    let good = chain.signed_by_operators(&block, &executed);
    let next = FinalBlock { block: block.clone(), certificate: good.clone(), carriers: Vec::new() };
    verify(&chain.consortium, &chain.tip, &next, &[block.header.digest()], &Direct).expect("all three signed");
    let certificate = |change: fn(&mut Certificate)| {
        let mut changed = good.clone();
        change(&mut changed);
        refused(&chain, &block, &changed)
    };
    let missing = |node| ReGenesisInvalid::Certificate(CertificateInvalid::SignerMissing { node: NodeId::new(node) });
    let bad = |node| ReGenesisInvalid::Certificate(CertificateInvalid::BadSignature { signer: NodeId::new(node) });
    assert_eq!(certificate(|c| _ = c.signatures.remove(0)), missing(0));
    assert_eq!(certificate(|c| _ = c.signatures.pop()), missing(2));
    assert_eq!(certificate(|c| c.signatures.swap(0, 1)), missing(0));
    assert_eq!(certificate(|c| c.signatures[1].1.0[5] ^= 1), bad(1));
    assert_eq!(certificate(|c| c.signatures[1].1 = c.signatures[0].1), bad(1));
    assert!(matches!(
        certificate(|c| c.signatures.push((NodeId::new(3), Signature([0; 64])))),
        ReGenesisInvalid::Certificate(CertificateInvalid::NotAValidator { .. })
    ));
    let other = |found| ReGenesisInvalid::Certificate(CertificateInvalid::OtherReGenesis { found });
    assert_eq!(certificate(|c| c.block = Digest([1; 32])), other(Digest([1; 32])));
    assert_eq!(certificate(|c| c.kind = VoteKind::Notarize), other(good.block), "that is no word of operators");
    assert_eq!(refused(&chain, &block, &certify(&block, 0..4)), bad(0), "votes are no operator's word");
    assert_eq!(
        certify(&block, 0..4).verify_final(chain.consortium.validators(), &chain.consortium.id()),
        Err(CertificateInvalid::KeptTerm { term: block.header.view.term }),
        "and no set can vote for it"
    );
}

#[test]
fn what_a_draft_says_keeps_the_rules() {
    let (mut chain, _) = chain();
    let drafted = |chain: &Chain, change: &dyn Fn(&mut ReGenesis)| {
        let mut event = chain.beginning(vec![operator(2), operator(3)]);
        change(&mut event);
        chain.draft(0, event).map(drop)
    };
    assert_eq!(drafted(&chain, &|_| {}), Ok(()));
    assert_eq!(drafted(&chain, &|e| e.lost.clear()), Ok(()), "all stay who lost their votes");
    let lineage = Refusal::WrongLineage { expected: 2, named: 3 };
    assert_eq!(drafted(&chain, &|e| e.lineage = 3), Err(lineage));
    for reason in [String::new(), "a\nb".to_owned(), "a".repeat(REASON_BYTES_MAX + 1)] {
        let refused = Refusal::ReGenesisReason { bytes: reason.len(), max: REASON_BYTES_MAX };
        assert_eq!(drafted(&chain, &|e| e.reason.clone_from(&reason)), Err(refused));
    }
    let disorder = Refusal::LostOutOfOrder { max: LOST_MAX };
    assert_eq!(drafted(&chain, &|e| e.lost.reverse()), Err(disorder.clone()));
    assert_eq!(drafted(&chain, &|e| e.lost.push(operator(3))), Err(disorder));
    let unfit = |member| Refusal::StandingUnfit { member };
    assert_eq!(drafted(&chain, &|e| e.lost.push(node(3))), Err(unfit(node(3))), "it goes with its operator");
    let idle = Refusal::OperatorWithoutValidator { operator: operator_id(3) };
    assert_eq!(drafted(&chain, &|e| e.lost = vec![node(3)]), Err(idle));
    assert_eq!(drafted(&chain, &|e| e.lost = (0..4).map(operator).collect()), Err(Refusal::NobodyLeft));
    chain.push(resumed(&chain, 1)).expect("valid");
    let height = chain.tip.height.next().expect("few blocks");
    let below = Refusal::DroppedBelow { highest: BlockHeight::new(1), height };
    assert_eq!(drafted(&chain, &|e| e.dropped.highest = BlockHeight::new(1)), Err(below));
}

#[test]
fn the_entry_is_refused_in_every_block_that_is_voted_on() {
    let (mut chain, _) = chain();
    let event = Event::ReGenesis(Box::new(chain.beginning(vec![operator(3)])));
    assert_eq!(chain.push(chain.governing(event)), Err(Refusal::ReGenesisOutOfPlace));
}

#[test]
fn a_block_in_the_kept_term_is_none_for_the_vote_and_blames_nobody() {
    let (chain, _) = chain();
    let (block, _) = chain.draft(0, chain.beginning(vec![operator(3)])).expect("valid");
    let refused = execute::execute(&chain.consortium, &chain.tip, &block);
    assert!(matches!(refused, Err(BlockInvalid::View { .. })), "{refused:?}");
    let key = node_key(0);
    let proposal = block.header.sign(&key);
    assert!(!block.header.is_proposed_by(&key.public_key(), &proposal));
    assert!(!execute::is_bound(&chain.tip, &Block { proposal, ..block }));
}

#[test]
fn a_re_genesis_stands_on_the_last_final_block_and_is_all_that_its_block_holds() {
    let (mut chain, session) = chain();
    let (block, executed) = chain.draft(0, chain.beginning(vec![operator(2), operator(3)])).expect("valid");
    let certificate = chain.signed_by_operators(&block, &executed);
    let mut more = block.clone();
    more.entries.push(session.created());
    assert_eq!(refused(&chain, &more, &certificate), ReGenesisInvalid::OtherForm);
    let proposed = Block { proposal: block.header.sign(&node_key(0)), ..block.clone() };
    assert_eq!(refused(&chain, &proposed, &certificate), ReGenesisInvalid::OtherForm);
    let unproven = Block { parent_certificate: None, ..block.clone() };
    assert!(matches!(refused(&chain, &unproven, &certificate), ReGenesisInvalid::Block(_)));
    let by_lost = chain.draft(3, chain.beginning(vec![operator(2), operator(3)])).expect("the rules do not look");
    let signed = chain.signed_by_operators(&by_lost.0, &by_lost.1);
    assert_eq!(refused(&chain, &by_lost.0, &signed), ReGenesisInvalid::AuthorLost { author: NodeId::new(3) });
    // Another block became final meanwhile.
    session.hop(&mut chain, 1, None).expect("valid");
    assert!(matches!(refused(&chain, &block, &certificate), ReGenesisInvalid::Block(BlockInvalid::Height { .. })));
    let nothing = Chain::new(chain.consortium.clone());
    let (empty, _) = nothing.draft(0, nothing.beginning(vec![operator(3)])).expect("the rules do not look");
    assert_eq!(refused(&nothing, &empty, &certificate), ReGenesisInvalid::NothingFinal);
}

#[test]
fn the_first_block_of_the_lineage_carries_the_operators_word() {
    let (mut chain, session) = chain();
    chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    let good = chain.propose(vec![session.touched(&session.record(&chain), 1)]);
    execute::execute(&chain.consortium, &chain.tip, &good.block).expect("it carries it");
    let mut forged = chain.clone();
    let (genesis, certificate) = forged.blocks.last_mut().expect("the re-genesis");
    *certificate = certify(genesis, 0..4);
    let block = forged.propose(Vec::new()).block;
    assert!(matches!(
        execute::execute(&chain.consortium, &chain.tip, &block),
        Err(BlockInvalid::ParentCertificate(CertificateInvalid::BadSignature { .. }))
    ));
}

/// Another one from the same block, by the same operators, and with the same nodes.
fn twins() -> [(Chain, Digest); 2] {
    let (chain, _) = chain();
    ["two burnt down", "two are away"].map(|reason| {
        let mut chain = chain.clone();
        let event = ReGenesis { reason: reason.to_owned(), ..chain.beginning(vec![operator(2), operator(3)]) };
        let name = chain.begin_with(0, event).expect("valid");
        (chain, name)
    })
}

fn sets(chain: &Chain, named: &[Digest]) -> ValidatorSets {
    ValidatorSets::proven(&chain.consortium, &chain.hand_overs, named).expect("proven")
}

#[test]
fn no_signature_of_one_branch_is_a_statement_of_another() {
    let mut branches = twins();
    let anchor = |chain: &mut Chain, number: u8| {
        chain.push(resumed(chain, number)).expect("valid");
    };
    // Node 0 honestly votes in both, in one view.
    branches.iter_mut().zip(1..).for_each(|((chain, _), number)| anchor(chain, number));
    let vote = |chain: &Chain| {
        let (block, _) = chain.blocks.last().expect("blocks");
        Vote::sign(Ballot::for_header(VoteKind::Finalize, &block.header), &chain.signer(NodeId::ZERO).expect("a key"))
    };
    let votes = [vote(&branches[0].0), vote(&branches[1].0)];
    assert_eq!(votes[0].statement.view, votes[1].statement.view);
    assert_eq!(branches[0].0.tip.validators(), branches[1].0.tip.validators());
    for (chain, name) in &branches {
        let blamed = Evidence::DoubleVote(Box::new(votes)).verify_in(&chain.consortium, &sets(chain, &[*name]));
        let is_foreign =
            matches!(blamed, Err(EvidenceInvalid::Statement(CertificateInvalid::ForeignConsortium { .. })));
        assert!(is_foreign, "{blamed:?}");
    }
    // Nor is a block of one the child of another, nor final by its certificate.
    let [(one, name), (other, _)] = &branches;
    let (block, certificate) = other.blocks.last().expect("blocks");
    assert_ne!(one.tip.name, other.tip.name);
    assert_eq!(one.tip.name, super::name(&one.consortium.id(), name));
    assert!(matches!(
        certificate.verify_final(&one.tip.validators(), &one.tip.name),
        Err(CertificateInvalid::BadSignature { .. })
    ));
    assert_eq!(block.header.consortium, other.tip.name);
}

#[test]
fn the_certificate_of_another_re_genesis_by_the_same_operators_makes_nothing_final() {
    let [(one, name), (other, found)] = twins();
    let (_, certificate) = other.blocks.last().expect("the re-genesis");
    let refused = Err(CertificateInvalid::OtherReGenesis { found });
    assert_eq!(sets(&one, &[name]).verify_final(0, certificate), refused);
    assert_eq!(one.tip.verify_final(certificate), refused);
    assert_eq!(one.tip.verify_final(&one.blocks.last().expect("blocks").1), Ok(()));
}

#[test]
fn what_lacks_a_re_genesis_that_was_named_is_of_another_lineage() {
    let (chain, _) = chain();
    let digest = Digest([7; 32]);
    let missing = replay(&chain, &[digest]).expect_err("it never began anew").reason;
    assert_eq!(missing, Reason::ReGenesisMissing { lineage: 1, named: 1 });
    let [(begun, name), _] = twins();
    assert!(replay(&begun, &[name, name]).is_ok());
    assert!(replay(&begun, &[name, digest]).is_err());
    assert_eq!(sets(&begun, &[name, digest]).check_all_taken(), Err(HandOverInvalid::Missing { digest }));
    assert_eq!(sets(&begun, &[name]).check_all_taken(), Ok(()));
}

#[test]
fn lineages_are_counted_and_one_may_follow_another_at_once() {
    let (mut chain, session) = chain();
    let first = chain.begin_anew(0, vec![operator(3)]).expect("valid");
    let second = chain.begin_anew(1, vec![operator(2)]).expect("valid");
    session.hop(&mut chain, 1, None).expect("valid");
    let third = chain.begin_anew(0, Vec::new()).expect("valid");
    let names = [first, second, third];
    assert_eq!((chain.tip.state.lineage(), chain.tip.state.epoch()), (4, 3));
    assert_eq!(replay(&chain, &names).expect("it follows"), chain.tip);
    let sets = ValidatorSets::proven(&chain.consortium, &chain.hand_overs, &names).expect("proven");
    assert_eq!((sets.lineage(), sets.last().members.len()), (4, 2));
    assert_eq!(re_geneses(&chain.hand_overs), names);
    for left_out in names {
        let named: Vec<Digest> = names.into_iter().filter(|name| *name != left_out).collect();
        let refused = ValidatorSets::proven(&chain.consortium, &chain.hand_overs, &named);
        assert_eq!(refused, Err(HandOverInvalid::NotNamed { found: left_out }));
    }
}

#[test]
fn a_re_genesis_may_stand_on_a_closing_block_that_carriers_made_final() {
    let (mut chain, _) = chain();
    chain.enact(vec![Action::Suspend(node(3))]).expect("valid");
    chain.carry(2);
    let (block, executed) = chain.draft(0, chain.beginning(vec![operator(2), operator(3)])).expect("valid");
    assert_eq!((block.carriers.len(), block.header.epoch), (2, 1));
    let name = chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    assert_eq!(name, executed.digest);
    ValidatorSets::proven(&chain.consortium, &chain.hand_overs, &[name]).expect("proven without a state");
}

#[test]
fn the_entry_of_a_re_genesis_is_no_word_of_the_old_set() {
    let (mut chain, _) = chain();
    let before = chain.tip.log.size();
    let name = chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    let epochs = Epochs::proven(&chain.consortium, &chain.hand_overs, &[name]).expect("proven");
    assert_eq!([before, before + 1].map(|size| epochs.of_size(size).epoch), [0, 1]);
    assert_eq!(epochs.of_entry(LogIndex::new(before)).epoch, 1);
}

/// A hand-over that somebody without a state is shown, and what is wrong with it after a change. Its name is told anew.
fn unproven(change: impl FnOnce(&mut Chain, &mut HandOver)) -> HandOverInvalid {
    let (mut chain, _) = chain();
    let (block, executed) = chain.draft(0, chain.beginning(vec![operator(2), operator(3)])).expect("valid");
    let certificate = chain.signed_by_operators(&block, &executed);
    let mut hand_over = chain.hand_over_by(&block, &executed, certificate);
    change(&mut chain, &mut hand_over);
    let name = hand_over.closing.digest();
    ValidatorSets::proven(&chain.consortium, [&hand_over], &[name]).expect_err("changed")
}

/// Signs a changed header again by the operators of the two that stay.
fn sign_again(hand_over: &mut HandOver) {
    let header = &hand_over.closing;
    hand_over.proof.certificate.block = header.digest();
    hand_over.proof.certificate.height = header.height;
    for (node, signature) in &mut hand_over.proof.certificate.signatures {
        *signature = sign(header, &operator_key(node.get())).expect("a key in memory signs");
    }
}

fn proof(hand_over: &mut HandOver) -> &mut ReGenesisProof {
    hand_over.re_genesis.as_mut().expect("a re-genesis")
}

#[test]
fn who_has_no_state_sees_that_those_who_signed_run_the_validators_that_stay() {
    let in_part = HandOverInvalid::ReGenesis("it has the form of one in part");
    assert_eq!(unproven(|_, h| h.re_genesis = None), in_part);
    let place = |reason| HandOverInvalid::ReGenesis(reason);
    let follows = place("it does not follow the last final block");
    assert_eq!(unproven(|_, h| proof(h).last.height = BlockHeight::new(9)), follows);
    let of_another = place("the last block's certificate is of another");
    assert_eq!(unproven(|_, h| proof(h).proof.certificate.block = Digest([1; 32])), of_another);
    let short = unproven(|_, h| _ = proof(h).proof.certificate.signatures.pop());
    assert!(matches!(short, HandOverInvalid::Certificate(CertificateInvalid::BelowQuorum { .. })), "{short}");
    assert_eq!(
        unproven(|_, h| proof(h).log = LogTree::default()),
        place("the log is not that of the last final block")
    );
    let entry = unproven(|chain, h| proof(h).entry = chain.blocks[0].0.entries[0].clone());
    assert_eq!(entry, place("its entry is not the only one"));
    let nobody = place("it is not proven who runs the validators that stay");
    assert_eq!(unproven(|_, h| _ = proof(h).nodes.pop()), nobody);
    assert_eq!(unproven(|_, h| _ = proof(h).operators.pop()), nobody);
    let twice = unproven(|_, h| {
        let again = proof(h).operators[0].clone();
        proof(h).operators.push(again);
    });
    assert_eq!(twice, nobody);
    assert!(matches!(unproven(|_, h| proof(h).operators.swap(0, 1)), HandOverInvalid::Record(_)));
    assert!(matches!(unproven(|_, h| _ = proof(h).nodes[0].path.pop()), HandOverInvalid::Record(_)));
    let unsaid = place("it is not said of each validator whether it stays");
    assert_eq!(unproven(|_, h| _ = proof(h).lost.pop()), unsaid);
    let named = |change: fn(&mut ReGenesis)| {
        let (chain, _) = chain();
        let (block, executed) = chain.draft(0, chain.beginning(vec![operator(2), operator(3)])).expect("valid");
        let certificate = chain.signed_by_operators(&block, &executed);
        let mut hand_over = chain.hand_over_by(&block, &executed, certificate);
        let anew = proof(&mut hand_over);
        anew.entry = anew.entry.changed(|entry| match &mut entry.body.event {
            Event::ReGenesis(event) => change(event),
            _ => unreachable!("its only entry"),
        });
        let mut log = anew.log.clone();
        log.append(anew.entry.leaf_hash());
        (hand_over.closing.log_size, hand_over.closing.log_root) = (log.size(), log.root());
        let (closing, next) = (hand_over.closing.clone(), hand_over.next.clone());
        proof(&mut hand_over).signers(&closing, &next).expect_err("it says something else than it does")
    };
    assert_eq!(named(|e| _ = e.lost.pop()), place("it drops a validator that it does not name as lost"));
    assert_eq!(named(|e| e.lost.insert(0, operator(1))), place("it keeps a validator that it names as lost"));
    assert_eq!(named(|e| e.lost.push(node(1))), place("it keeps a validator that it names as lost"));
    let unsigned = unproven(|_, h| h.proof.certificate.signatures[1].1.0[0] ^= 1);
    assert!(matches!(unsigned, HandOverInvalid::Certificate(CertificateInvalid::BadSignature { .. })), "{unsigned}");
}

#[test]
fn operators_cannot_bring_a_validator_in_by_a_re_genesis() {
    let stranger = unproven(|_, h| {
        h.next.members[1].1 = node_key(9).public_key();
        h.closing.next_validators = h.next.hash();
        sign_again(h);
    });
    let reason = HandOverInvalid::ReGenesis("it is not proven who runs the validators that stay");
    assert_eq!(stranger, reason);
    let late = unproven(|_, h| {
        h.closing.time = proof(h).last.time;
        sign_again(h);
    });
    assert_eq!(late, HandOverInvalid::ReGenesis("it does not follow the last final block"));
}

#[test]
fn a_re_genesis_of_another_consortium_is_refused() {
    let (chain, _) = chain();
    let others = Chain::new(consortium(5));
    let (mut other, session) = (others, Session::in_eu(&consortium(5), 0));
    other.push(session.created()).expect("valid");
    let (block, executed) = other.draft(0, other.beginning(vec![operator(3), operator(4)])).expect("valid");
    let certificate = other.signed_by_operators(&block, &executed);
    let foreign = refused(&chain, &block, &certificate);
    assert!(matches!(foreign, ReGenesisInvalid::Block(BlockInvalid::ForeignConsortium { .. })), "{foreign}");
    let hand_over = other.hand_over_by(&block, &executed, certificate);
    let sets = ValidatorSets::proven(&chain.consortium, [&hand_over], &[block.header.digest()]);
    assert!(matches!(sets, Err(HandOverInvalid::OutOfTurn { .. })), "{sets:?}");
}

#[test]
fn the_lineage_stands_in_the_state_with_a_proof() {
    let (mut chain, _) = chain();
    assert_eq!(
        chain.state().prove(StateKey::Lineage).verify_absent(&chain.tip.state.root(), &StateKey::Lineage.digest()),
        Ok(())
    );
    chain.begin_anew(0, vec![operator(2), operator(3)]).expect("valid");
    let record = chain.tip.state.re_genesis().expect("it began anew");
    let (last, _) = chain.blocks.last().expect("the re-genesis");
    assert_eq!((record.lineage, record.since, record.entry), (2, chain.tip.height, last.entries[0].id()));
}
