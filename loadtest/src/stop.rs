//! The wish to stop: set by Ctrl-C and SIGTERM, looked at by everything that waits.

use crate::failure::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long nothing may change before a wait is given up.
const STALL_WAIT: Duration = Duration::from_secs(10);
/// The same, once the user wants to stop.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Set when the user wants to stop.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The first signal ends the run in order, with what it has; the second one ends it at once,
    /// with `exit_code`.
    pub(crate) fn on_signals(exit_code: u8) -> Result<Self> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let flag = || stop.0.clone();
            let code = i32::from(exit_code);
            signal_hook::flag::register_conditional_shutdown(signal, code, flag())
                .and_then(|_| signal_hook::flag::register(signal, flag()))
                .while_doing(|| "cannot listen to signals".into())?;
        }
        Ok(stop)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// How long a wait goes on without a change.
    pub(crate) fn patience(&self) -> Duration {
        if self.is_set() { STOP_WAIT } else { STALL_WAIT }
    }
}
