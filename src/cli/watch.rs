//! `taskcast watch`: follows one task in the terminal until it ends.
//!
//! Frames go into a [`Task`], which says what is new; `render` makes text of it; the screen here
//! decides when to draw. What the task says is hostile and is shown, never obeyed.

mod members;
mod render;
mod task;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::render::Paint;
use self::task::{Note, Outcome, Task};
use crate::client::{Client, ClientError, Event, Follow};
use crate::id::{StreamId, ThreadId};

/// How long nothing may come after the last status before the task counts as shown in whole. A
/// worker writes status and result in separate steps, in either order.
const GRACE: Duration = Duration::from_millis(500);

const EXIT_FAILED: u8 = 1;
const EXIT_UNUSABLE: u8 = 2;
const EXIT_INTERRUPTED: u8 = 130;

/// Follow a task in the terminal until it ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 the task completed, 1 it failed or was cancelled, \
    2 it cannot be watched, 130 interrupted.")]
pub struct WatchArgs {
    /// The task.
    thread_id: ThreadId,
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Begin after this entry instead of with the present state; 0 is everything retained.
    #[arg(long, value_name = "STREAM_ID")]
    since: Option<StreamId>,
    /// Print each frame as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Watches the task. The exit code says how it ended, see [`WatchArgs`].
pub async fn run(args: WatchArgs) -> ExitCode {
    let client = match Client::new(&args.url) {
        Ok(client) => client,
        Err(error) => return unusable(&error),
    };
    let follow = match args.since {
        Some(since) => client.follow_since(args.thread_id.clone(), since),
        None => client.follow(args.thread_id.clone()),
    };
    let mut screen = Screen::detect(args.json);
    let watched = tokio::select! {
        watched = watch(follow, Task::new(args.thread_id), &mut screen) => watched,
        // What was written is whole lines, so this may cut in anywhere.
        Ok(()) = tokio::signal::ctrl_c() => Ok(End::Interrupted),
    };
    let left = screen.leave();
    match watched.and_then(|end| left.map(|()| end)) {
        Ok(End::Outcome(Outcome::Completed)) => ExitCode::SUCCESS,
        Ok(End::Outcome(Outcome::Failed)) => ExitCode::from(EXIT_FAILED),
        Ok(End::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Ok(End::Unusable(error)) => unusable(&error),
        // Whoever read this has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => unusable(&format!("cannot write to the output: {error}")),
    }
}

fn unusable(problem: &dyn std::fmt::Display) -> ExitCode {
    say(&problem.to_string());
    ExitCode::from(EXIT_UNUSABLE)
}

/// Tells a person something that is not about the task itself.
fn say(text: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "taskcast watch: {}", render::clean(text));
}

/// Why the watching ended.
#[derive(Debug)]
enum End {
    Outcome(Outcome),
    Unusable(ClientError),
    Interrupted,
}

/// Shows the task until it has ended and nothing more comes.
async fn watch<W: Write>(
    mut follow: Follow,
    mut task: Task,
    screen: &mut Screen<W>,
) -> std::io::Result<End> {
    screen.update(&task, None, &[])?;
    let mut quiet_at = Instant::now();
    loop {
        let event = tokio::select! {
            // Safe to drop: the event stays where it is.
            event = follow.next() => event,
            // Set anew on every turn.
            () = sleep_until(quiet_at), if task.outcome().is_some() => None,
        };
        match event {
            Some(Ok(Event::Frame { update, json })) => {
                let notes = task.apply(&update, &json);
                screen.update(&task, Some(&json), &notes)?;
                quiet_at = Instant::now() + GRACE;
            }
            Some(Ok(Event::Disconnected { error, retry_in })) => {
                let wait = retry_in.as_secs_f64();
                task.disconnected(format!("{error}; again in {wait:.1} s"));
                screen.connection(&task)?;
            }
            Some(Ok(_)) => {
                task.connected();
                screen.connection(&task)?;
            }
            Some(Err(error)) => return Ok(End::Unusable(error)),
            None => {
                screen.finish(&task)?;
                // The stream of events ends with an error; without one, the task itself ended.
                return Ok(End::Outcome(task.outcome().unwrap_or(Outcome::Failed)));
            }
        }
    }
}

/// How the task is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Each frame as it is.
    Json,
    /// A line for each thing that happens.
    Lines,
    /// The same, and below them a line that is drawn again and again.
    Live,
}

/// Where the task is shown. Writes whole lines only, apart from the one that is redrawn.
struct Screen<W> {
    out: W,
    mode: Mode,
    paint: Paint,
    /// Whether the last line is one to draw over.
    drawn: bool,
}

impl Screen<std::io::Stdout> {
    fn detect(json: bool) -> Self {
        let out = std::io::stdout();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = out.is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let mode = match (json, terminal) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        let paint =
            if mode == Mode::Live && !set("NO_COLOR") { Paint::Colour } else { Paint::Plain };
        Self { out, mode, paint, drawn: false }
    }
}

impl<W: Write> Screen<W> {
    /// A frame came and brought `notes`.
    fn update(&mut self, task: &Task, json: Option<&str>, notes: &[Note]) -> std::io::Result<()> {
        let text = match (self.mode, json) {
            (Mode::Json, Some(json)) => render::json_line(json),
            (Mode::Json, None) => String::new(),
            _ => notes.iter().map(|note| render::note(note, self.paint)).collect(),
        };
        self.draw(&text, Some(task))
    }

    /// The connection came or went.
    fn connection(&mut self, task: &Task) -> std::io::Result<()> {
        if self.mode == Mode::Live {
            return self.draw("", Some(task));
        }
        if let Some(problem) = task.problem() {
            say(problem);
        }
        Ok(())
    }

    /// The task has ended: its last state stays, with what came of it below.
    fn finish(&mut self, task: &Task) -> std::io::Result<()> {
        if self.mode == Mode::Json {
            return Ok(());
        }
        let state = render::state(task, self.paint);
        let outcome = render::outcome(task, self.paint);
        self.draw(&format!("{state}\n{outcome}"), None)
    }

    /// Leaves the cursor at the beginning of a line.
    fn leave(&mut self) -> std::io::Result<()> {
        let end: &[u8] = if std::mem::take(&mut self.drawn) { b"\n" } else { b"" };
        self.out.write_all(end)?;
        self.out.flush()
    }

    /// Writes whole lines above the state, and the state below them, in one go.
    fn draw(&mut self, lines: &str, below: Option<&Task>) -> std::io::Result<()> {
        let mut text = String::new();
        if std::mem::take(&mut self.drawn) {
            text.push_str(render::ERASE_LINE);
        }
        text.push_str(lines);
        if let (Mode::Live, Some(task)) = (self.mode, below) {
            text.push_str(&render::state_line(task, self.paint));
            self.drawn = true;
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}
