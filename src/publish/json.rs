//! JSON texts that pass through unchanged: numbers of any size, members in their order.

use std::fmt;

use bytes::BytesMut;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::core::json::{put_string, put_value};

/// One complete JSON text, kept byte for byte.
pub type Json = Box<RawValue>;

/// The members of a JSON object, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, Json)>);

impl Fields {
    /// The members of what serialises as an object.
    ///
    /// # Errors
    /// It does not serialise, or as something else than an object.
    pub fn of(object: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::from_str(to_raw_value(object)?.get())
    }

    /// A member's value; of members with the same name it is the last.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A member's value, where it is a string.
    pub fn string(&self, name: &str) -> Option<String> {
        self.get(name).and_then(string_in)
    }

    /// Names and values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }

    /// Adds a member at the end.
    pub(crate) fn push(&mut self, name: impl Into<String>, value: Json) {
        self.0.push((name.into(), value));
    }

    /// Names and values as a hash or an entry holds them: strings as they are, the rest as JSON.
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter().map(|(name, value)| {
            let text = string_in(&value).unwrap_or_else(|| value.get().to_owned());
            (name, text)
        })
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = map.next_entry::<String, Json>()? {
                    fields.push(name, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The text of a JSON string; none where the value is no string.
pub(super) fn string_in(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A JSON string that holds the text.
pub(crate) fn json_string(text: &str) -> Json {
    written(text.len(), |out| put_string(out, text))
}

/// Bytes that should be JSON, as viewers get them: the JSON text that they are, or else a string.
pub(crate) fn json_or_string(bytes: &[u8]) -> Json {
    written(bytes.len(), |out| put_value(out, bytes))
}

/// The one JSON text that is written, of about so many bytes.
fn written(bytes_len: usize, put: impl FnOnce(&mut BytesMut)) -> Json {
    let mut out = BytesMut::with_capacity(bytes_len + 2);
    put(&mut out);
    // What the core writes is JSON.
    let text = String::from_utf8(out.into()).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_pass_through_byte_for_byte() {
        let text = r#"{"b":1.10,"a":340282366920938463463374607431768211456,"c":[ ]}"#;
        let fields: Fields = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), text);
        let pairs: Vec<_> = fields.into_pairs().map(|(_, value)| value).collect();
        assert_eq!(pairs, ["1.10", "340282366920938463463374607431768211456", "[ ]"]);
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let fields: Fields = serde_json::from_str(r#"{"a":"1","a":"2"}"#).unwrap();
        assert_eq!(fields.string("a").as_deref(), Some("2"));
        assert_eq!(fields.string("b"), None);
    }

    #[test]
    fn only_objects_have_fields() {
        assert!(Fields::of(&[1, 2]).is_err());
        assert!(Fields::of("text").is_err());
        assert!(Fields::of(&serde_json::json!({"a": 1})).is_ok());
    }

    #[test]
    fn what_is_no_json_is_a_string() {
        for (bytes, json) in [
            (&b"{\"a\":1}"[..], "{\"a\":1}"),
            (b"1e999", "1e999"),
            (b"True", "\"True\""),
            (b"", "\"\""),
            (b"{} {}", "\"{} {}\""),
            (b" [1.0]\n", "[1.0]"),
            (b"{\"a\xff\":\"\xe2\x82\"}", "{\"a\u{fffd}\":\"\u{fffd}\"}"),
            (b"[1,\xff2]", "\"[1,\u{fffd}2]\""),
        ] {
            assert_eq!(json_or_string(bytes).get(), json);
        }
    }
}
