//! The statuses that a task may be given (protocol §2).

use std::fmt;
use std::str::FromStr;

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not begun.
    Queued,
    /// Being worked on.
    InProgress,
    /// Waiting until a person agrees.
    AwaitingApproval,
    /// Ended well.
    Done,
    /// Ended well; the same as [`Done`](Self::Done) under another name.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because someone said so.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::InProgress,
        Self::AwaitingApproval,
        Self::Done,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Done => "done",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// The text is no status; its message names those that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownStatus;

impl fmt::Display for UnknownStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a status is one of {}", Status::ALL.map(Status::as_str).join(", "))
    }
}

impl std::error::Error for UnknownStatus {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_it_prints() {
        assert_eq!(Status::ALL.map(Status::as_str), crate::core::source::STATUSES);
        for status in Status::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!("paused".parse::<Status>(), Err(UnknownStatus));
        assert_eq!(
            UnknownStatus.to_string(),
            "a status is one of queued, in_progress, awaiting_approval, done, completed, failed, \
             cancelled"
        );
    }
}
