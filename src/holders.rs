//! What each address and each subject has, and how fast it asks (protocol §5): limits that are none unless
//! they are configured, as who comes through one proxy has one address.
//!
//! Nobody is remembered who has nothing and has asked for nothing within a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::core::account::{Account, Charge, Kind};

/// Whoever has an IPv6 address has as many as these bits leave.
const IPV6_BITS: u32 = 64;
/// What one takes, about.
const HOLDER_BYTES: usize = 160;
/// So many are there before it is looked who has nothing any more.
const LOOK_FROM: usize = 1_024;
const SECOND_US: u64 = 1_000_000;

/// Somebody whose requests count together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Who asks from there.
    Address(IpAddr),
    /// Whose token it is.
    Subject(Arc<str>),
}

/// Somebody has too much, or asks too fast: to come again after so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch {
    pub(crate) retry_after: Duration,
}

/// Everybody. One per process.
#[derive(Debug)]
pub(crate) struct Holders {
    /// What an address may,
    address: Bounds,
    /// and what a subject.
    subject: Bounds,
    all: Mutex<All>,
    started: Instant,
}

/// 0: without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    connections: u32,
    attaches: u32,
    publications: u32,
}

#[derive(Debug)]
struct All {
    held: HashMap<Holder, Held>,
    look_from: usize,
    charge: Charge,
}

#[derive(Debug, Default)]
struct Held {
    connections: u32,
    attaches: Pace,
    publications: Pace,
}

/// How fast somebody asks: when everything that was asked for would be through at the pace that is allowed.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    through_us: u64,
}

/// A connection of somebody, as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    holders: Arc<Holders>,
    holder: Holder,
}

impl Holder {
    /// Who asks from an address.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> IPV6_BITS << IPV6_BITS;
                Ipv6Addr::from_bits(network).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Holders {
    pub(crate) fn new(limits: &Limits, account: &Account) -> Self {
        Self {
            address: Bounds {
                connections: limits.address_connections_max,
                attaches: limits.address_attaches_per_second_max,
                publications: limits.address_publications_per_second_max,
            },
            subject: Bounds {
                connections: limits.subject_connections_max,
                attaches: limits.subject_attaches_per_second_max,
                publications: limits.subject_publications_per_second_max,
            },
            all: Mutex::new(All {
                held: HashMap::new(),
                look_from: LOOK_FROM,
                charge: account.charge(Kind::Passes, 0),
            }),
            started: Instant::now(),
        }
    }

    /// A connection more; none where there is no limit.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(crate) fn sit(self: &Arc<Self>, holder: Holder) -> Result<Option<Seat>, TooMuch> {
        let connections_max = self.bounds(&holder).connections;
        if connections_max == 0 {
            return Ok(None);
        }
        self.with(&holder, |held, _| {
            if held.connections >= connections_max {
                return Err(TooMuch { retry_after: Duration::from_secs(1) });
            }
            held.connections += 1;
            Ok(())
        })?;
        Ok(Some(Seat { holders: self.clone(), holder }))
    }

    /// Somebody attaches.
    ///
    /// # Errors
    /// It is too soon.
    pub(crate) fn attach(&self, holder: &Holder) -> Result<(), TooMuch> {
        let per_second = self.bounds(holder).attaches;
        if per_second == 0 {
            return Ok(());
        }
        self.with(holder, |held, now_us| held.attaches.take(now_us, per_second))
    }

    /// Somebody publishes.
    ///
    /// # Errors
    /// It is too soon.
    pub(crate) fn publish(&self, holder: &Holder) -> Result<(), TooMuch> {
        let per_second = self.bounds(holder).publications;
        if per_second == 0 {
            return Ok(());
        }
        self.with(holder, |held, now_us| held.publications.take(now_us, per_second))
    }

    fn bounds(&self, holder: &Holder) -> Bounds {
        match holder {
            Holder::Address(_) => self.address,
            Holder::Subject(_) => self.subject,
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn with<T>(&self, holder: &Holder, what: impl FnOnce(&mut Held, u64) -> T) -> T {
        let now_us = self.now_us();
        let mut all = self.all.lock();
        let done = what(all.held.entry(holder.clone()).or_default(), now_us);
        if all.held.len() >= all.look_from {
            all.held.retain(|_, held| held.has_something(now_us));
            all.look_from = (2 * all.held.len()).max(LOOK_FROM);
            all.held.shrink_to(2 * LOOK_FROM);
        }
        let text = match holder {
            Holder::Address(_) => 0,
            Holder::Subject(subject) => subject.len(),
        };
        // Subjects are of bounded length: as if each were as long as this one.
        let bytes = all.held.len() * (HOLDER_BYTES + text);
        all.charge.set(bytes);
        done
    }
}

impl Held {
    fn has_something(&self, now_us: u64) -> bool {
        let is_asking = |pace: Pace| pace.through_us > now_us;
        self.connections > 0 || is_asking(self.attaches) || is_asking(self.publications)
    }
}

impl Pace {
    /// One more, of which so many are allowed a second; those of a second may come at once.
    fn take(&mut self, now_us: u64, per_second: u32) -> Result<(), TooMuch> {
        let step_us = SECOND_US / u64::from(per_second).clamp(1, SECOND_US);
        let through_us = self.through_us.max(now_us) + step_us;
        let early_us = through_us.saturating_sub(now_us + SECOND_US);
        if early_us > 0 {
            return Err(TooMuch { retry_after: Duration::from_micros(early_us) });
        }
        self.through_us = through_us;
        Ok(())
    }
}

impl Seat {
    /// Whether it is one of this holder.
    pub(crate) fn is_of(&self, holder: &Holder) -> bool {
        self.holder == *holder
    }

    /// Whether it is one of a token's subject, not of an address.
    pub(crate) fn is_of_a_subject(&self) -> bool {
        matches!(self.holder, Holder::Subject(_))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now_us = self.holders.now_us();
        let mut all = self.holders.all.lock();
        if let Some(held) = all.held.get_mut(&self.holder) {
            held.connections = held.connections.saturating_sub(1);
            if !held.has_something(now_us) {
                all.held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(limits: Limits) -> Arc<Holders> {
        Arc::new(Holders::new(&limits, &Account::new(1 << 20)))
    }

    fn at(address: &str) -> Holder {
        Holder::at(address.parse().unwrap())
    }

    #[test]
    fn each_has_connections_of_its_own_and_gives_them_back() {
        let limits = Limits { address_connections_max: 2, ..Limits::default() };
        let holders = holders(limits);
        let sit = |address| holders.sit(at(address));
        let (one, _two) = (sit("192.0.2.1").unwrap(), sit("::ffff:192.0.2.1").unwrap());
        assert!(one.is_some() && sit("192.0.2.1").is_err());
        assert!(sit("192.0.2.2").is_ok());
        drop(one);
        assert!(sit("192.0.2.1").is_ok());
        // A subject has no limit here.
        assert!(holders.sit(Holder::Subject("ada".into())).unwrap().is_none());
        // Who has nothing is forgotten.
        assert_eq!(holders.all.lock().held.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }

    #[test]
    fn those_of_a_second_may_come_at_once_and_then_at_their_pace() {
        let mut pace = Pace::default();
        let mut take = |now_us| pace.take(now_us, 10);
        for _ in 0..10 {
            assert_eq!(take(5), Ok(()));
        }
        let early = take(5).unwrap_err();
        assert_eq!(early.retry_after, Duration::from_millis(100));
        assert_eq!(take(100_005), Ok(()));
        assert!(take(100_005).is_err());
        for _ in 0..10 {
            assert_eq!(take(9_000_000), Ok(()));
        }
        assert!(take(9_000_000).is_err());
    }

    #[test]
    fn who_asked_once_is_forgotten_in_time() {
        let limits = Limits { address_attaches_per_second_max: 1_000_000, ..Limits::default() };
        let holders = holders(limits);
        for n in 0..20_000_u32 {
            holders.attach(&Holder::at(std::net::Ipv4Addr::from(n).into())).unwrap();
        }
        assert!(holders.all.lock().held.len() <= 2 * LOOK_FROM);
    }
}
