//! What a client can have said again and again is said ten times a second: of each place in the
//! code that logs, so many lines pass within a second, and then one line says how many were left
//! out. What is below `info` is for whoever asked for all of it.

use std::collections::{HashMap, VecDeque};
use std::fmt::{Debug, Write as _};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::audit;

/// Lines of one place within [`SECOND`], the one that says how many were left out among them.
const LINES_PER_SECOND: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// The member by which a line that says how many were left out is known. None of it is left out.
const LEFT_OUT: &str = "left_out";

/// The layer that leaves lines out.
pub(super) struct Repeats(Arc<Shared>);

#[derive(Default)]
struct Shared {
    places: Mutex<HashMap<Identifier, Place>>,
    /// A line was left out, and nobody has said so yet.
    due: Condvar,
}

/// A place in the code that logs.
struct Place {
    event: String,
    level: Level,
    /// When its last lines passed, the oldest first.
    passed: VecDeque<Instant>,
    left_out: u64,
}

impl Place {
    /// Whether one more line passes. Not before it was said how many did not.
    fn passes(&mut self, now: Instant) -> bool {
        self.forget_passed(now);
        let passes = self.left_out == 0 && self.passed.len() < LINES_PER_SECOND;
        match passes {
            true => self.passed.push_back(now),
            false => self.left_out += 1,
        }
        passes
    }

    /// How many were left out, once no line has passed for a second: so that is said once a second
    /// at the most, too.
    fn take_left_out(&mut self, now: Instant) -> Option<u64> {
        self.forget_passed(now);
        if self.left_out == 0 || !self.passed.is_empty() {
            return None;
        }
        self.passed.push_back(now);
        Some(std::mem::take(&mut self.left_out))
    }

    fn forget_passed(&mut self, now: Instant) {
        while self.passed.front().is_some_and(|passed| now - *passed >= SECOND) {
            self.passed.pop_front();
        }
    }
}

impl Repeats {
    /// The layer, and a thread that says how much it left out, for as long as the process runs.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let teller = shared.clone();
        let thread = std::thread::Builder::new().name("log-repeats".to_owned());
        thread.spawn(move || teller.tell())?;
        Ok(Self(shared))
    }
}

impl Shared {
    fn tell(&self) {
        loop {
            for (event, level, left_out) in self.wait_for_left_out() {
                // A macro of its own for each level, as the level of a line is fixed.
                match level {
                    Level::ERROR => tracing::error!(event, left_out, "lines_left_out"),
                    Level::WARN => tracing::warn!(event, left_out, "lines_left_out"),
                    _ => tracing::info!(event, left_out, "lines_left_out"),
                }
            }
        }
    }

    /// Waits until something can be said.
    fn wait_for_left_out(&self) -> Vec<(String, Level, u64)> {
        let mut places = self.places.lock();
        loop {
            let now = Instant::now();
            let told: Vec<_> = places
                .values_mut()
                .filter_map(|place| {
                    let left_out = place.take_left_out(now)?;
                    Some((place.event.clone(), place.level, left_out))
                })
                .collect();
            if !told.is_empty() {
                return told;
            }
            let waiting = places.values().filter(|place| place.left_out > 0);
            match waiting.filter_map(|place| place.passed.back()).min().copied() {
                Some(last) => _ = self.due.wait_until(&mut places, last + SECOND),
                None => self.due.wait(&mut places),
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_told_always =
            metadata.fields().field(LEFT_OUT).is_some() || metadata.target() == audit::TARGET;
        if *metadata.level() > Level::INFO || is_told_always {
            return true;
        }
        let mut places = self.0.places.lock();
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            event: name(event),
            level: *metadata.level(),
            passed: VecDeque::with_capacity(LINES_PER_SECOND),
            left_out: 0,
        });
        let passes = place.passes(Instant::now());
        if place.left_out == 1 {
            self.0.due.notify_one();
        }
        passes
    }
}

/// What an event says first: the name by which it is known.
fn name(event: &Event<'_>) -> String {
    #[derive(Default)]
    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // Writing to a String does not fail.
                _ = write!(self.0, "{value:?}");
            }
        }
    }

    let mut message = Message::default();
    event.record(&mut message);
    message.0.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { event: String::new(), level: Level::INFO, passed: VecDeque::new(), left_out: 0 }
    }

    #[test]
    fn ten_lines_pass_in_any_second_and_the_rest_is_counted() {
        let (mut place, start) = (place(), Instant::now());
        let (mut passed, mut lines, mut told) = (Vec::new(), 0, 0);
        for ms in 0..5_000 {
            let now = start + Duration::from_millis(ms);
            if let Some(left_out) = place.take_left_out(now) {
                told += left_out;
                passed.push(now);
            }
            if place.passes(now) {
                lines += 1;
                passed.push(now);
            }
        }
        assert_eq!((passed.len(), lines), (50, 46));
        assert_eq!(told + place.left_out + lines, 5_000);
        let mut seconds = passed.windows(LINES_PER_SECOND + 1);
        assert!(seconds.all(|lines| lines[LINES_PER_SECOND] - lines[0] >= SECOND));
    }

    #[test]
    fn what_was_left_out_is_said_though_nothing_more_comes() {
        let (mut place, start) = (place(), Instant::now());
        let passed = (0..25).filter(|_| place.passes(start)).count();
        assert_eq!((passed, place.take_left_out(start)), (10, None));
        assert_eq!(place.take_left_out(start + SECOND), Some(15));
        assert_eq!(place.take_left_out(start + SECOND), None);
    }
}
