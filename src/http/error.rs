//! What a request is refused with: a status and a text that says what to do (protocol §4).

use std::fmt::Display;

use hyper::StatusCode;
use serde_json::json;

use super::answer::{Answer, json_answer};
use crate::log::LogError;

/// A request that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// 503: not now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
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
