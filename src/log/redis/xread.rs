//! `XREAD` and what is asked of a stream beside it, as the tail sends them and as it reads the
//! answers.

use bytes::{Bytes, BytesMut};

use super::resp::{Cursor, Value};
use super::wire::{put_head, put_word};
use crate::core::digits;
use crate::id::StreamId;
use crate::log::tail::Told;
use crate::log::{Entry, StreamFacts};

/// Gives the facts of a stream without its entries, in the form of all our scripts. Sent whole with
/// each question, as within `MULTI` nothing else can be tried: it is short, and what it does is said
/// here. No stream is `false`; any other error of `XINFO` is the script's.
const FACTS: &str = concat!(include_str!("numbers.lua"), include_str!("facts.lua"));

/// What is asked of a stream beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Its length alone.
    Length,
    /// All of its facts; the first and the last entry come with them, whole.
    Facts,
    /// The same by a script, without the entries.
    FactsByScript,
}

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

/// Puts the question for what a stream tells of itself.
pub(super) fn put_told(out: &mut BytesMut, key: &Bytes, asks: Asks) {
    let words: &[&[u8]] = match asks {
        Asks::Length => &[b"XLEN"],
        Asks::Facts => &[b"XINFO", b"STREAM"],
        Asks::FactsByScript => &[b"EVAL", FACTS.as_bytes(), b"1"],
    };
    put_head(out, words.len() + 1);
    words.iter().for_each(|word| put_word(out, word));
    put_word(out, key);
}

/// The answer to an `XREAD`: each stream's key with its entries, in the order of the question;
/// those with nothing new are left out. Its error where it is one.
///
/// # Errors
/// What Redis said, code first.
pub fn streams(reply: &Bytes) -> Result<Vec<(Bytes, Vec<Entry>)>, String> {
    let Streams { mut whole, broken, .. } = take_answer(&mut Cursor::new(reply))?;
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
    /// All of the answer is there.
    pub(super) complete: bool,
}

/// Takes an answer or the beginning of one.
///
/// # Errors
/// What Redis said, code first.
pub(super) fn take_answer(cursor: &mut Cursor<'_>) -> Result<Streams, String> {
    let mut found = Streams { whole: Vec::new(), broken: None, complete: false };
    let (number, pairs) = match cursor.value() {
        Some(Value::Error(error)) => return Err(String::from_utf8_lossy(&error).into_owned()),
        Some(Value::Values(number)) => (number, false),
        Some(Value::Pairs(number)) => (number, true),
        _ => (0, false),
    };
    for _ in 0..number {
        // In version 2 of the protocol, each stream is an array of its key and its entries.
        if !pairs && cursor.values() != Some(2) {
            break;
        }
        let Some(key) = cursor.text() else { break };
        let mut entries = Vec::new();
        if take_entries(cursor, &mut entries).is_some() {
            found.whole.push((key, entries));
        } else {
            found.broken = Some((key, entries));
            break;
        }
    }
    found.complete = found.whole.len() == number;
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

/// What a stream tells of itself, from the answer to what was asked; only what is whole counts.
pub fn told(cursor: &mut Cursor<'_>, asks: Asks) -> Option<Told> {
    if asks == Asks::FactsByScript {
        return facts_of_script(cursor).map(Told::Facts);
    }
    let members = match cursor.value()? {
        Value::Line(length) => return digits::parse(&length).map(Told::Length),
        Value::Pairs(number) => number,
        Value::Values(number) => number / 2,
        Value::Error(error) if error.starts_with(b"ERR no such key") => {
            return Some(Told::Facts(StreamFacts::default()));
        }
        Value::Null | Value::Text(_) | Value::Error(_) => return None,
    };
    let mut facts = StreamFacts { exists: true, ..StreamFacts::default() };
    let mut known = 0;
    for _ in 0..members {
        let name = cursor.text()?;
        match &name[..] {
            b"length" => facts.length = number(cursor)?,
            b"entries-added" => facts.entries_added = Some(number(cursor)?),
            b"last-generated-id" => facts.last_generated = id(cursor)?,
            b"max-deleted-entry-id" => facts.max_deleted = Some(id(cursor)?),
            b"first-entry" => facts.first = id_of_entry(cursor)?,
            b"last-entry" => facts.last = id_of_entry(cursor)?,
            _ => {
                cursor.skip(1)?;
                continue;
            }
        }
        known += 1;
    }
    // Length, last id and both entries: Redis 6 says no more.
    (known >= 4).then_some(Told::Facts(facts))
}

fn facts_of_script(cursor: &mut Cursor<'_>) -> Option<StreamFacts> {
    match cursor.value()? {
        Value::Null => Some(StreamFacts::default()),
        Value::Values(6) => Some(StreamFacts {
            exists: true,
            length: number(cursor)?,
            last_generated: id(cursor)?,
            first: id_or_none(cursor)?,
            last: id_or_none(cursor)?,
            entries_added: number_or_none(cursor)?,
            max_deleted: id_or_none(cursor)?,
        }),
        _ => None,
    }
}

fn id(cursor: &mut Cursor<'_>) -> Option<StreamId> {
    StreamId::parse_bytes(&cursor.text()?)
}

/// The id of an entry, or none where there is none; nothing where that cannot be told.
fn id_of_entry(cursor: &mut Cursor<'_>) -> Option<Option<StreamId>> {
    match cursor.value()? {
        Value::Null => Some(None),
        Value::Values(2) => {
            let id = id(cursor)?;
            cursor.skip(1)?;
            Some(Some(id))
        }
        _ => None,
    }
}

/// An id, or none where there is none; nothing where that cannot be told.
fn id_or_none(cursor: &mut Cursor<'_>) -> Option<Option<StreamId>> {
    match cursor.value()? {
        Value::Null => Some(None),
        Value::Text(text) => StreamId::parse_bytes(&text).map(Some),
        _ => None,
    }
}

fn number(cursor: &mut Cursor<'_>) -> Option<u64> {
    number_or_none(cursor)?
}

/// Likewise for a number.
fn number_or_none(cursor: &mut Cursor<'_>) -> Option<Option<u64>> {
    match cursor.value()? {
        Value::Null => Some(None),
        Value::Line(text) | Value::Text(text) => digits::parse(&text).map(Some),
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
            let found = take_answer(&mut Cursor::new(&text.clone().into())).unwrap();
            assert!(!found.complete);
            assert_eq!(found.whole, [(Bytes::from_static(b"a"), vec![entry(1, &[("f", "v")])])]);
            assert_eq!(
                found.broken,
                Some((Bytes::from_static(b"b"), vec![entry(1, &[("f", "v")])]))
            );
            assert_eq!(first_id(&text.into()), Some(StreamId { ms: 1, seq: 0 }));
        }
        let nothing = Streams { whole: vec![], broken: None, complete: false };
        assert_eq!(take_answer(&mut Cursor::new(&"%2\r\n$5\r\nab".into())), Ok(nothing));
        assert_eq!(first_id(&"_\r\n".into()), None);
    }

    #[test]
    fn a_stream_tells_of_itself_in_both_versions_of_the_protocol() {
        let told = |reply: &str| {
            let reply = Bytes::copy_from_slice(reply.as_bytes());
            told(&mut Cursor::new(&reply), Asks::Facts)
        };
        assert_eq!(told(":7\r\n"), Some(Told::Length(7)));
        assert_eq!(told("-ERR no such key\r\n"), Some(Told::Facts(StreamFacts::default())));
        assert_eq!(told("-WRONGTYPE x\r\n"), None);
        let id = |ms, seq| StreamId { ms, seq };
        for head in ["%6", "*12"] {
            let whole = format!(
                "{head}\r\n+length\r\n:2\r\n+x\r\n*2\r\n+1-0\r\n*0\r\n\
                 +last-generated-id\r\n$3\r\n9-1\r\n+entries-added\r\n:5\r\n\
                 +first-entry\r\n*2\r\n$3\r\n7-1\r\n*2\r\n+f\r\n$1\r\nv\r\n+last-entry\r\n*-1\r\n"
            );
            let facts = StreamFacts {
                exists: true,
                length: 2,
                last_generated: id(9, 1),
                first: Some(id(7, 1)),
                last: None,
                entries_added: Some(5),
                max_deleted: None,
            };
            assert_eq!(told(&whole), Some(Told::Facts(facts)));
            assert_eq!(told(&whole[..whole.len() - 8]), None);
        }
    }

    #[test]
    fn a_script_tells_the_facts_by_their_place() {
        let told = |reply: &str| {
            let reply = Bytes::copy_from_slice(reply.as_bytes());
            told(&mut Cursor::new(&reply), Asks::FactsByScript)
        };
        assert_eq!(told("_\r\n"), Some(Told::Facts(StreamFacts::default())));
        assert_eq!(told("$-1\r\n"), Some(Told::Facts(StreamFacts::default())));
        let id = |ms| StreamId { ms, seq: 1 };
        let facts = StreamFacts {
            exists: true,
            length: 2,
            last_generated: id(9),
            first: Some(id(7)),
            last: Some(id(8)),
            entries_added: Some(5),
            max_deleted: Some(id(6)),
        };
        let ids = "$3\r\n9-1\r\n$3\r\n7-1\r\n$3\r\n8-1\r\n";
        let whole = format!("*6\r\n:2\r\n{ids}:5\r\n$3\r\n6-1\r\n");
        assert_eq!(told(&whole), Some(Told::Facts(facts)));
        // Redis 6 does not know the last two.
        let less = StreamFacts { entries_added: None, max_deleted: None, ..facts };
        assert_eq!(told(&format!("*6\r\n:2\r\n{ids}$-1\r\n_\r\n")), Some(Told::Facts(less)));
        let odd = ["-ERR x\r\n", ":7\r\n", "*0\r\n", "*6\r\n_\r\n", &whole[..whole.len() - 8]];
        assert!(odd.iter().all(|reply| told(reply).is_none()));
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
