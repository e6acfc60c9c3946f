//! An executor for tests, on a host that is a directory: a machine with one control group, `/shop`, of 500 MiB.

use super::{Around, Executor, Settings, Shared};
use crate::host::Host;
use crate::host::group::Grouping;
use crate::optimize::Options;
use crate::optimize::grafana::Annotations;
use crate::optimize::guard;
use crate::optimize::metrics::Metrics;
use crate::optimize::observe::Observer;
use crate::optimize::pause::Pause;
use crate::optimize::policy::{Rung, Target};
use crate::optimize::record::{Entry, Filter};
use crate::optimize::request::{Origin, Request};
use crate::optimize::store::Store;
use crate::optimize::trace::Traces;
use std::fs::{create_dir_all, read_to_string, rename, write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the group's brake is at before anything is done. As long as any other: a file that is no kernel file keeps the rest.
pub(in crate::optimize) const HIGH: &str = "600000000";

/// The executor, and the directory of its host and its state.
pub(in crate::optimize) struct Engine {
    pub(in crate::optimize) executor: Executor,
    pub(in crate::optimize) dir: tempfile::TempDir,
}

/// Waits until something is so.
pub(in crate::optimize) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn host(dir: &Path) -> Host {
    let put = |path: &str, text: &str| {
        let path = dir.join(path);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, text).unwrap();
    };
    put("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 1000000 kB\nSwapTotal: 0 kB\n");
    put("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    for (name, text) in [
        ("cgroup.procs", ""),
        ("memory.current", "524288000\n"),
        ("memory.high", HIGH),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 524288000\nfile 0\n"),
    ] {
        put(&format!("sys/fs/cgroup/shop/{name}"), text);
    }
    Host { procfs: dir.join("proc"), sysfs: dir.join("sys"), ..Host::default() }
}

impl Engine {
    /// An executor with these options; its targets are `shop` and what the options name. No guard holds it up.
    pub(in crate::optimize) fn start(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        create_dir_all(dir.path().join("state")).unwrap();
        let host = host(dir.path());
        let shop = Target { name: "shop".into(), cgroup: Some("/shop".into()), ..Target::default() };
        let mut options =
            Options { targets: vec![shop], settle: Duration::from_millis(50), ..Options::default() };
        options.guards = guard::Options {
            cooldown: Duration::ZERO,
            target_cooldown: Duration::ZERO,
            actions_per_hour: 1000,
            ..options.guards
        };
        change(&mut options);
        let observer = Observer::new(host.clone(), Grouping::new(&[]).unwrap());
        let settings = Settings { options, observer, own_names: vec![], own_pids: vec![], host };
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let store = Store::new(dir.path().join("state/j.sqlite"), metrics.clone());
        let around = Around {
            clock: now_millis,
            pause: Pause::new(&dir.path().join("state")),
            alone: false,
            traces: Traces::default(),
            annotations: Annotations::start(None, &metrics).unwrap(),
            only_after: None,
        };
        let executor = Executor::start(store, metrics, around, settings).unwrap();
        let engine = Self { executor, dir };
        eventually("it is ready", || engine.shared().recovered().then_some(()));
        engine
    }

    pub(in crate::optimize) fn shared(&self) -> &Arc<Shared> {
        self.executor.shared()
    }

    /// A file of the group.
    pub(in crate::optimize) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("sys/fs/cgroup/shop").join(name)
    }

    /// What the group's brake is at.
    pub(in crate::optimize) fn high(&self) -> String {
        read_to_string(self.file("memory.high")).unwrap()
    }

    /// Asks for a run up this ladder; returns its number.
    pub(in crate::optimize) fn ask(&self, target: &str, ladder: Vec<Rung>) -> i64 {
        let name = "test".to_owned();
        let target = target.to_owned();
        let bytes = 100 << 20;
        let wish = Request { origin: Origin::Hand, name, target, bytes, ladder, dry_run: false };
        let run = self.shared().store.with(|j| j.request(&wish, now_millis())).unwrap();
        self.shared().wake();
        run
    }

    /// The record's entry of a run, while the record can be read.
    pub(in crate::optimize) fn entry(&self, run: i64) -> Option<Entry> {
        let filter = Filter { limit: 1, before: Some(run + 1), ..Filter::default() };
        Some(self.shared().store.with(|j| j.entries(&filter)).ok()?.remove(0))
    }

    /// The same, once it has ended.
    pub(in crate::optimize) fn ended(&self, run: i64) -> Entry {
        eventually("the run ends", || self.entry(run).filter(|e| e.state == "ended"))
    }

    /// From now on the journal can be neither written nor opened; or it can again.
    pub(in crate::optimize) fn refuse_writes(&self, refused: bool) {
        let (state, away) = (self.dir.path().join("state"), self.dir.path().join("away"));
        if refused {
            let _refuses = self.shared().store.with(|j| {
                j.refuse_writes(true);
                Ok(())
            });
            rename(state, away).unwrap();
        } else {
            rename(away, state).unwrap();
        }
    }
}

/// A rung with options.
pub(in crate::optimize) fn rung(action: &str, with: serde_json::Value) -> Rung {
    Rung { with, ..Rung::from(action) }
}
