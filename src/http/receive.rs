//! The body of a request as it comes: within its bounds, its time, and the account.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::{StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::ApiError;
use crate::config::Limits;
use crate::core::account::{Account, Charge, Kind, Priority};

/// So much of a body that nobody wants is read and thrown away: a client that is still sending would
/// not see the answer. What is longer costs the connection.
const DISCARDED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bodies up to this size have a part of the account to themselves, so that those that are half read
/// can be read to their end whatever the large ones hold.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// The room that a body begins with.
const FIRST_BYTES: usize = 1024;
/// How long the first of the bodies that wait for room pauses before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// The bodies that wait for room, in the order in which they came: only the first of them looks
/// whether there is some, and the next one follows at once. Small ones do not wait for large ones.
#[derive(Debug, Default)]
pub(super) struct Queues {
    small: Mutex<()>,
    large: Mutex<()>,
}

/// A body, charged for as long as it is held.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    /// For them, and for what was read of the socket beside them.
    charge: Charge,
    beside_bytes: usize,
}

/// Reads the whole body; one that is not wanted is thrown away.
///
/// # Errors
/// 413 where it is longer than `body_bytes_max`, 408 and 400 where the client does not send all of
/// it in time, 503 where the account had no room for it in that time.
pub(super) async fn receive(
    body: &mut Incoming,
    headers: &HeaderMap,
    wanted: bool,
    limits: &Limits,
    account: &Account,
    queues: &Queues,
) -> Result<Received, ApiError> {
    let deadline = Instant::now() + limits.body_timeout();
    let beside_bytes = if wanted { 2 * limits.header_bytes_max } else { 0 };
    // What there can never be room for is too long, too.
    let room_ever = account.most_of(Kind::Bodies).saturating_sub(beside_bytes);
    let bytes_max = limits.body_bytes_max.min(room_ever) as u64;
    let announced = body.size_hint();
    let waits = headers.contains_key(header::EXPECT);
    if announced.lower() > bytes_max && (waits || announced.lower() > DISCARDED_BYTES_MAX) {
        return Err(too_long(bytes_max));
    }
    // Never more room than the body can fill.
    let room_max = announced.exact().unwrap_or(bytes_max).min(bytes_max) as usize;
    let charge = account.outside(Kind::Bodies);
    let mut held = Received { bytes: Vec::new(), charge, beside_bytes };
    if wanted && announced.lower() <= bytes_max {
        // Who waits for room holds nothing yet, and who has it can go on to the end.
        held.make_room(announced.lower() as usize, room_max, deadline, queues).await?;
    }
    let mut length = 0;
    while let Some(frame) = next(body, deadline).await? {
        length += frame.len() as u64;
        if length > DISCARDED_BYTES_MAX.max(bytes_max) {
            return Err(too_long(bytes_max));
        }
        if !wanted || announced.lower().max(length) > bytes_max {
            held.let_go();
        } else {
            held.make_room(frame.len(), room_max, deadline, queues).await?;
            held.bytes.extend_from_slice(&frame);
        }
    }
    if length > bytes_max {
        return Err(too_long(bytes_max));
    }
    // Nothing more comes.
    held.charge.set(held.bytes.capacity());
    Ok(held)
}

impl Received {
    /// What has come is not wanted.
    fn let_go(&mut self) {
        self.bytes = Vec::new();
        self.charge.set(self.beside_bytes);
    }

    /// Makes room for more bytes, and for what is beside them. Until there is some, nothing is read,
    /// and the client waits.
    async fn make_room(
        &mut self,
        more: usize,
        room_max: usize,
        deadline: Instant,
        queues: &Queues,
    ) -> Result<(), ApiError> {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() && self.charge.bytes() > 0 {
            return Ok(());
        }
        // A large one gets all its room at once: many that have a part each could not go on.
        let (room, priority, queue) = if needed <= SMALL_BYTES_MAX {
            let room = needed.max(2 * self.bytes.capacity()).max(FIRST_BYTES);
            (room.min(SMALL_BYTES_MAX), Priority::Last, &queues.small)
        } else {
            (needed.max(room_max), Priority::Usual, &queues.large)
        };
        self.wait_for(self.beside_bytes + room, priority, deadline, queue).await?;
        self.bytes.reserve_exact(room - self.bytes.len());
        Ok(())
    }

    /// Waits until it may be charged so much in all.
    async fn wait_for(
        &mut self,
        bytes: usize,
        priority: Priority,
        deadline: Instant,
        queue: &Mutex<()>,
    ) -> Result<(), ApiError> {
        let waiting = async {
            let _first = queue.lock().await;
            while !self.charge.grow(bytes, priority) {
                sleep(ROOM_PAUSE).await;
            }
        };
        if timeout_at(deadline, waiting).await.is_err() {
            self.charge.account().count_refused();
            return Err(ApiError::unavailable("the server's memory is spent, try again later"));
        }
        Ok(())
    }
}

async fn next(body: &mut Incoming, deadline: Instant) -> Result<Option<Bytes>, ApiError> {
    match timeout_at(deadline, body.frame()).await {
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        Ok(Some(Err(error))) => Err(ApiError::malformed(format!("the body is broken: {error}"))),
        Ok(None) => Ok(None),
        Err(_) => {
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in its time"))
        }
    }
}

fn too_long(bytes_max: u64) -> ApiError {
    let detail = format!("a body has at most {bytes_max} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
