//! What was seen, by name, to be printed.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub fn add(&mut self, what: &'static str) {
        self.add_many(what, 1);
    }

    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub fn add_many(&mut self, what: &'static str, number: usize) {
        *self.0.entry(what).or_default() += number as u64;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:>9}  {what}"))
    }
}
