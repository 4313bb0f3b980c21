//! The client process: very many viewers in one epoll loop.
//!
//! It shares a core with Redis, so a message must cost next to nothing here: large reads into one
//! buffer, frames looked at where they lie, one small record per viewer.

pub(crate) mod control;
pub(crate) mod counters;
pub(crate) mod fields;
pub(crate) mod frames;
pub(crate) mod handshake;
pub(crate) mod sequence;

mod group;
mod receive;
mod socket;
mod viewers;

use crate::clock::{SECOND_NS, now_ns};
use crate::failure::{Context, Result};
use control::{Command, Report};
use mio::{Events, Poll, Token, Waker};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;
use viewers::Viewers;

const REPORT_INTERVAL_NS: u64 = SECOND_NS / 10;
const EVENTS_MAX: usize = 1024;
const COMMAND_TOKEN: Token = Token(usize::MAX);

/// Runs until the parent closes standard input.
pub(crate) fn run() -> Result<()> {
    let mut poll = Poll::new().while_doing(|| "cannot make an epoll instance".into())?;
    let waker = Waker::new(poll.registry(), COMMAND_TOKEN);
    let waker = Arc::new(waker.while_doing(|| "cannot make a waker".into())?);
    let commands = listen_to_parent(waker);
    let registry = poll.registry().try_clone();
    let mut viewers = Viewers::new(registry.while_doing(|| "cannot share epoll".into())?);
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut report_ns = now_ns() + REPORT_INTERVAL_NS;
    loop {
        let now = now_ns();
        let wait_ns = viewers.due_ns(now).min(report_ns).saturating_sub(now);
        if let Err(error) = poll.poll(&mut events, Some(Duration::from_nanos(wait_ns)))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error).while_doing(|| "epoll failed".into());
        }
        for event in events.iter().filter(|event| event.token() != COMMAND_TOKEN) {
            viewers.on_event(event);
        }
        loop {
            match commands.try_recv() {
                Ok(command) => viewers.obey(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        viewers.on_time(now_ns());
        if now_ns() >= report_ns {
            report(&mut viewers)?;
            report_ns = now_ns() + REPORT_INTERVAL_NS;
        }
    }
}

/// Reads commands in a thread of its own, since standard input cannot be polled with the sockets.
/// It ends with the parent's end of the pipe.
fn listen_to_parent(waker: Arc<Waker>) -> Receiver<Command> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let command = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(command) = command else { break };
            if sender.send(command).is_err() || waker.wake().is_err() {
                break;
            }
        }
        drop(sender);
        // The loop may sleep: it learns from the closed channel that the parent is gone.
        let _ = waker.wake();
    });
    receiver
}

fn report(viewers: &mut Viewers) -> Result<()> {
    let groups: Vec<_> = viewers.reports().collect();
    if groups.is_empty() {
        return Ok(());
    }
    let mut line =
        serde_json::to_vec(&Report { groups }).while_doing(|| "cannot write a report".into())?;
    line.push(b'\n');
    std::io::stdout().write_all(&line).while_doing(|| "the parent is gone".into())
}
