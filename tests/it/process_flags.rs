//! process-exporter and `headroom exporter` with the same command line, on this machine.

use crate::process_exporter::{Started, difference, free_address, get, program, samples};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Samples = BTreeMap<String, f64>;

/// Programs under names that nothing else on the machine has.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// `name` with the number of this process behind it: what is compared must be of this test alone.
    fn name(name: &str) -> String {
        format!("{name}{}", std::process::id())
    }

    fn command(&self, program: &str, name: &str) -> Command {
        let path = self.dir.path().join(Self::name(name));
        if !path.exists() {
            std::fs::copy(std::fs::canonicalize(Path::new("/bin").join(program)).unwrap(), &path).unwrap();
        }
        Command::new(path)
    }

    fn shell(&self, name: &str, script: &str) -> Started {
        Started::new(self.command("sh", name).args(["-c", script]).stdin(Stdio::piped()))
    }
}

/// One exporter, until it is dropped.
struct Exporter {
    address: SocketAddr,
    _child: Started,
}

impl Exporter {
    fn start(program: PathBuf, command: &[&str], flags: &[String]) -> Self {
        let address = free_address();
        let mut start = Command::new(program);
        start.args(command).args(flags).arg(format!("-web.listen-address={address}"));
        let exporter = Self { address, _child: Started::new(start.stdout(Stdio::null())) };
        get(address);
        exporter
    }

    /// What it says of groups. One without processes began at no time and has no limit of files, which process-exporter
    /// says with numbers.
    fn look(&self) -> Samples {
        let mut all = samples(&get(self.address));
        all.retain(|series, value| {
            let nothing = ["oldest_start_time", "worst_fd_ratio"].iter().any(|f| series.contains(f));
            !nothing || *value > 0.0
        });
        all
    }
}

/// Both exporters with the same flags.
struct Pair {
    theirs: Exporter,
    ours: Exporter,
}

impl Pair {
    fn start(program: &Path, flags: &[String]) -> Self {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_headroom"));
        Self {
            theirs: Exporter::start(program.to_owned(), &[], flags),
            ours: Exporter::start(own, &["exporter"], flags),
        }
    }

    /// What both say once they have seen the same processes, which must agree in all else too.
    fn agree(&self, wanted: &[(&str, f64)]) {
        let wanted: Samples = wanted
            .iter()
            .map(|(group, count)| {
                (format!("namedprocess_namegroup_num_procs{{groupname=\"{group}\"}}"), *count)
            })
            .collect();
        let counts = |all: &Samples| -> Samples {
            all.iter().filter(|(s, _)| s.contains("_num_procs{")).map(|(s, v)| (s.clone(), *v)).collect()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (ours, theirs) = (self.ours.look(), self.theirs.look());
            let same =
                counts(&ours) == wanted && counts(&theirs) == wanted && difference(&ours, &theirs).is_none();
            if same || Instant::now() > deadline {
                assert_eq!(counts(&theirs), wanted, "process-exporter");
                assert_eq!(counts(&ours), wanted, "headroom");
                return assert_eq!(difference(&ours, &theirs), None);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn tell(process: &mut Started, line: &str) {
    writeln!(process.0.stdin.as_mut().unwrap(), "{line}").unwrap();
}

#[test]
fn process_exporters_flags_mean_what_they_mean_there() {
    let Some(program) = program() else { return };
    let lab = Lab::new();
    let [parent, nap, again, renamed] = ["ls", "ln", "la", "lr"].map(Lab::name);
    // A child, so that `-children` has something to decide.
    let mut tree = lab.shell("ls", "sleep 71.6 & read stay; kill $!");
    let short = Started::new(lab.command("sleep", "ln").arg("72.1"));
    let _other = Started::new(lab.command("sleep", "ln").arg("81.1"));
    let mut exec = lab.shell("la", "read next; exec \"$0\" -c \"$next\"");
    let mut rename = lab.shell("lr0", "read name; printf %s \"$name\" > /proc/self/comm; read stay");

    let mapping = format!("-namemapping={nap},sleep (7[0-9])|{nap} (7[0-9]),{again},# lab (renamed)");
    let names = ["-procnames".to_owned(), format!("{parent},{renamed},never-there")];
    let with = |more: &[&str]| -> Vec<String> {
        names.iter().chain([&mapping]).cloned().chain(more.iter().map(|&f| f.to_owned())).collect()
    };
    let rechecks = Pair::start(&program, &with(&["-children=false", "-recheck", "-procfs", "/proc"]));
    let plain = Pair::start(&program, &with(&["-threads=false", "-gather-smaps=0", "-children"]));
    let forgets = Exporter::start(
        PathBuf::from(env!("CARGO_BIN_EXE_headroom")),
        &["exporter"],
        &with(&["-remove-empty-groups"]),
    );

    let mapped = format!("{nap}:72");
    rechecks.agree(&[(&parent, 1.0), (&mapped, 1.0)]);
    plain.agree(&[(&parent, 2.0), (&mapped, 1.0)]);
    let shown = |group: &str| forgets.look().keys().any(|s| s.contains(&format!("groupname=\"{group}\"")));
    assert!(shown(&mapped));

    // One runs other arguments in the same program, one gives itself another name.
    tell(&mut exec, "read stay # lab renamed");
    let found = format!("{again}:renamed");
    rechecks.agree(&[(&parent, 1.0), (&mapped, 1.0), (&found, 1.0)]);
    plain.agree(&[(&parent, 2.0), (&mapped, 1.0)]);
    tell(&mut rename, &renamed);
    rechecks.agree(&[(&parent, 1.0), (&mapped, 1.0), (&found, 1.0), (&renamed, 1.0)]);

    // A group whose processes leave.
    drop(short);
    rechecks.agree(&[(&parent, 1.0), (&mapped, 0.0), (&found, 1.0), (&renamed, 1.0)]);
    assert!(!shown(&mapped) && shown(&parent));
    tell(&mut tree, "");
}
