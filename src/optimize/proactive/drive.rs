//! The thread of the proactive mode: reads each group in its interval, does what the controller says, keeps the record.

use super::super::executor::{Settings, Shared};
use super::super::guard::{self, maintenance};
use super::super::policy::Target;
use super::Options;
use super::control::{Control, Limits, Move, Reading};
use super::phase::{Phase, dry};
use crate::host::cgroup::{Hierarchies, Version};
use crate::host::hand::Hand;
use crate::host::memory::meminfo_bytes;
use crate::host::{Host, read_once};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What one write asks for; between two it is looked whether all is to stop.
const CHUNK: u64 = 4 << 20;
/// How long a write may take. One that is late is left to end by itself, and no other is made to its file until then: other
/// groups go on, and so does the end of the process.
const DEADLINE: Duration = Duration::from_secs(1);
/// How often it is looked for what is due, and whether other settings are in force.
const TICK: Duration = Duration::from_millis(500);
/// The same without groups; whoever brings some wakes it.
const IDLE: Duration = Duration::from_hours(1);

/// Starts the thread.
pub(in crate::optimize) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("proactive".into()).spawn(move || run(&shared))
}

fn run(shared: &Arc<Shared>) {
    // It is the only one.
    let _first = shared.proactive.set(std::thread::current());
    let born = Instant::now();
    let mut settings = shared.settings();
    let mut groups = make(&settings);
    while !shared.stopping() {
        let now = shared.settings();
        let (old, new) = (&settings.options, &now.options);
        if (&old.proactive, &old.targets) != (&new.proactive, &new.targets) {
            for group in &mut groups {
                group.forget(shared);
            }
            groups = make(&now);
        }
        settings = now;
        let begins = groups.iter_mut().filter(|_| shared.recovered());
        for group in begins {
            group.turn(shared, &settings, born.elapsed());
        }
        std::thread::park_timeout(if groups.is_empty() { IDLE } else { TICK });
    }
    for group in &mut groups {
        group.leave(shared, "Headroom ends");
    }
}

fn make(settings: &Settings) -> Vec<Group> {
    let options = &settings.options;
    let target = |o: &Options| options.targets.iter().find(|t| t.name == o.target).cloned();
    options.proactive.iter().filter_map(|o| Some(Group::new(o.clone(), target(o)?, &settings.host))).collect()
}

struct Group {
    options: Options,
    target: Target,
    /// Its files; none where it cannot be kept at a pressure.
    directory: Option<PathBuf>,
    control: Control,
    due: Duration,
    phase: Option<Phase>,
    /// Whether the dry run is in the record.
    said: bool,
}

impl Group {
    fn new(options: Options, target: Target, host: &Host) -> Self {
        let floor_bytes = options.floor.as_u64();
        let (setpoint, step, swap) = (options.setpoint_ratio, options.step_ratio, options.swap);
        let control = Control::new(Limits { setpoint, step, floor_bytes, swap });
        let name = target.cgroup.clone().unwrap_or_default();
        let memory = Hierarchies::detect(host).ok().and_then(|h| h.memory);
        let root = memory.filter(|(version, _)| *version == Version::V2).map(|(_, root)| root);
        let directory = root.map(|root| root.join(name.trim_start_matches('/')));
        if directory.is_none() {
            tracing::warn!(
                target = target.name,
                "the proactive mode wants control groups of version 2 with memory.reclaim"
            );
        }
        Self { options, target, directory, control, due: Duration::ZERO, phase: None, said: false }
    }

    /// Looks, if it is time.
    fn turn(&mut self, shared: &Shared, settings: &Settings, now: Duration) {
        let Some(directory) = self.directory.clone() else { return };
        if let Some(why) = shared.held() {
            return self.leave(shared, &why);
        }
        if now < self.due {
            return;
        }
        if maintenance::until(&settings.options.guards.maintenance, (shared.clock)()).is_some() {
            self.due = now + self.options.interval;
            return self.leave(shared, "a maintenance window");
        }
        self.due = now + self.options.interval;
        // Whoever acts on the target measures it; what we took meanwhile would be its gain.
        if shared.is_busy(&self.target.name) {
            return self.leave(shared, "a run acts on the target");
        }
        let metrics = &shared.metrics.pressure;
        let Some(reading) = read(&settings.host, &self.target, now) else {
            metrics.working_set(&self.target.name, None);
            return self.leave(shared, "the group has gone");
        };
        let next = self.control.next(reading);
        let result = match next {
            Move::Take { bytes, file_only } => {
                self.take(shared, settings, (&directory, &reading), (bytes, file_only))
            }
            Move::BackOff(why) => {
                tracing::debug!(target = self.target.name, why, "backs off");
                "backed_off"
            }
            Move::Hold(why) => {
                tracing::trace!(target = self.target.name, why, "holds");
                "held"
            }
        };
        metrics.steps.with_label_values(&[&self.target.name, result]).inc();
        metrics.working_set(&self.target.name, self.control.working_set());
        if self.phase.as_ref().is_some_and(Phase::is_over) {
            self.leave(shared, "there was nothing more to take");
        }
    }

    fn take(
        &mut self,
        shared: &Shared,
        settings: &Settings,
        (directory, reading): (&PathBuf, &Reading),
        (bytes, file_only): (u64, bool),
    ) -> &'static str {
        if settings.options.dry_run {
            // The store has logged what could not be written; then it is tried again.
            self.said = self.said || dry(shared, &self.target, bytes).is_ok();
            return "held";
        }
        let options = &settings.options;
        if self.phase.is_none() {
            let members = settings.observer.members(&self.target).unwrap_or_default();
            let touched = settings.observer.touched(&self.target, &members);
            let who = touched.as_deref().unwrap_or_default().iter();
            let who = who.map(|m| (m.pid, m.comm.as_str(), m.kernel_thread));
            let why = guard::protected(who, &settings.own_pids, &options.guards);
            if let Some(why) =
                why.or_else(|| touched.is_err().then(|| "its processes cannot be read".to_owned()))
            {
                tracing::warn!(
                    target = self.target.name,
                    why,
                    "the proactive mode leaves the group alone until the next reload"
                );
                self.directory = None;
                return "held";
            }
            let floor = self.options.floor.as_u64().max(reading.protected_bytes);
            // No step without an intent on the disk.
            let Ok(phase) = Phase::open(shared, &self.options, &self.target, (directory, floor)) else {
                return "held";
            };
            self.phase = Some(phase);
        }
        let before = reading.current_bytes;
        let hand = shared.hand(&settings.host);
        let written = reclaim(shared, &hand, (directory, bytes, file_only, reading.swap_free.is_none()));
        if let Err(e) = written {
            tracing::error!(target = self.target.name, error = %e, "the kernel does not reclaim from the group; the proactive mode leaves it alone until the next reload");
            self.leave(shared, &format!("the kernel said: {e}"));
            self.directory = None;
            return "held";
        }
        let after = read(&settings.host, &self.target, reading.at).map_or(before, |r| r.current_bytes);
        let took = before.saturating_sub(after);
        self.control.took(took);
        if let Some(phase) = &mut self.phase {
            phase.took(took);
        }
        shared.metrics.pressure.reclaimed.with_label_values(&[&self.target.name]).inc_by(took);
        "reclaimed"
    }

    /// The configuration has changed: what was found out is not kept up any more.
    fn forget(&mut self, shared: &Shared) {
        self.leave(shared, "the configuration was read again");
        shared.metrics.pressure.working_set(&self.target.name, None);
    }

    /// Ends the phase, if there is one. What cannot be written is tried again.
    fn leave(&mut self, shared: &Shared, why: &str) {
        if let Some(phase) = self.phase.take()
            && let Err((phase, _logged)) = phase.close(shared, &self.target, why)
        {
            self.phase = Some(phase);
        }
    }
}

/// What the kernel says of the group; `None` where it is not there.
fn read(host: &Host, target: &Target, at: Duration) -> Option<Reading> {
    let memory = Hierarchies::detect(host).ok()?.read(target.cgroup.as_deref()?).ok().flatten()?;
    let meminfo = read_once(&host.procfs.join("meminfo")).ok().flatten()?;
    let total = meminfo_bytes(&meminfo, "SwapTotal").filter(|&t| t > 0);
    let page_bytes = rustix::param::page_size() as u64;
    let refaults = memory.refault_anon.zip(memory.refault_file);
    Some(Reading {
        at,
        current_bytes: memory.current_bytes?,
        protected_bytes: memory.min_bytes.unwrap_or(0).max(memory.low_bytes.unwrap_or(0)),
        stalled: memory.pressure.and_then(|p| p.some_micros).map(Duration::from_micros),
        refaulted_bytes: refaults.map(|(anon, file)| anon.saturating_add(file).saturating_mul(page_bytes)),
        swap_bytes: memory.swap_bytes.unwrap_or(0),
        swap_free: total.zip(meminfo_bytes(&meminfo, "SwapFree")).map(|(all, free)| free as f64 / all as f64),
    })
}

/// Asks the kernel in small writes, made apart because they may block. EAGAIN is progress: it took less than it was asked
/// for. While an earlier write to the file has not returned, a run's or one of ours, nothing is asked.
fn reclaim(
    shared: &Shared,
    hand: &Hand,
    (directory, bytes, file_only, no_swap): (&PathBuf, u64, bool, bool),
) -> io::Result<()> {
    let path = directory.join("memory.reclaim");
    let Some(mut apart) = hand.apart(&path)? else { return Ok(()) };
    let mut write = |text: String| {
        let path = path.clone();
        // What took too long is as good as what the kernel gave up.
        let late = || Err(io::Error::from_raw_os_error(libc::EAGAIN));
        apart.run(DEADLINE, move |hand| hand.write(&path, &text)).unwrap_or_else(late)
    };
    let mut left = bytes;
    while left > 0 && shared.held().is_none() {
        let chunk = left.min(CHUNK);
        let answer = if file_only {
            match write(format!("{chunk} swappiness=0")) {
                // Before 6.11 the kernel cannot be told. Without swap there is nothing to tell.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && no_swap => write(chunk.to_string()),
                answer => answer,
            }
        } else {
            write(chunk.to_string())
        };
        match answer {
            Ok(()) => left -= chunk,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => return Ok(()),
            // The group has gone, which the next look tells; or a kernel before 5.19, which is an error.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) || !directory.exists() => {
                return if directory.exists() { Err(e) } else { Ok(()) };
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::executor::engine::Engine;
    use std::process::Command;

    #[test]
    fn a_write_that_blocks_holds_up_nobody_and_none_is_made_beside_it() {
        let engine = Engine::start(|_| {});
        let (shared, directory) = (engine.shared(), engine.file(""));
        let hand = shared.hand(&shared.settings().host);
        let ask = || reclaim(shared, &hand, (&directory, 64 << 20, false, true)).unwrap();
        // Whoever opens it waits for a reader, who never comes.
        let file = directory.join("memory.reclaim");
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        ask();
        assert_eq!((shared.writers.blocked(), shared.writers.late()), (1, 1));
        ask();
        assert_eq!(shared.writers.late(), 1, "another write beside it");
        // So that the thread ends.
        let _reader = std::fs::File::open(&file).unwrap();
    }
}
