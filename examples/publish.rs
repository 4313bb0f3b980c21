//! Publishes one task from Rust: a status, some updates, a result and the end.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379/0 cargo run --example publish
//! ```
//!
//! Each call is one atomic step in Redis: the state and the event change together or not at all.

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use taskcast::config::Config;
use taskcast::log::Log;
use taskcast::publish::{NewTask, Status, ThreadManager, Update};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load(None, std::env::vars_os(), Vec::new())?;
    let threads = ThreadManager::new(Log::open(&config)?);
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
