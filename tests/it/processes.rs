//! Process groups: a captured host, and processes that the test starts on this machine.

use crate::page::{check_golden, collector, host, page, value};
use headroom::collect::{Collector, Options, process_groups};
use headroom::host::Host;
use headroom::host::group::Rule;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

fn with_rules(rules: Vec<Rule>) -> Options {
    Options { process_groups: process_groups::Options { rules, ..Default::default() }, ..Default::default() }
}

fn rule(name: &str, cmdline: &str) -> Rule {
    Rule { name: name.into(), cmdline: vec![cmdline.into()], ..Rule::default() }
}

fn series(family: &str, group: &str) -> String {
    format!("namedprocess_namegroup_{family}{{groupname=\"{group}\"}}")
}

/// A process that only waits, known by its number.
struct Sleeper(Child);

impl Sleeper {
    fn start(seconds: &str) -> Self {
        let child = Command::new("sleep").arg(seconds).spawn().unwrap();
        // A program has begun a moment before it has its arguments.
        while !std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().contains(seconds) {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_captured_host_is_grouped_by_name_without_rules() {
    let host = host("processes");
    let page = page(&mut *collector("process_groups", &host, &Options::default()), &host);
    assert!(!page.contains("kthreadd"), "kernel threads have no command line: {page}");
    check_golden("processes-by-name", &page);
}

#[test]
fn a_captured_host_is_grouped_by_the_rules_and_named_groups_have_budgets() {
    let host = host("processes");
    let comm = |name: &str, comm: &str| Rule { cmdline: vec![], comm: vec![comm.into()], ..rule(name, "") };
    let rules = vec![
        rule("short sleepers", "^sleep 30[12]$"),
        comm("kernel", "kthreadd"),
        comm("not running", "nosuch"),
        Rule { user: vec!["root".into()], ..rule("{{.Username}}:{{.Comm}}", ".") },
    ];
    let page = page(&mut *collector("process_groups", &host, &with_rules(rules)), &host);
    check_golden("processes-by-rule", &page);
}

#[test]
fn totals_do_not_go_back_when_a_member_ends() {
    let host = Host::default();
    let mut collector =
        collector("process_groups", &host, &with_rules(vec![rule("busy", "headroom-busy-1")]));
    let busy = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; echo done; sleep 60; : headroom-busy-1";
    let mut children = Vec::new();
    for _ in 0..2 {
        let mut child =
            Command::new("sh").args(["-c", busy]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = [0; 4];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        children.push(child);
    }
    let cpu = "namedprocess_namegroup_cpu_seconds_total{groupname=\"busy\",mode=\"user\"}";
    let faults = series("minor_page_faults_total", "busy");
    // A shell that has forked for its last command is two, until that is another program.
    let mut before = crate::stack::eventually("both are there", 30, || {
        let page = page(&mut *collector, &host);
        (value(&page, &series("num_procs", "busy")) == Some(2.0)).then_some(page)
    });
    assert!(value(&before, cpu).unwrap() > 0.0, "{before}");
    for left in [1.0, 0.0] {
        let mut child = children.pop().unwrap();
        let shell = child.id().to_string();
        Command::new("pkill").args(["-9", "-P", &shell]).status().unwrap();
        _ = child.kill();
        child.wait().unwrap();
        let after = page(&mut *collector, &host);
        assert_eq!(value(&after, &series("num_procs", "busy")), Some(left));
        assert!(value(&after, cpu) >= value(&before, cpu) && value(&after, cpu).is_some());
        assert!(value(&after, &faults) >= value(&before, &faults) && value(&after, &faults).is_some());
        before = after;
    }
    assert_eq!(
        value(&before, "namedprocess_namegroup_memory_bytes{groupname=\"busy\",memtype=\"resident\"}"),
        Some(0.0)
    );
    assert_eq!(value(&before, &series("oldest_start_time_seconds", "busy")), None);
}

#[test]
fn a_process_that_runs_another_program_changes_its_group_and_is_counted_once() {
    let host = Host::default();
    let rules = vec![rule("before", "^sh -c read headroom_exec"), rule("after", "^sleep 62\\.5$")];
    let mut collector = collector("process_groups", &host, &with_rules(rules));
    let mut child = Command::new("sh")
        .args(["-c", "read headroom_exec; exec sleep 62.5"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let faults = |page: &str, group: &str| value(page, &series("minor_page_faults_total", group));
    while !std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().starts_with("sh") {
        std::thread::yield_now();
    }
    let first = page(&mut *collector, &host);
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    // The kernel sets the name first, and the arguments a moment later.
    while !std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().starts_with("sleep") {
        std::thread::yield_now();
    }
    let second = page(&mut *collector, &host);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(value(&first, &series("num_procs", "before")), Some(1.0), "{first}");
    assert_eq!(value(&second, &series("num_procs", "before")), Some(0.0));
    assert_eq!(value(&second, &series("num_procs", "after")), Some(1.0));
    let all = faults(&second, "before").unwrap() + faults(&second, "after").unwrap();
    assert!(all <= headroom::host::proc::stat(&stat).unwrap().minor_faults as f64, "counted twice: {all}");
}

#[test]
fn groups_over_the_limit_are_counted_and_come_in_when_there_is_room() {
    let host = Host::default();
    let _two = (Sleeper::start("63.1"), Sleeper::start("63.2"));
    let third = Sleeper::start("63.3");
    let each = rule("{{.Matches.which}}", "^sleep (?P<which>63\\.[0-9])$");
    let mut options = with_rules(vec![each]);
    options.process_groups.groups_max = 2;
    let mut collector = collector("process_groups", &host, &options);
    let first = page(&mut *collector, &host);
    assert_eq!(value(&first, "headroom_process_groups_cut"), Some(1.0));
    assert_eq!(first.matches("namedprocess_namegroup_num_procs{").count(), 2);
    drop(third);
    assert_eq!(value(&page(&mut *collector, &host), "headroom_process_groups_cut"), Some(0.0));
    let _fourth = Sleeper::start("63.4");
    assert_eq!(value(&page(&mut *collector, &host), "headroom_process_groups_cut"), Some(1.0));
}

#[test]
fn processes_that_come_and_go_while_they_are_read_are_no_errors() {
    let host = Host::default();
    let mut collector = collector("process_groups", &host, &Options::default());
    let churn = "i=0; while [ $i -lt 400 ]; do /bin/true & i=$((i+1)); done; wait";
    let mut child = Command::new("sh").args(["-c", churn]).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        let page = page(&mut *collector, &host);
        assert_eq!(value(&page, "namedprocess_scrape_procread_errors"), Some(0.0));
        assert_eq!(value(&page, "namedprocess_scrape_errors"), Some(0.0));
    }
}

#[test]
fn values_agree_with_the_files_of_a_process() {
    let host = Host::default();
    let sleeper = Sleeper::start("64.25");
    let pid = sleeper.0.id();
    let mut collector = collector("process_groups", &host, &with_rules(vec![rule("one", "^sleep 64\\.25$")]));
    let page = page(&mut *collector, &host);
    let status = headroom::host::proc::status_of(&host, pid).unwrap().unwrap();
    let memory = |kind: &str| {
        value(&page, &format!("namedprocess_namegroup_memory_bytes{{groupname=\"one\",memtype=\"{kind}\"}}"))
    };
    assert_eq!(memory("swapped"), status.swap_bytes.map(|b| b as f64));
    assert!(memory("resident").unwrap() > 0.0 && memory("resident") < memory("virtual"));
    assert_eq!(value(&page, &series("num_threads", "one")), Some(1.0));
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(value(&page, &series("open_filedesc", "one")), Some(files as f64));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value(&page, &series("oldest_start_time_seconds", "one")).unwrap();
    assert!((now - start).abs() < 60.0, "{start} is not about now");
    assert_eq!(value(&page, "headroom_process_group_memory_budget_bytes{groupname=\"one\"}"), Some(5e8));
}

#[test]
fn what_the_rights_do_not_suffice_for_is_absent() {
    const AS_NOBODY: &str = "HEADROOM_TEST_AS_NOBODY";
    if std::env::var_os(AS_NOBODY).is_none() && is_root() {
        // Root may read all, so the test runs itself as somebody who may not.
        let me = std::env::current_exe().unwrap();
        let result = Command::new(&me)
            .args(["--exact", "processes::what_the_rights_do_not_suffice_for_is_absent", "--nocapture"])
            .env(AS_NOBODY, "1")
            .uid(65534)
            .gid(65534)
            .status();
        match result {
            Ok(status) => assert!(status.success()),
            Err(e) => eprintln!("SKIPPED: cannot run {} as nobody: {e}", me.display()),
        }
        return;
    }
    let host = Host::default();
    if std::fs::read("/proc/1/io").is_ok() {
        eprintln!("SKIPPED: this user may read the files of process 1");
        return;
    }
    let one = Rule { cmdline: vec![], user: vec!["root".into()], ..rule("roots", "") };
    let page = page(&mut *collector("process_groups", &host, &with_rules(vec![one])), &host);
    assert!(value(&page, &series("num_procs", "roots")).unwrap() >= 1.0, "{page}");
    assert_eq!(value(&page, &series("read_bytes_total", "roots")), None);
    assert!(value(&page, "namedprocess_scrape_partial_errors").unwrap() >= 1.0);
}

#[test]
fn a_host_without_proc_is_a_failure_and_counted() {
    let empty = tempfile::tempdir().unwrap();
    let gone = Host { procfs: empty.path().join("none"), ..host("processes") };
    let mut collector = collector("process_groups", &gone, &Options::default());
    let mut out = headroom::encode::text::TextEncoder::default();
    assert!(Collector::collect(&mut *collector, &gone, &mut out).is_err());
    assert!(out.page().is_empty());
    let page = page(&mut *collector, &host("processes"));
    assert_eq!(value(&page, "namedprocess_scrape_errors"), Some(1.0));
}

fn is_root() -> bool {
    let me = headroom::host::proc::status_of(&Host::default(), std::process::id()).unwrap();
    me.is_some_and(|status| status.uid == Some(0))
}

#[test]
fn a_process_that_rests_is_shown_as_it_is_and_one_that_works_again_is_read_again() {
    let host = Host::default();
    let mut collector =
        collector("process_groups", &host, &with_rules(vec![rule("worker", "headroom-rests-1")]));
    let script = "while read n; do exec 9</dev/null; i=0; while [ $i -lt $n ]; do i=$((i+1)); done; echo; done; : headroom-rests-1";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let cpu = "namedprocess_namegroup_cpu_seconds_total{groupname=\"worker\",mode=\"user\"}";
    let files = series("open_filedesc", "worker");
    let lines = |page: &str| -> Vec<String> {
        page.lines().filter(|l| l.contains("\"worker\"")).map(str::to_owned).collect()
    };
    while !std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().starts_with("sh") {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let first = page(&mut *collector, &host);
    for _ in 0..3 {
        let again = page(&mut *collector, &host);
        let same = |page: &str| -> Vec<String> {
            // Pages may be shared with more or fewer processes by now.
            lines(page)
                .into_iter()
                .filter(|l| !l.contains("pss_bytes") && !l.contains("proportional"))
                .collect()
        };
        assert_eq!(same(&again), same(&first));
    }
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"300000\n").unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let after = page(&mut *collector, &host);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(value(&after, cpu).unwrap() > value(&first, cpu).unwrap(), "{after}");
    assert_eq!(value(&after, &files).unwrap(), value(&first, &files).unwrap() + 1.0);
}

#[test]
fn memory_that_others_take_from_a_process_that_rests_is_seen() {
    // A file that is cut takes its pages from whoever maps it, without that process running.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mapped");
    std::fs::write(&path, vec![1; 32 << 20]).unwrap();
    let script = format!(
        "import mmap,time\nf=open('{}','rb')\nm=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)\ns=sum(m[i] for i in range(0,len(m),4096))\nprint(1,flush=True)\ntime.sleep(60) # headroom-mapped-1",
        path.display()
    );
    let started = Command::new("python3").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    };
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let host = Host::default();
    let mut collector =
        collector("process_groups", &host, &with_rules(vec![rule("mapper", "headroom-mapped-1")]));
    let mut resident = || {
        let page = page(&mut *collector, &host);
        value(&page, "namedprocess_namegroup_memory_bytes{groupname=\"mapper\",memtype=\"resident\"}")
            .unwrap()
    };
    let before = (0..3).map(|_| resident()).fold(0.0, f64::max);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    let after = resident();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(before - after > f64::from(30 << 20), "{before} before, {after} after");
}

#[test]
fn children_belong_to_their_ancestors_group_if_that_is_asked_for() {
    let host = Host::default();
    let script = "sh -c 'sleep 65.5 & wait' & wait; : headroom-family-1";
    let mut child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    let mut counts = Vec::new();
    for children in [None, Some(true)] {
        let mut options = with_rules(vec![rule("family", "^sh -c .*headroom-family-1$")]);
        options.process_groups.children = children;
        let mut collector = collector("process_groups", &host, &options);
        let pages = [page(&mut *collector, &host), page(&mut *collector, &host)];
        counts.push(pages.map(|page| value(&page, &series("num_procs", "family")).unwrap()));
    }
    Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).status().unwrap();
    child.wait().unwrap();
    assert_eq!(counts, [[1.0, 1.0], [3.0, 3.0]]);
}

#[test]
fn counters_of_threads_and_of_their_group_do_not_go_back_when_a_thread_ends() {
    let host = Host::default();
    let script = "import threading,sys\ndef work(e):\n  s=0\n  for i in range(600000): s+=i\n  print(1,flush=True)\n  e.wait()\n\
                  es=[threading.Event() for _ in range(2)]\nts=[threading.Thread(target=work,args=(e,)) for e in es]\n\
                  [t.start() for t in ts]\nfor e,t in zip(es,ts):\n  sys.stdin.readline(); e.set(); t.join(); print(2,flush=True)\n\
                  sys.stdin.readline() # headroom-threads-1";
    let started = Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    };
    let mut answer = [0; 2];
    let mut read =
        |child: &mut Child| std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
    read(&mut child);
    read(&mut child);
    let mut collector =
        collector("process_groups", &host, &with_rules(vec![rule("py", "headroom-threads-1")]));
    let switches =
        "namedprocess_namegroup_context_switches_total{groupname=\"py\",ctxswitchtype=\"voluntary\"}";
    let of_threads = |page: &str| -> Vec<f64> {
        let lines = page.lines().filter(|l| l.contains("_thread_cpu_seconds_total{groupname=\"py\""));
        lines.map(|l| l.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    let mut last = page(&mut *collector, &host);
    assert_eq!(value(&last, &series("num_threads", "py")), Some(3.0));
    assert!(of_threads(&last).iter().sum::<f64>() > 0.0, "{last}");
    for left in [2.0, 1.0] {
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        read(&mut child);
        let now = page(&mut *collector, &host);
        assert_eq!(value(&now, &series("num_threads", "py")), Some(left));
        assert!(value(&now, switches).unwrap() >= value(&last, switches).unwrap(), "{now}");
        assert!(left < 2.0 || of_threads(&now).iter().sum::<f64>() >= of_threads(&last).iter().sum());
        last = now;
    }
    assert_eq!(
        of_threads(&last),
        Vec::<f64>::new(),
        "a process with one thread has no threads to tell apart"
    );
    let before = value(&last, switches).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    child.wait().unwrap();
    assert_eq!(value(&page(&mut *collector, &host), switches), Some(before));
}
