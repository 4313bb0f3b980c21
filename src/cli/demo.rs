//! `taskcast demo`: the server with tasks to look at, run by a simulated agent.

mod agent;
mod scenarios;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, fail, print, serve};
use crate::config::{Config, ConfigError, Setting};
use crate::id::ThreadId;
use crate::log::Log;
use crate::logging;
use crate::publish::ThreadManager;

/// The flags of `demo`.
#[derive(Args)]
pub(super) struct DemoArgs {
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Keep the log in this Redis instead of in memory
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

impl DemoArgs {
    /// No file and no environment: what a newcomer runs is the same everywhere.
    fn load(self) -> Result<Config, ConfigError> {
        let embedded = self.redis.is_none().to_string();
        let mut flags =
            vec![Setting::flag("listen", self.listen), Setting::flag("embedded", embedded)];
        flags.extend(self.redis.map(|url| Setting::flag("redis", url)));
        Config::load(None, [], flags)
    }
}

/// Serves until SIGTERM or SIGINT, with tasks always running.
pub(super) async fn run(args: DemoArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    // So that nothing is printed that does not come true; the server binds it again.
    if let Err(error) = TcpListener::bind(config.listen) {
        let message = format!("cannot listen on {}: {error}; try another --listen", config.listen);
        return fail(Outcome::CannotListen, &message);
    }
    if let Err(error) = logging::start(&config) {
        return fail(Outcome::Failed, &format!("cannot log: {error}"));
    }
    let log = match Log::open(&config) {
        Ok(log) => log,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let agent = match agent::Agent::start(ThreadManager::new(log.clone())).await {
        Ok(agent) => agent,
        Err(error) => return fail(Outcome::from(&error), &error.to_string()),
    };
    if let Err(code) = print(&invitation(config.listen, agent.first_thread())) {
        return code;
    }
    // Ends with the runtime, when the server has ended.
    tokio::spawn(agent.run());
    serve::serve(config, log).await
}

/// What to do next.
fn invitation(listen: SocketAddr, thread: &ThreadId) -> String {
    let mut reachable = listen;
    if reachable.ip().is_unspecified() {
        reachable.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let url = format!("http://{reachable}");
    format!(
        "Taskcast demo: open {url}

Watch a task in another terminal:
  taskcast watch {thread} --url {url}
Publish to it, and see the update arrive:
  curl {url}/api/v1/tasks/{thread}/updates -d '{{\"message\": \"Hello from curl\"}}'
Make a task of your own:
  curl {url}/api/v1/triage -d '{{\"query\": \"Why is memory rising?\"}}'

Ctrl-C ends it.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invitation_names_an_address_that_can_be_reached() {
        let thread = "t1".parse().unwrap();
        let text = invitation("0.0.0.0:9000".parse().unwrap(), &thread);
        assert!(text.contains("taskcast watch t1 --url http://127.0.0.1:9000"));
        let text = invitation("[::]:9000".parse().unwrap(), &thread);
        assert!(text.contains("curl http://[::1]:9000/api/v1/tasks/t1/updates"));
    }

    #[test]
    fn the_demo_keeps_its_log_in_memory_unless_told() {
        let args = |redis: Option<&str>| DemoArgs {
            listen: "127.0.0.1:0".to_owned(),
            redis: redis.map(str::to_owned),
        };
        assert!(args(None).load().unwrap().embedded);
        let config = args(Some("redis://127.0.0.1:1/2")).load().unwrap();
        assert!(!config.embedded && config.redis == "redis://127.0.0.1:1/2");
    }
}
