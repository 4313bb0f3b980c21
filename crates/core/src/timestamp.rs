//! Times as text: ISO 8601 in UTC, to the millisecond, in the form that Python's `isoformat` and
//! `fromisoformat` share (`2026-01-31T12:00:00.000+00:00`). Reads no clock.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

/// 9999-12-31T23:59:59.999: years have four digits, and a stream id may hold any number.
const MS_MAX: u64 = 253_402_300_799_999;

/// Milliseconds since the epoch as text; what lies beyond the year 9999 as its last millisecond.
pub fn from_ms(ms: u64) -> String {
    let ms = ms.min(MS_MAX);
    let at =
        UtcDateTime::from_unix_timestamp((ms / 1000) as i64).unwrap_or(UtcDateTime::UNIX_EPOCH);
    let mut text = String::with_capacity("2026-01-31T12:00:00.000+00:00".len());
    for (number, digits, behind) in [
        (at.year().unsigned_abs(), 4, "-"),
        (u8::from(at.month()).into(), 2, "-"),
        (at.day().into(), 2, "T"),
        (at.hour().into(), 2, ":"),
        (at.minute().into(), 2, ":"),
        (at.second().into(), 2, "."),
        ((ms % 1000) as u32, 3, "+00:00"),
    ] {
        // By hand: formatting with a width costs far more, and each entry needs a time.
        for power in (0..digits).rev() {
            text.push((b'0' + (number / 10_u32.pow(power) % 10) as u8) as char);
        }
        text.push_str(behind);
    }
    text
}

/// Microseconds since the epoch, of an ISO 8601 text; one without an offset is taken as UTC.
pub fn parse_us(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let has_offset = text.ends_with(['Z', 'z'])
        || bytes.len() > 6 && matches!(bytes[bytes.len() - 6], b'+' | b'-') && bytes.len() > 19;
    let parsed = if has_offset {
        OffsetDateTime::parse(text, &Rfc3339)
    } else {
        OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339)
    };
    let nanos = parsed.ok()?.unix_timestamp_nanos();
    i64::try_from(nanos / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_text_and_the_text_reads_back() {
        assert_eq!(from_ms(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(from_ms(1_718_000_000_123), "2024-06-10T06:13:20.123+00:00");
        assert_eq!(from_ms(u64::MAX), "9999-12-31T23:59:59.999+00:00");
        assert_eq!(parse_us(&from_ms(1_718_000_000_123)), Some(1_718_000_000_123_000));
    }

    #[test]
    fn reads_what_python_writes() {
        for text in [
            "2024-06-10T06:13:20.123456+00:00",
            "2024-06-10T06:13:20.123456Z",
            "2024-06-10T06:13:20.123456",
            "2024-06-10T08:13:20.123456+02:00",
        ] {
            assert_eq!(parse_us(text), Some(1_718_000_000_123_456), "{text}");
        }
        assert_eq!(parse_us("2024-06-10T06:13:20"), Some(1_718_000_000_000_000));
        assert_eq!(parse_us("yesterday"), None);
        assert_eq!(parse_us("ü"), None);
    }
}
