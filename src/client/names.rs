//! Names of hosts: looked up on a few threads of their own, so that a resolver that is silent stops nothing else.

use super::apart::Apart;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Lookups at once.
const LOOKUPS_MAX: usize = 2;

type Addresses = Arc<[SocketAddr]>;
/// An error is told to all who wait for the lookup.
type Answer = Result<Addresses, (io::ErrorKind, String)>;
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;
type Flight = watch::Sender<Option<Answer>>;

/// Looks up names; who has a copy shares its threads, and each name is looked up once for all who wait for it.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    apart: Apart,
    lookup: Box<Lookup>,
    /// Lookups that were asked for and have no answer yet.
    flights: Mutex<HashMap<Box<str>, Flight>>,
}

impl Default for Names {
    fn default() -> Self {
        Self::with(|to| to.to_socket_addrs().map(Iterator::collect))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(…)")
    }
}

impl Names {
    fn with(lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        let apart = Apart::new(LOOKUPS_MAX);
        Self(Arc::new(Inner { apart, lookup: Box::new(lookup), flights: Mutex::default() }))
    }

    /// Connects to host and port, within a runtime.
    pub async fn connect(&self, to: &str) -> io::Result<TcpStream> {
        let addresses = self.resolve(to).await?;
        TcpStream::connect(&*addresses).await
    }

    async fn resolve(&self, to: &str) -> io::Result<Addresses> {
        if let Some(addresses) = known(to) {
            return Ok(addresses);
        }
        let mut told = self.ask(to);
        match told.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()) {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err((kind, why))) => Err(io::Error::new(kind, why)),
            None => Err(io::Error::other("the name could not be looked up")),
        }
    }

    /// Where the answer will be told.
    fn ask(&self, to: &str) -> watch::Receiver<Option<Answer>> {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(to) {
            return flight.subscribe();
        }
        let (flight, told) = watch::channel(None);
        flights.insert(to.into(), flight);
        let (inner, to) = (Arc::clone(&self.0), Box::<str>::from(to));
        tokio::spawn(async move {
            let (own, name) = (Arc::clone(&inner), to.clone());
            if inner.apart.run(move |_place| own.look_up(&name)).await.is_err() {
                // Whoever waits is told by the sender's end.
                inner.flights().remove(&to);
            }
        });
        told
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, HashMap<Box<str>, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, to: &str) {
        {
            let mut flights = self.flights();
            // All who asked may have gone before there was a place.
            if flights.get(to).is_none_or(|flight| flight.receiver_count() == 0) {
                flights.remove(to);
                return;
            }
        }
        let answer = (self.lookup)(to).map(Addresses::from).map_err(|e| (e.kind(), e.to_string()));
        if let Some(flight) = self.flights().remove(to) {
            flight.send_replace(Some(answer));
        }
    }
}

/// What is known without asking anybody.
fn known(to: &str) -> Option<Addresses> {
    if let Ok(address) = to.parse::<SocketAddr>() {
        return Some([address].into());
    }
    let (host, port) = to.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let both = || [(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()].into();
    host.eq_ignore_ascii_case("localhost").then(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn a_silent_resolver_stops_neither_the_pool_nor_what_needs_no_lookup() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(1).build().unwrap();
        let (answers, waits) = std::sync::mpsc::channel::<()>();
        let (waits, asked, at_once) =
            (Mutex::new(waits), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, now, most) = (Arc::clone(&asked), AtomicUsize::new(0), Arc::clone(&at_once));
        let names = Names::with(move |to| {
            count.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _answered = waits.lock().unwrap().recv_timeout(Duration::from_mins(1));
            now.fetch_sub(1, Ordering::SeqCst);
            if to.starts_with("bad") {
                Err(io::Error::other("no such host"))
            } else {
                Ok(vec![([127, 0, 0, 1], 1).into()])
            }
        });
        runtime.block_on(async {
            let ask = |to: &'static str| {
                let names = names.clone();
                tokio::spawn(async move { names.resolve(to).await.map_err(|e| e.to_string()) })
            };
            let waiting: Vec<_> = ["a:1", "a:1", "a:1", "b:1", "c:1", "bad:1"].map(ask).into();
            let gone = ask("d:1");
            let soon = Duration::from_secs(30);
            while asked.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let pool = tokio::time::timeout(soon, tokio::task::spawn_blocking(|| 5)).await;
            assert_eq!(pool.unwrap().unwrap(), 5, "the pool of the runtime is free");
            for (to, count) in [("127.0.0.1:7", 1), ("[::1]:7", 1), ("localhost:7", 2)] {
                let known = tokio::time::timeout(soon, names.resolve(to)).await.unwrap().unwrap();
                assert_eq!(known.len(), count, "{to}");
            }
            gone.abort();
            let _aborted = gone.await;
            (0..9).for_each(|_| answers.send(()).unwrap());
            let mut said = Vec::new();
            for one in waiting {
                said.push(one.await.unwrap());
            }
            assert!(said[..5].iter().all(Result::is_ok), "{said:?}");
            assert_eq!(said[5], Err("no such host".into()));
            let forgotten = async {
                while !names.0.flights().is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(soon, forgotten).await.unwrap();
        });
        assert_eq!(at_once.load(Ordering::SeqCst), LOOKUPS_MAX);
        assert_eq!(asked.load(Ordering::SeqCst), 4, "each name once, and none that nobody waits for");
    }
}
