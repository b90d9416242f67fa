//! Does with a file and a clock what a node does, and says what came of it: one line for each, the error's number or what
//! was done. Reads a line before each round, so that a test can switch faults between two.

use std::{
    fs::File,
    io::{self, BufRead as _, IoSlice, Write},
    os::unix::fs::FileExt as _,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

fn main() -> io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: probe FILE"))?;
    let mut file = File::create(path)?;
    let start = Instant::now();
    for line in io::stdin().lock().lines() {
        line?;
        say("sync_all", file.sync_all().map(|()| "done"));
        say("sync_data", file.sync_data().map(|()| "done"));
        say("write", file.write(&[1; 100]));
        say("write_at", file.write_at(&[2; 100], 0));
        say("write_vectored", file.write_vectored(&[IoSlice::new(&[3; 50]), IoSlice::new(&[3; 50])]));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        say("time_ms", Ok(since.as_millis()));
        say("monotonic_ms", Ok(start.elapsed().as_millis()));
        say("end", Ok(""));
    }
    Ok(())
}

fn say(what: &str, result: io::Result<impl ToString>) {
    let result = match result {
        Ok(done) => done.to_string(),
        Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("errno {number}")),
    };
    println!("{what} {result}");
}
