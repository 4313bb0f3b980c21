//! Publishes one task from Rust: a status, some updates, a result and the end.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379/0 cargo run --example publish
//! ```
//!
//! Each call is one atomic step in Redis: the state and the event change together or not at all.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use taskcast::config::Limits;
use taskcast::id::Keys;
use taskcast::log::Log;
use taskcast::log::redis::connection::Timeouts;
use taskcast::log::redis::{RedisLog, RedisOptions};
use taskcast::publish::{NewTask, Status, ThreadManager, Update};

fn open_log() -> Result<Log, Box<dyn Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379/0".to_owned());
    let limits = Limits::default();
    let log = RedisLog::new(RedisOptions {
        url,
        keys: Keys::default(),
        timeouts: Timeouts {
            connect: limits.redis_connect_timeout(),
            response: limits.redis_response_timeout(),
        },
        stream_length_max: limits.stream_length_max,
        expiry_seconds: limits.expiry_seconds,
    })?;
    Ok(Log::Redis(Arc::new(log)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let threads = ThreadManager::new(open_log()?);
    let thread = threads.create(NewTask::new("Why is the cache slow?")).await?;
    println!("taskcast watch {thread}");
    threads.set_status(&thread, Status::InProgress).await?;
    for step in 1..=10 {
        let update = Update::new(format!("Step {step} of 10"))
            .with_metadata(&json!({"step": step, "total_steps": 10}))?;
        threads.add_update(&thread, update).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    threads.set_result(&thread, &json!({"summary": "One KEYS * a second"})).await?;
    threads.set_status(&thread, Status::Completed).await?;
    Ok(())
}
