//! Somebody between client and server, who has no keys.

/// An input, byte by byte: 0 behind its end.
pub struct Script<'a>(std::slice::Iter<'a, u8>);

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// A length in steps of so many bytes; 0 stands for all there is.
    pub fn len(&mut self, step: usize) -> usize {
        match self.next() {
            0 => usize::MAX,
            1 => 1,
            steps => usize::from(steps) * step,
        }
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        self.0.by_ref().take(bytes).copied().collect()
    }
}

/// Passes records on, or what becomes of them.
pub struct Meddler {
    is_idle: bool,
    /// One that is held back until the next.
    held: Vec<u8>,
}

impl Meddler {
    pub fn new(is_idle: bool) -> Self {
        Self { is_idle, held: Vec::new() }
    }

    /// What is passed on of the records that were sent.
    pub fn pass_on(&mut self, sent: Vec<u8>, script: &mut Script<'_>) -> Vec<u8> {
        if self.is_idle {
            return sent;
        }
        let mut passed = Vec::new();
        let mut rest = sent.as_slice();
        while let [_, _, _, high, low, ..] = rest {
            let len = 5 + usize::from(*high) * 256 + usize::from(*low);
            let (record, others) = rest.split_at(len.min(rest.len()));
            rest = others;
            self.meddle(record.to_vec(), script, &mut passed);
        }
        passed
    }

    fn meddle(&mut self, mut record: Vec<u8>, script: &mut Script<'_>, passed: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        match script.next() % 16 {
            1 => {
                let at = place(script, record.len());
                record[at] ^= script.next().max(1);
            }
            2 => record.clear(),
            3 => record = record.repeat(2),
            4 => record.truncate(place(script, record.len())),
            // The head tells of less.
            5 if record.len() > 5 => {
                record.truncate(5 + place(script, record.len() - 5));
                set_len(&mut record);
            }
            6 => self.held = std::mem::take(&mut record),
            // In two records.
            7 if record.len() > 6 => {
                let second = record.split_off(6 + place(script, record.len() - 6));
                let mut second = [&record[..5], &second].concat();
                set_len(&mut record);
                set_len(&mut second);
                record.append(&mut second);
            }
            // Another record before it, of any kind.
            8 => {
                let kind = [20, 21, 22, 23, 24][usize::from(script.next()) % 5];
                let len = usize::from(script.next());
                let mut other = [&[kind, 3, 3, 0, 0][..], &script.take(len)].concat();
                set_len(&mut other);
                other.append(&mut record);
                record = other;
            }
            // A head that tells of much, and that much.
            9 => {
                let len = u16::from_be_bytes([script.next(), script.next()]);
                let mut other = vec![23, 3, 3];
                other.extend(len.to_be_bytes());
                other.resize(5 + usize::from(len), script.next());
                other.append(&mut record);
                record = other;
            }
            // Bytes before it.
            10 => {
                let len = usize::from(script.next());
                record.splice(..0, script.take(len));
            }
            _ => {}
        }
        passed.append(&mut record);
        passed.extend(held);
    }
}

fn place(script: &mut Script<'_>, len: usize) -> usize {
    usize::from(u16::from_be_bytes([script.next(), script.next()])) % len
}

/// Says in the head of a record how long it is.
fn set_len(record: &mut [u8]) {
    let len = (record.len() - 5) as u16;
    record[3..5].copy_from_slice(&len.to_be_bytes());
}
