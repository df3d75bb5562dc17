//! How often somebody may try a password. After some tries each next one has to wait longer, up to a limit: nobody is ever shut
//! out for good, and whoever guesses gets nowhere.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

/// Wrong tries in a row that need no wait, and the longest wait, in seconds. For a name the wait stays short, because a stranger can
/// make its owner wait, too.
const NAME: (u32, u32) = (5, 30);
const ADDRESS: (u32, u32) = (10, 900);

/// After this time without a try they are forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// How many names and addresses are remembered at most; the oldest go first.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    last: Timestamp,
}

/// The tries that were wrong, or are not decided yet.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    tries: HashMap<Key, Tries>,
}

impl Limits {
    /// A try begins; it counts as wrong until it is not, so that many at once win nothing.
    ///
    /// # Errors
    ///
    /// How many seconds to wait, at least 1. Such a try does not count.
    pub fn begin(&mut self, name: &str, address: IpAddr, now: Timestamp) -> Result<(), u64> {
        let keys = keys(name, address);
        let wait = keys.iter().map(|(key, limit)| self.wait(key, *limit, now)).max().unwrap_or(0);
        if wait > 0 {
            return Err(wait);
        }
        for (key, _) in keys {
            let tries = self.tries.entry(key).or_insert(Tries { count: 0, last: now });
            *tries = Tries { count: tries.count.saturating_add(1), last: now };
        }
        self.forget(now);
        Ok(())
    }

    /// The try that began was right. The name begins anew; for the address only this try is taken back, or whoever has a name
    /// could guess at others for ever.
    pub fn was_right(&mut self, name: &str, address: IpAddr) {
        let [(name, _), (address, _)] = keys(name, address);
        self.tries.remove(&name);
        if let Some(tries) = self.tries.get_mut(&address) {
            tries.count = tries.count.saturating_sub(1);
        }
    }

    fn wait(&self, key: &Key, (free, longest_s): (u32, u32), now: Timestamp) -> u64 {
        let Some(tries) = self.tries.get(key) else { return 0 };
        let passed = now.duration_since(tries.last);
        if tries.count < free || passed >= FORGOTTEN_AFTER {
            return 0;
        }
        let wait_s = 1_u32.checked_shl(tries.count - free).unwrap_or(longest_s).min(longest_s);
        // A clock that went back must not make anybody wait longer than the longest wait.
        let passed_ms = passed.as_millis().max(0);
        let left_ms = i128::from(wait_s) * 1000 - passed_ms;
        u64::try_from((left_ms + 999) / 1000).unwrap_or(0)
    }

    fn forget(&mut self, now: Timestamp) {
        if self.tries.len() <= REMEMBERED_MAX {
            return;
        }
        self.tries.retain(|_, tries| now.duration_since(tries.last) < FORGOTTEN_AFTER);
        while self.tries.len() > REMEMBERED_MAX {
            let oldest = self.tries.iter().min_by_key(|(_, tries)| tries.last).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.tries.remove(&oldest);
        }
    }
}

fn keys(name: &str, address: IpAddr) -> [(Key, (u32, u32)); 2] {
    // The rest of a name is longer than any name that there can be.
    let name = name.chars().take(100).collect();
    [(Key::Name(name), NAME), (Key::Address(network(address)), ADDRESS)]
}

/// Whoever has an IPv6 address has a whole network of 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn other(number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
    }

    #[test]
    fn the_wait_for_a_name_doubles_up_to_its_limit_wherever_the_tries_come_from() {
        let mut limits = Limits::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for number in 0..12 {
            if let Err(wait) = limits.begin("anna", other(number), at(now)) {
                waits.push(wait);
                now += i64::try_from(wait).unwrap();
                limits.begin("anna", other(number), at(now)).unwrap();
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        // Another name does not wait; and after an hour nobody does.
        limits.begin("ben", other(200), at(now)).unwrap();
        limits.begin("anna", other(200), at(now + 3600)).unwrap();
    }

    #[test]
    fn an_address_that_tries_many_names_waits_up_to_a_quarter_of_an_hour() {
        let mut limits = Limits::default();
        let mut now = 0;
        let mut longest = 0;
        for number in 0..30 {
            if let Err(wait) = limits.begin(&format!("name{number}"), HERE, at(now)) {
                longest = wait;
                now += i64::try_from(wait).unwrap();
                limits.begin(&format!("name{number}"), HERE, at(now)).unwrap();
            }
        }
        assert_eq!(longest, 900);
        limits.begin("anna", other(1), at(now)).unwrap();
    }

    #[test]
    fn a_try_that_has_to_wait_does_not_make_the_wait_longer() {
        let mut limits = Limits::default();
        for _ in 0..5 {
            limits.begin("anna", HERE, at(0)).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(limits.begin("anna", HERE, at(0)), Err(1));
        }
        limits.begin("anna", HERE, at(1)).unwrap();
    }

    #[test]
    fn a_right_password_clears_the_name_but_not_the_address() {
        let mut limits = Limits::default();
        for _ in 0..4 {
            limits.begin("anna", HERE, at(0)).unwrap();
        }
        limits.begin("anna", HERE, at(0)).unwrap();
        limits.was_right("anna", HERE);
        for number in 0..6 {
            limits.begin(&format!("name{number}"), HERE, at(0)).unwrap();
        }
        assert_eq!(limits.begin("anna", HERE, at(0)), Err(1));
        limits.begin("anna", other(1), at(0)).unwrap();
    }

    #[test]
    fn a_clock_that_went_back_does_not_shut_anybody_out() {
        let mut limits = Limits::default();
        for _ in 0..5 {
            limits.begin("anna", HERE, at(100_000)).unwrap();
        }
        assert_eq!(limits.begin("anna", HERE, at(0)), Err(1));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let mut limits = Limits::default();
        let host = |host: u128| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | host));
        for number in 0..10 {
            limits.begin(&format!("name{number}"), host(number), at(0)).unwrap();
        }
        assert_eq!(limits.begin("anna", host(77), at(0)), Err(1));
        for number in 0..20_000_u32 {
            let address = IpAddr::V4(Ipv4Addr::from(number));
            limits.begin(&format!("other{number}"), address, at(1)).unwrap();
            if limits.tries.len() > REMEMBERED_MAX {
                panic!("{} are remembered", limits.tries.len());
            }
            if number == 6000 {
                break;
            }
        }
    }
}
