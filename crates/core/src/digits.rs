//! Whole numbers as decimal text, for what is read and written very often.

use bytes::{BufMut, BytesMut};

/// The digits of the greatest number.
const DIGITS_MAX: usize = 20;

/// The number that these digits are: one or more of them, nothing else, and at most [`u64::MAX`].
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends a number.
pub fn put(out: &mut BytesMut, number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_reads_back(number: u64) {
            let mut out = BytesMut::new();
            put(&mut out, number);
            prop_assert!(*out == *number.to_string().as_bytes());
            prop_assert_eq!(parse(&out), Some(number));
        }

        #[test]
        fn what_is_no_number_is_none(text in r"[0-9 +-]{0,22}") {
            let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let expected = text.parse().ok().filter(|_| digits_only);
            prop_assert_eq!(parse(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_greatest_number_fits_and_one_more_does_not() {
        assert_eq!(parse(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse(b"18446744073709551616"), None);
        assert_eq!(parse(b"000000000000000000000000000007"), Some(7));
    }
}
