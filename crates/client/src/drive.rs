//! The task behind a [`Follow`](super::Follow): connects, feeds the chain, hands on what it says,
//! and connects again where the chain ended.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::chain::{Chain, Update};
use super::connect::Server;
use super::error::ClientError;
use super::socket::Socket;
use super::task::Task;
use super::{Event, Timing};
use taskcast_core::backoff::Backoff;

pub(super) struct Driver {
    server: Server,
    timing: Timing,
    task: Task,
    chain: Chain,
    events: mpsc::Sender<Result<Event, ClientError>>,
    /// When the connection was open; none while there is none.
    connected: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        server: Server,
        timing: Timing,
        task: Task,
        chain: Chain,
        events: mpsc::Sender<Result<Event, ClientError>>,
    ) -> Self {
        Self { server, timing, task, chain, events, connected: None }
    }

    /// Follows the task until a final error, or until nobody wants its events.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        tokio::select! {
            // Dropped when nobody listens: with it goes the connection, as it should.
            error = self.follow() => {
                // A listener that left does not need the error.
                let _ = events.send(Err(error)).await;
            }
            // Loses nothing when dropped.
            () = events.closed() => {}
        }
    }

    /// Returns the final error.
    async fn follow(&mut self) -> ClientError {
        let mut backoff = Backoff::new(self.timing.retry_min, self.timing.retry_max);
        loop {
            let Err(error) = self.attend().await;
            if error.is_final() {
                return error;
            }
            let held = self.connected.take().map(|connected| connected.elapsed());
            if held >= Some(self.timing.retry_max) {
                backoff.reset();
            }
            let retry_in = backoff.wait(rand::random_range(0.0..=1.0));
            // Fails only when nobody listens, and then `run` ends this.
            let _ = self.events.send(Ok(Event::Disconnected { error, retry_in })).await;
            sleep(retry_in).await;
        }
    }

    /// One connection, from its beginning to its end.
    async fn attend(&mut self) -> Result<Infallible, ClientError> {
        let since = self.chain.connect();
        let limit = self.timing.connect_within;
        let stream = timeout(limit, self.server.open(&self.task, since))
            .await
            .map_err(|_| ClientError::Timeout(limit))??;
        self.connected = Some(Instant::now());
        let mut socket = Socket::new(stream, self.timing);
        self.hand_on(&mut socket, Event::Connected).await?;
        loop {
            let json = socket.next().await?;
            match self.chain.take(json.as_bytes()).map_err(ClientError::Broken)? {
                Some(Update::NotFound) => return Err(ClientError::NotFound),
                Some(update) => self.hand_on(&mut socket, Event::Frame { update, json }).await?,
                None => {}
            }
        }
    }

    /// Waits for room, for as long as whoever follows takes.
    async fn hand_on(&self, socket: &mut Socket, event: Event) -> Result<(), ClientError> {
        // Fails only when nobody listens, and then `run` ends this.
        let _ = socket.hold(self.events.send(Ok(event))).await?;
        Ok(())
    }
}
