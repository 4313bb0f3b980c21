//! The body of a request, understood as an object, its members taken out.

use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::publish::{Fields, Json};

/// The members of a body that is a JSON object.
pub(super) struct Members(Fields);

impl Members {
    /// Understands a body.
    ///
    /// # Errors
    /// 400 where it is no JSON; 422 where it is no object.
    pub(super) fn of(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        check_type(headers)?;
        let json: &RawValue = serde_json::from_slice(body)
            .map_err(|error| ApiError::malformed(format!("the body is no JSON: {error}")))?;
        let fields = read_as(json, "has to be a JSON object");
        fields.map(Self).map_err(|why| ApiError::wrong("body", why))
    }

    /// A member of any type that has to be there.
    pub(super) fn any(&self, name: &str) -> Result<&RawValue, ApiError> {
        self.0.get(name).ok_or_else(|| ApiError::wrong(name, "is missing"))
    }

    /// A string that has to be there.
    pub(super) fn string(&self, name: &str) -> Result<String, ApiError> {
        read_as(self.any(name)?, STRING).map_err(|why| ApiError::wrong(name, why))
    }

    /// A string that may be missing or null.
    pub(super) fn optional_string(&self, name: &str) -> Result<Option<String>, ApiError> {
        self.optional(name, |value| read_as(value, STRING))
    }

    /// A whole number that may be missing or null.
    pub(super) fn optional_integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let wanted = "has to be a whole number";
        self.optional(name, |value| serde_json::from_str(value.get()).map_err(|_| wanted))
    }

    /// A list of strings that may be missing or null.
    pub(super) fn optional_strings(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        self.optional(name, |value| read_as(value, "has to be a list of strings"))
    }

    /// An object that may be missing or null: its text.
    pub(super) fn optional_object(&self, name: &str) -> Result<Option<Json>, ApiError> {
        self.optional(name, |value| {
            if value.get().starts_with('{') { Ok(value.to_owned()) } else { Err(OBJECT) }
        })
    }

    /// An object that may be missing or null: its members.
    pub(super) fn optional_fields(&self, name: &str) -> Result<Option<Fields>, ApiError> {
        self.optional(name, |value| read_as(value, OBJECT))
    }

    fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&RawValue) -> Result<T, &'static str>,
    ) -> Result<Option<T>, ApiError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) if value.get() == "null" => Ok(None),
            Some(value) => read(value).map(Some).map_err(|why| ApiError::wrong(name, why)),
        }
    }
}

const STRING: &str = "has to be a string";
const OBJECT: &str = "has to be an object";

/// A value made of strings, or what is wrong with it. `\ud800` alone is well-formed JSON, but there
/// is no such text.
fn read_as<T: DeserializeOwned>(value: &RawValue, wanted: &'static str) -> Result<T, &'static str> {
    serde_json::from_str(value.get())
        .map_err(|error| if error.is_data() { wanted } else { "is not valid Unicode" })
}

/// A page of another site can send a body without being asked for leave first, unless its type is
/// JSON. So what comes from a page has to say that it is JSON; other clients may say anything.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_json = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if headers.contains_key(header::ORIGIN)
        && !headers.get(header::CONTENT_TYPE).is_some_and(is_json)
    {
        return Err(ApiError::malformed(
            "the body has to come with Content-Type: application/json",
        ));
    }
    Ok(())
}
