//! `taskcast task …`: publishes to a task in Redis, or shows its state.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::settings::{Everywhere, SourceArgs};
use super::{Outcome, fail, print, terminal, warn_of_ignored};
use crate::id::ThreadId;
use crate::log::{Log, LogError};
use crate::publish::{Fields, IdempotencyKey, Json, NewTask, Status, ThreadManager, Update};

/// What is done to which task.
#[derive(Subcommand)]
pub(super) enum TaskCommand {
    /// Make a task; prints its thread id.
    New(#[command(flatten)] NewArgs),
    /// Set the status of a task; prints the stream id of the event.
    Status {
        #[command(flatten)]
        change: Change,
        /// queued, in_progress, awaiting_approval, done, completed, failed or cancelled
        status: Status,
    },
    /// Add an update to a task; prints the stream id of the event.
    Update(#[command(flatten)] UpdateArgs),
    /// Set the result of a task; prints the stream id of the event.
    Result {
        #[command(flatten)]
        change: Change,
        /// Any JSON, such as '{"answer": 42}'
        #[arg(value_parser = json::<Json>)]
        result: Json,
    },
    /// Set the error of a task and the status "failed"; prints the stream id of the last event.
    Error {
        #[command(flatten)]
        change: Change,
        /// What went wrong, for people
        message: String,
    },
    /// Print the state of a task as JSON.
    Show {
        #[command(flatten)]
        target: Target,
    },
}

/// The task, and where it lies.
#[derive(Args)]
pub(super) struct Target {
    /// Thread id of the task
    #[arg(value_name = "THREAD_ID")]
    thread: ThreadId,
    #[command(flatten)]
    source: SourceArgs<Everywhere>,
}

/// A change of a task.
#[derive(Args)]
pub(super) struct Change {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: KeyArgs,
}

/// Which publication it is.
#[derive(Args)]
pub(super) struct KeyArgs {
    /// Do this once, however often it is run with the same key within a day: 1 to 255 visible ASCII
    /// characters
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
}

/// What a new task has.
#[derive(Args)]
pub(super) struct NewArgs {
    /// What is asked
    query: String,
    /// Who asks
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// The session in which it is asked
    #[arg(long, value_name = "ID")]
    session_id: Option<String>,
    /// Its urgency; greater is more urgent
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// A word to find it by; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// What its worker is to know besides, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json::<Fields>)]
    context: Option<Fields>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    source: SourceArgs<Everywhere>,
}

/// What an update has.
#[derive(Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    change: Change,
    /// What happened, for people
    message: String,
    /// What kind of update it is
    #[arg(long = "type", value_name = "TYPE", default_value = "progress")]
    update_type: String,
    /// What happened, for programs: a JSON object, such as '{"progress": 40}'
    #[arg(long, value_name = "JSON", value_parser = json::<Fields>)]
    metadata: Option<Fields>,
}

/// Reads an argument that is JSON.
fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("not the JSON that is wanted: {error}"))
}

/// Does it once, and prints what came of it.
pub(super) async fn run(command: TaskCommand) -> ExitCode {
    match command {
        TaskCommand::New(args) => create(args).await,
        TaskCommand::Update(args) => update(args).await,
        TaskCommand::Status { change, status } => {
            change.answer(async |threads, id| threads.set_status(id, status).await).await
        }
        TaskCommand::Result { change, result } => {
            change.answer(async |threads, id| threads.set_result(id, &result).await).await
        }
        TaskCommand::Error { change, message } => {
            change.answer(async |threads, id| threads.set_error(id, &message).await).await
        }
        TaskCommand::Show { target } => {
            let shown = async |threads: &ThreadManager, id: &ThreadId| {
                let state = threads.state(id).await?;
                serde_json::to_string_pretty(&state)
                    .map(|json| terminal::clean_json(&json))
                    .map_err(|error| LogError::Refused(error.to_string()))
            };
            answer(target.source, None, async |threads| shown(threads, &target.thread).await).await
        }
    }
}

async fn create(args: NewArgs) -> ExitCode {
    let task = NewTask {
        query: args.query,
        user_id: args.user_id,
        session_id: args.session_id,
        priority: args.priority,
        tags: args.tag,
        context: args.context.unwrap_or_default(),
    };
    let key = args.key.idempotency_key;
    answer(args.source, key, async |threads| threads.create(task).await).await
}

async fn update(args: UpdateArgs) -> ExitCode {
    let mut update = Update::new(args.message).with_type(args.update_type);
    if let Some(metadata) = args.metadata {
        update = match update.with_metadata(&metadata) {
            Ok(update) => update,
            Err(error) => return fail(Outcome::Usage, &format!("--metadata: {error}")),
        };
    }
    args.change.answer(async |threads, id| threads.add_update(id, update).await).await
}

impl Change {
    async fn answer<T: Display>(
        self,
        operation: impl AsyncFnOnce(&ThreadManager, &ThreadId) -> Result<T, LogError>,
    ) -> ExitCode {
        let (target, key) = (self.target, self.key.idempotency_key);
        answer(target.source, key, async |threads| operation(threads, &target.thread).await).await
    }
}

/// Prints what the operation gives, or says why it failed and what to do.
async fn answer<T: Display>(
    source: SourceArgs<Everywhere>,
    key: Option<IdempotencyKey>,
    operation: impl AsyncFnOnce(&ThreadManager) -> Result<T, LogError>,
) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    warn_of_ignored(&config);
    if config.embedded {
        let message = "an embedded log lies inside of its server: publish over HTTP there, \
                       or give --redis";
        return fail(Outcome::Usage, message);
    }
    let mut threads = match Log::open(&config) {
        Ok(log) => ThreadManager::new(log),
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    if let Some(key) = key {
        threads = threads.with_idempotency_key(key);
    }
    match operation(&threads).await {
        Ok(given) => print(&given.to_string()).err().unwrap_or_else(|| Outcome::Done.into()),
        Err(error) => fail(Outcome::from(&error), &explained(&error, &config.redis_masked())),
    }
}

/// An error of the log, with what to do about it.
pub(super) fn explained(error: &LogError, redis: &str) -> String {
    match error {
        LogError::Unavailable(_) => {
            format!("{error}; asked {redis}: start it, or name another with --redis or REDIS_URL")
        }
        LogError::NotFound => format!(
            "{error} in {redis}; is it the right Redis (--redis) and --key-prefix? \
             `taskcast task new` makes a task"
        ),
        LogError::Unknown { idempotency_key, .. } => format!(
            "{error}; asked {redis}: run it again with --idempotency-key {idempotency_key}, and it \
             is done once"
        ),
        LogError::TooLarge | LogError::Refused(_) | LogError::KeyUsed => {
            format!("{error}; asked {redis}")
        }
    }
}
