//! Percent-encoding in paths and queries (RFC 3986 §2.1).

/// Decodes `%XX`; what is not well-formed, or not UTF-8, becomes something that no id contains.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).map(|(high, low)| ((high << 4 | low) as u8, after))
            }
            _ => None,
        };
        match escaped {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn what_is_well_formed_is_decoded_and_the_rest_stays() {
        for (text, decoded) in [
            ("t%31%5fa%2D", "t1_a-"),
            ("%zz%", "%zz%"),
            ("%4", "%4"),
            ("%%34%31", "%41"),
            ("%ff", "\u{fffd}"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(percent_decoded(text), decoded, "{text}");
        }
    }
}
