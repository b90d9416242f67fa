//! The vote record with which a node goes into the name that a re-genesis begins.

use wallet::units::NodeId;

use super::ReGenesisFault;
use crate::{execute::Executed, finality::VoteRecord, shell::vote_record::Votes};

/// What the operator of a node says of its vote record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// It is there.
    Kept,
    /// It may be gone; in any case this node never voted after this re-genesis.
    NeverVoted,
}

/// The record to begin with in the name in force after `executed`; none if the one that is there is that already. It
/// `begins_name` if nobody can have voted in that name before: its re-genesis is becoming final here.
pub(super) fn begin(
    found: Option<Votes>,
    record: Record,
    begins_name: bool,
    me: NodeId,
    executed: &Executed,
) -> Result<Option<Votes>, ReGenesisFault> {
    let name = executed.name;
    let mut begun = Votes { begun: Some(executed.digest), ..Votes::new(name, me) };
    match found {
        Some(old) if old.node != me => return Err(ReGenesisFault::OtherRecord { found: old.node, me }),
        // It is silent where it does not know all that it signed. There is nothing of that kind if it never voted.
        Some(old) if old.consortium == name && (old.silent.is_none() || record == Record::Kept) => return Ok(None),
        Some(old) if old.consortium == name && has_voted(&old) => return Err(ReGenesisFault::Voted),
        Some(old) if old.consortium == name => (begun.left, begun.drawn) = (old.left, old.drawn),
        Some(old) if old.left.contains(&name) => return Err(ReGenesisFault::Voted),
        // A ledger that was restored holds the re-genesis already, and the record may be an old copy.
        Some(_) if !begins_name && record == Record::Kept => return Err(ReGenesisFault::NoRecord),
        Some(old) => {
            begun.left = old.left;
            begun.left.push(old.consortium);
            begun.drawn = old.drawn;
        }
        None if record == Record::Kept => return Err(ReGenesisFault::NoRecord),
        None => {}
    }
    // One that came back before is not taken for another process.
    let came_back = executed.state.resumption(me).map(|record| record.nonce);
    begun.drawn.extend(came_back.filter(|nonce| !begun.drawn.contains(nonce)));
    Ok(Some(begun))
}

/// Whether the record shows that its key signed anything in its name.
fn has_voted(votes: &Votes) -> bool {
    votes.record != VoteRecord::default() || votes.finalized_at.is_some() || votes.best.is_some()
}

#[cfg(test)]
mod tests {
    use wallet::digest::Digest;

    use super::*;
    use crate::{block::View, testing::consortium};

    const ME: NodeId = NodeId::new(2);
    const NAMES: [Digest; 3] = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];

    /// The record with which node 2 goes into the name.
    fn begun(found: Option<Votes>, record: Record, name: Digest) -> Result<Option<Votes>, ReGenesisFault> {
        begin(found, record, true, ME, &Executed { name, ..Executed::genesis(&consortium(4)) })
    }

    #[test]
    fn a_record_of_another_name_gives_way_to_one_that_knows_of_it() {
        let mut old = Votes::new(NAMES[0], ME);
        old.silent = Some([7; 16]);
        old.drawn.push([7; 16]);
        let first = begun(Some(old), Record::Kept, NAMES[1]).expect("kept").expect("a new one");
        let expected =
            Votes { left: vec![NAMES[0]], drawn: vec![[7; 16]], begun: first.begun, ..Votes::new(NAMES[1], ME) };
        assert_eq!(first, expected);
        assert_eq!(begun(Some(first.clone()), Record::Kept, NAMES[1]).expect("it is that"), None);
        let second = begun(Some(first), Record::Kept, NAMES[2]).expect("kept").expect("a new one");
        assert_eq!(second.left, [NAMES[0], NAMES[1]]);
        // What it signed there is forgotten: it never goes back, whatever anybody says.
        for record in [Record::Kept, Record::NeverVoted] {
            let back = begun(Some(second.clone()), record, NAMES[1]);
            assert!(matches!(back, Err(ReGenesisFault::Voted)), "{back:?}");
        }
    }

    #[test]
    fn where_no_record_is_the_operator_must_say_that_it_never_voted() {
        assert!(matches!(begun(None, Record::Kept, NAMES[1]), Err(ReGenesisFault::NoRecord)));
        let begins = begun(None, Record::NeverVoted, NAMES[1]).expect("its word");
        let begun_on = begins.as_ref().and_then(|votes| votes.begun);
        assert!(begun_on.is_some());
        assert_eq!(begins, Some(Votes { begun: begun_on, ..Votes::new(NAMES[1], ME) }));
        let silent = Votes { silent: Some([7; 16]), drawn: vec![[7; 16]], ..Votes::new(NAMES[1], ME) };
        assert_eq!(begun(Some(silent.clone()), Record::Kept, NAMES[1]).expect("it stays silent"), None);
        let speaks = begun(Some(silent), Record::NeverVoted, NAMES[1]).expect("its word").expect("a new one");
        assert_eq!((speaks.silent, speaks.drawn), (None, vec![[7; 16]]));
    }

    #[test]
    fn nobodys_word_stands_against_a_record_that_shows_votes() {
        let mut record = VoteRecord::default();
        record.raise_floor(View { term: 1, number: 20 });
        let silent = Votes { record, silent: Some([7; 16]), ..Votes::new(NAMES[1], ME) };
        let refused = begun(Some(silent), Record::NeverVoted, NAMES[1]);
        assert!(matches!(refused, Err(ReGenesisFault::Voted)), "{refused:?}");
    }

    #[test]
    fn beside_a_restored_ledger_a_record_of_an_earlier_name_says_nothing_of_this_one() {
        let executed = Executed { name: NAMES[1], ..Executed::genesis(&consortium(4)) };
        let copy = Votes::new(NAMES[0], ME);
        let kept = begin(Some(copy.clone()), Record::Kept, false, ME, &executed);
        assert!(matches!(kept, Err(ReGenesisFault::NoRecord)), "{kept:?}");
        begin(Some(copy), Record::NeverVoted, false, ME, &executed).expect("the operator's word").expect("a new one");
    }

    #[test]
    fn the_record_of_another_node_is_left_alone() {
        let theirs = Votes::new(NAMES[0], NodeId::new(3));
        let refused = begun(Some(theirs), Record::NeverVoted, NAMES[1]);
        assert!(matches!(refused, Err(ReGenesisFault::OtherRecord { .. })), "{refused:?}");
    }
}
