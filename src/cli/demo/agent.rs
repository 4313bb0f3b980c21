//! The simulated agent: works on tasks as the real one does, with made-up findings.

use std::sync::Arc;
use std::time::Duration;

use super::scenarios::{Scenario, Scenarios, Step};
use crate::id::ThreadId;
use crate::log::LogError;
use crate::publish::{Fields, NewTask, Status, ThreadManager, Update};

/// The agent works on one task per desk; each rests between two tasks for up to so long. Two never
/// rest, so two to four tasks are running at any time.
const REST_SECONDS_MAX: [u64; 4] = [0, 0, 15, 25];
/// How long a task runs.
const TASK_SECONDS: std::ops::Range<f32> = 20.0..60.0;
/// One task out of so many fails.
const FAILS_ONE_IN: u32 = 7;
/// How long to wait when Redis does not take an update.
const RETRY: Duration = Duration::from_secs(2);

/// The agent, with its first task made.
pub(super) struct Agent {
    threads: ThreadManager,
    scenarios: Arc<Scenarios>,
    first: (ThreadId, Scenario),
}

impl Agent {
    /// Makes the first task, which proves that the log takes it.
    pub(super) async fn start(threads: ThreadManager) -> Result<Self, LogError> {
        let scenarios = Arc::new(Scenarios::new());
        let scenario = scenarios.next();
        let first = (threads.create(new_task(&scenario)).await?, scenario);
        Ok(Self { threads, scenarios, first })
    }

    pub(super) fn first_thread(&self) -> &ThreadId {
        &self.first.0
    }

    /// Works until it is dropped.
    pub(super) async fn run(self) {
        let Self { threads, scenarios, first: (thread, scenario) } = self;
        for rest_seconds_max in REST_SECONDS_MAX.into_iter().skip(1) {
            tokio::spawn(work(threads.clone(), scenarios.clone(), rest_seconds_max));
        }
        report(attend(&threads, &thread, &scenario, task_seconds()).await).await;
        work(threads, scenarios, REST_SECONDS_MAX[0]).await;
    }
}

async fn work(threads: ThreadManager, scenarios: Arc<Scenarios>, rest_seconds_max: u64) {
    loop {
        if rest_seconds_max > 0 {
            let seconds = rand::random_range(0..=rest_seconds_max);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        let scenario = scenarios.next();
        report(match threads.create(new_task(&scenario)).await {
            Ok(thread) => attend(&threads, &thread, &scenario, task_seconds()).await,
            Err(error) => Err(error),
        })
        .await;
    }
}

async fn report(outcome: Result<(), LogError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "demo_task_left");
        tokio::time::sleep(RETRY).await;
    }
}

fn new_task(scenario: &Scenario) -> NewTask {
    NewTask {
        user_id: Some("demo".to_owned()),
        tags: vec!["demo".to_owned()],
        context: Fields::of(&serde_json::json!({ "instance": scenario.host })).unwrap_or_default(),
        ..NewTask::new(&scenario.query)
    }
}

/// Works on one task to its end, for about so many seconds.
async fn attend(
    threads: &ThreadManager,
    thread: &ThreadId,
    scenario: &Scenario,
    seconds: f32,
) -> Result<(), LogError> {
    let steps = &scenario.steps;
    let pause = seconds / (steps.len() + 1) as f32;
    let fails_after = rand::random_ratio(1, FAILS_ONE_IN)
        .then(|| rand::random_range(steps.len() / 2..steps.len()));
    rest(pause / 2.0).await;
    threads.set_status(thread, Status::InProgress).await?;
    for (done, step) in steps.iter().enumerate() {
        rest(pause).await;
        if fails_after == Some(done) {
            return threads.set_error(thread, &scenario.failure).await.map(drop);
        }
        if step.needs_approval() {
            threads.set_status(thread, Status::AwaitingApproval).await?;
            rest(pause).await;
            threads.set_status(thread, Status::InProgress).await?;
        }
        threads.add_update(thread, update(step, done + 1, steps.len())).await?;
    }
    rest(pause / 2.0).await;
    threads.set_result(thread, &scenario.result).await?;
    threads.set_status(thread, Status::Completed).await.map(drop)
}

fn task_seconds() -> f32 {
    rand::random_range(TASK_SECONDS)
}

/// Real work is uneven.
async fn rest(seconds: f32) {
    tokio::time::sleep(Duration::from_secs_f32(seconds * rand::random_range(0.6..1.4))).await;
}

fn update(step: &Step, number: usize, total: usize) -> Update {
    let mut metadata = step.metadata.clone();
    metadata.insert("step".to_owned(), number.into());
    metadata.insert("total_steps".to_owned(), total.into());
    let update = Update::new(&step.message).with_type(step.kind);
    // A JSON map always serialises.
    update.clone().with_metadata(&metadata).unwrap_or(update)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::log::Log;
    use crate::log::embedded::EmbeddedLog;

    #[tokio::test]
    async fn a_task_comes_to_an_end() {
        let log = Log::from(EmbeddedLog::new(&Limits::default()));
        let agent = Agent::start(ThreadManager::new(log)).await.unwrap();
        let (thread, scenario) = &agent.first;
        attend(&agent.threads, thread, scenario, 0.0).await.unwrap();
        let state = agent.threads.state(thread).await.unwrap();
        match state.status.as_deref() {
            Some("completed") => assert_eq!(state.updates.len(), scenario.steps.len()),
            status => assert_eq!(status, Some("failed")),
        }
        assert!(state.result.is_some() || state.error_message.is_some());
    }
}
