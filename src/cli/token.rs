//! What a command shows to a server, and whom it trusts: a token is never an argument, which others on the
//! machine can see.

use std::fmt::Display;
use std::path::Path;

use crate::client::{Client, ClientError};

/// The variable of the environment with a token.
const VARIABLE: &str = "TASKCAST_TOKEN";

/// A client for the server at an address, with the token of a file, or else of the environment; where there
/// is a file of authorities, those vouch for the server.
///
/// # Errors
/// What cannot be used, in words.
pub(super) fn client(
    url: &str,
    token_file: Option<&Path>,
    ca: Option<&Path>,
) -> Result<Client, String> {
    let mut client = Client::new(url).map_err(|error| error.to_string())?;
    if let Some(path) = ca {
        let said = |error: &dyn Display| format!("--ca {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| said(&error))?;
        client = client.with_authorities(&pem).map_err(|error| said(&error))?;
    }
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

/// An error with what to do about it, where a flag may help.
pub(super) fn explained(error: &ClientError) -> String {
    match error {
        ClientError::Denied { .. } => {
            format!("{error}; a token is taken from {VARIABLE}, or from the file of --token-file")
        }
        ClientError::UnknownAuthority { .. } | ClientError::Authorities(_) => {
            format!("{error}; --ca names a file with authorities")
        }
        _ => error.to_string(),
    }
}
