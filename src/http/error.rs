//! What a request is refused with: a status and a text that says what to do (protocol §4).

use std::fmt::Display;

use hyper::StatusCode;
use serde_json::json;

use super::response::{Response, json_answer};
use crate::log::{IdempotencyKey, LogError};

/// The header with which a publisher says which publication it is.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// What somebody is told who has or asks for more than the limits allow.
pub(super) const TOO_MUCH: &str = "this is more than one address or subject may, come again later";

/// A request that is refused, or of which nobody knows what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    /// To come again with.
    idempotency_key: Option<IdempotencyKey>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), idempotency_key: None }
    }

    /// 400: it cannot be understood.
    pub(super) fn malformed(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.to_string())
    }

    /// 503: not now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 429: too much, or too fast.
    pub(super) fn too_much() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, TOO_MUCH)
    }

    /// 422: it can be understood, but this member of it is wrong.
    pub(super) fn wrong(member: &str, why: impl Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{member}: {why}"))
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let detail = error.to_string();
        match error {
            LogError::NotFound => Self::new(StatusCode::NOT_FOUND, detail),
            LogError::KeyUsed => Self::wrong(IDEMPOTENCY_KEY, detail),
            LogError::Unknown { idempotency_key, .. } => Self {
                idempotency_key: Some(idempotency_key),
                ..Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
            },
            // Nothing was written; the detail says whether trying again is of use.
            LogError::Unavailable(_) | LogError::TooLarge | LogError::Refused(_) => {
                Self::unavailable(detail)
            }
        }
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        let mut body = json!({ "detail": error.detail });
        if let Some(key) = error.idempotency_key {
            body["idempotency_key"] = key.as_str().into();
        }
        json_answer(error.status, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_does_not_do_is_never_an_error_of_ours() {
        let why = || "WRONGTYPE".to_owned();
        for (error, status) in [
            (LogError::Unavailable(why()), 503),
            (LogError::Refused(why()), 503),
            (LogError::NotFound, 404),
            (LogError::Unknown { why: why(), idempotency_key: IdempotencyKey::unique() }, 504),
        ] {
            let answer = ApiError::from(error.clone());
            assert_eq!((answer.status.as_u16(), answer.detail), (status, error.to_string()));
        }
        let used = ApiError::from(LogError::KeyUsed);
        assert!(used.status.as_u16() == 422 && used.detail.starts_with("Idempotency-Key: "));
    }
}
