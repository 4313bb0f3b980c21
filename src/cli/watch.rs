//! `taskcast watch`: follows one task in the terminal until it ends.
//!
//! Frames go into a [`Task`], which says what is new; `render` makes text of it; the screen here
//! decides when to draw. Where following the task tells no status, `look` looks for one. What the
//! task says is hostile and is shown, never obeyed.

mod look;
mod members;
mod note;
mod render;
mod task;

use std::io::{ErrorKind, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::look::{look_again, look_back};
use self::note::Note;
use self::render::Paint;
use self::task::Task;
use super::terminal::clean;
use super::{Outcome, fail, token};
use crate::client::{self, Client, ClientError, Event, Since};
use crate::core::seam;
use crate::core::source::AGENT;

/// How long nothing may come after the last status before the task counts as shown in whole. A
/// worker writes status and result in separate steps, in either order.
const GRACE: Duration = Duration::from_millis(500);

/// The same where no update was shown: what a state withholds, because its entry may be on its way, is
/// told later.
const WITHHELD_GRACE: Duration = GRACE.saturating_add(Duration::from_millis(seam::WAIT_MS));

/// As a shell says it: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Which task to follow, and how to show it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes:
  0    the task completed
  1    the task failed
  2    the task cannot be watched
  5    the task was cancelled
  130  interrupted")]
pub(super) struct WatchArgs {
    /// Thread id of the task, or its id in its source
    #[arg(value_name = "THREAD_ID")]
    id: String,
    /// The source that the task is of, as the server's configuration names it
    #[arg(long, value_name = "NAME", default_value = AGENT, hide_default_value = true)]
    source: String,
    /// The server; https:// and wss:// are with TLS
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Begin after this entry instead of with the present state; 0 is everything retained
    #[arg(long, value_name = "STREAM_ID")]
    since: Option<Since>,
    /// Of a thread with several tasks, follow this one; else it is the newest that is no child of another
    #[arg(long, value_name = "TASK_ID", conflicts_with = "all")]
    turn: Option<String>,
    /// Go on when the task has ended: the thread may have another turn
    #[arg(long)]
    all: bool,
    /// Print each frame as one line of JSON
    #[arg(long)]
    json: bool,
    /// The file with the token to show, where the server asks for one; else that of TASKCAST_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with the authorities (PEM) that vouch for a server with TLS; else those of the system, or of
    /// SSL_CERT_FILE
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Watches the task until it ends. `WatchArgs` says what the exit code means.
pub(super) async fn run(args: WatchArgs) -> ExitCode {
    let client = match token::client(&args.url, args.token_file.as_deref(), args.ca.as_deref()) {
        Ok(client) => client,
        Err(problem) => return fail(Outcome::Usage, &problem),
    };
    let task = match client::Task::of(&args.source, &args.id) {
        Ok(task) => Task::new(task, args.since, args.turn.clone()),
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let mut screen = Screen::detect(args.json);
    let watched = tokio::select! {
        watched = watch(&client, task, &args, &mut screen) => watched,
        // What was drawn is whole, so this may cut in anywhere.
        Ok(()) = tokio::signal::ctrl_c() => Ok(End::Interrupted),
    };
    let left = screen.leave();
    match watched.and_then(|end| left.map(|()| end)) {
        Ok(End::Outcome(outcome)) => outcome.into(),
        Ok(End::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Ok(End::Unusable(error)) => fail(Outcome::Usage, &token::explained(&error)),
        // Whoever read this has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(Outcome::Failed, &format!("cannot write what was watched: {error}")),
    }
}

impl From<client::Outcome> for Outcome {
    fn from(outcome: client::Outcome) -> Self {
        match outcome {
            client::Outcome::Done => Self::Done,
            client::Outcome::Failed => Self::Failed,
            client::Outcome::Cancelled => Self::Cancelled,
        }
    }
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
    client: &Client,
    mut task: Task,
    args: &WatchArgs,
    screen: &mut Screen<W>,
) -> std::io::Result<End> {
    let mut follow = match args.since {
        Some(since) => client.follow_since(task.id.clone(), since),
        None => client.follow(task.id.clone()),
    };
    screen.update(&task, None, &[])?;
    let mut quiet_at = Instant::now();
    let mut looked_back = false;
    loop {
        let event = tokio::select! {
            // Safe to drop: the event stays where it is.
            event = follow.next() => event,
            // Set anew on every turn, here and below.
            () = sleep_until(quiet_at), if !args.all && task.outcome().is_some() => None,
            () = sleep_until(quiet_at), if !args.all && task.end_in_doubt && task.is_live() => {
                if let Some(error) = look_again(client, &mut task).await {
                    return Ok(End::Unusable(error));
                }
                continue;
            }
        };
        match event {
            Some(Ok(Event::Frame { update, json })) => {
                let notes = task.apply(&update, &json);
                screen.update(&task, Some(&json), &notes)?;
                if task.lacks_past() && !looked_back {
                    looked_back = true;
                    if let Some(end) = look_back(client, &mut task, screen).await? {
                        return Ok(end);
                    }
                }
                let grace = if task.has_updates { GRACE } else { WITHHELD_GRACE };
                quiet_at = Instant::now() + grace;
            }
            Some(Ok(event)) => note_connection(&event, &mut task, screen)?,
            Some(Err(error)) => return Ok(End::Unusable(error)),
            None => {
                screen.finish(&task)?;
                // The stream of events ends with an error; without one, the task itself ended.
                return Ok(End::Outcome(task.outcome().map_or(Outcome::Failed, Outcome::from)));
            }
        }
    }
}

/// Shows what an event that is no frame says of the connection.
fn note_connection<W: Write>(
    event: &Event,
    task: &mut Task,
    screen: &mut Screen<W>,
) -> std::io::Result<()> {
    match event {
        Event::Disconnected { error, retry_in } => {
            task.disconnected(format!("{error}; again in {:.1} s", retry_in.as_secs_f64()));
        }
        Event::Connected => task.connected(),
        // Nothing that this program knows how to show.
        _ => return Ok(()),
    }
    screen.connection(task)
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
            // Nobody is left to tell if that fails.
            let _ = writeln!(std::io::stderr(), "taskcast: {}", clean(problem));
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

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::client::Timing;

    const INITIAL: &str = r#"{"update_type":"initial_state","status":"in_progress","updates":[
        {"timestamp":"2025-06-10T12:00:00Z","message":"begun","update_type":"progress",
         "metadata":{"progress":50}}],"stream_id":"1000-0"}"#;

    fn status(status: &str, ms: u64) -> String {
        entry(&format!(r#""update_type":"status_change","status":"{status}""#), ms)
    }

    fn result(ms: u64) -> String {
        entry(r#""update_type":"result_set","result":{"a":1},"message":"there""#, ms)
    }

    fn entry(members: &str, ms: u64) -> String {
        format!(r#"{{{members},"stream_id":"{ms}-0","prev_stream_id":"{}-0"}}"#, ms - 1000)
    }

    /// Watches a server that sends these frames, one list for each connection.
    async fn watched(mode: Mode, connections: Vec<Vec<String>>) -> (End, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let last = connections.len() - 1;
            for (n, frames) in connections.into_iter().enumerate() {
                let (socket, _) = listener.accept().await.unwrap();
                let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
                for frame in frames {
                    socket.send(Message::text(frame)).await.unwrap();
                }
                if n == last {
                    std::future::pending::<()>().await;
                }
            }
        });
        let soon = Duration::from_millis(5);
        let timing = Timing { retry_min: soon, retry_max: soon, ..Timing::default() };
        let task = Task::new("t1".parse().unwrap(), None, None);
        let client = Client::new(&url).unwrap().with_timing(timing);
        let mut screen = Screen { out: Vec::new(), mode, paint: Paint::Plain, drawn: false };
        let args = WatchArgs {
            id: "t1".into(),
            source: AGENT.into(),
            url: String::new(),
            since: None,
            turn: None,
            all: false,
            json: false,
            token_file: None,
            ca: None,
        };
        let end = watch(&client, task, &args, &mut screen).await.unwrap();
        screen.leave().unwrap();
        server.abort();
        (end, String::from_utf8(screen.out).unwrap())
    }

    #[tokio::test]
    async fn a_task_is_watched_over_a_reconnect_until_it_is_complete() {
        let caught_up = r#"{"update_type":"caught_up"}"#.to_owned();
        let connections =
            vec![vec![INITIAL.to_owned()], vec![status("done", 2000), caught_up, result(3000)]];
        let (end, text) = watched(Mode::Lines, connections).await;
        assert!(matches!(end, End::Outcome(Outcome::Done)), "{end:?}");
        let bar = "█".repeat(24);
        let lines = [
            "12:00:00  progress    begun",
            "          status      in_progress",
            "00:00:02  status      done",
            "00:00:03  result      there",
            &format!("t1  done  {bar} 100 %"),
            "Result",
            "  {",
            "    \"a\": 1",
            "  }",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[tokio::test]
    async fn a_terminal_keeps_the_state_below_the_lines() {
        let frames = vec![INITIAL.to_owned(), status("cancelled", 2000)];
        let (end, text) = watched(Mode::Live, vec![frames]).await;
        assert!(matches!(end, End::Outcome(Outcome::Cancelled)), "{end:?}");
        let drawn: Vec<_> = text.split(render::ERASE_LINE).collect();
        assert!(drawn[0].contains("connecting"), "{text:?}");
        assert!(drawn.iter().any(|text| text.contains("50 %  live")), "{text:?}");
        assert!(drawn.last().unwrap().starts_with("t1  cancelled"), "{text:?}");
        assert!(text.ends_with("50 %\n"), "{text:?}");
    }

    #[tokio::test]
    async fn json_is_a_frame_a_line() {
        let frames = vec![INITIAL.to_owned(), status("failed", 2000)];
        let (end, text) = watched(Mode::Json, vec![frames.clone()]).await;
        assert!(matches!(end, End::Outcome(Outcome::Failed)), "{end:?}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[1], frames[1]);
    }

    #[tokio::test]
    async fn a_task_that_nobody_knows_is_the_end() {
        let frames = vec![r#"{"error":"Thread not found","thread_id":"t1"}"#.to_owned()];
        let (end, _) = watched(Mode::Lines, vec![frames]).await;
        assert!(matches!(end, End::Unusable(ClientError::NotFound)), "{end:?}");
    }
}
