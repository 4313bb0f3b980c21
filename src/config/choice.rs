//! The settings that are a choice between words.

use std::fmt;
use std::str::FromStr;

/// A setting that is a choice.
pub(super) trait Choice {
    /// The words that can be chosen.
    const WORDS: &[&str];
}

/// The word is none of those that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAChoice;

macro_rules! choice {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $word_about:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $word_about])+ $variant,)+
        }

        impl Choice for $name {
            const WORDS: &[&str] = &[$($word),+];
        }

        impl FromStr for $name {
            type Err = NotAChoice;

            fn from_str(text: &str) -> Result<Self, NotAChoice> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(NotAChoice),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }
    };
}

choice! {
    /// The form of the server's own log lines.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

choice! {
    /// Whether others may publish over HTTP.
    Publishing {
        /// They may, as far as access grants it.
        On = "on",
        /// They may not: every POST is refused.
        Off = "off",
    }
}

choice! {
    /// Whether something optional of the kernel is used.
    Switch {
        /// Where it works: probed at start.
        Auto = "auto",
        /// Yes, and it is an error where it does not work.
        On = "on",
        /// No.
        Off = "off",
    }
}

choice! {
    /// How the tail learns that a stream changed.
    TailMode {
        /// By tracking where Redis allows it, else by blocking reads: probed at start.
        Auto = "auto",
        /// By the hints of `CLIENT TRACKING`.
        Tracking = "tracking",
        /// By `XREAD BLOCK` over groups of streams.
        Block = "block",
    }
}
