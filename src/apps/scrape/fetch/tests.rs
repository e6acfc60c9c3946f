//! What becomes of pages that are long, late or behind files that hang, and of those that come when nobody wants them.

use super::*;
use crate::apps::Options;
use crate::encode::text::TextEncoder;
use prometheus::Registry;
use std::io::{Read, Write};
use std::net::TcpListener;

/// A target of a server that gives this page to each request.
fn target(page: &str) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _read = stream.read(&mut [0; 4096]);
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    Target { job: "j".into(), url, instance: Some("i".into()), timeout: LONG, ..Target::default() }
}

const LONG: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_millis(200);

fn task(target: &Target, room: usize) -> Arc<Task> {
    let bounds = Bounds { room: Arc::new(Semaphore::new(room)), ..Bounds::default() };
    Arc::new(Task::new(target, Applications::new(&Options::default()), Names::default(), bounds))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(4).build().unwrap();
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// The samples of applications.
fn shown(task: &Task) -> String {
    let mut out = TextEncoder::default();
    task.applications.lock().write(Instant::now(), &mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    page.lines().filter(|line| line.contains("job=\"")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_long_page_waits_for_room_and_a_short_one_does_not() {
    let short = task(&target("a 1\n"), 0);
    block_on(async { short.fetch(&Arc::default()).await.unwrap() });
    let remark = format!("#{}\na 1\n", "x".repeat(3 * SHORT_BYTES));
    let long = task(&target(&remark), 0);
    block_on(async {
        assert!(tokio::time::timeout(SOON, long.fetch(&Arc::default())).await.is_err());
        long.bounds.room.add_permits(7);
        assert_eq!(long.fetch(&Arc::default()).await.unwrap().scraped, 1);
        assert_eq!(long.bounds.room.available_permits(), 7, "it is given back");
    });
    let over = Target { body_max: bytesize::ByteSize::kib(4), ..target(&remark) };
    let error = block_on(async { task(&over, 0).fetch(&Arc::default()).await.unwrap_err() });
    assert_eq!(error.reason(), "answer", "{error}");
}

#[test]
fn the_time_of_a_fetch_is_for_all_of_it() {
    let target = Target { timeout: SOON, ..target("a 1\n") };
    let (task, registry) = (task(&target, 0), Registry::new());
    let metrics = Metrics::new(&registry).unwrap();
    let told = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    block_on(async {
        // Another target's page is being read all the time.
        let _turn = Arc::clone(&task.bounds.reading).acquire_owned().await.unwrap();
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(run(Arc::clone(&task), metrics, stopped));
        let late = "headroom_scrape_failures_total{instance=\"i\",job=\"j\",reason=\"timeout\"} 1";
        let wait = async {
            while !told().contains(late) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap();
    });
}

#[test]
fn a_token_that_somebody_has_to_write_first_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("token");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let target = Target { token_file: Some(pipe), ..target("a 1\n") };
    let error = block_on(async { task(&target, 0).fetch(&Arc::default()).await.unwrap_err() });
    assert!(error.reason() == "setup" && error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn a_page_that_is_read_when_its_round_is_over_is_not_kept() {
    let task = task(&target(""), 0);
    let page = page::read("a 1\nb 2\n", &task.reading(Form::Text)).unwrap();
    let (round, mut known) = (Round::default(), HashSet::new());
    assert_eq!(task.put(&page, &round).unwrap().refused, 0);
    assert_eq!(shown(&task).lines().count(), 2);
    task.end(&round, &mut known);
    assert_eq!(shown(&task), "");
    assert!(matches!(task.put(&page, &round), Err(FetchError::Over)));
    assert_eq!(shown(&task), "", "nobody would forget it");
}

#[test]
fn series_that_are_refused_or_hidden_are_counted_for_their_target() {
    let task = task(&target(""), 0);
    let read = |text: &str| page::read(text, &task.reading(Form::Text)).unwrap();
    task.put(&read("# TYPE a gauge\na 1\n"), &Round::default()).unwrap();
    let other = read("# TYPE a counter\na 1\nnode_load1 1\nx 1\n");
    assert_eq!(task.put(&other, &Round::default()).unwrap().refused, 1, "another kind than before");
    let mut out = TextEncoder::default();
    crate::metric::single(&mut out, &crate::metric::Desc::gauge("node_load1", "L.", &[]), 1_u64);
    task.applications.lock().write(Instant::now(), &mut out);
    let samples = task.put(&other, &Round::default()).unwrap();
    assert_eq!(samples, Samples { scraped: 3, kept: 3, refused: 1, hidden: 1 });
}
