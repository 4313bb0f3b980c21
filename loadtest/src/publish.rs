//! The publisher: brings updates out on a schedule, into Redis or into a floor's feed.
//!
//! Open loop: an update is due when the schedule says, and carries that time, however late Redis,
//! the server or a viewer is.

use crate::clock::{SECOND_NS, now_ns, sleep_until};
use crate::failure::{Context, Result};
use crate::floor::feed_header;
use crate::stop::Stop;
use crate::wire::{Shape, Stamp, Update, thread_id};
use redis::{Connection, Pipeline};
use std::io::Write;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

/// Updates in one pipeline at most.
const BATCH_MAX: usize = 256;
/// Neighbours in time go to tasks this far apart, so that no batch is all for one task.
const TASK_STRIDE: u64 = 7919;
/// A publisher that was stopped looks up this often.
const SLEEP_NS_MAX: u64 = SECOND_NS / 10;

/// Where updates go.
pub(crate) enum Feed {
    Redis(Box<Connection>),
    Floor(TcpStream),
}

/// The tasks of a publisher, and where their updates go.
pub(crate) struct Publisher {
    feed: Feed,
    prefix: String,
    first_task: u32,
    shape: Shape,
    /// The bound of a stream's length that Redis is given.
    stream_length_max: u64,
    /// How many updates each task has had.
    counts: Vec<u32>,
    /// Makes the stream ids of a floor, which has no Redis.
    first_ms: u64,
}

/// What was brought out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Published {
    pub(crate) updates: u64,
    pub(crate) first_due_ns: u64,
    /// The most that an update was late when it had been brought out.
    pub(crate) late_ns_max: u64,
}

/// When updates are due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    Steady {
        per_second: f64,
        seconds: f64,
    },
    /// As fast as they are taken.
    Burst {
        updates: u64,
    },
}

impl Publisher {
    pub(crate) fn new(
        feed: Feed,
        prefix: &str,
        tasks: std::ops::Range<u32>,
        shape: Shape,
        stream_length_max: u64,
    ) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            feed,
            prefix: prefix.into(),
            first_task: tasks.start,
            shape,
            stream_length_max,
            counts: vec![0; tasks.len()],
            first_ms: since_epoch.as_millis() as u64,
        }
    }

    /// Brings out updates until the schedule is done, `stop` is set or they are not taken.
    pub(crate) fn publish(&mut self, pace: Pace, stop: &Stop) -> (Published, Result<()>) {
        let start_ns = now_ns();
        let total = match pace {
            Pace::Steady { per_second, seconds } => (per_second * seconds).round() as u64,
            Pace::Burst { updates } => updates,
        };
        let due_ns = |nth: u64| match pace {
            Pace::Steady { per_second, .. } => start_ns + (nth as f64 * 1e9 / per_second) as u64,
            Pace::Burst { .. } => now_ns(),
        };
        let mut published = Published { first_due_ns: start_ns, ..Published::default() };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while published.updates < total && !stop.is_set() {
            let next_ns = due_ns(published.updates);
            let now = now_ns();
            if next_ns > now {
                sleep_until(next_ns.min(now + SLEEP_NS_MAX));
                continue;
            }
            batch.clear();
            let last = total.min(published.updates + BATCH_MAX as u64);
            batch.extend((published.updates..last).map(&due_ns).take_while(|due| *due <= now_ns()));
            if let Err(failure) = self.bring_out(published.updates, &batch) {
                return (published, Err(failure));
            }
            published.updates += batch.len() as u64;
            let late_ns = now_ns().saturating_sub(next_ns);
            published.late_ns_max = published.late_ns_max.max(late_ns);
        }
        (published, Ok(()))
    }

    /// How many updates the tasks have had in all.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// How many updates some of the tasks have had in all.
    pub(crate) fn total_of(&self, tasks: &[u32]) -> u64 {
        let counts = tasks.iter().map(|task| self.counts.get((task - self.first_task) as usize));
        counts.flatten().map(|count| u64::from(*count)).sum()
    }

    fn bring_out(&mut self, nth: u64, dues_ns: &[u64]) -> Result<()> {
        let tasks = self.counts.len() as u64;
        let stride = if tasks.is_multiple_of(TASK_STRIDE) { 1 } else { TASK_STRIDE };
        let mut pipeline = Pipeline::with_capacity(dues_ns.len());
        let mut frames = Vec::new();
        for (place, due_ns) in dues_ns.iter().enumerate() {
            let which = ((nth + place as u64) * stride % tasks) as usize;
            self.counts[which] += 1;
            let (task, seq) = (self.first_task + which as u32, self.counts[which]);
            let update = Update::new(&self.prefix, Stamp { task, seq, due_ns: *due_ns });
            match self.feed {
                Feed::Redis(_) => {
                    let key = stream_key(&thread_id(&self.prefix, task));
                    let command = pipeline.cmd("XADD").arg(key).arg("MAXLEN").arg("~");
                    command.arg(self.stream_length_max).arg("*").ignore();
                    for (name, value) in update.fields(&self.shape) {
                        command.arg(name).arg(value);
                    }
                }
                Feed::Floor(_) => {
                    let id = |seq: u32| format!("{}-0", self.first_ms + u64::from(seq));
                    let prev = if seq == 1 { "0-0".into() } else { id(seq - 1) };
                    let frame = update.frame(&self.shape, &id(seq), &prev);
                    frames.extend_from_slice(&feed_header(task, frame.len()));
                    frames.extend_from_slice(&frame);
                }
            }
        }
        match &mut self.feed {
            Feed::Redis(redis) => {
                pipeline.query::<()>(redis).while_doing(|| "Redis did not take an update".into())
            }
            Feed::Floor(feed) => {
                feed.write_all(&frames).while_doing(|| "the floor did not take an update".into())
            }
        }
    }
}

fn stream_key(thread_id: &str) -> String {
    format!("sre:stream:task:{thread_id}")
}

/// State and expiry of tasks, written before anybody watches them.
const TASK_EXPIRY_S: i64 = 3600;
const TASKS_PER_PIPELINE: usize = 1000;

/// Makes the tasks' state, as a worker does when it takes a task on.
pub(crate) fn create_tasks(redis: &mut Connection, prefix: &str, tasks: u32) -> Result<()> {
    for_tasks(redis, prefix, tasks, |pipeline, id| {
        let (status, metadata) = state_keys(id);
        pipeline.set_ex(&status, "in_progress", TASK_EXPIRY_S as u64).ignore();
        let fields = [("subject", "load test"), ("user_id", "loadtest"), ("priority", "0")];
        pipeline.hset_multiple(&metadata, &fields).ignore();
        pipeline.expire(&metadata, TASK_EXPIRY_S).ignore();
    })
}

/// Takes the tasks out of a Redis that is not ours.
pub(crate) fn remove_tasks(redis: &mut Connection, prefix: &str, tasks: u32) -> Result<()> {
    for_tasks(redis, prefix, tasks, |pipeline, id| {
        let (status, metadata) = state_keys(id);
        pipeline.unlink(&[status, metadata, stream_key(id)]).ignore();
    })
}

fn for_tasks(
    redis: &mut Connection,
    prefix: &str,
    tasks: u32,
    add: impl Fn(&mut Pipeline, &str),
) -> Result<()> {
    let numbers: Vec<u32> = (0..tasks).collect();
    for numbers in numbers.chunks(TASKS_PER_PIPELINE) {
        let mut pipeline = Pipeline::new();
        numbers.iter().for_each(|task| add(&mut pipeline, &thread_id(prefix, *task)));
        pipeline.query::<()>(redis).while_doing(|| "Redis did not take the tasks".into())?;
    }
    Ok(())
}

fn state_keys(thread_id: &str) -> (String, String) {
    (format!("sre:thread:{thread_id}:status"), format!("sre:thread:{thread_id}:metadata"))
}
