//! `taskcast demo`: the server with tasks to look at, run by a simulated agent.

mod agent;
mod scenarios;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, fail, print, reachable, serve};
use crate::config::{Config, ConfigError, Setting};
use crate::id::ThreadId;
use crate::log::Log;
use crate::publish::ThreadManager;

/// Variables that name a log. The demo keeps its tasks in memory unless its own flag says so: they
/// do not belong beside those of a Redis that is meant for something else.
const OF_A_LOG: [&str; 3] = ["REDIS_URL", "TASKCAST_REDIS", "TASKCAST_EMBEDDED"];

/// The flags of `demo`.
#[derive(Args)]
pub(super) struct DemoArgs {
    /// Address to listen on [env: TASKCAST_LISTEN] [default: 127.0.0.1:8000]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Keep the log in this Redis instead of in memory
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

impl DemoArgs {
    /// As for `serve`, without a file, and with a log of its own.
    fn load(
        self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let embedded = self.redis.is_none().to_string();
        let mut flags = vec![Setting::flag("embedded", embedded)];
        flags.extend(self.redis.map(|url| Setting::flag("redis", url)));
        flags.extend(self.listen.map(|address| Setting::flag("listen", address)));
        let variables = environment.into_iter();
        let of_a_log = |name: &OsString| OF_A_LOG.iter().any(|variable| name == variable);
        Config::load(None, variables.filter(|(name, _)| !of_a_log(name)), flags)
    }
}

/// Serves until a signal, with tasks always running.
pub(super) async fn run(args: DemoArgs) -> ExitCode {
    let config = match args.load(std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    // So that nothing is printed that does not come true; the server binds it again.
    let address = config.health_address();
    if let Err(error) = TcpListener::bind(address) {
        let message = format!("cannot listen on {address}: {error}; try another --listen");
        return fail(Outcome::CannotListen, &message);
    }
    if let Err(code) = serve::start_log(&config) {
        return code;
    }
    let log = match Log::open(&config) {
        Ok(log) => log,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let agent = match agent::Agent::start(ThreadManager::new(log.clone())).await {
        Ok(agent) => agent,
        Err(error) => return fail(Outcome::from(&error), &error.to_string()),
    };
    if let Err(code) = print(&invitation(address, agent.first_thread())) {
        return code;
    }
    // Ends with the runtime, when the server has ended.
    tokio::spawn(agent.run());
    serve::serve(config, log).await
}

/// What to do next.
fn invitation(listen: SocketAddr, thread: &ThreadId) -> String {
    let url = format!("http://{}", reachable(listen));
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
        let args = |redis: Option<&str>| DemoArgs { listen: None, redis: redis.map(str::to_owned) };
        let set = |name: &str, value: &str| (name.into(), value.into());
        let variables = || {
            [set("TASKCAST_LISTEN", "127.0.0.1:9"), set("REDIS_URL", "redis://h"), set("PATH", "/")]
        };
        let config = args(None).load(variables()).unwrap();
        assert!(config.embedded && config.listen[0].port() == 9);
        let config = args(Some("redis://127.0.0.1:1/2")).load(variables()).unwrap();
        assert!(!config.embedded && config.redis == "redis://127.0.0.1:1/2");
    }
}
