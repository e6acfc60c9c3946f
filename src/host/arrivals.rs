//! Whether anything came or went on this machine: the kernel tells all who listen (uevents) of each device, class and
//! module. What was not there is not there yet as long as nothing was told.
//!
//! Source: `lib/kobject_uevent.c`; kobject_uevent(KOBJ_ADD) for classes, devices and modules.

use super::counted::{self, Socket};
use crate::sys;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long after a message the machine is not at rest: what it tells of may not be finished.
const SETTLE: Duration = Duration::from_secs(3);
/// An answer is good for so long: one pass asks many times.
const FRESH: Duration = Duration::from_millis(1);
/// So many looks are spared before there is one again, though nothing was told: some few things come without a message.
const SPARED_MAX: u8 = 20;
/// The first user name space (`PROC_USER_INIT_INO`). In others, nothing is told.
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;

/// One who listens; clones share what was heard. The default one hears nothing, and says so.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Option<Arc<Mutex<Heard>>>);

/// Where one listens is no part of where the files of a machine are.
impl PartialEq for Arrivals {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Arrivals {}

#[derive(Debug)]
struct Heard {
    ear: Ear,
    count: u64,
    last: Instant,
    asked: Option<Instant>,
}

#[derive(Debug)]
enum Ear {
    /// It is opened when somebody asks for the first time.
    Closed,
    Open(Socket),
    /// Nothing is told here.
    Deaf,
}

impl Arrivals {
    /// One who listens to the kernel of this machine.
    pub fn of_this_machine() -> Self {
        Self(Some(Arc::new(Mutex::new(Heard {
            ear: Ear::Closed,
            count: 0,
            last: Instant::now(),
            asked: None,
        }))))
    }

    /// A number that stays the same as long as nothing is told; `None` while something just was, or where nothing is
    /// told at all.
    fn rest(&self) -> Option<u64> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).rest(Instant::now())
    }
}

impl Heard {
    fn rest(&mut self, now: Instant) -> Option<u64> {
        if matches!(self.ear, Ear::Closed) {
            self.ear = listen().map_or(Ear::Deaf, Ear::Open);
            // What was told before is not known.
            self.last = now;
        }
        let Ear::Open(socket) = &self.ear else { return None };
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= FRESH) {
            self.asked = Some(now);
            if socket.was_told() {
                self.count += 1;
                self.last = now;
            }
        }
        (now.duration_since(self.last) >= SETTLE).then_some(self.count)
    }
}

fn listen() -> Option<Socket> {
    let namespace = counted::metadata("/proc/self/ns/user").ok()?;
    if namespace.ino() != FIRST_USER_NAMESPACE {
        return None;
    }
    Socket::listen(sys::News::Arrivals).ok()
}

/// That something was not there when it was looked for, and whether that can still be so.
#[derive(Debug, Default)]
pub(super) struct Absence {
    arrivals: Arrivals,
    since: Option<u64>,
    spared: u8,
}

impl Absence {
    pub(super) fn heard_by(arrivals: &Arrivals) -> Self {
        Self { arrivals: arrivals.clone(), since: None, spared: 0 }
    }

    /// Whether it is still not there, without a look.
    pub(super) fn holds(&mut self) -> bool {
        let holds = self.since.is_some() && self.spared < SPARED_MAX && self.arrivals.rest() == self.since;
        self.spared += u8::from(holds);
        if !holds {
            self.since = None;
        }
        holds
    }

    /// Looks for it; `found` says whether a result of `look` means that it is there.
    pub(super) fn look<T>(&mut self, look: impl FnOnce() -> T, found: impl FnOnce(&T) -> bool) -> T {
        let before = self.arrivals.rest();
        let result = look();
        self.spared = 0;
        self.since = before.filter(|_| !found(&result));
        result
    }
}

/// What was last seen of something that changes when devices come and go, or hardly ever. It is not looked at as long as
/// nothing was told.
#[derive(Debug)]
pub struct Seen<T> {
    last: Option<T>,
    rest: Absence,
}

impl<T: PartialEq> Seen<T> {
    /// Nothing was seen yet.
    pub fn heard_by(arrivals: &Arrivals) -> Self {
        Self { last: None, rest: Absence::heard_by(arrivals) }
    }

    /// What is there now, if it is other than what was kept; until it is kept in its turn, it is looked at each time.
    pub fn changed(&mut self, look: impl FnOnce() -> T) -> Option<T> {
        if self.last.is_some() && self.rest.holds() {
            return None;
        }
        let before = self.last.take();
        let present = self.rest.look(look, |_| false);
        if before.as_ref() == Some(&present) {
            self.last = before;
            return None;
        }
        Some(present)
    }

    /// Keeps what is there, once all that hangs on it was read.
    pub fn keep(&mut self, present: T) {
        self.last = Some(present);
    }
}

/// One who heard nothing for long, and where the kernel would tell.
#[cfg(test)]
pub(super) fn at_rest() -> (std::os::unix::net::UnixDatagram, Arrivals) {
    let (kernel, ours) = std::os::unix::net::UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ear = Ear::Open(Socket::from(std::os::fd::OwnedFd::from(ours)));
    let last = Instant::now().checked_sub(SETTLE * 2).unwrap();
    (kernel, Arrivals(Some(Arc::new(Mutex::new(Heard { ear, count: 7, last, asked: None })))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    fn pair() -> (UnixDatagram, UnixDatagram) {
        let (kernel, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (kernel, ours)
    }

    fn absence(socket: Option<OwnedFd>, quiet: Duration) -> Absence {
        let last = Instant::now().checked_sub(quiet).unwrap();
        let heard = Heard {
            ear: socket.map_or(Ear::Deaf, |socket| Ear::Open(Socket::from(socket))),
            count: 7,
            last,
            asked: None,
        };
        Absence::heard_by(&Arrivals(Some(Arc::new(Mutex::new(heard)))))
    }

    #[test]
    fn what_is_not_there_is_looked_for_again_once_something_was_told_and_now_and_then() {
        let (kernel, ours) = pair();
        let mut absence = absence(Some(ours.into()), SETTLE * 2);
        assert!(!absence.holds(), "it was never looked for");
        assert!(!absence.look(|| false, |found| *found));
        for _ in 0..SPARED_MAX {
            assert!(absence.holds());
        }
        assert!(!absence.holds(), "a look now and then");
        absence.look(|| false, |found| *found);
        assert!(absence.holds());
        kernel.send(b"add@/module/nvme").unwrap();
        std::thread::sleep(FRESH * 2);
        assert!(!absence.holds(), "something was told");
        absence.look(|| false, |found| *found);
        assert!(!absence.holds(), "what was told of may not be finished");
    }

    #[test]
    fn what_is_there_or_what_nobody_tells_of_is_always_looked_for() {
        let (_kernel, ours) = pair();
        let mut there = absence(Some(ours.into()), SETTLE * 2);
        there.look(|| true, |found| *found);
        assert!(!there.holds());
        let (_kernel, ours) = pair();
        for mut deaf in
            [Absence::default(), absence(None, SETTLE * 2), absence(Some(ours.into()), SETTLE / 2)]
        {
            deaf.look(|| false, |found| *found);
            assert!(!deaf.holds());
        }
    }

    #[test]
    fn what_was_seen_is_looked_at_until_it_is_kept_and_then_once_something_was_told_and_now_and_then() {
        let (kernel, arrivals) = at_rest();
        let mut seen = Seen::heard_by(&arrivals);
        assert_eq!(seen.changed(|| 1), Some(1));
        assert_eq!(seen.changed(|| 1), Some(1), "it was not kept");
        seen.keep(1);
        for _ in 0..SPARED_MAX {
            assert_eq!(seen.changed(|| 2), None, "no look");
        }
        assert_eq!(seen.changed(|| 2), Some(2), "a look now and then");
        seen.keep(2);
        assert_eq!(seen.changed(|| 3), None);
        kernel.send(b"change@/block/sda").unwrap();
        std::thread::sleep(FRESH * 2);
        assert_eq!(seen.changed(|| 2), None, "a look, and nothing new");
        assert_eq!(seen.changed(|| 3), Some(3), "what was told of may not be finished");
        assert_eq!(seen.changed(|| 2), Some(2), "what could not be read is read again");
    }

    #[test]
    fn this_machine_tells_or_says_that_it_does_not() {
        let arrivals = Arrivals::of_this_machine();
        assert_eq!(arrivals.rest(), None, "not at rest from the beginning");
    }
}
