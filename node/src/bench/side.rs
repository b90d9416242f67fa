//! What every process of a bench needs that the driver starts: orders on standard input and words on standard output, a
//! JSON object on each line, and the processor time that it took.

use std::{
    io::{self, BufRead as _, BufReader, Write as _, stdin, stdout},
    thread,
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

/// What the driver says, until it is gone.
pub(super) fn orders<T: DeserializeOwned + Send + 'static>() -> mpsc::UnboundedReceiver<T> {
    let (sender, orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let lines = BufReader::new(stdin()).lines().map_while(Result::ok);
        // Whoever speaks nonsense is not heard any further.
        let orders = lines.map_while(|line| serde_json::from_str(&line).ok());
        orders.into_iter().try_for_each(|order| sender.send(order))
    });
    orders
}

/// Says one word to the driver.
pub(super) fn say(word: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(word).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut out = stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Processor time of this process so far.
pub(super) fn cpu_us_now() -> u64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(spent.tv_sec * 1_000_000 + spent.tv_nsec / 1_000).unwrap_or_default()
}
