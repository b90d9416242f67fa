//! Real processes that are killed at any instruction. The child is this test program again, started with one test.

use std::{
    env,
    os::{fd::AsRawFd, unix::process::ExitStatusExt},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;
use crate::stream::{Appended, Cursor, Expect, Next, StreamWriter, Wake};

const CHILD: &str = "BATCHMIND_TEST_SHM_CHILD";
const MEMORY: &str = "BATCHMIND_TEST_SHM_MEMORY";
const KILLS: u64 = 40;
const OPTIONS: ShmOptions = ShmOptions { bytes: 200_000, pages: 16 };
const PAYLOAD_MAX: u64 = 60_000;
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn start(role: &str, stream: &ShmStream) -> Child {
    let fd = stream.inheritable().expect("a descriptor");
    let test = "stream::shm::tests::death::what_the_child_does";
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, role)
        .env(MEMORY, fd.as_raw_fd().to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child")
}

/// Ends the child, which has to have lived until now.
fn kill(mut child: Child) {
    child.kill().expect("a signal");
    let status = child.wait().expect("its end");
    assert_eq!(status.signal(), Some(9), "the child found something wrong itself");
}

#[test]
fn what_the_child_does() {
    let Ok(role) = env::var(CHILD) else { return };
    let memory = env::var(MEMORY).expect("set with the role").parse().expect("a number");
    let stream = ShmStream::open_inherited(memory).expect("a stream");
    match role.as_str() {
        "writer" => write_until_killed(&stream),
        _ => read_until_killed(&stream),
    }
}

fn write_until_killed(stream: &ShmStream) {
    let writer = stream.writer().expect("the dead writer's place");
    let epoch = writer.generation();
    for position in tail(&writer).. {
        let payload = expected(position, PAYLOAD_MAX);
        // Slowly enough that many kills come while the page is written.
        let mut fill = |to: &mut [u8]| to.iter_mut().zip(&payload).for_each(|(to, from)| *to = *from);
        loop {
            match writer.append_with(epoch, Expect::At(position), &draft(), payload.len(), &mut fill) {
                Ok(Appended::Ok(_)) => break,
                Ok(Appended::Full(wake)) => assert!(writer.wait_blocking(wake, None)),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn read_until_killed(stream: &ShmStream) {
    let reader = stream.reader().expect("the dead reader's place");
    let mut random = Random::of_now();
    let mut held = Vec::new();
    let mut cursor = Cursor(reader.state().earliest);
    loop {
        match reader.next(cursor).expect("no fault") {
            Next::Item(page, after) => {
                held.push((cursor.0, page.payload));
                cursor = after;
                if random.below(3) == 0 {
                    reader.trim(cursor.0).expect("trims");
                    // Trimmed, but still held: nobody may have written there.
                    for (position, payload) in held.drain(..) {
                        assert_eq!(payload, expected(position, PAYLOAD_MAX));
                    }
                }
            }
            Next::Blocked(wake) => {
                // The writer may need the room of what was not trimmed.
                reader.trim(cursor.0).expect("trims");
                held.clear();
                assert!(reader.wait_blocking(wake, None));
            }
            other => panic!("{other:?}"),
        }
        if held.len() > 4 {
            reader.trim(cursor.0).expect("trims");
            held.clear();
        }
    }
}

/// Reads and checks the page at `at`, or waits. None: the writer is gone.
fn read(reader: &ShmReader, at: u64) -> Option<bool> {
    match reader.next(Cursor(at)) {
        Ok(Next::Item(page, _)) => {
            assert_eq!(page.payload, expected(at, PAYLOAD_MAX), "at {at}");
            reader.trim(at + 1).expect("trims");
            Some(true)
        }
        Ok(Next::Blocked(wake)) => {
            assert!(reader.wait_blocking(wake, PATIENCE), "it hangs at {at}");
            Some(false)
        }
        Err(StreamFault::PeerGone { .. }) => None,
        other => panic!("{other:?} at {at}"),
    }
}

#[test]
fn a_writer_that_is_killed_leaves_whole_pages_and_a_place_for_the_next() {
    let mut random = Random::of_now();
    let stream = ShmStream::create(descriptor(Integrity::Plain), OPTIONS).expect("memory");
    let reader = again(&stream).reader().expect("free");
    let mut at = 0;
    for generation in 1..=KILLS {
        let child = start("writer", &stream);
        // At least one page, so that it has the place.
        let until = at + 1 + random.below(60);
        while at < until {
            match read(&reader, at) {
                Some(true) => at += 1,
                Some(false) => {}
                // The dead one's place is not taken yet.
                None => std::thread::yield_now(),
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(300)));
        kill(child);
        while let Some(page) = read(&reader, at) {
            at += u64::from(page);
        }
        assert_eq!(tail(&reader), at);
        let epoch = reader.state().epoch;
        assert_eq!(u64::from(epoch), generation);
    }
    println!("{KILLS} writers killed, {at} pages read");
}

#[test]
fn a_reader_that_is_killed_leaves_a_place_for_the_next() {
    let mut random = Random::of_now();
    let stream = ShmStream::create(descriptor(Integrity::None), OPTIONS).expect("memory");
    let writer = stream.writer().expect("free");
    let mut at = 0;
    let mut write = |until: u64| {
        while at < until {
            match writer.append(1, Expect::At(at), &draft(), &expected(at, PAYLOAD_MAX)) {
                Ok(Appended::Ok(_)) => at += 1,
                Ok(Appended::Full(wake)) => assert!(writer.wait_blocking(wake, PATIENCE), "it hangs at {at}"),
                Err(StreamFault::PeerGone { .. }) => return (at, false),
                other => panic!("{other:?} at {at}"),
            }
        }
        (at, true)
    };
    let (mut written, _) = write(1);
    for _ in 0..KILLS {
        let before = writer.state().earliest;
        let child = start("reader", &stream);
        // More than fits: it goes on when the new reader has trimmed something.
        let until = written + 60 + random.below(60);
        // The dead one's place is not taken at once.
        while !write(until).1 {
            std::thread::yield_now();
        }
        assert!(writer.state().earliest > before);
        std::thread::sleep(Duration::from_micros(random.below(300)));
        kill(child);
        // Without a reader the memory fills up, and then nobody waits for ever.
        let (now, all) = write(u64::MAX);
        assert!(!all);
        written = now;
    }
    println!("{KILLS} readers killed, {written} pages written");
}

#[test]
fn who_sleeps_when_the_other_end_dies_is_woken() {
    let stream = ShmStream::create(descriptor(Integrity::None), OPTIONS).expect("memory");
    let (reader, child) = (stream.reader().expect("free"), start("writer", &stream));
    let mut at = 0;
    while at < 3 {
        at += u64::from(read(&reader, at) == Some(true));
    }
    let far = Wake::Page(u64::MAX - 1);
    std::thread::scope(|scope| {
        let sleepers = [
            scope.spawn(|| crate::stream::block_on(reader.wait(far))),
            scope.spawn(|| {
                assert!(reader.wait_blocking(far, PATIENCE));
            }),
        ];
        kill(child);
        sleepers.into_iter().for_each(|sleeper| sleeper.join().expect("it ended"));
    });
}
