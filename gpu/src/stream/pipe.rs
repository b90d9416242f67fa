//! Pipes: one stream copied into another, whatever carries them.
//!
//! A pipe keeps nothing of its own. Where it stands is a cursor, and what it appends says where it belongs, so a pipe
//! that was cut goes on anywhere at or below the target's tail: what is there already is the same.

use super::{Appended, Cursor, Draft, Expect, Next, Page, Stream, StreamFault, StreamWriter, Wake};

/// Why a pipe stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The source ended, everything was copied, and the target is closed at the same page.
    End,
    /// The source has nothing more yet. Only where the pipe does not wait.
    Blocked(Wake),
    /// The target has no room yet. Only where the pipe does not wait.
    Full(Wake),
    /// The source does not keep the page that is next.
    Gap {
        /// The first page that it keeps.
        earliest: u64,
    },
    /// The target has another page there, or fewer pages than were to be there.
    Conflict {
        /// How many pages it has.
        tail: u64,
    },
    /// The target saw a later epoch.
    Fenced {
        /// The epoch that may append.
        epoch: u32,
    },
    /// The target was closed at an earlier page than the source.
    Closed,
}

/// What a pipe did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piped {
    /// The first page that was not copied: what to go on with.
    pub cursor: Cursor,
    /// Why it stopped there.
    pub stopped: Stopped,
}

/// Copies `from` from `cursor` on until it ends, and closes the target then. It waits for pages and for room, and may be
/// dropped at any time. The source is not trimmed: [`Piped::cursor`] says what is not needed any more for this.
///
/// # Errors
/// [`StreamFault::AnotherStream`] unless both are the same stream; [`StreamFault::RootMismatch`] if they end in other
/// roots; and what the transports say.
pub async fn pipe(
    from: &dyn Stream,
    mut cursor: Cursor,
    to: &dyn StreamWriter,
    epoch: u32,
) -> Result<Piped, StreamFault> {
    loop {
        let piped = pipe_some(from, cursor, to, epoch)?;
        cursor = piped.cursor;
        match piped.stopped {
            Stopped::Blocked(wake) => from.wait(wake).await,
            Stopped::Full(wake) => to.wait(wake).await,
            _ => return Ok(piped),
        }
    }
}

/// Copies what there is, as far as there is room, without waiting.
///
/// # Errors
/// See [`pipe`].
pub fn pipe_some(
    from: &dyn Stream,
    mut cursor: Cursor,
    to: &dyn StreamWriter,
    epoch: u32,
) -> Result<Piped, StreamFault> {
    if from.descriptor() != to.descriptor() {
        return Err(StreamFault::AnotherStream { reason: "source and target of a pipe have different descriptors" });
    }
    let stopped = loop {
        match from.next(cursor)? {
            Next::Item(Page { head, payload }, after) => {
                match to.append(epoch, Expect::At(cursor.0), &Draft::of(&head), &payload)? {
                    Appended::Ok(_) | Appended::Same(_) => cursor = after,
                    Appended::Full(wake) => break Stopped::Full(wake),
                    refused => break stopped(refused),
                }
            }
            Next::Blocked(wake) => break Stopped::Blocked(wake),
            Next::Gap { earliest } => break Stopped::Gap { earliest },
            Next::End => break end(from, cursor, to, epoch)?,
        }
    };
    Ok(Piped { cursor, stopped })
}

/// Closes the target where the source ended.
fn end(from: &dyn Stream, cursor: Cursor, to: &dyn StreamWriter, epoch: u32) -> Result<Stopped, StreamFault> {
    let tail = to.state().tail;
    if tail != cursor.0 {
        return Ok(Stopped::Conflict { tail });
    }
    match (from.root(tail), to.root(tail)) {
        (Ok(root), Ok(copy)) if root == copy => {}
        (Ok(_), Ok(_)) => return Err(StreamFault::RootMismatch { from: 0, to: tail }),
        // Streams that stay in one memory need not keep roots.
        (Err(StreamFault::NotKept { .. }), _) | (_, Err(StreamFault::NotKept { .. })) => {}
        (Err(fault), _) | (_, Err(fault)) => return Err(fault),
    }
    Ok(match to.close(epoch)? {
        Appended::Ok(_) | Appended::Same(_) => Stopped::End,
        refused => stopped(refused),
    })
}

const fn stopped(refused: Appended) -> Stopped {
    match refused {
        Appended::Conflict { tail } => Stopped::Conflict { tail },
        Appended::Fenced { epoch } => Stopped::Fenced { epoch },
        Appended::Full(wake) => Stopped::Full(wake),
        Appended::Closed | Appended::Ok(_) | Appended::Same(_) => Stopped::Closed,
    }
}

#[cfg(test)]
mod tests;
