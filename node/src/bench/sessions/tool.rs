//! A tool: it counts what was asked of it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use gpu::continuation::EffectId;

/// A tool that outlives the processes that call it. Clones are the same tool.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    done: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Tool {
    /// Does what it is there for. If it is `idempotent`, a call with the same key does nothing more.
    pub fn call(&self, key: &str, idempotent: bool) {
        let mut done = self.done();
        let count = done.entry(key.to_owned()).or_default();
        *count = if idempotent { 1 } else { *count + 1 };
    }

    /// How often it was done.
    pub fn count(&self, key: &EffectId) -> u64 {
        self.done().get(&key.to_string()).copied().unwrap_or_default()
    }

    /// Listens to other processes at `path`, for ever.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen(&self, path: &Path) -> io::Result<()> {
        let (listener, tool) = (UnixListener::bind(path)?, self.clone());
        thread::Builder::new().name("tool".to_owned()).spawn(move || {
            // A caller that died in the midst of a line has asked for nothing.
            listener.incoming().flatten().for_each(|caller| drop(tool.serve(&caller)));
        })?;
        Ok(())
    }

    fn serve(&self, mut caller: &UnixStream) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(caller).read_line(&mut line)?;
        if let Some((kind, key)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
            self.call(key, kind == "again");
            caller.write_all(b"done\n")?;
        }
        Ok(())
    }

    fn done(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to a tool in another process.
#[derive(Clone, Debug)]
pub struct ToolLine(pub PathBuf);

impl ToolLine {
    /// Calls it; `meanwhile` is called when the tool has done it and the answer was not looked at.
    ///
    /// # Errors
    /// Those of the system.
    pub fn call(&self, key: &EffectId, idempotent: bool, meanwhile: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut line = UnixStream::connect(&self.0)?;
        writeln!(line, "{} {key}", if idempotent { "again" } else { "once" })?;
        let mut answer = String::new();
        let mut answers = BufReader::new(line);
        answers.fill_buf()?;
        meanwhile()?;
        answers.read_line(&mut answer)?;
        if answer == "done\n" { Ok(()) } else { Err(io::Error::other("the tool did not answer")) }
    }
}
