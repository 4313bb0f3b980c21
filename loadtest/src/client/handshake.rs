//! The opening handshake of RFC 6455, both ends of it: viewers ask, the floor answers.

use sha1_smol::Sha1;
use std::fmt::Write;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const HEADERS_MAX: usize = 32;

/// A key of 16 bytes from two random words.
pub(crate) fn key(high: u64, low: u64) -> String {
    base64(&(u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// The answer that proves that a server understood `key`.
pub(crate) fn accept(key: &str) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(GUID.as_bytes());
    base64(&sha1.digest().bytes())
}

pub(crate) fn request(host: &str, path: &str, key: &str, token: Option<&str>) -> String {
    let authorization = match token {
        None => String::new(),
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{authorization}\r\n"
    )
}

/// Checks a server's answer: `None` when it is not whole yet, else its length in bytes.
pub(crate) fn check_answer(bytes: &[u8], key: &str) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the handshake's answer is no HTTP: {error}")),
    };
    let code = answer.code.unwrap_or_default();
    if code != 101 {
        let body = String::from_utf8_lossy(&bytes[length..]).chars().take(200).collect::<String>();
        return Err(format!("the handshake was answered with HTTP {code} {}", body.trim()));
    }
    let header = |name: &str| {
        let found = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|h| String::from_utf8_lossy(h.value).trim().to_string()).unwrap_or_default()
    };
    if !header("Upgrade").eq_ignore_ascii_case("websocket") {
        return Err("the handshake's answer has no Upgrade: websocket".into());
    }
    if header("Sec-WebSocket-Accept") != accept(key) {
        return Err("the handshake's answer has a wrong Sec-WebSocket-Accept".into());
    }
    Ok(Some(length))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize] as char;
            // Writing to a String cannot fail.
            let _ = text.write_char(if place <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(base64(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn answers_are_checked() {
        let key = key(1, 2);
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {}\r\n\r\n",
            accept(&key)
        );
        assert_eq!(check_answer(good.as_bytes(), &key), Ok(Some(good.len())));
        for cut in 0..good.len() {
            assert_eq!(check_answer(&good.as_bytes()[..cut], &key), Ok(None), "cut at {cut}");
        }
        assert!(check_answer(good.as_bytes(), &super::key(1, 3)).is_err());
        assert!(check_answer(b"HTTP/1.1 503 No\r\n\r\n", &key).is_err());
        assert!(check_answer(b"hello", &key).is_err());
    }
}
