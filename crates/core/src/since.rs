//! From where on a viewer asks for a task's entries (protocol §3.1, `since`).

use std::fmt;
use std::str::FromStr;

use crate::id::{InvalidStreamId, StreamId};

/// What a viewer has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing, and it wants whatever is retained: `0`.
    Retained,
    /// Everything up to this position, `0-0` among them: before the first entry that ever was.
    After(StreamId),
}

impl Since {
    /// The position behind which it is given entries.
    pub fn position(self) -> StreamId {
        match self {
            Self::Retained => StreamId::ZERO,
            Self::After(position) => position,
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained => f.write_str("0"),
            Self::After(position) => position.fmt(f),
        }
    }
}

impl From<StreamId> for Since {
    fn from(position: StreamId) -> Self {
        Self::After(position)
    }
}

impl FromStr for Since {
    type Err = InvalidStreamId;

    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        let position = text.parse()?;
        let retained = position == StreamId::ZERO && !text.contains('-');
        Ok(if retained { Self::Retained } else { Self::After(position) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_whatever_is_retained_and_a_stream_id_is_a_position() {
        assert_eq!("0".parse(), Ok(Since::Retained));
        assert_eq!("0-0".parse(), Ok(Since::After(StreamId::ZERO)));
        assert_eq!("5".parse(), Ok(Since::After(StreamId { ms: 5, seq: 0 })));
        for text in ["0", "0-0", "5-1"] {
            assert_eq!(text.parse::<Since>().map(|since| since.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("x".parse::<Since>(), Err(InvalidStreamId));
    }
}
