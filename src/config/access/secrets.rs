//! Secrets of the table: read from it or from files, never shown.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::super::tables::{Table, Wrong};

/// What is never shown.
pub(super) const SECRETS: [&str; 2] = ["secret", "secret_previous"];

/// Something that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Table<'_> {
    /// A secret, or the name of the file with it.
    pub(super) fn secret(self, key: &str, in_file: &str) -> Result<Option<Secret>, Wrong> {
        match (self.text(key)?, self.text(in_file)?) {
            (Some(_), Some(_)) => Err(self.wrong(in_file, format!("is there beside {key}"))),
            (Some(text), None) if text.is_empty() => Err(self.wrong(key, "must not be empty")),
            (Some(text), None) => Ok(Some(Secret(text.into_bytes()))),
            (None, Some(path)) => self.secret_in_file(in_file, &path).map(Some),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn bytes_of_file(self, key: &str, path: &str) -> Result<Vec<u8>, Wrong> {
        std::fs::read(path)
            .map_err(|error| self.wrong(key, format!("cannot be read, {path}: {error}")))
    }

    /// A secret is what is in the file, without the end of its line.
    pub(super) fn secret_in_file(self, key: &str, path: &str) -> Result<Secret, Wrong> {
        let mut bytes = self.bytes_of_file(key, path)?;
        while bytes.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
        if bytes.is_empty() {
            return Err(self.wrong(key, format!("is empty: {path}")));
        }
        Ok(Secret(bytes))
    }
}

/// Secrets in the table and in those in it, and the names of files with such.
pub(super) fn secrets_of<'a>(table: &'a DeTable<'_>) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value.get_ref() {
            DeValue::String(text) if key.get_ref().starts_with("secret") => {
                found.push((&**key.get_ref(), &**text));
            }
            DeValue::Array(inner) => {
                let inner = inner.iter().filter_map(|value| match value.get_ref() {
                    DeValue::Table(table) => Some(table),
                    _ => None,
                });
                found.extend(inner.flat_map(secrets_of));
            }
            _ => {}
        }
    }
    found
}

/// The hash that 64 digits are.
pub(super) fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}
