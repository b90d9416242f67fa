//! What is loaded into the nodes does what it is told, to a program that does nothing else.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{HOUR_MS, switch::Switch};

#[test]
fn a_process_syncs_writes_and_tells_the_time_as_its_switch_says() {
    let mut probe = Probe::start();
    assert_eq!(probe.switch.loaded(), 1, "the library is not in the process");
    probe.assert_well();

    probe.switch.fail_sync(true);
    let said = probe.round();
    assert_eq!((said["sync_all"].as_str(), said["sync_data"].as_str()), ("errno 5", "errno 5"));
    assert_eq!(said["write"], "100", "only syncs fail");
    assert_eq!(probe.switch.syncs_failed(), 2);
    probe.switch.fail_sync(false);
    probe.assert_well();

    probe.switch.space_left(Some(130));
    let said = probe.round();
    assert_eq!((said["write"].as_str(), said["write_at"].as_str()), ("100", "30"), "the last write is cut short");
    assert_eq!(said["write_vectored"], "errno 28");
    let said = probe.round();
    assert_eq!((said["write"].as_str(), said["write_at"].as_str()), ("errno 28", "errno 28"));
    assert_eq!(said["sync_all"], "done", "a full disk still syncs");
    assert_eq!(probe.switch.writes_refused(), 5);
    probe.switch.space_left(None);
    probe.assert_well();

    let mut monotonic = 0;
    for offset in [HOUR_MS, -HOUR_MS, 1, -1, 999, -1_001, 0] {
        probe.switch.clock_offset_ms(offset);
        let before = now_ms();
        let said = probe.round();
        let told: i64 = said["time_ms"].parse().expect("a number");
        assert!((before + offset..=now_ms() + offset).contains(&told), "{told} at offset {offset}");
        let told: i64 = said["monotonic_ms"].parse().expect("a number");
        assert!((monotonic..HOUR_MS).contains(&told), "the monotonic clock moved: {told} after {monotonic}");
        monotonic = told;
    }
    assert_eq!(probe.switch.times_moved(), 6, "one reading in each round with an offset");
    probe.assert_well();
}

#[test]
fn a_process_dies_in_the_step_it_is_told_with_half_of_its_write_done() {
    let mut probe = Probe::start_in("sessions");
    let before = probe.length();
    // Two syncs, then the write.
    probe.switch.dies_at(Some(3));
    assert!(probe.dies(), "it went on");
    assert_eq!(probe.length(), before + 50);

    let mut elsewhere = Probe::start_in("elsewhere");
    elsewhere.switch.dies_at(Some(1));
    elsewhere.assert_well();
}

struct Probe {
    switch: Switch,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    file: PathBuf,
    /// Removed with it.
    _folder: tempfile::TempDir,
}

impl Probe {
    fn start() -> Self {
        Self::start_in("files")
    }

    /// Its file lies in a folder of this name.
    fn start_in(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let switch = Switch::new(&folder.path().join("faults"));
        let file = folder.path().join(name).join("file");
        fs::create_dir(folder.path().join(name)).expect("a folder of our own");
        let mut child = Command::new(env!("CARGO_BIN_EXE_probe"))
            .arg(&file)
            .envs(switch.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe starts");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut probe = Self { switch, child, commands, answers, file, _folder: folder };
        probe.assert_well();
        probe
    }

    fn round(&mut self) -> BTreeMap<String, String> {
        writeln!(self.commands).expect("it reads");
        let mut said = BTreeMap::new();
        let mut line = String::new();
        while self.answers.read_line(&mut line).expect("it writes") > 0 {
            let (what, result) = line.trim_end_matches('\n').split_once(' ').expect("what and result");
            if what == "end" {
                return said;
            }
            said.insert(what.to_owned(), result.to_owned());
            line.clear();
        }
        panic!("the probe ended after {said:?}")
    }

    /// Whether it ends by SIGKILL before it has answered.
    fn dies(&mut self) -> bool {
        writeln!(self.commands).expect("it reads");
        self.child.wait().expect("it ends").signal() == Some(9)
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.file).expect("it is there").len()
    }

    fn assert_well(&mut self) {
        let said = self.round();
        for (what, result) in [
            ("sync_all", "done"),
            ("sync_data", "done"),
            ("write", "100"),
            ("write_at", "100"),
            ("write_vectored", "100"),
        ] {
            assert_eq!(said[what], result, "{what}");
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("not that far")
}
