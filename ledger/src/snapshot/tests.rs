use super::*;
use crate::tree::parts::Prefix;
use wallet::units::BlockHeight;

#[test]
fn a_path_has_one_spelling_and_a_bounded_range() {
    let at = BlockHeight::new;
    let prefix: Prefix = "0110".parse().expect("digits");
    for path in [
        ChunkPath::HandOvers { from: 0 },
        ChunkPath::Headers { first: at(1), last: at(1_024) },
        ChunkPath::Blocks { first: at(33), last: at(64) },
        ChunkPath::State { height: at(7), prefix: Prefix::ROOT },
        ChunkPath::State { height: at(u64::MAX), prefix },
    ] {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    for text in [
        "",
        "headers",
        "headers/0-5",
        "headers/5-4",
        "headers/1-1025",
        "headers/01-2",
        "headers/+1-2",
        "blocks/1-33",
        "blocks/1-",
        "state/7",
        "state/7/",
        "state/7/2",
        "state/-7/root",
        "hand-overs/",
        "hand-overs/00",
        "other/1",
        "hand-overs/18446744073709551616",
        "headers/18446744073709551615-18446744073709551616",
    ] {
        assert_eq!(text.parse::<ChunkPath>(), Err(NotAPath), "{text}");
    }
}
