//! RESP, the protocol of Redis, in its versions 2 and 3: where a message ends, and what is in it.
//!
//! [`Scanner`] finds the end of a message over as many reads as it takes; it steps over strings and
//! looks at everything else once. [`Cursor`] goes over the values of a message; its strings are
//! slices of the buffer that the message was read into. Both know no socket.

use bytes::Bytes;

use crate::core::digits;

/// Values within values; Redis itself goes no deeper than five.
const DEPTH_MAX: usize = 32;

/// The longest line: a status, an error, a number or a length.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The greatest length of a string or number of values that is believed.
const LENGTH_MAX: u64 = 1 << 40;

/// What came is not RESP; nothing behind it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Finds where a message ends.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Where the next value begins; beyond the bytes that have come while a string is incomplete.
    at: usize,
    begun: bool,
    /// How many values are still missing of each value that holds others.
    open: Vec<u64>,
    longest: usize,
}

impl Scanner {
    /// Looks at what has come since the message's first byte. Its length, once it is complete; the
    /// next call begins with the message behind it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while !(self.begun && self.open.is_empty()) {
            let Some((kind, text, next)) = line(bytes, self.at)? else { return Ok(None) };
            self.begun = true;
            self.at = next;
            match kind {
                b'$' | b'!' | b'=' => {
                    if let Some(length) = length(text)? {
                        self.longest = self.longest.max(length);
                        self.at += length + 2;
                    }
                    self.value_ended();
                }
                b'*' | b'~' | b'>' => self.values_begin(length(text)?.unwrap_or(0))?,
                b'%' => self.values_begin(length(text)?.unwrap_or(0) * 2)?,
                // An attribute stands in front of the value that it is about.
                b'|' => self.values_begin(length(text)?.unwrap_or(0) * 2 + 1)?,
                _ => self.value_ended(),
            }
        }
        if self.at > bytes.len() {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).at))
    }

    /// The longest string that this message has announced so far, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// How many of these bytes have been looked at, or belong to a string.
    pub fn looked_at(&self, bytes: &[u8]) -> usize {
        self.at.min(bytes.len())
    }

    /// How many bytes are missing of the string that is incomplete.
    pub fn missing(&self, bytes: &[u8]) -> usize {
        self.at.saturating_sub(bytes.len())
    }

    /// The first `number` bytes that were looked at are not kept.
    pub fn forget(&mut self, number: usize) {
        self.at -= number;
    }

    fn values_begin(&mut self, number: usize) -> Result<(), Malformed> {
        if number == 0 {
            self.value_ended();
        } else if self.open.len() == DEPTH_MAX {
            return Err(Malformed("values are nested too deep"));
        } else {
            self.open.push(number as u64);
        }
        Ok(())
    }

    fn value_ended(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

/// One value of a message. Those that hold others say how many; they come behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A string or a status.
    Text(Bytes),
    /// An error, code first.
    Error(Bytes),
    /// A number, a Boolean (0 or 1), or what else fits on a line.
    Line(Bytes),
    /// So many values: an array, a set or a push.
    Values(usize),
    /// So many pairs of values: a map.
    Pairs(usize),
}

/// Goes over the values of a message, or of the part of one that has come.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins with the first value.
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes it has gone over.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next value; none at the end of what has come. Attributes are left out.
    pub fn value(&mut self) -> Option<Value> {
        loop {
            let (kind, text, next) = line(self.bytes, self.at).ok()??;
            self.at = next;
            let line = || self.bytes.slice_ref(text);
            return Some(match kind {
                b'$' | b'!' | b'=' => return self.string(kind, text),
                b'*' | b'~' | b'>' => values(text, Value::Values),
                b'%' => values(text, Value::Pairs),
                b'|' => {
                    self.skip(length(text).ok()?.unwrap_or(0).saturating_mul(2))?;
                    continue;
                }
                b'_' => Value::Null,
                b'+' => Value::Text(line()),
                b'-' => Value::Error(line()),
                b'#' => Value::Line(Bytes::from_static(boolean(text))),
                _ => Value::Line(line()),
            });
        }
    }

    /// The next value, if it is a string.
    pub fn text(&mut self) -> Option<Bytes> {
        match self.value()? {
            Value::Text(text) => Some(text),
            Value::Values(number) => self.skip(number).and(None),
            Value::Pairs(number) => self.skip(number.saturating_mul(2)).and(None),
            Value::Null | Value::Error(_) | Value::Line(_) => None,
        }
    }

    /// The number of values in the next value, if it is an array, or 0 if it is none at all.
    pub fn values(&mut self) -> Option<usize> {
        match self.value()? {
            Value::Values(number) => Some(number),
            Value::Null => Some(0),
            Value::Pairs(number) => self.skip(number.saturating_mul(2)).and(None),
            Value::Text(_) | Value::Error(_) | Value::Line(_) => None,
        }
    }

    /// Steps over so many values, with all that is in them.
    pub fn skip(&mut self, number: usize) -> Option<()> {
        let mut left = number;
        while left > 0 {
            left = left.saturating_add(match self.value()? {
                Value::Values(number) => number,
                Value::Pairs(number) => number.saturating_mul(2),
                _ => 0,
            });
            left -= 1;
        }
        Some(())
    }

    fn string(&mut self, kind: u8, text: &[u8]) -> Option<Value> {
        let Some(length) = length(text).ok()? else { return Some(Value::Null) };
        let end = self.at + length;
        if end > self.bytes.len() {
            // What is in a string is no value: there is nothing more to find.
            self.at = self.bytes.len();
            return None;
        }
        let string = self.bytes.slice(self.at..end);
        self.at = end + 2;
        Some(match kind {
            b'!' => Value::Error(string),
            // Three letters for the format, and a colon.
            b'=' => Value::Text(string.slice(string.len().min(4)..)),
            _ => Value::Text(string),
        })
    }
}

fn values(text: &[u8], holds: fn(usize) -> Value) -> Value {
    length(text).ok().flatten().map_or(Value::Null, holds)
}

fn boolean(text: &[u8]) -> &'static [u8] {
    if text == b"t" { b"1" } else { b"0" }
}

/// A line's kind, its text, and where the next value or the string behind it begins.
type Line<'a> = (u8, &'a [u8], usize);

/// The line at a place; none where it is not whole yet.
fn line(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, Malformed> {
    let Some(rest) = bytes.get(at..) else { return Ok(None) };
    let Some(&kind) = rest.first() else { return Ok(None) };
    if !is_kind(kind) {
        return Err(Malformed("a value of an unknown kind"));
    }
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if rest[end - 1] == b'\r' => Ok(Some((kind, &rest[1..end - 1], at + end + 1))),
        Some(_) => Err(Malformed("a line without its end")),
        None if rest.len() > LINE_BYTES_MAX => Err(Malformed("a line that is too long")),
        None => Ok(None),
    }
}

fn is_kind(byte: u8) -> bool {
    matches!(
        byte,
        b'$' | b'*'
            | b'%'
            | b'>'
            | b':'
            | b'+'
            | b'-'
            | b'_'
            | b','
            | b'#'
            | b'~'
            | b'!'
            | b'='
            | b'('
            | b'|'
    )
}

/// A length; none where it says that there is nothing.
fn length(text: &[u8]) -> Result<Option<usize>, Malformed> {
    if text == b"-1" {
        return Ok(None);
    }
    match digits::parse(text) {
        Some(number) if number <= LENGTH_MAX => Ok(Some(number as usize)),
        _ => Err(Malformed("a length that is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_end_at_the_same_place_however_they_come(
            bytes in r"([$*%>~|=!:+_#,-][0-9a-z-]{0,3}\r\n|[a-z]{1,4}\r\n){0,12}",
        ) {
            let bytes = Bytes::from(bytes);
            if let Ok(whole) = Scanner::default().scan(&bytes) {
                let mut in_steps = Scanner::default();
                let found = (1..=bytes.len()).find_map(|len| in_steps.scan(&bytes[..len]).unwrap());
                prop_assert_eq!(found, whole);
                if let Some(end) = whole {
                    prop_assert!(Cursor::new(&bytes.slice(..end)).skip(1).is_some());
                }
            }
            for len in 0..=bytes.len() {
                let beginning = bytes.slice(..len);
                _ = Cursor::new(&beginning).skip(usize::MAX);
                _ = crate::log::redis::xread::streams(&beginning);
            }
        }
    }

    const MESSAGES: [&str; 12] = [
        "+OK\r\n",
        "-ERR no\r\n",
        ":-7\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "$4\r\na\r\nb\r\n",
        "*0\r\n",
        "*-1\r\n",
        "_\r\n",
        "%2\r\n+a\r\n*2\r\n$1\r\nb\r\n:1\r\n+c\r\n%1\r\n#t\r\n,1.5\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        "|1\r\n+ttl\r\n:9\r\n~1\r\n=5\r\ntxt:a\r\n",
    ];

    #[test]
    fn a_message_ends_where_it_ends_however_it_comes() {
        let all = MESSAGES.concat();
        for step in [1, 2, 3, 7, all.len()] {
            let (mut scanner, mut received, mut found) = (Scanner::default(), Vec::new(), vec![]);
            for part in all.as_bytes().chunks(step) {
                received.extend_from_slice(part);
                while let Some(end) = scanner.scan(&received).unwrap() {
                    let message: Vec<u8> = received.drain(..end).collect();
                    found.push(String::from_utf8(message).unwrap());
                }
            }
            assert_eq!(found, MESSAGES, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_string_is_stepped_over_and_may_be_let_go_as_it_comes() {
        let mut scanner = Scanner::default();
        let head = b"*2\r\n$1000\r\nabc";
        assert_eq!(scanner.scan(head), Ok(None));
        assert_eq!((scanner.longest(), scanner.missing(head)), (1000, 999));
        scanner.forget(scanner.looked_at(head));
        assert_eq!(scanner.scan(&[b'x'; 500]), Ok(None));
        scanner.forget(500);
        let rest = [&[b'x'; 497][..], b"\r\n+e\r\n+next\r\n"].concat();
        assert_eq!(scanner.scan(&rest), Ok(Some(503)));
        assert_eq!(scanner.longest(), 0);
    }

    #[test]
    fn what_is_no_resp_is_refused() {
        for text in ["HTTP/1.1 400\r\n", "$x\r\n", "*-2\r\n", "$99999999999999999999\r\n", "+a\n"] {
            assert!(Scanner::default().scan(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Scanner::default().scan("*1\r\n".repeat(40).as_bytes()).is_err());
        let mut long = vec![b'+'];
        long.resize(LINE_BYTES_MAX + 2, b'a');
        assert!(Scanner::default().scan(&long).is_err());
    }

    #[test]
    fn the_cursor_gives_the_values_in_their_order() {
        let text = |text: &'static str| Value::Text(Bytes::from_static(text.as_bytes()));
        let line = |text: &'static str| Value::Line(Bytes::from_static(text.as_bytes()));
        let values = |message: &'static str| {
            let bytes = Bytes::from_static(message.as_bytes());
            let mut cursor = Cursor::new(&bytes);
            std::iter::from_fn(|| cursor.value()).collect::<Vec<_>>()
        };
        assert_eq!(values(MESSAGES[1]), [Value::Error(Bytes::from_static(b"ERR no"))]);
        assert_eq!(values(MESSAGES[3]), [Value::Null]);
        assert_eq!(values(MESSAGES[5]), [text("a\r\nb")]);
        assert_eq!(values(MESSAGES[7]), [Value::Null]);
        let map = [
            Value::Pairs(2),
            text("a"),
            Value::Values(2),
            text("b"),
            line("1"),
            text("c"),
            Value::Pairs(1),
            line("1"),
            line("1.5"),
        ];
        assert_eq!(values(MESSAGES[9]), map);
        assert_eq!(values(MESSAGES[11]), [Value::Values(1), text("a")]);
        assert_eq!(values("*2\r\n+a\r\n$5\r\nabc"), [Value::Values(2), text("a")]);
    }

    #[test]
    fn values_are_skipped_with_all_that_is_in_them() {
        let bytes = Bytes::from_static(b"*3\r\n%1\r\n+a\r\n*1\r\n+b\r\n$-1\r\n+c\r\n");
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.values(), Some(3));
        assert_eq!(cursor.skip(2), Some(()));
        assert_eq!(cursor.text().as_deref(), Some(&b"c"[..]));
        assert_eq!(Cursor::new(&Bytes::from_static(b"*9999999\r\n+a\r\n")).skip(1), None);
    }
}
