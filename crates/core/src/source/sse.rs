//! The events of a text in the form of server-sent events.

use std::borrow::Cow;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// Its name, where it has one.
    pub(super) name: Option<&'a str>,
    /// Its lines of data, joined.
    pub(super) data: Cow<'a, str>,
}

/// The events of a text. One that no empty line ends counts as well: the text is all that there is
/// of it. What has neither a name nor data is none, such as a comment.
pub(super) fn events(text: &str) -> impl Iterator<Item = Event<'_>> {
    let mut lines = lines(text.strip_prefix('\u{feff}').unwrap_or(text));
    std::iter::from_fn(move || {
        let (mut name, mut data) = (None, None::<Cow<'_, str>>);
        loop {
            let line = lines.next();
            match line.filter(|line| !line.is_empty()).map(field) {
                Some(("event", value)) => name = Some(value),
                Some(("data", value)) => {
                    data = Some(match data {
                        None => Cow::Borrowed(value),
                        Some(before) => {
                            let mut all = before.into_owned();
                            all.push('\n');
                            all.push_str(value);
                            Cow::Owned(all)
                        }
                    });
                }
                Some(_) => {}
                None if name.is_some() || data.is_some() => {
                    return Some(Event { name, data: data.unwrap_or_default() });
                }
                None if line.is_none() => return None,
                None => {}
            }
        }
    })
}

/// A line's field and its value; of a comment the field is empty.
fn field(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name, value.strip_prefix(' ').unwrap_or(value))
}

/// Lines that end with CR LF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.find(['\r', '\n']).unwrap_or(text.len());
        let (line, behind) = text.split_at(end);
        let behind = behind.strip_prefix("\r\n").or_else(|| behind.get(1..));
        rest = behind.filter(|behind| !behind.is_empty());
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(Option<String>, String)> {
        events(text).map(|it| (it.name.map(str::to_owned), it.data.into_owned())).collect()
    }

    fn event(name: Option<&str>, data: &str) -> (Option<String>, String) {
        (name.map(str::to_owned), data.to_owned())
    }

    #[test]
    fn a_text_is_cut_into_events() {
        let text =
            ": hello\r\n\r\nevent: a\ndata: 1\n\nid: 5\rdata:2\rdata: 3\r\r\n\ndata\n\nevent:b";
        let expected =
            [event(Some("a"), "1"), event(None, "2\n3"), event(None, ""), event(Some("b"), "")];
        assert_eq!(all(text), expected);
        assert_eq!(all(""), []);
        assert_eq!(all("\n\n\n"), []);
        assert_eq!(all("\u{feff}data: x"), [event(None, "x")]);
        assert_eq!(all("data: x\n\n"), [event(None, "x")]);
    }
}
