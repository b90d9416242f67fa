//! The commands that the pages show are commands of this program, with options that it has. Their values are not read.

use std::{fs, path::Path};

use clap::{Command, CommandFactory as _};

use super::CommandLine;

/// The lines of fenced blocks below `folder` that call the program.
fn shown(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            shown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).expect("a readable file");
            let fenced = text.split("```").skip(1).step_by(2).flat_map(str::lines);
            found.extend(fenced.filter(|line| line.starts_with("batchmind ")).map(str::to_owned));
        }
    }
}

/// The subcommand that the words lead to, and those that follow.
fn called<'a>(mut command: &'a Command, mut words: &'a [&'a str]) -> (&'a Command, &'a [&'a str]) {
    while let [word, rest @ ..] = words
        && let Some(next) = command.find_subcommand(word)
    {
        (command, words) = (next, rest);
    }
    (command, words)
}

#[test]
fn each_command_that_a_page_shows_is_one_and_has_the_options_that_it_needs() {
    let mut program = CommandLine::command();
    program.build();
    let mut lines = Vec::new();
    shown(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs"), &mut lines);
    assert!(lines.len() > 10, "the pages show commands");
    for line in &lines {
        let told = line.split(" # ").next().unwrap_or_default();
        let words: Vec<&str> = told.split_whitespace().skip(1).collect();
        let (command, words) = called(&program, &words);
        assert!(!command.has_subcommands(), "{line}: {} is no whole command", command.get_name());
        let given: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("--")).collect();
        let options = || command.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument)));
        for name in &given {
            assert!(options().any(|(long, _)| long == *name), "{line}: there is no --{name}");
        }
        for (long, _) in options().filter(|(_, argument)| argument.is_required_set()) {
            assert!(given.contains(&long), "{line}: --{long} is missing");
        }
    }
}
