//! The order in which an application's components begin and end, and what it has of them on the way.

use crate::Kit;
use crate::health::State;
use crate::part::PartError;
use crate::reclaim::caller::{Away, Called, Caller};
use prometheus::HistogramVec;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Something that begins and ends with the application.
pub trait Component: Send + 'static {
    /// Begins; it serves once this is back.
    fn start(&mut self) -> Result<(), PartError>;

    /// Ends.
    fn stop(&mut self) -> Result<(), PartError>;
}

/// Why the application did not start. What had been started before was stopped again.
#[derive(Debug, thiserror::Error)]
#[error("{component} does not start: {why}")]
pub struct StartError {
    /// Which component.
    pub component: String,
    /// Why.
    pub why: String,
}

/// Components in the order in which they begin; they end in the opposite one.
///
/// Each is a component of the [`Kit`]'s health: unknown until it is started, healthy until it is to stop.
#[must_use = "its components are stopped when this is dropped"]
pub struct Lifecycle {
    kit: Kit,
    waiting: Vec<Entry>,
    started: Vec<Entry>,
    seconds: HistogramVec,
}

struct Entry {
    name: String,
    limit: Duration,
    component: Arc<Mutex<dyn Component>>,
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |of: &[Entry]| of.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
        f.debug_struct("Lifecycle")
            .field("started", &names(&self.started))
            .field("waiting", &names(&self.waiting))
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// Without components.
    pub fn new(kit: &Kit) -> Self {
        let seconds = kit.metrics().own_seconds(
            "headroom_kit_component_seconds",
            "Time that a component took to start or to stop.",
            &["component", "phase"],
        );
        Self { kit: kit.clone(), waiting: Vec::new(), started: Vec::new(), seconds }
    }

    /// Adds a component behind all others; it has so long to start, and to stop.
    pub fn add(&mut self, name: &str, limit: Duration, component: impl Component) {
        self.kit.health().set(name, State::Unknown, "it is not started yet");
        let component = Arc::new(Mutex::new(component));
        self.waiting.push(Entry { name: name.into(), limit, component });
    }

    /// Starts all that wait, one after the other. If one cannot, those that were started are stopped again.
    pub fn start(&mut self) -> Result<(), StartError> {
        for entry in std::mem::take(&mut self.waiting) {
            let begun = self.run(&entry, "start", Component::start);
            let name = entry.name.clone();
            // One that did not come back may still begin: it is stopped like the others.
            self.started.push(entry);
            if let Err(why) = begun {
                self.kit.health().set(&name, State::Unhealthy, &why);
                self.stop();
                return Err(StartError { component: name, why });
            }
            self.kit.health().set(&name, State::Healthy, "");
        }
        Ok(())
    }

    /// Stops all, the last first; those that could not, and why.
    pub fn stop(&mut self) -> Vec<(String, String)> {
        // Whoever asks is to send nothing more, before the first is gone.
        for entry in &self.started {
            self.kit.health().set(&entry.name, State::Unhealthy, "it is being stopped");
        }
        let mut failed = Vec::new();
        while let Some(entry) = self.started.pop() {
            let why = self.run(&entry, "stop", Component::stop).err();
            self.kit.health().set(&entry.name, State::Unhealthy, why.as_deref().unwrap_or("it is stopped"));
            if let Some(why) = why {
                tracing::error!(component = entry.name, why, "a component does not stop");
                failed.push((entry.name, why));
            }
        }
        failed
    }

    fn run(
        &self,
        entry: &Entry,
        phase: &str,
        step: fn(&mut dyn Component) -> Result<(), PartError>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        let component = Arc::clone(&entry.component);
        // A start that did not come back has the lock: the time for it is bounded, too.
        let call = move || step(&mut *crate::reclaim::lock(&component)).map_err(|e| e.to_string());
        let result = match Caller::default().call(&Away::default(), entry.limit, call) {
            Called::Back(Ok(result)) => result,
            Called::Back(Err(panic)) => Err(panic),
            Called::Late | Called::Busy => Err(format!("not done within {:?}", entry.limit)),
        };
        self.seconds.with_label_values(&[entry.name.as_str(), phase]).observe(begun.elapsed().as_secs_f64());
        result
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the process is asked to end: by SIGTERM, or by a person (SIGINT). It needs a runtime of tokio.
pub async fn asked_to_end() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    std::future::poll_fn(|context| {
        if term.poll_recv(context).is_ready() || int.poll_recv(context).is_ready() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    Ok(())
}

/// The same for a program without a runtime.
pub fn wait_until_asked_to_end() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(asked_to_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const LONG: Duration = Duration::from_secs(20);

    struct Noted {
        name: &'static str,
        notes: Sender<String>,
        start: Result<(), &'static str>,
        stop: Result<(), &'static str>,
    }

    impl Component for Noted {
        fn start(&mut self) -> Result<(), PartError> {
            self.notes.send(format!("+{}", self.name))?;
            self.start.map_err(Into::into)
        }

        fn stop(&mut self) -> Result<(), PartError> {
            self.notes.send(format!("-{}", self.name))?;
            self.stop.map_err(Into::into)
        }
    }

    fn three(kit: &Kit, second: Result<(), &'static str>) -> (Lifecycle, Receiver<String>) {
        let (notes, written) = channel();
        let mut life = Lifecycle::new(kit);
        for name in ["database", "cache", "server"] {
            let start = if name == "cache" { second } else { Ok(()) };
            let stop = if name == "cache" { Err("it is busy") } else { Ok(()) };
            life.add(name, LONG, Noted { name, notes: notes.clone(), start, stop });
        }
        (life, written)
    }

    #[test]
    fn they_begin_in_order_and_end_in_the_opposite_one_though_one_fails() {
        let kit = Kit::new();
        let (mut life, written) = three(&kit, Ok(()));
        assert_eq!(kit.health().report().state, State::Unknown);
        life.start().unwrap();
        assert_eq!(kit.health().report().state, State::Healthy);
        assert_eq!(life.stop(), [("cache".to_owned(), "it is busy".to_owned())]);
        assert!(!kit.health().report().serves());
        let order: Vec<String> = written.try_iter().collect();
        assert_eq!(order, ["+database", "+cache", "+server", "-server", "-cache", "-database"]);
        let page = String::from_utf8(kit.metrics().page().unwrap()).unwrap();
        let series = "headroom_kit_component_seconds_count{component=\"server\",phase=\"start\"} 1\n";
        assert!(page.contains(series), "{page}");
        drop(life);
        assert_eq!(written.try_iter().count(), 0, "nothing is stopped twice");
    }

    #[test]
    fn where_one_cannot_start_none_stays_started_and_those_behind_never_begin() {
        let kit = Kit::new();
        let (mut life, written) = three(&kit, Err("no memory"));
        assert_eq!(life.start().unwrap_err().to_string(), "cache does not start: no memory");
        assert_eq!(written.try_iter().collect::<Vec<_>>(), ["+database", "+cache", "-cache", "-database"]);
        assert!(!kit.health().report().serves());
    }

    #[test]
    fn who_does_not_come_back_is_not_waited_for_longer_than_its_time() {
        struct Hangs(Receiver<()>);
        impl Component for Hangs {
            fn start(&mut self) -> Result<(), PartError> {
                let _released = self.0.recv();
                Ok(())
            }

            fn stop(&mut self) -> Result<(), PartError> {
                Ok(())
            }
        }
        let (release, hold) = channel();
        let mut life = Lifecycle::new(&Kit::new());
        life.add("hangs", Duration::from_millis(30), Hangs(hold));
        assert_eq!(life.start().unwrap_err().why, "not done within 30ms");
        drop(release);
    }
}
