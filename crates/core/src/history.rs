//! Which history a read belongs to: reads of one history are in one order.

use crate::hash;

/// One server process with one past. Two reads of the same history are of one data set that only
/// its commands have changed in between; of two histories nothing of the kind is known. The default
/// is one of which nothing is known, which nothing goes on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History(Option<u64>);

impl History {
    /// The history of a server that says this of itself, in a text that no other server says.
    pub fn of(text: &str) -> Self {
        Self(Some(hash::of(text)))
    }

    /// Whether what is read in this history comes after what was read in `before`, in one order.
    pub fn goes_on(self, before: Self) -> bool {
        self.0.is_some() && self.0 == before.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_goes_on_with_nothing() {
        assert!(History::of("a").goes_on(History::of("a")));
        assert!(!History::of("a").goes_on(History::of("b")));
        assert!(!History::default().goes_on(History::default()));
    }
}
