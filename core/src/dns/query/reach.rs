//! Which address families lead anywhere, as far as a run has seen.
//!
//! Where a whole family is swallowed on the way, each of its addresses costs a time-out a round. Two servers that stay silent, none
//! of the family that has ever answered, and answers in the other family are enough to leave it alone for the rest of the run.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// What was seen of both families.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<Families>);

#[derive(Debug, Default)]
struct Families {
    v4: Seen,
    v6: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    answered: bool,
    silent: BTreeSet<IpAddr>,
}

impl Reach {
    /// Notes an answer.
    pub(super) fn heard(&self, server: IpAddr) {
        self.lock().own(server).answered = true;
    }

    /// Notes that nothing came, over UDP and TCP.
    pub(super) fn silent(&self, server: IpAddr) {
        self.lock().own(server).silent.insert(server);
    }

    /// Why it is of no use to ask there.
    pub(super) fn closed(&self, server: IpAddr) -> Option<&'static str> {
        if server.is_loopback() {
            return None;
        }
        let mut families = self.lock();
        let own = families.own(server);
        let swallowed = !own.answered && own.silent.len() >= ENOUGH;
        let (other, why) = match server.is_ipv4() {
            true => (&families.v6, "nobody answers over IPv4 from here"),
            false => (&families.v4, "nobody answers over IPv6 from here"),
        };
        (swallowed && other.answered).then_some(why)
    }

    fn lock(&self) -> MutexGuard<'_, Families> {
        // Nothing that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Families {
    fn own(&mut self, server: IpAddr) -> &mut Seen {
        match server.is_ipv4() {
            true => &mut self.v4,
            false => &mut self.v6,
        }
    }
}

/// One that is silent may be dead.
const ENOUGH: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_closed_when_the_other_one_is_open() {
        let reach = Reach::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let third = at("2001:db8::3");
        reach.silent(at("2001:db8::1"));
        reach.silent(at("2001:db8::1"));
        reach.heard(at("192.0.2.1"));
        assert_eq!(reach.closed(third), None, "one may be dead");
        reach.silent(at("2001:db8::2"));
        assert!(reach.closed(third).is_some());
        assert_eq!(reach.closed(at("192.0.2.2")), None);
        assert_eq!(reach.closed(at("::1")), None, "nothing is between");
        // An answer that was under way.
        reach.heard(third);
        assert_eq!(reach.closed(third), None);

        let nobody = Reach::default();
        nobody.silent(at("2001:db8::1"));
        nobody.silent(at("2001:db8::2"));
        assert_eq!(nobody.closed(third), None, "the whole network may be away");
    }
}
