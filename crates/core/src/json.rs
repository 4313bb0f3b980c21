//! JSON as text: is it one complete JSON text, and how a string is written as one.
//!
//! Values are embedded byte for byte (protocol §3), so nothing here builds a tree or reads a
//! number. Nesting costs a byte a level on the heap, not stack: no depth overflows.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, BytesMut};

/// Whether `text` is exactly one JSON text of RFC 8259, white space around it allowed.
pub fn is_text(text: &str) -> bool {
    Scanner::new(text).whole(|_, _| {})
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON text, an object.
    Object,
    /// One JSON text of another type.
    Other,
    /// No JSON text.
    None,
}

/// What a text is; where it is an object, with each of its members in their order: where its name
/// lies, as it was written between its quotes, and where its value. What is told of a text that is no
/// JSON in the end means nothing.
pub fn members(text: &str, member: impl FnMut(Range<usize>, Range<usize>)) -> Kind {
    if !Scanner::new(text).whole(member) {
        return Kind::None;
    }
    if text.trim_start().starts_with('{') { Kind::Object } else { Kind::Other }
}

/// The value of a member of an object, as it was written; of several with one name it is the last.
pub fn member<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    let kind = members(text, |name, value| {
        if self::name(&text[name]) == wanted {
            found = Some(value);
        }
    });
    found.filter(|_| kind == Kind::Object).map(|value| &text[value])
}

/// A member's name, of what was written between its quotes.
pub fn name(written: &str) -> Cow<'_, str> {
    if written.contains('\\') {
        let name = serde_json::from_str(&format!("\"{written}\""));
        return name.map_or(Cow::Borrowed(written), Cow::Owned);
    }
    Cow::Borrowed(written)
}

/// A JSON text's value as text: what a string says, anything else as it was written.
pub fn said(value: &str) -> Cow<'_, str> {
    let value = value.trim_ascii();
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.map_or(Cow::Borrowed(value), name)
}

/// Appends `text` as a JSON string, quotes included.
pub fn put_string(out: &mut BytesMut, text: &str) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.put_u8(b'"');
    loop {
        let (plain, behind) = rest.split_at(plain_len(rest));
        out.put_slice(plain);
        let Some((&byte, behind)) = behind.split_first() else { break };
        put_escaped(out, byte);
        rest = behind;
    }
    out.put_u8(b'"');
}

/// How many of the first bytes stand in a JSON string as they are.
fn plain_len(bytes: &[u8]) -> usize {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out of a block, the compiler looks at all of it at once.
    let is_plain =
        |block: &&[u8; 16]| !block.iter().fold(false, |any, &byte| any | is_special(byte));
    let (blocks, _) = bytes.as_chunks();
    let blocks_len = 16 * blocks.iter().take_while(is_plain).count();
    let rest = &bytes[blocks_len..];
    blocks_len + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

fn put_escaped(out: &mut BytesMut, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        _ => {
            out.put_slice(b"\\u00");
            out.put_u8(HEX[usize::from(byte >> 4)]);
            out.put_u8(HEX[usize::from(byte & 15)]);
        }
    }
}

/// Bytes as text; what is no UTF-8 becomes U+FFFD.
pub fn text(raw: &[u8]) -> Cow<'_, str> {
    // Nearly everything is UTF-8, and that alone is known several times as fast.
    std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed)
}

/// Appends raw bytes as a value: embedded where they are one JSON text, a string otherwise.
/// Invalid UTF-8 becomes U+FFFD.
pub fn put_value(out: &mut BytesMut, raw: &[u8]) {
    let text = text(raw);
    if is_text(&text) { out.put_slice(text.as_bytes()) } else { put_string(out, &text) }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last name lies, without its quotes.
    name: Range<usize>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, name: 0..0 }
    }

    /// Whether it is one JSON text; `member` is told of those of the outermost object.
    fn whole(&mut self, mut member: impl FnMut(Range<usize>, Range<usize>)) -> bool {
        let mut open: Vec<u8> = Vec::new();
        // The member of the outermost object that is being read: its name, and where its value begins.
        let (mut name, mut value_from) = (0..0, 0);
        self.space();
        loop {
            if open.len() == 1 {
                (name, value_from) = (self.name.clone(), self.at);
            }
            match self.begin_value() {
                Begun::Whole => {}
                Begun::Object => {
                    open.push(b'{');
                    continue;
                }
                Begun::Array => {
                    open.push(b'[');
                    continue;
                }
                Begun::Wrong => return false,
            }
            loop {
                if open == b"{" {
                    member(name.clone(), value_from..self.at);
                }
                self.space();
                let Some(container) = open.last() else { return self.at == self.bytes.len() };
                let in_object = *container == b'{';
                match self.next() {
                    Some(b',') => {
                        self.space();
                        if in_object && !self.key() {
                            return false;
                        }
                        break;
                    }
                    Some(b'}') if in_object => _ = open.pop(),
                    Some(b']') if !in_object => _ = open.pop(),
                    _ => return false,
                }
            }
        }
    }

    fn begin_value(&mut self) -> Begun {
        let whole = match self.next() {
            Some(b'{') => {
                self.space();
                if self.eat(b'}') {
                    true
                } else if self.key() {
                    return Begun::Object;
                } else {
                    false
                }
            }
            Some(b'[') => {
                self.space();
                if !self.eat(b']') {
                    return Begun::Array;
                }
                true
            }
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"rue"),
            Some(b'f') => self.word(b"alse"),
            Some(b'n') => self.word(b"ull"),
            Some(b'-') => self.number_after_sign(),
            Some(b'0'..=b'9') => {
                self.at -= 1;
                self.number_after_sign()
            }
            _ => false,
        };
        if whole { Begun::Whole } else { Begun::Wrong }
    }

    /// A member's name and the colon behind it, up to its value.
    fn key(&mut self) -> bool {
        let from = self.at + 1;
        if !(self.eat(b'"') && self.string()) {
            return false;
        }
        self.name = from..self.at - 1;
        self.space();
        let colon = self.eat(b':');
        self.space();
        colon
    }

    /// The rest of a string whose opening quote is read.
    fn string(&mut self) -> bool {
        while let Some(byte) = self.next() {
            match byte {
                b'"' => return true,
                b'\\' => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => {
                        for _ in 0..4 {
                            if !self.next().is_some_and(|b| b.is_ascii_hexdigit()) {
                                return false;
                            }
                        }
                    }
                    _ => return false,
                },
                0..0x20 => return false,
                _ => {}
            }
        }
        false
    }

    fn number_after_sign(&mut self) -> bool {
        if !self.eat(b'0') && !self.digits() {
            return false;
        }
        if self.eat(b'.') && !self.digits() {
            return false;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            return self.digits();
        }
        true
    }

    /// One digit or more.
    fn digits(&mut self) -> bool {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at > from
    }

    fn word(&mut self, rest: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(rest);
        self.at += if found { rest.len() } else { 0 };
        found
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }
}

enum Begun {
    Whole,
    Object,
    Array,
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_complete_json_text_and_nothing_else() {
        for text in [
            "0",
            "-0",
            "1.0",
            "1E400",
            "-1.5e+3",
            "\"a\"",
            "\"\\ud800\"",
            "true",
            "false",
            "null",
            "{}",
            "[]",
            " [ ] ",
            "{\"a\":[1,{\"b\":null}], \"c\" : \"\\n\"}",
            "\n1\t",
            "[[[[]]]]",
        ] {
            assert!(is_text(text), "{text}");
        }
        for text in [
            "",
            " ",
            "NaN",
            "Infinity",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "-",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\"}",
            "1 2",
            "[1}",
            "{]",
            "[1 2]",
            "tru",
            "nulll",
            "{\"a\":}",
            "[,]",
        ] {
            assert!(!is_text(text), "{text}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let depth = 1_000_000;
        assert!(is_text(&("[".repeat(depth) + &"]".repeat(depth))));
        assert!(!is_text(&"[".repeat(depth)));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:, 01\.eE+\-"\\utfnrlase]{0,24}"#) {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_text(&text), theirs, "{}", text);
        }

        #[test]
        fn a_string_reads_back(text in any::<String>()) {
            let mut out = BytesMut::new();
            put_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
