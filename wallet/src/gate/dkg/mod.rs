//! How a gate's key comes into being: distributed key generation, so that nobody ever knows it.
//!
//! The protocol is that of FROST (Komlo and Goldberg, SAC 2020; RFC 9591 leaves it out), by
//! `frost-ristretto255`: Pedersen's, with a proof that each member knows what it contributes. What FROST leaves to its
//! user is here:
//! - **Reliable broadcast.** Commitments, complaints, answers and confirmations are [`Notice`]s, which stand on the
//!   ledger. All members and all others compute the same [`Transcript`] from them.
//! - **A confidential channel.** A share travels off the ledger in a [`SignedPackage`], sealed to a one-time key that
//!   its receiver published with its commitments, signed by its sender's node key as it was when the run began.
//! - **Who is to blame.** A false share is shown by its receiver, who releases this one package to everybody with a
//!   proof ([`Complaint::False`]): anyone finds the sender guilty, or the accuser. A share that does not come is
//!   demanded on the ledger, and its sender answers there with the same sealed bytes, or is absent.
//!
//! A run ends with a gate only once all members have confirmed the same one. Otherwise it names who was absent or lied,
//! and another run begins without them; nothing of this one is used again. The gate of the epoch before serves until
//! then. A new epoch, or another membership, is a new run too: shares are never converted.
//!
//! # What the key is worth
//!
//! FROST's proof of knowledge covers a member's number and its first commitment, and no run: the one-time key and the
//! entry around a contribution are bound to the run, the proof is not. So a liar can copy the commitment and proof that
//! a member of the same number made elsewhere, and contribute a number that it does not know. It then knows its
//! polynomial at fewer places than the threshold. If that many other members are honest, one of them gets no share, and
//! the liar is named. If fewer are, they could not open the gate without liars anyway. Nor does the proof cover the
//! higher commitments: the first to speak can have those of another cancel out, without knowing what it contributes. It
//! then has no shares to send, and the other is not to blame.
//!
//! Who speaks last among the members can choose its contribution when it has seen all others, and so bias some bits
//! of the public key (Gennaro, Jarecki, Krawczyk, Rabin, Journal of Cryptology 20(1), 2007). The key is then the
//! honest members' random element plus one whose multiple the liar proved to know, if its proof is no copy. Whoever
//! opens ciphertexts under the sum opens them under the honest part, so the bias gives nothing away. To draw that
//! multiple out of the proof the argument takes the algebraic group model beside the random oracle, as for FROST
//! itself. Liars can also have a run fail as often as there are liars: each time one is named, and no honest member
//! that answers in time is.
//!
//! A run without some members keeps the threshold of all who could be members: the liars may all have stayed
//! ([`super::global_threshold`]). With fewer members than that there is no gate.
//!
//! Fewer liars than the threshold learn nothing about the key. With that many, nothing holds, as for any gate.

mod ceremony;
mod contribution;
mod frost;
mod notice;
mod package;
mod participant;
mod transcript;

pub use ceremony::Ceremony;
pub use contribution::Contribution;
pub use notice::{Complaint, Notice};
pub use package::SignedPackage;
pub use participant::{CeremonySeed, Effect, Input, Participant};
pub use transcript::{Phase, Transcript};

#[cfg(test)]
mod tests;
