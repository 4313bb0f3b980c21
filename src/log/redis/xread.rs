//! `XREAD` and `XINFO STREAM`, as the tail sends them and as it reads the answers.

use bytes::{Bytes, BytesMut};

use super::resp::{Cursor, Value};
use super::wire::{put_head, put_word};
use crate::core::digits;
use crate::id::StreamId;
use crate::log::Entry;
use crate::log::tail::Beginning;

/// Puts an `XREAD` of these streams, each from behind a position, at most `entries_max` entries of
/// each. With `block_ms` it waits so long for the first of them.
pub(super) fn put<'a>(
    out: &mut BytesMut,
    streams: impl ExactSizeIterator<Item = (&'a Bytes, StreamId)> + Clone,
    entries_max: usize,
    block_ms: Option<u64>,
) {
    let mut text = BytesMut::new();
    let mut put_written = |out: &mut BytesMut, write: &dyn Fn(&mut BytesMut)| {
        text.clear();
        write(&mut text);
        put_word(out, &text);
    };
    put_head(out, 4 + 2 * usize::from(block_ms.is_some()) + 2 * streams.len());
    put_word(out, b"XREAD");
    put_word(out, b"COUNT");
    put_written(out, &|text| digits::put(text, entries_max as u64));
    if let Some(block_ms) = block_ms {
        put_word(out, b"BLOCK");
        put_written(out, &|text| digits::put(text, block_ms));
    }
    put_word(out, b"STREAMS");
    streams.clone().for_each(|(key, _)| put_word(out, key));
    streams.for_each(|(_, after)| put_written(out, &|text| after.put(text)));
}

/// Puts an `XINFO STREAM`.
pub(super) fn put_info(out: &mut BytesMut, key: &Bytes) {
    put_head(out, 3);
    put_word(out, b"XINFO");
    put_word(out, b"STREAM");
    put_word(out, key);
}

/// The answer to an `XREAD`: each stream's key with its entries, in the order of the question;
/// those with nothing new are left out. Its error where it is one.
///
/// # Errors
/// What Redis said, code first.
pub fn streams(reply: &Bytes) -> Result<Vec<(Bytes, Vec<Entry>)>, String> {
    let Streams { mut whole, broken } = answer(reply)?;
    whole.extend(broken);
    Ok(whole)
}

/// An answer, or as much of it as has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Streams {
    /// The streams of which everything is there, each with its key.
    pub(super) whole: Vec<(Bytes, Vec<Entry>)>,
    /// The stream in which it breaks off, with the entries that are there whole.
    pub(super) broken: Option<(Bytes, Vec<Entry>)>,
}

/// Reads an answer or the beginning of one.
///
/// # Errors
/// What Redis said, code first.
pub(super) fn answer(reply: &Bytes) -> Result<Streams, String> {
    let mut found = Streams { whole: Vec::new(), broken: None };
    let mut cursor = Cursor::new(reply);
    let number = match cursor.value() {
        Some(Value::Error(error)) => return Err(String::from_utf8_lossy(&error).into_owned()),
        Some(Value::Values(number) | Value::Pairs(number)) => number,
        _ => 0,
    };
    let pairs = reply.first() == Some(&b'%');
    for _ in 0..number {
        // In version 2 of the protocol, each stream is an array of its key and its entries.
        if !pairs && cursor.values() != Some(2) {
            break;
        }
        let Some(key) = cursor.text() else { break };
        let mut entries = Vec::new();
        if take_entries(&mut cursor, &mut entries).is_some() {
            found.whole.push((key, entries));
        } else {
            found.broken = Some((key, entries));
            break;
        }
    }
    Ok(found)
}

/// Takes entries; nothing where they break off.
fn take_entries(cursor: &mut Cursor<'_>, entries: &mut Vec<Entry>) -> Option<()> {
    for _ in 0..cursor.values()? {
        entries.push(entry(cursor)?);
    }
    Some(())
}

fn entry(cursor: &mut Cursor<'_>) -> Option<Entry> {
    if cursor.values()? != 2 {
        return None;
    }
    let id = StreamId::parse_bytes(&cursor.text()?)?;
    let mut fields = Vec::new();
    for _ in 0..cursor.values()? / 2 {
        fields.push((cursor.text()?, cursor.text()?));
    }
    Some(Entry { id, fields })
}

/// The id of the first entry of an answer about one stream, of which only the beginning may be
/// there.
pub(super) fn first_id(beginning: &Bytes) -> Option<StreamId> {
    let mut cursor = Cursor::new(beginning);
    match cursor.value()? {
        Value::Pairs(1..) => {}
        Value::Values(1..) if cursor.values()? == 2 => {}
        _ => return None,
    }
    cursor.text()?;
    (cursor.values()? > 0 && cursor.values()? == 2).then_some(())?;
    StreamId::parse_bytes(&cursor.text()?)
}

/// How a stream began, from the answer to an `XINFO STREAM` or its first part.
pub fn beginning(reply: &Bytes) -> Beginning {
    facts(reply).map_or(Beginning::Unknown, |(length, added, first)| match length {
        0 if added > 0 => Beginning::Emptied,
        length if length == added && length > 0 => Beginning::FirstEver(first),
        _ => Beginning::Unknown,
    })
}

/// How many entries there are, how many there ever were, and the first one.
fn facts(reply: &Bytes) -> Option<(u64, u64, StreamId)> {
    let mut cursor = Cursor::new(reply);
    let members = match cursor.value()? {
        Value::Pairs(number) => number,
        Value::Values(number) => number / 2,
        _ => return None,
    };
    let (mut length, mut added, mut first) = (None, None, None);
    for _ in 0..members {
        let name = cursor.text()?;
        match &name[..] {
            b"length" => length = Some(number(&mut cursor)?),
            b"entries-added" => added = Some(number(&mut cursor)?),
            b"recorded-first-entry-id" => first = StreamId::parse_bytes(&cursor.text()?),
            _ => cursor.skip(1)?,
        }
        if let (Some(length), Some(added), Some(first)) = (length, added, first) {
            return Some((length, added, first));
        }
    }
    None
}

fn number(cursor: &mut Cursor<'_>) -> Option<u64> {
    match cursor.value()? {
        Value::Line(text) | Value::Text(text) => digits::parse(&text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, fields: &[(&'static str, &'static str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Entry { id: StreamId { ms, seq: 0 }, fields: fields.collect() }
    }

    #[test]
    fn an_answer_reads_the_same_in_both_versions_of_the_protocol() {
        const ENTRIES: &str = "*2\r\n*2\r\n$3\r\n1-0\r\n*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$0\r\n\r\n\
                               *2\r\n$3\r\n2-0\r\n*0\r\n";
        let expected = vec![(
            Bytes::from_static(b"k"),
            vec![entry(1, &[("a", "b"), ("c", "")]), entry(2, &[])],
        )];
        for head in ["%1\r\n$1\r\nk\r\n", "*1\r\n*2\r\n$1\r\nk\r\n"] {
            assert_eq!(streams(&format!("{head}{ENTRIES}").into()).unwrap(), expected);
        }
        for nothing in ["_\r\n", "*-1\r\n", "*0\r\n", "+OK\r\n"] {
            assert_eq!(streams(&nothing.into()), Ok(vec![]));
        }
        let error = streams(&"-WRONGTYPE no\r\n".into());
        assert_eq!(error, Err("WRONGTYPE no".into()));
    }

    #[test]
    fn what_came_before_an_answer_breaks_off_is_known() {
        for [head, stream] in [["%3\r\n", ""], ["*3\r\n", "*2\r\n"]] {
            let text = format!(
                "{head}{stream}$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n+f\r\n+v\r\n\
                 {stream}$1\r\nb\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n+f\r\n+v\r\n\
                 *2\r\n$3\r\n2-0\r\n*2\r\n+f\r\n$999\r\nxx"
            );
            let found = answer(&text.clone().into()).unwrap();
            assert_eq!(found.whole, [(Bytes::from_static(b"a"), vec![entry(1, &[("f", "v")])])]);
            assert_eq!(
                found.broken,
                Some((Bytes::from_static(b"b"), vec![entry(1, &[("f", "v")])]))
            );
            assert_eq!(first_id(&text.into()), Some(StreamId { ms: 1, seq: 0 }));
        }
        let nothing = Streams { whole: vec![], broken: None };
        assert_eq!(answer(&"%2\r\n$5\r\nab".into()), Ok(nothing));
        assert_eq!(first_id(&"_\r\n".into()), None);
    }

    #[test]
    fn it_is_known_how_a_stream_began() {
        for head in ["%5", "*10"] {
            let reply = |length| {
                format!(
                    "{head}\r\n+length\r\n:{length}\r\n+x\r\n*2\r\n+1-0\r\n*0\r\n\
                     +entries-added\r\n:5\r\n+recorded-first-entry-id\r\n$3\r\n7-1\r\n\
                     +first-entry\r\n*2\r\n$3\r\n7-1\r\n*2\r\n+f\r\n$999\r\n"
                )
            };
            let first = StreamId { ms: 7, seq: 1 };
            assert_eq!(beginning(&reply(5).into()), Beginning::FirstEver(first));
            assert_eq!(beginning(&reply(4).into()), Beginning::Unknown);
            assert_eq!(beginning(&reply(0).into()), Beginning::Emptied);
        }
        assert_eq!(beginning(&"*2\r\n+length\r\n:3\r\n".into()), Beginning::Unknown);
        assert_eq!(beginning(&"-ERR no such key\r\n".into()), Beginning::Unknown);
    }

    #[test]
    fn a_question_names_all_streams_and_then_all_positions() {
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let streams = [(&a, StreamId { ms: 1, seq: 2 }), (&b, StreamId::ZERO)];
        let mut out = BytesMut::new();
        put(&mut out, streams.into_iter(), 7, Some(50));
        let words = std::str::from_utf8(&out)
            .unwrap()
            .split("\r\n")
            .filter(|word| !word.starts_with(['$', '*']) && !word.is_empty());
        let expected = ["XREAD", "COUNT", "7", "BLOCK", "50", "STREAMS", "a", "b", "1-2", "0-0"];
        assert!(words.eq(expected));
        assert!(out.starts_with(b"*10\r\n"));
    }
}
