//! Memory that was let go, given back to the operating system.

use std::time::Duration;

use tokio::time::sleep;

/// How often a thread's allocator is asked to. It keeps what was let go for one second itself, lest
/// it has to be asked for again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks this thread's allocator for it, again and again.
///
/// It gives back in passing, while it is asked for more: after a burst behind which nothing comes, a
/// server would keep all that the burst took.
pub(crate) async fn give_back() {
    loop {
        sleep(INTERVAL).await;
        collect();
    }
}

#[allow(unsafe_code, reason = "the allocator's crate has no safe call for it")]
fn collect() {
    // SAFETY: it takes what is free, of the calling thread's own heap.
    unsafe { libmimalloc_sys::mi_collect(false) };
}
