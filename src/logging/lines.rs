//! Lines on their way to stderr: who logs puts them into a bounded queue, and a thread writes them.
//!
//! So a pipe that nobody reads, or a disk that is full, holds nobody up: what does not fit the queue
//! and what cannot be written is dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait to be written.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// The way to the thread that writes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something was put.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// A line was taken and is not written yet.
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to what `open` gives, for as long as the process runs.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(super) fn start<W: Write>(open: impl FnOnce() -> W + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.write_all(open()))?;
        Ok(Self(shared))
    }

    /// Puts a line, or drops it where too much waits already. Never waits for the writing.
    pub(super) fn put(&self, line: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.bytes + line.len() > QUEUE_BYTES_MAX {
            self.0.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.into());
        self.0.filled.notify_one();
    }

    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// Waits until every line is written, or so long.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut queue = self.0.queue.lock();
        while queue.writing || !queue.lines.is_empty() {
            if self.0.emptied.wait_until(&mut queue, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Shared {
    fn write_all(&self, mut out: impl Write) {
        loop {
            let line = self.next();
            if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                self.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// The next line; the one before is written.
    fn next(&self) -> Box<[u8]> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = true;
                return line;
            }
            queue.writing = false;
            self.emptied.notify_all();
            self.filled.wait(&mut queue);
        }
    }
}

/// A line at a time, as the formatter writes it.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_written_in_their_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(move || writer).unwrap();
        lines.put(b"one\n");
        lines.put(b"two\n");
        lines.flush(LONG);
        let mut read = [0; 8];
        reader.read_exact(&mut read).unwrap();
        assert_eq!((&read, lines.dropped()), (b"one\ntwo\n", 0));
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let lines = Lines::start(|| File::create("/dev/full").unwrap()).unwrap();
        lines.put(b"one\n");
        lines.put(b"two\n");
        lines.flush(LONG);
        assert_eq!(lines.dropped(), 2);
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(move || writer).unwrap();
        let line = [b'x'; 1000];
        while lines.dropped() == 0 {
            lines.put(&line);
        }
        lines.flush(Duration::from_millis(1));
        assert!(lines.0.queue.lock().bytes <= QUEUE_BYTES_MAX);
        drop(reader);
        lines.flush(LONG);
        assert!(lines.dropped() > 900, "{}", lines.dropped());
    }
}
