//! What crosses crates, one module for each subject.

mod auditing;
mod backup;
mod bad_input;
mod beginning_anew;
mod c2sp;
mod consortium;
mod crash;
mod deciding;
mod decoders;
mod dependencies;
mod faults;
mod forger;
mod governing;
mod growing;
mod joining;
mod leader;
mod moves;
mod needles;
mod parking;
mod program;
mod restart;
mod rotating;
mod secrets;
mod votes;
mod worker;
