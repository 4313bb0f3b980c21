//! Publishing to tasks: what Rust programs, the HTTP API and the command line use.
//!
//! [`ThreadManager`] keeps a task's state and tells its stream of each change;
//! [`TaskStreamManager`] adds any other event to the stream. Each call is one atomic step of the
//! [`Log`](crate::log::Log): state, events and expiries change together or not at all, and once,
//! also where an answer of Redis is lost. Who may have to ask for a change again gives it an
//! [`IdempotencyKey`].
//!
//! ```
//! # use std::sync::Arc;
//! # use taskcast::{config::Limits, log::{Log, LogError, embedded::EmbeddedLog}};
//! use taskcast::publish::{NewTask, Status, ThreadManager, Update};
//! use serde_json::json;
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! # let log = Log::from(EmbeddedLog::new(&Limits::default()));
//! let threads = ThreadManager::new(log);
//! let thread = threads.create(NewTask::new("Why is the cache slow?")).await?;
//! threads.set_status(&thread, Status::InProgress).await?;
//! let update = Update::new("Reading the slow log").with_metadata(&json!({"progress": 20}))?;
//! threads.add_update(&thread, update).await?;
//! threads.set_result(&thread, &json!({"summary": "One KEYS * a second"})).await?;
//! threads.set_status(&thread, Status::Completed).await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(publish()).unwrap();
//! ```

mod event;
mod json;
mod list;
mod state;
mod status;
mod stream;
mod task;
mod threads;

pub use crate::log::{IdempotencyKey, InvalidIdempotencyKey};
pub use json::{Fields, Json};
pub use list::ListedTask;
pub use state::TaskState;
pub use status::{Status, UnknownStatus};
pub use stream::TaskStreamManager;
pub use task::{NewTask, Update};
pub use threads::ThreadManager;

#[cfg(test)]
mod tests;
