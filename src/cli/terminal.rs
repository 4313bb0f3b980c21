//! What may be printed: texts of others are shown, and control no terminal.

/// Text that is safe to print: line breaks stay, tabs become spaces, and what would control the
/// terminal or turn the reading direction is spelled out.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            c if is_hostile(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

/// The same JSON, safe to print: what would control the terminal can only stand within strings,
/// where it can be written as `\u…`, or between values, where it is white space.
pub(super) fn clean_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' => clean.push('\n'),
            '\r' | '\t' => clean.push(' '),
            c if is_hostile(c) => clean.push_str(&format!("\\u{:04x}", c as u32)),
            c => clean.push(c),
        }
    }
    clean
}

/// Control characters, and the marks that override the direction of text.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
