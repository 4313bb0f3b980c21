//! Short pauses, to some microseconds: the runtime's own timers go by the millisecond, and setting
//! one wakes the runtime up once more.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

/// Makes pauses, one after the other.
pub(crate) struct Pause {
    /// None where the kernel gives no timer; then the runtime's have to do.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Pause {
    pub(crate) fn new() -> Self {
        Self { timer: timer().ok() }
    }

    /// Waits so long. Not to be dropped before it is over.
    pub(crate) async fn last(&mut self, duration: Duration) {
        if let Some(timer) = &self.timer
            && start(timer, duration).is_ok()
            && let Ok(mut over) = timer.readable().await
        {
            return over.clear_ready();
        }
        tokio::time::sleep(duration).await;
    }
}

#[allow(unsafe_code, reason = "tokio is handed a file descriptor as a bare number")]
fn timer() -> std::io::Result<AsyncFd<OwnedFd>> {
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    // SAFETY: the descriptor is owned by what is registered, and nobody else closes it.
    let timer = unsafe { AsyncFd::register_with_interest(timer, tokio::io::Interest::READABLE) };
    timer.map_err(Into::into)
}

/// Starting it anew also takes back that it was over.
fn start(timer: &AsyncFd<OwnedFd>, duration: Duration) -> std::io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    let once = Itimerspec {
        it_interval: Timespec::default(),
        // Zero would never be over.
        it_value: Timespec::try_from(duration.max(Duration::from_nanos(1)))
            .map_err(std::io::Error::other)?,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn pauses_last_as_long_as_they_should_one_after_the_other() {
        let mut pause = Pause::new();
        for micros in [0, 1, 300, 2_000, 50] {
            let duration = Duration::from_micros(micros);
            let begun = Instant::now();
            pause.last(duration).await;
            assert!(begun.elapsed() >= duration, "{duration:?}");
        }
    }
}
