//! A response, and its body, which is charged to the account until it is written or dropped.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::core::account::Charge;

/// Every response has its whole body at hand.
pub(super) type Response = hyper::Response<Content>;

/// A body, or what is left of it. Cheap to clone: who is answered the same shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    rest: Bytes,
    held: Option<Arc<Held>>,
}

/// Bytes and what is charged for them, as long as somebody has them.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    _charge: Charge,
    /// Of one that is outside the account.
    _alone: Option<OwnedSemaphorePermit>,
}

/// A body that somebody else may still hold.
#[derive(Debug, Default)]
pub(super) struct Known(Weak<Held>);

impl Content {
    /// A body that is charged for, or the only one that is not.
    pub(super) fn charged(
        bytes: Bytes,
        charge: Charge,
        alone: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let held = Held { bytes: bytes.clone(), _charge: charge, _alone: alone };
        Self { rest: bytes, held: Some(Arc::new(held)) }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// To find it again as long as it is held.
    pub(super) fn known(&self) -> Known {
        Known(self.held.as_ref().map(Arc::downgrade).unwrap_or_default())
    }
}

impl Known {
    /// Whether nobody holds it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// The body, where it is still held and has these bytes.
    pub(super) fn same_as(&self, bytes: &[u8]) -> Option<Content> {
        let held = self.0.upgrade().filter(|held| held.bytes == bytes)?;
        Some(Content { rest: held.bytes.clone(), held: Some(held) })
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self { rest: bytes, held: None }
    }
}

impl Body for Content {
    /// Kept by the connection until its last byte is written.
    type Data = Self;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self>, Infallible>>> {
        let all = std::mem::take(&mut *self);
        Poll::Ready(all.has_remaining().then_some(Ok(Frame::data(all))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Buf for Content {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.rest
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
    }
}

/// An answer whose body is JSON.
pub(super) fn json_answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, JSON, Bytes::from(body)),
        // What we serialise are strings, numbers and JSON texts, which always serialise.
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::new()),
    }
}

/// The type of JSON.
pub(super) const JSON: &str = "application/json";

/// An answer with a body of some type.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Content>,
) -> Response {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut answer = hyper::Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Explicit, so that HEAD has it too.
    headers.insert(header::CONTENT_LENGTH, length);
    let no_sniffing = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniffing);
    answer
}

/// The answer ends its connection.
pub(super) fn closing(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::account::{Account, Kind};

    #[test]
    fn a_body_is_charged_until_the_last_who_has_it_is_done() {
        let account = Account::new(1 << 20);
        let content = Content::charged("abc".into(), account.charge(Kind::Responses, 3), None);
        let known = content.known();
        let mut other = content.clone();
        drop(content);
        other.advance(2);
        assert_eq!((other.chunk(), account.bytes()), (&b"c"[..], 3));
        assert!(known.same_as(b"abd").is_none());
        let again = known.same_as(b"abc").unwrap();
        drop(other);
        assert_eq!((again.len(), account.bytes(), known.is_gone()), (3, 3, false));
        drop(again);
        assert_eq!((account.bytes(), known.is_gone()), (0, true));
    }
}
