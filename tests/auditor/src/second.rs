//! The verifiers in Python, which share no code with those in `ledger`.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

/// What the program of that name beside this crate says of each line. It gets them in two halves, to use two cores.
///
/// # Panics
/// If it does not run or does not say one line for each.
pub fn says(program: &str, folder: &Path, lines: &[String]) -> Vec<String> {
    let halves = lines.chunks(lines.len().div_ceil(2).max(1)).enumerate().map(|(half, lines)| {
        let (list, said) = (folder.join(format!("list-{half}")), folder.join(format!("said-{half}")));
        fs::write(&list, lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()).expect("our own folder");
        let child = Command::new("python3")
            .arg("-B")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(program))
            .arg("--batch")
            .stdin(File::open(&list).expect("just written"))
            .stdout(File::create(&said).expect("our own folder"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3 is installed: scripts/setup does it");
        (child, said, lines.len())
    });
    let mut verdicts = Vec::new();
    for (mut child, said, count) in halves.collect::<Vec<_>>() {
        assert!(child.wait().expect("our own child").success(), "{program} failed");
        let said = fs::read_to_string(said).expect("just written");
        assert_eq!(said.lines().count(), count, "one line for each case");
        verdicts.extend(said.lines().map(str::to_owned));
    }
    verdicts
}
