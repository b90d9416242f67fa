//! A process that writes and is killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::*;

/// Names the folder to the process that writes in it.
const FOLDER: &str = "BATCHMIND_TEST_SEGMENT_FOLDER";
const SEALED: &str = "BATCHMIND_TEST_SEGMENT_SEALED";

/// The process that is killed: it says after each append how many pages there are.
#[test]
fn writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let stream = open(Path::new(&folder), std::env::var(SEALED).is_ok_and(|sealed| sealed == "true"));
    for position in stream.state().tail.. {
        append(&stream, position);
        if position % 7 == 6 {
            stream.sync().expect("it syncs");
        }
        println!("appended {}", position + 1);
    }
}

#[test]
fn a_killed_process_loses_no_page_that_it_appended() {
    for sealed in [false, true] {
        let folder = folder();
        let mut least = 0;
        for round in 1..=8 {
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "stream::segment::tests::process::writes_until_it_is_killed", "--nocapture"])
                .env(FOLDER, folder.path())
                .env(SEALED, sealed.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
            let mut said = lines
                .map_while(Result::ok)
                .filter_map(|line| line.split("appended ").nth(1).and_then(|count| count.trim().parse::<u64>().ok()));
            let count = said.by_ref().nth(3 * round).expect("it says how many");
            child.kill().expect("it is killed");
            let last = said.last().unwrap_or(count);
            child.wait().expect("it is gone");
            let stream = open(folder.path(), sealed);
            let tail = stream.state().tail;
            assert!(tail >= last && last > least, "{last} were appended, {tail} are there");
            check_pages(&stream);
            least = tail;
        }
    }
}
