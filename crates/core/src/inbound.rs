//! What viewers send: frames cut anywhere, put together to messages, checked as RFC 6455 asks.
//!
//! The decoder holds an unfinished frame or message and nothing else, so a viewer between two
//! messages needs none. Whatever comes in, it costs at most the message limit. It gives one message
//! at a time, so that whoever asks may stop after any of them; what lies whole in the input is not
//! copied.

use crate::form::ws::unmask;

/// A complete message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A Ping with its payload.
    Ping(&'a [u8]),
    /// A Pong.
    Pong,
    /// A Close with its code, if it had one. Nothing is read after it.
    Close(Option<u16>),
}

/// The viewer broke the protocol: the code to close with, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// 1002, 1007 or 1009.
    pub code: u16,
    /// For the Close frame's reason.
    pub reason: &'static str,
}

const HEADER_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: u64 = 125;
const NOT_UTF8: Violation = Violation { code: 1007, reason: "the text is not UTF-8" };

/// Decodes one viewer's bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    /// The frame whose payload is being read.
    frame: Option<FrameState>,
    /// The message that is being put together.
    message: Option<Message>,
    /// Payload of a control frame that is being read.
    control: Vec<u8>,
    /// What was given last, where it did not lie whole in the input.
    given: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct FrameState {
    opcode: u8,
    /// It ends its message; a control frame always does.
    last: bool,
    left: u64,
    mask: [u8; 4],
}

impl FrameState {
    fn is_control(self) -> bool {
        self.opcode & 0x08 != 0
    }
}

#[derive(Debug)]
struct Message {
    text: bool,
    bytes: Vec<u8>,
    /// Up to here it is valid UTF-8.
    checked: usize,
}

impl Decoder {
    /// Whether it stands between two messages and may be dropped.
    pub fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none() && !self.closed
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.bytes.capacity());
        size_of::<Self>() + message + self.control.capacity() + self.given.capacity()
    }

    /// The next message that the input completes; none where it completes none any more. What was
    /// looked at is taken from the input; it is unmasked in place.
    ///
    /// # Errors
    /// The first [`Violation`]; nothing may be asked after it.
    pub fn next<'held, 'input: 'held>(
        &'held mut self,
        input: &mut &'input mut [u8],
        message_bytes_max: usize,
    ) -> Result<Option<Inbound<'held>>, Violation> {
        self.given = Vec::new();
        while !self.closed {
            let Some(mut frame) = self.frame else {
                let missing = self.header_missing();
                if missing > 0 && input.is_empty() {
                    return Ok(None);
                }
                let head = take(input, missing);
                self.header[self.header_len..self.header_len + head.len()].copy_from_slice(head);
                self.header_len += head.len();
                if head.is_empty() {
                    self.frame = Some(self.begin_frame(message_bytes_max)?);
                }
                continue;
            };
            let payload = take(input, usize::try_from(frame.left).unwrap_or(usize::MAX));
            unmask(payload, frame.mask);
            frame.mask.rotate_left(payload.len() % 4);
            frame.left -= payload.len() as u64;
            self.frame = Some(frame);
            let complete = frame.left == 0 && frame.last;
            if complete && self.holds_nothing_of(frame) {
                self.end_frame(frame);
                let text = self.message.take_if(|_| !frame.is_control()).is_some_and(|it| it.text);
                return inbound(frame, text, payload).map(Some);
            }
            self.hold(frame, payload)?;
            if frame.left > 0 {
                return Ok(None);
            }
            self.end_frame(frame);
            if complete {
                return self.give(frame).map(Some);
            }
        }
        Ok(None)
    }

    /// How many bytes the header lacks.
    fn header_missing(&self) -> usize {
        let whole = match (self.header_len, self.header[1]) {
            (0 | 1, _) => 2,
            // Without a mask it is wrong already: nothing more has to come.
            (_, 0..0x80) => 2,
            (_, 0xfe) => 8,
            (_, 0xff) => 14,
            _ => 6,
        };
        whole - self.header_len.min(whole)
    }

    fn begin_frame(&mut self, message_bytes_max: usize) -> Result<FrameState, Violation> {
        let [first, second, ..] = self.header;
        let opcode = first & 0x0f;
        let last = first & 0x80 != 0;
        let control = opcode & 0x08 != 0;
        let (left, mask_at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 4),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.header[mask_at..mask_at + 4]);

        if first & 0x70 != 0 {
            return Err(protocol_error("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(protocol_error("a client's frames have to be masked"));
        }
        if control && (!last || left > CONTROL_BYTES_MAX) {
            return Err(protocol_error("a control frame is fragmented or longer than 125 bytes"));
        }
        if left > i64::MAX as u64 {
            return Err(protocol_error("the length's first bit is set"));
        }
        match (opcode, self.message.is_some()) {
            (0x0, true) | (0x8..=0xa, _) => {}
            (0x1 | 0x2, false) => {
                self.message = Some(Message { text: opcode == 1, bytes: Vec::new(), checked: 0 });
            }
            (0x0, false) => return Err(protocol_error("a continuation of nothing")),
            (0x1 | 0x2, true) => {
                return Err(protocol_error("a new message within a fragmented one"));
            }
            _ => return Err(protocol_error("a reserved opcode")),
        }
        let sofar = self.message.as_ref().map_or(0, |message| message.bytes.len());
        if !control && left.saturating_add(sofar as u64) > message_bytes_max as u64 {
            return Err(Violation { code: 1009, reason: "the message is too long" });
        }
        Ok(FrameState { opcode, last, left, mask })
    }

    fn end_frame(&mut self, frame: FrameState) {
        self.frame = None;
        self.header_len = 0;
        self.closed = frame.opcode == 0x8;
    }

    /// Whether all there is of a message or control frame is the payload at hand.
    fn holds_nothing_of(&self, frame: FrameState) -> bool {
        if frame.is_control() {
            return self.control.is_empty();
        }
        self.message.as_ref().is_some_and(|message| message.bytes.is_empty())
    }

    /// Keeps a part of a message or of a control frame.
    fn hold(&mut self, frame: FrameState, payload: &[u8]) -> Result<(), Violation> {
        if frame.is_control() {
            self.control.extend_from_slice(payload);
        } else if let Some(message) = &mut self.message {
            message.bytes.extend_from_slice(payload);
            if message.text {
                message.check_utf8(frame.last && frame.left == 0)?;
            }
        }
        Ok(())
    }

    /// Gives what was kept.
    fn give(&mut self, frame: FrameState) -> Result<Inbound<'_>, Violation> {
        let mut text = false;
        if frame.is_control() {
            self.given = std::mem::take(&mut self.control);
        } else if let Some(message) = self.message.take() {
            text = message.text;
            self.given = message.bytes;
        }
        inbound(frame, text, &self.given)
    }
}

impl Message {
    /// Checks what is new; `whole` says that nothing comes after it.
    fn check_utf8(&mut self, whole: bool) -> Result<(), Violation> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !whole => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

/// The first bytes of the input, at most that many.
fn take<'a>(input: &mut &'a mut [u8], number: usize) -> &'a mut [u8] {
    let number = number.min(input.len());
    input.split_off_mut(..number).unwrap_or_default()
}

/// What a whole message or control frame says.
fn inbound(frame: FrameState, text: bool, payload: &[u8]) -> Result<Inbound<'_>, Violation> {
    Ok(match frame.opcode {
        0x8 => Inbound::Close(close_code(payload)?),
        0x9 => Inbound::Ping(payload),
        0xa => Inbound::Pong,
        _ if text => Inbound::Text(std::str::from_utf8(payload).map_err(|_| NOT_UTF8)?),
        _ => Inbound::Binary(payload),
    })
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(protocol_error("a close code of one byte")),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("no such close code"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation { code: 1007, reason: "the close reason is not UTF-8" }),
    }
}

fn protocol_error(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first];
        match payload.len() {
            0..126 => bytes.push(0x80 | payload.len() as u8),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend((payload.len() as u16).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    /// Feeds in pieces of `step` bytes; what came out, as text.
    fn decode(bytes: &[u8], step: usize) -> Result<Vec<String>, Violation> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for mut piece in bytes.to_vec().chunks_mut(step) {
            while let Some(inbound) = decoder.next(&mut piece, LIMIT)? {
                out.push(format!("{inbound:?}"));
            }
        }
        Ok(out)
    }

    #[test]
    fn messages_come_out_whole_however_they_were_cut() {
        let mut bytes = frame(0x81, b"one");
        bytes.extend(frame(0x01, "tü".as_bytes()));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x80, b"wo"));
        bytes.extend(frame(0x82, &[0xff; 300]));
        bytes.extend(frame(0x8a, b""));
        bytes.extend(frame(0x88, &[0x03, 0xe8]));
        bytes.extend(frame(0x81, b"after the close"));
        let whole = decode(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[0], "Text(\"one\")");
        assert!(whole[1].starts_with("Ping"));
        assert_eq!(whole[2], "Text(\"tüwo\")");
        assert_eq!(whole[5], "Close(Some(1000))");
        for step in 1..20 {
            assert_eq!(decode(&bytes, step).unwrap(), whole, "{step}");
        }
    }

    #[test]
    fn violations_have_their_codes() {
        let code = |bytes: &[u8]| decode(bytes, 1).unwrap_err().code;
        assert_eq!(code(&frame(0xc1, b"")), 1002);
        assert_eq!(code(&[0x81, 0x01]), 1002);
        assert_eq!(code(&[0x89, 0x00]), 1002);
        assert_eq!(code(&frame(0x83, b"")), 1002);
        assert_eq!(code(&frame(0x8b, b"")), 1002);
        assert_eq!(code(&frame(0x09, b"")), 1002);
        assert_eq!(code(&frame(0x89, &[0; 126])), 1002);
        assert_eq!(code(&frame(0x80, b"")), 1002);
        assert_eq!(code(&[frame(0x01, b""), frame(0x81, b"")].concat()), 1002);
        assert_eq!(code(&frame(0x88, b"x")), 1002);
        assert_eq!(code(&frame(0x88, &[3, 237])), 1002);
        assert_eq!(code(&frame(0x88, &[3, 232, 0xff])), 1007);
        assert_eq!(code(&frame(0x81, &[0xff])), 1007);
        assert_eq!(code(&frame(0x81, &[0xc3])), 1007);
        assert_eq!(code(&frame(0x82, &[0; LIMIT + 1])), 1009);
        assert_eq!(code(&[frame(0x02, &[0; LIMIT]), frame(0x80, &[0])].concat()), 1009);
        assert_eq!(decode(&frame(0x82, &[0; LIMIT]), 7).unwrap().len(), 1);
    }

    #[test]
    fn invalid_text_is_told_at_the_first_wrong_byte() {
        let mut bytes = frame(0x01, &[0xc3]);
        bytes.extend(frame(0x00, &[0x28]));
        assert_eq!(decode(&bytes, bytes.len()).unwrap_err().code, 1007);
    }

    proptest! {
        #[test]
        fn never_panics_and_does_not_depend_on_the_cuts(
            bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..9usize,
        ) {
            prop_assert_eq!(decode(&bytes, step).ok(), decode(&bytes, 1).ok());
        }
    }
}
