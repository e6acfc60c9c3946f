//! The sockets that programs of a target connect to by systemd's memory pressure protocol, and the thread that serves them.
//!
//! The protocol (<https://systemd.io/PRESSURE/>): a program connects, may write what `$MEMORY_PRESSURE_WRITE` says, and
//! takes whatever it can read for a sign of pressure. Here the sign is given by an action, through the
//! [`crate::host::hand::Audience`]; what programs write is read and means nothing.

mod socket;

use super::executor::{Settings, Shared};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket::Socket;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// When a socket that could not be made is tried again, and when it is looked whether the others still have their names.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Wakes the thread: other settings, or the end.
#[derive(Debug, Default)]
pub(super) struct Bell(OnceLock<UnixStream>);

impl Bell {
    pub(super) fn ring(&self) {
        // A bell that is full has been rung.
        let _rung = self.0.get().map(|mut bell| bell.write(b"."));
    }
}

/// Starts the thread.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let (bell, ear) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ear.set_nonblocking(true)?;
    // It is the only one.
    let _first = shared.bell.0.set(bell);
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("sockets".into()).spawn(move || run(&shared, &ear))
}

fn run(shared: &Shared, mut ear: &UnixStream) {
    let mut settings = shared.settings();
    let (mut sockets, mut counted) = (Vec::new(), Vec::new());
    arrange(&mut sockets, &settings, shared);
    let mut looked = Instant::now();
    while !shared.stopping() {
        count(&sockets, &mut counted, shared);
        let mut ready = wait(ear, &sockets).into_iter();
        if ready.next() == Some(true) {
            let mut rung = [0; 64];
            while ear.read(&mut rung).is_ok_and(|n| n > 0) {}
        }
        for socket in &mut sockets {
            socket.serve(&mut ready, &settings.observer, &shared.audience);
        }
        let now = shared.settings();
        let changed = !Arc::ptr_eq(&now, &settings);
        if changed || looked.elapsed() >= LOOK_EVERY {
            settings = now;
            arrange(&mut sockets, &settings, shared);
            looked = Instant::now();
        }
    }
    for socket in sockets {
        shared.audience.set(socket.path(), Vec::new());
    }
}

/// Makes what the settings want and is not there; ends what they do not want any more. Connections of what stays, stay.
fn arrange(sockets: &mut Vec<Socket>, settings: &Settings, shared: &Shared) {
    let wanted = || {
        let targets = settings.options.targets.iter();
        targets.flat_map(|target| target.pressure_sockets().map(move |place| (target, place)))
    };
    sockets.retain(|socket| {
        let stays = wanted().any(|(target, place)| socket.is_for(target, &place));
        if !stays {
            shared.audience.set(socket.path(), Vec::new());
        }
        stays
    });
    for (target, place) in wanted() {
        match sockets.iter_mut().find(|socket| socket.is_for(target, &place)) {
            Some(socket) => socket.place = place,
            None => sockets.push(Socket::new(target.clone(), place)),
        }
    }
    for socket in sockets {
        socket.bind(&settings.host);
    }
}

/// Shows how many are connected, and keeps it in `counted`.
fn count(sockets: &[Socket], counted: &mut Vec<(String, usize)>, shared: &Shared) {
    let mut now: Vec<(String, usize)> = Vec::new();
    for socket in sockets {
        match now.iter_mut().find(|(target, _)| target == socket.target_name()) {
            Some((_, n)) => *n += socket.connected(),
            None => now.push((socket.target_name().to_owned(), socket.connected())),
        }
    }
    for (target, _) in counted.iter().filter(|(old, _)| !now.iter().any(|(new, _)| new == old)) {
        shared.metrics.connections(target, None);
    }
    for (target, n) in &now {
        shared.metrics.connections(target, Some(*n));
    }
    *counted = now;
}

/// Waits until there is something to do. Says which descriptors are ready: the bell's, and then those of all sockets, in
/// the order in which [`Socket::descriptors`] has them.
fn wait(ear: &UnixStream, sockets: &[Socket]) -> Vec<bool> {
    let mut polled = vec![PollFd::new(ear, PollFlags::IN)];
    polled.extend(sockets.iter().flat_map(Socket::descriptors));
    // Without sockets, only the bell.
    let time = (!sockets.is_empty()).then_some(LOOK_EVERY);
    let rests = sockets.iter().filter_map(Socket::rests).min();
    let time = time.map(|time| time.min(rests.unwrap_or(time)));
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    match poll(&mut polled, time.as_ref()) {
        Ok(_) => polled.iter().map(|p| !p.revents().is_empty()).collect(),
        Err(e) => {
            if e != rustix::io::Errno::INTR {
                // No memory, say. Not to be asked again at once.
                std::thread::sleep(Duration::from_secs(1));
            }
            Vec::new()
        }
    }
}
