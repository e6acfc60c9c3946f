//! The scenarios: what runs in the machine, and what of it must come through.

/// What a part is to the machine's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers all the time, and must go on.
    Lasting,
    /// It does its work, and must get it done.
    Job,
    /// It would take all there is: nobody misses it.
    Culprit,
}

/// A program of the laboratory in a control group.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub name: &'static str,
    pub group: &'static str,
    pub kind: Kind,
    /// Whether it is there before the trouble begins, and says when it is ready.
    pub first: bool,
    pub words: &'static [&'static str],
}

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub parts: &'static [Part],
    /// The group that is pressed, and its limit; without it the whole machine is.
    pub limit: Option<(&'static str, &'static str)>,
    /// Compressed swap in the machine's own memory, in MiB; 0 is none.
    pub swap_mib: u64,
    /// The longest that some task may wait for memory in all, with Headroom, in milliseconds.
    pub some_max: Option<f64>,
    /// The longest that it may take; it ends before when the jobs are done, or the culprit is gone.
    pub seconds: u64,
}

impl Scenario {
    /// Whether it is played beside this tool. Peers have nothing to show where nothing happens.
    pub fn is_for(&self, tool: &str) -> bool {
        self.name != "calm"
            || [super::tool::HEADROOM, super::tool::NOTHING, super::tool::ROOM].contains(&tool)
    }
}

/// The file that the hog reads is larger than the machine.
const BIG: &str = "/data/big";

const SERVICE: Part = Part {
    name: "service",
    group: "/app/service",
    kind: Kind::Lasting,
    first: true,
    words: &["service", "60", "/data/small", "40"],
};

const CACHE: Part = Part {
    name: "cache",
    group: "/app/cache",
    kind: Kind::Lasting,
    first: true,
    words: &["cache", "260", "127.0.0.1:8001", "0"],
};

const fn batch(name: &'static str, kind: Kind, words: &'static [&'static str]) -> Part {
    Part { name, group: "/batch/job", kind, first: false, words }
}

const fn tenant(part: Part, group: &'static str, words: &'static [&'static str]) -> Part {
    Part { group, words, ..part }
}

/// Until a job that came through would have ended by itself, no process goes without somebody's doing.
pub const UNDISTURBED_MILLIS: u64 = 5000;

pub const ALL: [Scenario; 8] = [
    Scenario {
        name: "calm",
        what: "nothing happens: how long the service takes when all is well",
        parts: &[SERVICE, CACHE],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 4,
    },
    Scenario {
        name: "leak",
        what: "a slow leak (30 MiB/s) beside the service, and a cache that can give way",
        parts: &[SERVICE, CACHE, batch("leak", Kind::Culprit, &["grow", "100000", "30", "0"])],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 25,
    },
    Scenario {
        name: "thrash",
        what: "the same leak in a machine with 300 MiB of compressed swap, which only puts off the end",
        parts: &[SERVICE, CACHE, batch("leak", Kind::Culprit, &["grow", "100000", "30", "0"])],
        limit: None,
        swap_mib: 300,
        some_max: Some(100.0),
        seconds: 40,
    },
    Scenario {
        name: "burst",
        what: "a job that needs 360 MiB for a while, at 60 MiB/s; a cache that can give way",
        parts: &[SERVICE, CACHE, batch("job", Kind::Job, &["grow", "360", "60", "3000"])],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 40,
    },
    Scenario {
        name: "hog",
        what: "a job that reads a file larger than the machine, over and over",
        parts: &[SERVICE, CACHE, batch("hog", Kind::Lasting, &["hog", BIG])],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 8,
    },
    Scenario {
        name: "swarm",
        what: "66 processes of 6 MiB each, which work at the same time; a cache that can give way",
        parts: &[SERVICE, CACHE, batch("swarm", Kind::Job, &["swarm", "66", "6", "60", "6000"])],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 60,
    },
    Scenario {
        name: "limit",
        what: "a group with service, cache and job, pressed to its limit of 220 MiB",
        parts: &[
            tenant(SERVICE, "/tenant/service", SERVICE.words),
            tenant(CACHE, "/tenant/cache", &["cache", "100", "127.0.0.1:8002", "0"]),
            tenant(
                batch("job", Kind::Job, &["grow", "60", "15", "3000"]),
                "/tenant/job",
                &["grow", "60", "15", "3000"],
            ),
        ],
        limit: Some(("/tenant", "220M")),
        swap_mib: 0,
        some_max: None,
        seconds: 40,
    },
    Scenario {
        name: "cache",
        what: "an application whose cache of 300 MiB grows on (40 MiB/s), with a hook",
        parts: &[SERVICE, tenant(CACHE, CACHE.group, &["cache", "300", "127.0.0.1:8001", "40"])],
        limit: None,
        swap_mib: 0,
        some_max: None,
        seconds: 15,
    },
];
