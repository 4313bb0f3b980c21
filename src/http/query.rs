//! The query of a request, and the percent-encoding of its path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters behind the '?' of a request's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of a target whose query this is; none is an empty one.
    pub(super) fn of(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The value of a parameter; of several with one name it is the first. One without '=' is empty.
    pub(super) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// A part of a path. What is not well-formed, or not UTF-8, becomes something that no id contains.
pub(super) fn decoded(part: &str) -> Cow<'_, str> {
    percent_decode_str(part).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_and_the_first_of_its_name_counts() {
        let query = Query::of(Some("x&since=5%2D0&since=6-0&limit=%31&a+b=c+d&%zz=%"));
        for (name, value) in [
            ("x", Some("")),
            ("since", Some("5-0")),
            ("limit", Some("1")),
            ("a b", Some("c d")),
            ("%zz", Some("%")),
            ("y", None),
        ] {
            assert_eq!(query.get(name).as_deref(), value, "{name}");
        }
        assert_eq!(Query::of(None).get("x"), None);
    }

    #[test]
    fn a_part_of_a_path_is_decoded_where_it_is_well_formed() {
        for (text, expected) in [
            ("t%31%5fa%2D", "t1_a-"),
            ("%zz%", "%zz%"),
            ("%4", "%4"),
            ("%ff", "\u{fffd}"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}
