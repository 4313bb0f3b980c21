//! Taskcast: fan-out of task updates from Redis streams to very many WebSocket viewers.
//!
//! A task's stream is a log, and a viewer is a socket and a position in that log. Live is a
//! position at the head, a slow viewer one that lags, and a resume one that the viewer brings
//! along. There is no queue per viewer: nothing overflows, and nothing is dropped.
//!
//! # How an update travels
//!
//! ```text
//!  publisher                    Taskcast                                        viewers
//!
//!  XADD ──▶ Redis ──▶ tail ──▶ encode ──▶ topic ──▶ flush ──▶ sockets ──▶ browser, watch, …
//!             ▲     what        once: a    the       per viewer: all from
//!             │     changed?    chunk of   newest    its position to the
//!             │                 frames     chunks    head, in one call
//!             │                              │
//!             └── attach, resume, lag ◀──────┘
//!                 read state, or an older part of the log
//! ```
//!
//! 1. A publisher adds an entry to the task's stream: a worker with `XADD`, or [`publish`].
//! 2. The tail of the worker that owns the stream reads it. Redis tells which streams changed
//!    (`CLIENT TRACKING`; `XREAD BLOCK` where that is refused), but only the position counts: what
//!    no hint told of is still found.
//! 3. [`core`] encodes the new entries once, whatever the number of viewers, as complete WebSocket
//!    frames.
//! 4. The topic keeps the newest of them in memory, within bounds, and the workers share the bytes.
//! 5. A flush sends each viewer everything from its position to the head. A socket that takes no
//!    more leaves its viewer where it is; when the topic no longer holds that part, the viewer
//!    reads it from the [`log`], page by page.
//!
//! # Publish from Rust
//!
//! Each call is one atomic step in Redis: state, event and expiries change together or not at all.
//!
//! ```no_run
//! use serde_json::json;
//! use taskcast::publish::{NewTask, Status, ThreadManager, Update};
//! use taskcast::{config::Config, log::Log};
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { redis: "redis://127.0.0.1:6379/0".to_owned(), ..Config::default() };
//! let threads = ThreadManager::new(Log::open(&config)?);
//! let thread = threads.create(NewTask::new("Why is the cache slow?")).await?;
//! threads.set_status(&thread, Status::InProgress).await?;
//! let update = Update::new("Reading the slow log").with_metadata(&json!({"progress": 20}))?;
//! threads.add_update(&thread, update).await?;
//! threads.set_result(&thread, &json!({"summary": "One KEYS * a second"})).await?;
//! threads.set_status(&thread, Status::Completed).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/publish.rs` is a whole program. [`publish::TaskStreamManager`]
//! adds an event of any other kind.
//!
//! # Follow a task from Rust
//!
//! [`client::Client`] connects again by itself, goes on where it was, proves from the chain of
//! stream ids that nothing is missing, and gives each entry once.
//!
//! ```no_run
//! use taskcast::client::{Client, Event};
//!
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:8000")?;
//! let mut follow = client.follow("01JXAMPLE".parse()?);
//! while let Some(event) = follow.next().await {
//!     if let Event::Frame { json, .. } = event? {
//!         println!("{json}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Run the server
//!
//! The `taskcast` program is [`cli`] on top of [`server`]; [`config::Config`] holds every limit.

mod access;
mod audit;
mod authorities;
pub mod cli;
pub mod clock;
pub mod config;
mod desk;
#[cfg(fuzzing)]
pub mod fuzzing;
mod holders;
mod http;
mod intake;
mod lane;
mod listen;
pub mod log;
pub mod logging;
pub mod metrics;
mod newcomer;
pub mod publish;
mod readings;
mod seam;
pub mod server;
mod shared;
mod supervise;
pub mod sys;
mod tail;
mod tls;
mod topic;
mod turn;
mod worker;

/// So that what the README shows of Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use taskcast_client as client;
pub use taskcast_core as core;
pub use taskcast_core::{id, timestamp};
