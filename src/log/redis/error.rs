//! What an error of Redis means: one classifier, for the errors of the `redis` crate and for those
//! that come over a wire of our own.

use std::fmt;
use std::io;

use redis::{ErrorKind, RedisError};

use crate::log::LogError;

/// Why Redis did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Failure {
    pub(super) class: Class,
    /// What Redis said, code first, or what happened to the connection.
    pub(super) text: String,
}

/// What an error means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum Class {
    /// The connection broke, or there is none. An answer that was cut counts as well: what is left
    /// of it cannot be read.
    Broken,
    /// Redis kept still for too long.
    Silent,
    /// Redis cannot be used now: it loads, is busy, takes no writes, …
    Passing,
    /// A publication came after its deadline, by the clock of Redis: nothing was written.
    Late,
    /// Another publication has this id.
    KeyUsed,
    /// The script is not known, or not any more.
    NoScript,
    /// There is something else under the key than was asked for.
    WrongType,
    /// The user may not do this to any key.
    NoRight,
    /// The user may not do this to this key.
    NoRightToKey,
    /// The stream can take no more: its last id is the last that there is.
    Exhausted,
    /// It lies on another node: this is a node of a Redis Cluster.
    Redirect,
    /// Redis, or what stands before it, does not know what it was asked.
    Unsupported,
    /// Redis refuses, for a reason that does not pass by itself; or what stands before it says
    /// something of its own.
    Refused,
}

/// Codes that say that Redis cannot be used for now.
const PASSING: [&str; 9] = [
    "LOADING",
    "MASTERDOWN",
    "TRYAGAIN",
    "READONLY",
    "OOM",
    "MISCONF",
    "BUSY",
    "NOREPLICAS",
    "UNBLOCKED",
];

/// Codes of a Redis Cluster.
const REDIRECT: [&str; 4] = ["MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT"];

/// Behind this, Redis repeats the words of a command that it does not know. A password may be one.
const REPEATED_WORDS: &str = ", with args beginning with";

impl Class {
    /// The class of an error that Redis answered with, code first.
    fn of(text: &str) -> Self {
        let code = text.split([' ', ':']).next().unwrap_or_default();
        let says = |words: &str| text.contains(words);
        match code {
            _ if PASSING.contains(&code) => Self::Passing,
            _ if REDIRECT.contains(&code) => Self::Redirect,
            "LATE" => Self::Late,
            "KEYUSED" => Self::KeyUsed,
            // Of a publication: a part of it was written before something was refused.
            "TORN" => Self::Refused,
            "NOSCRIPT" => Self::NoScript,
            "WRONGTYPE" => Self::WrongType,
            "NOPERM" if says("key") && !says("to run") => Self::NoRightToKey,
            "NOPERM" => Self::NoRight,
            "NOPROTO" => Self::Unsupported,
            // What Redis before version 7 says inside of scripts.
            _ if says("can't run this command") => Self::NoRight,
            _ if says("can't access at least one of the keys") => Self::NoRightToKey,
            // Scripts hide the code where some versions of Redis raise an error.
            _ if says("OOM ") || says("MISCONF") || says("max number of clients") => Self::Passing,
            _ if says("has exhausted the last possible ID") => Self::Exhausted,
            _ if says_unsupported(text) => Self::Unsupported,
            _ => Self::Refused,
        }
    }
}

/// Whether an error says, in the words of Redis or of a proxy, that there is no such command.
fn says_unsupported(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["unknown", "unsupported", "not supported", "unrecognized", "not implemented"]
        .iter()
        .any(|words| text.contains(words))
}

impl Failure {
    /// What Redis answered, code first.
    pub(super) fn answered(text: &str) -> Self {
        let text = text.split(REPEATED_WORDS).next().unwrap_or_default();
        Self { class: Class::of(text), text: text.to_owned() }
    }

    /// Whether something is wrong with Redis or what it holds: neither is it asked again as a matter
    /// of course, nor is it the fault of the one who asked.
    pub(super) fn is_of_redis(&self) -> bool {
        !matches!(self.class, Class::NoScript | Class::Late | Class::KeyUsed)
    }

    /// A failure of the connection.
    pub(super) fn io(error: &io::Error) -> Self {
        let silent = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        let class = if silent { Class::Silent } else { Class::Broken };
        Self { class, text: error.to_string() }
    }

    /// There is no connection, or not any more.
    pub(super) fn broken(why: &str) -> Self {
        Self { class: Class::Broken, text: why.to_owned() }
    }

    /// Redis kept still.
    pub(super) fn silent() -> Self {
        Self { class: Class::Silent, text: "Redis does not answer".into() }
    }

    /// Something about a reply that no version of Redis sends.
    pub(super) fn odd(text: String) -> Self {
        Self { class: Class::Refused, text }
    }

    /// Redis closes the connection rather than send what is under this key.
    pub(super) fn not_sent(key: &str) -> Self {
        let text = format!(
            "the answer for {key} is larger than Redis may send: raise client-output-buffer-limit normal"
        );
        Self { class: Class::Refused, text }
    }

    /// This is a node of a Redis Cluster.
    pub(super) fn cluster() -> Self {
        Self { class: Class::Redirect, text: "cluster_enabled:1".into() }
    }

    /// Whether Redis said that it did nothing of what it was asked. Words that may be a proxy's say
    /// nothing: it may have passed the question on.
    pub(super) fn is_refusal(&self) -> bool {
        match self.class {
            Class::Broken | Class::Silent | Class::Unsupported | Class::Refused => false,
            Class::Passing
            | Class::Late
            | Class::KeyUsed
            | Class::NoScript
            | Class::WrongType
            | Class::NoRight
            | Class::NoRightToKey
            | Class::Exhausted
            | Class::Redirect => true,
        }
    }

    /// Whether the same may be answered a little later.
    pub(super) fn passes(&self) -> bool {
        matches!(self.class, Class::Broken | Class::Silent | Class::Passing)
    }

    /// Whether the connection must not be used again. A server that is no master any more is left
    /// as well.
    pub(super) fn spoils_connection(&self) -> bool {
        match self.class {
            Class::Broken | Class::Silent => true,
            Class::Passing => ["READONLY", "MASTERDOWN"].iter().any(|c| self.text.starts_with(c)),
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            Class::Redirect => write!(
                f,
                "Redis Cluster is not supported yet, use a single server or Sentinels ({})",
                self.text
            ),
            _ => f.write_str(&self.text),
        }
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        let server = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        if let (true, Some(code)) = (server, error.code()) {
            return Self::answered(&format!("{code} {}", error.detail().unwrap_or_default()));
        }
        let class = match error.kind() {
            ErrorKind::Io if error.is_timeout() => Class::Silent,
            ErrorKind::UnexpectedReturnType
            | ErrorKind::InvalidClientConfig
            | ErrorKind::AuthenticationFailed => Class::Refused,
            _ => Class::Broken,
        };
        let text = error.to_string();
        let text = text.split(REPEATED_WORDS).next().unwrap_or_default();
        Self { class, text: text.to_owned() }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::from(&error)
    }
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.class {
            Class::Broken | Class::Silent | Class::Passing | Class::Late => Self::Unavailable(text),
            Class::KeyUsed => Self::KeyUsed,
            Class::NoScript
            | Class::WrongType
            | Class::NoRight
            | Class::NoRightToKey
            | Class::Exhausted
            | Class::Redirect
            | Class::Unsupported
            | Class::Refused => Self::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_means_the_same_wherever_it_comes_from() {
        for (text, class) in [
            ("LOADING Redis is loading the dataset in memory", Class::Passing),
            ("BUSY Redis is busy running a script", Class::Passing),
            ("ERR Error running script: OOM command not allowed", Class::Passing),
            ("ERR max number of clients reached", Class::Passing),
            ("MOVED 866 127.0.0.1:7001", Class::Redirect),
            ("CROSSSLOT Keys in request don't hash to the same slot", Class::Redirect),
            ("WRONGTYPE Operation against a key", Class::WrongType),
            ("NOPERM this user has no permissions to run the 'xread' command", Class::NoRight),
            ("NOPERM User tc has no permissions to run the 'get' command", Class::NoRight),
            ("NOPERM No permissions to access a key", Class::NoRightToKey),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Class::NoRightToKey,
            ),
            (
                "ERR The user executing the script can't run this command or subcommand",
                Class::NoRight,
            ),
            (
                "ERR The user executing the script can't access at least one of the keys \
                 mentioned in the command arguments",
                Class::NoRightToKey,
            ),
            ("ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.", Class::Unsupported),
            ("NOPROTO unsupported protocol version", Class::Unsupported),
            ("ERR The stream has exhausted the last possible ID, unable to add", Class::Exhausted),
            ("ERR no such thing", Class::Refused),
            ("TORN only a part was written: NOPERM no permissions", Class::Refused),
            ("KEYUSED another publication has this id", Class::KeyUsed),
            ("", Class::Refused),
        ] {
            assert_eq!(Failure::answered(text).class, class, "{text}");
        }
    }

    #[test]
    fn what_passes_is_unavailable_and_the_rest_is_refused() {
        let of = |text| LogError::from(Failure::answered(text));
        assert!(matches!(of("LOADING Redis is loading"), LogError::Unavailable(_)));
        assert!(matches!(of("NOPERM no permissions"), LogError::Refused(_)));
        let cluster = of("MOVED 866 127.0.0.1:7001").to_string();
        assert!(cluster.contains("Cluster is not supported yet"), "{cluster}");
    }

    #[test]
    fn only_what_redis_says_proves_that_nothing_was_done() {
        for text in ["OOM x", "READONLY x", "LATE x", "NOPERM x", "WRONGTYPE x", "KEYUSED x"] {
            assert!(Failure::answered(text).is_refusal(), "{text}");
        }
        let cut = redis::parse_redis_value(b"*2\r\n$1\r\na\r\n$").unwrap_err();
        for failure in [
            Failure::from(cut),
            Failure::broken("x"),
            Failure::silent(),
            Failure::answered("TORN x"),
            Failure::answered("upstream failure"),
            Failure::answered("ERR unknown error"),
        ] {
            assert!(!failure.is_refusal(), "{failure}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_spoils_its_connection() {
        let cut = Failure::from(redis::parse_redis_value(b"$5\r\nab").unwrap_err());
        assert!(cut.spoils_connection() && cut.class == Class::Broken);
    }

    #[test]
    fn the_words_of_an_unknown_command_are_not_repeated() {
        let text =
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'secret'";
        let failure = Failure::answered(text);
        assert_eq!(failure.class, Class::Unsupported);
        assert!(!failure.to_string().contains("secret") && failure.text.contains("HELLO"));
    }
}
