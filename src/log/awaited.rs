//! A turn that is waited for before the log is asked.

use std::future::{Future, ready};

/// Somebody's turn to ask, and how it is come by.
pub(crate) trait AwaitedTurn: Send {
    /// The turn, as long as it is held.
    type Turn: Send;

    /// Takes it, where it is to be had now.
    fn try_take(&mut self) -> Option<Self::Turn>;

    /// Waits until it may be had. Holds nothing.
    fn is_due(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits for it, and takes it.
    fn take(&mut self) -> impl Future<Output = Self::Turn> + Send {
        async {
            loop {
                if let Some(turn) = self.try_take() {
                    return turn;
                }
                self.is_due().await;
            }
        }
    }
}

/// No turn is needed.
pub(crate) struct AtOnce;

impl AwaitedTurn for AtOnce {
    type Turn = ();

    fn try_take(&mut self) -> Option<()> {
        Some(())
    }

    fn is_due(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
