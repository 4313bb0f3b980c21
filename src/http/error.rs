//! What a request is refused with: a status and a text that says what to do (protocol §4).

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::log::LogError;

/// Every answer has its whole body at hand.
pub(crate) type Answer = Response<Full<Bytes>>;

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 400: it cannot be understood.
    pub(super) fn malformed(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.to_string())
    }

    /// 422: it can be understood, but this member of it is wrong.
    pub(super) fn wrong(member: &str, why: impl Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{member}: {why}"))
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let status = match error {
            LogError::NotFound => StatusCode::NOT_FOUND,
            // Nothing was written; the detail says whether trying again is of use.
            LogError::Unavailable(_) | LogError::TooLarge | LogError::Refused(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        json_answer(error.status, &json!({ "detail": error.detail }))
    }
}

/// An answer whose body is JSON.
pub(super) fn json_answer(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, "application/json", body.into()),
        // What we serialise are strings, numbers and JSON texts, which always serialise.
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Bytes::new()),
    }
}

/// An answer with a body of some type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let length = HeaderValue::from(body.len());
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Explicit, so that HEAD has it too.
    headers.insert(header::CONTENT_LENGTH, length);
    let no_sniffing = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniffing);
    answer
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
        ] {
            let answer = ApiError::from(error.clone());
            assert_eq!((answer.status.as_u16(), answer.detail), (status, error.to_string()));
        }
    }
}
