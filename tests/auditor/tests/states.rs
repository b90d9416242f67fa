//! Two verifiers of state proofs, one verdict: on honest ones, on hostile ones made by hand, and with one flipped bit.

use std::{fs, path::Path};

use auditor::{
    flips::{Drawn, flipped},
    second::says,
    state_proofs::{self, Case},
    verdict::names,
};
use ledger::state_proof::{CHECKS, PathEnd, StateProofFile, verify};
use wallet::codec::decode;

/// What the verifier in `ledger` says, in the words of `verify_state.py --batch`.
fn first(bytes: &[u8], case: &Case) -> String {
    match verify(bytes, &case.genesis, &case.named, Some(&case.key)) {
        Ok(report) => {
            let there = if report.record.is_some() { "present" } else { "absent" };
            format!("{there} {}", report.attested.assurance.class.code())
        }
        Err(failure) => failure.check.code().to_owned(),
    }
}

/// A line for `verify_state.py`, about a file that has to be written before.
fn line(folder: &Path, number: usize, case: &Case, bit: Option<usize>) -> String {
    let (file, bit) = (folder.join(number.to_string()), bit.map_or("-".to_owned(), |bit| bit.to_string()));
    format!("{} {} {} {bit} {}", file.display(), case.genesis, case.key.digest(), names(&case.named))
}

/// Those of which the verifiers differ, or say something else than they must.
fn wrong(cases: &[Case]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = cases.iter().enumerate().map(|(number, case)| {
        fs::write(folder.path().join(number.to_string()), &case.bytes).expect("our own folder");
        line(folder.path(), number, case, None)
    });
    let second = says("verify_state.py", folder.path(), &lines.collect::<Vec<_>>());
    let judged = cases.iter().zip(second).map(|(case, second)| (case, first(&case.bytes, case), second));
    judged
        .filter(|(case, first, second)| *first != case.expected || first != second)
        .map(|(Case { name, expected, .. }, first, second)| {
            format!("{name}: expected {expected}, in Rust {first}, in Python {second}")
        })
        .collect()
}

#[test]
fn both_say_what_stands_under_a_key_of_each_kind_and_that_nothing_does() {
    let wrong = wrong(&state_proofs::honest());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_take_every_record_of_a_gate_that_keeps_the_rules() {
    let wrong = wrong(&state_proofs::gates_that_keep_the_rules());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of a gate in force, a run and a plain key. The record is made final anew, so its own rules decide.
#[test]
fn both_judge_a_gates_record_with_a_flipped_bit_alike() {
    let drawn = Drawn::today();
    let mut cases = state_proofs::bits_of_gates(|name, bit| drawn.has(name, bit));
    for case in &mut cases {
        case.expected = first(&case.bytes, case);
    }
    println!("{drawn}: {} bits of gates", cases.len());
    let wrong = wrong(&cases);
    assert!(wrong.is_empty(), "{drawn}, {} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn both_refuse_every_hostile_state_proof_at_the_check_that_it_breaks() {
    let cases = state_proofs::hostile();
    println!("{} hostile state proofs", cases.len());
    let wrong = wrong(&cases);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let names: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "each has a name of its own");
    assert!(cases.len() >= 200);
    for check in CHECKS {
        assert!(cases.iter().any(|case| case.expected == check.code()), "nothing breaks {check}");
    }
}

/// Of a record, and of two absences: the paths end at another leaf and in an empty subtree.
#[test]
fn both_refuse_every_state_proof_with_a_flipped_bit_at_the_same_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let drawn = Drawn::today();
    let honest = state_proofs::honest();
    let ends: [fn(&PathEnd) -> bool; 3] = [
        |end| matches!(end, PathEnd::Record(_)),
        |end| matches!(end, PathEnd::Empty),
        |end| matches!(end, PathEnd::Other { .. }),
    ];
    let ending = |is: fn(&PathEnd) -> bool| {
        let file = |case: &Case| decode::<StateProofFile>(&case.bytes).expect("an honest one");
        honest.iter().find(|case| is(&file(case).end)).expect("there is one of each")
    };
    let cases = ends.map(ending);
    let mut flips = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        fs::write(folder.path().join(number.to_string()), &case.bytes).expect("our own folder");
        flips.extend((0..case.bytes.len() * 8).filter(|bit| drawn.has(&case.name, *bit)).map(|bit| (number, bit)));
    }
    println!("{drawn}: {} bits of {} state proofs", flips.len(), cases.len());
    let lines = flips.iter().map(|(number, bit)| line(folder.path(), *number, cases[*number], Some(*bit)));
    let second = says("verify_state.py", folder.path(), &lines.collect::<Vec<_>>());
    let judged = flips.iter().zip(second).map(|(&(number, bit), second)| {
        let case = cases[number];
        (case, bit, first(&flipped(case.bytes.clone(), Some(bit)), case), second)
    });
    let taken = |said: &str| said.starts_with("present") || said.starts_with("absent");
    let wrong: Vec<String> = judged
        .filter(|(_, _, first, second)| taken(first) || first != second)
        .map(|(case, bit, first, second)| format!("{}, bit {bit}: in Rust {first}, in Python {second}", case.name))
        .collect();
    assert!(wrong.is_empty(), "{drawn}, {} of {}:\n{}", wrong.len(), flips.len(), wrong.join("\n"));
}
