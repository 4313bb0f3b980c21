//! The token that a command shows to a server: never an argument, which others on the machine can see.

use std::path::Path;

use crate::client::{Client, ClientError};

/// The variable of the environment with a token.
const VARIABLE: &str = "TASKCAST_TOKEN";

/// A client for the server at an address, with the token of a file, or else of the environment.
///
/// # Errors
/// What cannot be used, in words.
pub(super) fn client(url: &str, token_file: Option<&Path>) -> Result<Client, String> {
    let client = Client::new(url).map_err(|error| error.to_string())?;
    let token = match token_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the token, {}: {error}", path.display()))?,
        None => std::env::var(VARIABLE).unwrap_or_default(),
    };
    match token.trim() {
        "" => Ok(client),
        token => client.with_token(token).map_err(|error| error.to_string()),
    }
}

/// An error with what to do about it, where a token may help.
pub(super) fn explained(error: &ClientError) -> String {
    match error {
        ClientError::Denied { .. } => {
            format!("{error}; a token is taken from {VARIABLE}, or from the file of --token-file")
        }
        _ => error.to_string(),
    }
}
