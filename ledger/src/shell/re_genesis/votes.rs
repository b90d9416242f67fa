//! The vote record with which a node goes into the name that a re-genesis begins.

use wallet::units::NodeId;

use super::ReGenesisFault;
use crate::{execute::Executed, shell::vote_record::Votes};

/// What the operator of a node says of its vote record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// It is there.
    Kept,
    /// It may be gone; in any case this node never voted after this re-genesis.
    NeverVoted,
}

/// The record to begin with in the name in force after `executed`; none if the one that is there is that already.
pub(super) fn begin(
    found: Option<Votes>,
    record: Record,
    me: NodeId,
    executed: &Executed,
) -> Result<Option<Votes>, ReGenesisFault> {
    let name = executed.name;
    let mut begun = Votes::new(name, me);
    match found {
        Some(old) if old.node != me => return Err(ReGenesisFault::OtherRecord { found: old.node, me }),
        // It is silent where it does not know all that it signed. There is nothing of that kind if it never voted.
        Some(old) if old.consortium == name && (old.silent.is_none() || record == Record::Kept) => return Ok(None),
        Some(old) if old.consortium == name => (begun.left, begun.drawn) = (old.left, old.drawn),
        Some(old) if old.left.contains(&name) => return Err(ReGenesisFault::Voted),
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

#[cfg(test)]
mod tests {
    use wallet::digest::Digest;

    use super::*;
    use crate::testing::consortium;

    const ME: NodeId = NodeId::new(2);
    const NAMES: [Digest; 3] = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];

    /// The record with which node 2 goes into the name.
    fn begun(found: Option<Votes>, record: Record, name: Digest) -> Result<Option<Votes>, ReGenesisFault> {
        begin(found, record, ME, &Executed { name, ..Executed::genesis(&consortium(4)) })
    }

    #[test]
    fn a_record_of_another_name_gives_way_to_one_that_knows_of_it() {
        let mut old = Votes::new(NAMES[0], ME);
        old.silent = Some([7; 16]);
        old.drawn.push([7; 16]);
        let first = begun(Some(old), Record::Kept, NAMES[1]).expect("kept").expect("a new one");
        let expected = Votes { left: vec![NAMES[0]], drawn: vec![[7; 16]], ..Votes::new(NAMES[1], ME) };
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
        assert_eq!(begins, Some(Votes::new(NAMES[1], ME)));
        let silent = Votes { silent: Some([7; 16]), drawn: vec![[7; 16]], ..Votes::new(NAMES[1], ME) };
        assert_eq!(begun(Some(silent.clone()), Record::Kept, NAMES[1]).expect("it stays silent"), None);
        let speaks = begun(Some(silent), Record::NeverVoted, NAMES[1]).expect("its word").expect("a new one");
        assert_eq!((speaks.silent, speaks.drawn), (None, vec![[7; 16]]));
    }

    #[test]
    fn the_record_of_another_node_is_left_alone() {
        let theirs = Votes::new(NAMES[0], NodeId::new(3));
        let refused = begun(Some(theirs), Record::NeverVoted, NAMES[1]);
        assert!(matches!(refused, Err(ReGenesisFault::OtherRecord { .. })), "{refused:?}");
    }
}
