//! A reader that follows the stream, and what its verdicts are held against.

use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast::core::gap::GapReason;
use taskcast::core::judge::{Known, Verdict};
use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

use crate::counts::Counts;
use crate::naive::{Entry, Fate, Number, Stream, Truth, truth};
use crate::unnoticed;
use crate::world::World;

const RESET: Verdict = Verdict::Gap(GapReason::Reset);

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Now and then only so many entries, up to this; 0 where it always reads all.
    pub entries_max: usize,
    /// Now and then it looks at nothing but the stream's length.
    pub by_length: bool,
}

pub struct Reader {
    pub known: Known,
    /// The last entry of what was read, or went withdrawn before.
    pub mark: Option<Number>,
    /// The last entry that it got, or where it began; with its number.
    pub last: (StreamId, Option<Number>),
    style: Style,
}

/// What a read found behind the reader's position.
struct Page {
    entries: Vec<Entry>,
    capped: bool,
}

impl Reader {
    /// Begins with all there is.
    pub fn attach(world: &World, facts: StreamFacts, style: Style) -> Self {
        let mark = newest(world);
        let known = Known::all_of(facts);
        let last = world.stream.iter().flat_map(Stream::there).last();
        let last = last.map_or((known.position(), mark), |entry| (entry.id, Some(entry.number)));
        Self { known, mark, last, style }
    }

    /// Reads once, and says whether it told a gap.
    pub fn read(
        &mut self,
        world: &World,
        facts: StreamFacts,
        random: &mut StdRng,
        counts: &mut Counts,
    ) -> Result<Verdict, String> {
        counts.add("follow: reads");
        let page = self.page(world, random);
        let truth = truth(world.stream.as_ref(), self.mark);
        if self.style.by_length && self.length_proves(&facts, &page) && random.random_bool(0.5) {
            counts.add("follow: reads by length alone");
            return self.go_on_by_length(world, facts, &page, truth, counts);
        }
        let entries = page.entries.len() as u64;
        let verdict = self.known.follow(&facts, entries);
        match verdict {
            Verdict::Complete => self.check_silence(world, &facts, entries, truth, counts)?,
            Verdict::Gap(_) => self.check_gap(world, &facts, verdict, truth, counts)?,
        }
        if verdict == Verdict::Complete && truth != Truth::Other {
            self.go_on(world, facts, &page);
            self.check_position(world, page.capped)?;
        } else {
            // What comes of an unnoticed stream is no concern of its own.
            *self = Self::attach(world, facts, self.style);
        }
        let next = self.page(world, random).entries.len() as u64;
        if self.known.follow(&facts, next) != Verdict::Complete {
            return Err("a gap is told where nothing happened since the read".into());
        }
        Ok(verdict)
    }

    fn page(&self, world: &World, random: &mut StdRng) -> Page {
        let there = world.stream.iter().flat_map(Stream::there);
        let behind = there.filter(|entry| entry.id > self.known.position());
        let mut entries: Vec<Entry> = behind.copied().collect();
        let mut capped = false;
        if self.style.entries_max > 0 && random.random_bool(0.7) {
            let entries_max = random.random_range(1..=self.style.entries_max);
            entries.truncate(entries_max);
            capped = entries.len() == entries_max;
        }
        Page { entries, capped }
    }

    fn length_proves(&self, facts: &StreamFacts, page: &Page) -> bool {
        let before = self.known.facts();
        before.length > 0
            && before.last_generated == self.known.position()
            && facts.length == before.length + page.entries.len() as u64
            && !page.capped
    }

    fn go_on_by_length(
        &mut self,
        world: &World,
        facts: StreamFacts,
        page: &Page,
        truth: Truth,
        counts: &mut Counts,
    ) -> Result<Verdict, String> {
        match truth {
            Truth::Trimmed => return Err("an entry was trimmed, and the length hides it".into()),
            Truth::Other if unnoticed::ids_fell(world, self.known.facts()) => {
                counts.add("follow: another stream unnoticed by length, its ids fell");
                *self = Self::attach(world, facts, self.style);
                return Ok(Verdict::Complete);
            }
            Truth::Other => return Err("the length hides another stream".into()),
            Truth::Whole => {}
        }
        if let [first, .., last] | [first @ last] = page.entries[..] {
            self.known.advance(first.id, last.id, page.entries.len() as u64);
            self.mark = Some(last.number);
            self.last = (last.id, self.mark);
        }
        self.check_position(world, true)?;
        Ok(Verdict::Complete)
    }

    fn go_on(&mut self, world: &World, facts: StreamFacts, page: &Page) {
        let last = page.entries.last();
        if let Some(last) = last {
            self.last = (last.id, Some(last.number));
        }
        match last {
            Some(last) if page.capped => {
                self.known.advance_capped(last.id, page.entries.len() as u64, facts);
                self.mark = Some(last.number);
            }
            _ => {
                self.known = Known::all_of(facts);
                self.mark = newest(world);
            }
        }
    }

    /// An ordinal may be too low where something was withdrawn unseen, and never too high.
    fn check_position(&self, world: &World, may_be_low: bool) -> Result<(), String> {
        let exact = world.stream.as_ref().map_or(Some(0), |stream| stream.ordinal(self.mark));
        let low = self.known.ordinal() < exact && may_be_low;
        if low || self.known.ordinal() == exact {
            return Ok(());
        }
        Err(format!("the ordinal of {:?} is {exact:?}, not {:?}", self.mark, self.known.ordinal()))
    }

    fn check_silence(
        &self,
        world: &World,
        facts: &StreamFacts,
        entries: u64,
        truth: Truth,
        counts: &mut Counts,
    ) -> Result<(), String> {
        match truth {
            Truth::Whole if self.missed_withdrawn(world) => {
                counts.add("follow: complete, though something was withdrawn unread");
            }
            Truth::Whole if self.mark.is_none() && world.went > 0 => {
                counts.add("follow: another stream unnoticed, came and went while at 0-0");
            }
            Truth::Whole => {}
            Truth::Trimmed => return Err("follow hides that an entry was trimmed".into()),
            Truth::Other => {
                let excuse = unnoticed::excuse(world, &self.known, facts, entries);
                counts.add(excuse.ok_or("follow hides another stream")?);
            }
        }
        Ok(())
    }

    fn missed_withdrawn(&self, world: &World) -> bool {
        let Some(stream) = &world.stream else { return false };
        let read = stream.ordinal(self.mark).unwrap_or(0) as usize;
        stream.history()[read..].iter().any(|entry| entry.fate == Fate::Withdrawn)
    }

    fn check_gap(
        &self,
        world: &World,
        facts: &StreamFacts,
        verdict: Verdict,
        truth: Truth,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if truth != Truth::Other && verdict == RESET {
            return Err("follow tells of another stream, and it is the same".into());
        }
        let position = self.known.position();
        match truth {
            Truth::Trimmed => counts.add("follow: trimmed entries told"),
            Truth::Other => counts.add("follow: other streams told"),
            Truth::Whole => {
                let exact = world.stream.as_ref().and_then(|stream| stream.ordinal(self.mark));
                let removed = facts.removed();
                let above = facts.floor() > position;
                let withdrawn = facts.max_deleted > Some(position);
                if above && withdrawn && removed > exact.map(|exact| exact + 1) {
                    counts.add("follow: false gap, two or more withdrawn and nothing older there");
                } else if above && self.known.ordinal() < exact {
                    counts.add("follow: false gap, ordinal too low after a capped read");
                } else {
                    return Err(format!("follow tells {verdict:?}, and nothing is missing"));
                }
            }
        }
        Ok(())
    }
}

/// The newest entry that there ever was.
fn newest(world: &World) -> Option<Number> {
    world.stream.as_ref()?.history().last().map(|entry| entry.number)
}
