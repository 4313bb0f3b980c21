//! What the application answers: a yes, for how long, or a no. Nothing else is one.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

/// What it said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Said {
    /// He may, for so long; none: it does not say.
    Yes(Option<Duration>),
    /// He may not.
    No,
}

/// Other members mean nothing; one that is there twice spoils it all.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
    seconds: Option<f64>,
}

/// What an answer says.
///
/// # Errors
/// Why it is none, in words that hold nothing of it.
pub(super) fn read(status: StatusCode, body: Result<Vec<u8>, String>) -> Result<Said, String> {
    match status {
        StatusCode::OK => {}
        // So applications say no that know no other way.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Said::No),
        other => return Err(format!("it answers {other}")),
    }
    let none =
        || "its answer is no {\"allow\":true,\"seconds\":300} or {\"allow\":false}".to_owned();
    let body = body?;
    // A list would be read as the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(none());
    }
    let Answer { allow, seconds } = serde_json::from_slice(&body).map_err(|_| none())?;
    let lasts = match seconds {
        None => None,
        Some(seconds) if seconds > 0.0 => {
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Some(_) => return Err(none()),
    };
    Ok(if allow { Said::Yes(lasts) } else { Said::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_yes_is_one() {
        let yes = |seconds| Some(Said::Yes(Some(Duration::from_secs_f64(seconds))));
        for (body, said) in [
            (r#"{"allow":true,"seconds":300}"#, yes(300.0)),
            (r#" {"user":{"a":[1]},"seconds":0.5,"allow":true} "#, yes(0.5)),
            (r#"{"allow":true}"#, Some(Said::Yes(None))),
            (r#"{"allow":true,"seconds":null}"#, Some(Said::Yes(None))),
            (r#"{"allow":true,"seconds":1e300}"#, Some(Said::Yes(Some(Duration::MAX)))),
            (r#"{"allow":false}"#, Some(Said::No)),
            (r#"{"allow":false,"seconds":60}"#, Some(Said::No)),
            (r#"{"allow":"true"}"#, None),
            (r#"{"allow":1}"#, None),
            (r#"{"allow":null}"#, None),
            (r#"{"Allow":true}"#, None),
            (r#"{"allow":true,"seconds":0}"#, None),
            (r#"{"allow":true,"seconds":-1}"#, None),
            (r#"{"allow":true,"seconds":"60"}"#, None),
            (r#"{"allow":true,"seconds":1e999}"#, None),
            (r#"{"allow":false,"allow":true}"#, None),
            (r#"{"allow":true} {"#, None),
            (r#"{"allow":true"#, None),
            ("[true,60]", None),
            ("[true]", None),
            ("true", None),
            ("", None),
        ] {
            let read = read(StatusCode::OK, Ok(body.as_bytes().to_vec()));
            assert_eq!(read.ok(), said, "{body}");
        }
    }

    #[test]
    fn another_status_is_a_no_or_no_answer() {
        let yes = || Ok(br#"{"allow":true}"#.to_vec());
        for (status, said) in [
            (401, Some(Said::No)),
            (403, Some(Said::No)),
            (204, None),
            (302, None),
            (404, None),
            (500, None),
        ] {
            assert_eq!(read(StatusCode::from_u16(status).unwrap(), yes()).ok(), said, "{status}");
        }
        assert!(read(StatusCode::OK, Err("too long".to_owned())).is_err());
    }
}
