//! Tests of the scrape thread.

use super::*;
use crate::collect::{CollectError, Collector, Options};
use crate::host::Host;
use crate::metric::{Desc, Sink, single};
use std::sync::mpsc::{Sender, channel};

const LONG: Duration = Duration::from_secs(25);

/// Says that it was called, then hangs until it is told to go on.
struct Hangs(Sender<()>, Receiver<()>);

impl Collector for Hangs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        self.0.send(()).unwrap();
        self.1.recv().map_err(|e| CollectError::Failed(e.to_string()))?;
        single(out, &Desc::gauge("returned", "R.", &[]), 1_u64);
        Ok(())
    }
}

/// Counts its passes.
struct Counts(u64);

impl Collector for Counts {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        self.0 += 1;
        single(out, &Desc::gauge("passes", "P.", &[]), self.0);
        Ok(())
    }
}

fn scraper() -> Scraper {
    Scraper::new(Host::default(), &Options { disable_defaults: true, ..Default::default() }).unwrap()
}

/// A scraper with a collector that hangs, who tells of its calls, and who lets it go on.
fn hanging() -> (Scraper, Receiver<()>, Sender<()>) {
    let (called, calls) = channel();
    let (go_on, told) = channel();
    let mut scraper = scraper();
    scraper.add("hangs", Box::new(Hangs(called, told)));
    (scraper, calls, go_on)
}

/// Runs on another thread, so that a test that hangs fails.
fn within<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    let (done, end) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        done.send(runtime.block_on(test)).unwrap();
    });
    end.recv_timeout(Duration::from_secs(30)).expect("nothing waits for the pass")
}

fn text(page: Result<Page, Refusal>) -> String {
    String::from_utf8(page.unwrap().body.to_vec()).unwrap()
}

#[test]
fn a_scrape_that_hangs_holds_up_neither_a_reload_nor_those_who_come_after_others_that_gave_up() {
    let (hanging, calls, go_on) = hanging();
    let thread = ScrapeThread::start(hanging, Duration::ZERO).unwrap();
    let (first, next) = within(async move {
        let first = tokio::spawn({
            let thread = thread.clone();
            async move { thread.page(Want::default(), LONG).await }
        });
        tokio::task::yield_now().await;
        calls.recv().unwrap();
        for _ in 0..2 * WAITING_MAX {
            let impatient = tokio::time::timeout(Duration::ZERO, thread.page(Want::default(), LONG)).await;
            assert!(impatient.is_err(), "{impatient:?}");
            thread.replace(scraper(), Duration::ZERO).unwrap();
        }
        go_on.send(()).unwrap();
        (first.await.unwrap(), thread.page(Want::default(), LONG).await)
    });
    assert!(text(first).contains("hangs"));
    assert!(!text(next).contains("hangs"), "the next pass is the new scraper's");
}

#[test]
fn a_collector_that_hangs_is_left_behind_reported_and_taken_back_without_threads_piling_up() {
    let (mut scraper, calls, go_on) = hanging();
    scraper.add("counts", Box::new(Counts(0)));
    let thread = ScrapeThread::start(scraper, Duration::ZERO).unwrap();
    within(async move {
        let patience = Duration::from_secs(3);
        let threads = |thread: &ScrapeThread| lock(&thread.inbox, |inbox| inbox.left_behind);
        for passes in 2..5 {
            let begun = Instant::now();
            let page = text(thread.page(Want::default(), patience).await);
            assert!(begun.elapsed() < patience, "{:?}", begun.elapsed());
            assert!(page.contains("node_scrape_collector_success{collector=\"hangs\"} 0\n"), "{page}");
            assert!(page.contains("node_scrape_collector_success{collector=\"counts\"} 1\n"), "{page}");
            // The first pass was left behind; each later request costs one.
            assert!(page.contains(&format!("passes {passes}\n")), "{page}");
            assert_eq!(threads(&thread), 1, "one thread for one collector that hangs");
        }
        calls.recv().unwrap();
        assert!(calls.try_recv().is_err(), "it was called once");
        go_on.send(()).unwrap();
        while threads(&thread) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        go_on.send(()).unwrap();
        assert!(text(thread.page(Want::default(), patience).await).contains("returned 1\n"));
    });
}

#[test]
fn two_collectors_that_hang_are_both_left_behind_within_one_time_out() {
    let (mut scraper, _calls, _go_on) = hanging();
    let (called, _others) = channel();
    let (_keep, told) = channel();
    scraper.add("hangs_too", Box::new(Hangs(called, told)));
    let thread = ScrapeThread::start(scraper, Duration::ZERO).unwrap();
    within(async move {
        let page = text(thread.page(Want::default(), Duration::from_secs(6)).await);
        assert!(page.contains("success{collector=\"hangs\"} 0\n"), "{page}");
        assert!(page.contains("success{collector=\"hangs_too\"} 0\n"), "{page}");
    });
}

#[test]
fn who_wants_the_same_shares_a_pass_and_each_form_has_its_own() {
    let (hanging, calls, go_on) = hanging();
    let thread = ScrapeThread::start(hanging, Duration::ZERO).unwrap();
    within(async move {
        let ask = |want: Want| {
            let thread = thread.clone();
            tokio::spawn(async move { thread.page(want, LONG).await.unwrap() })
        };
        let first = ask(Want::default());
        tokio::task::yield_now().await;
        calls.recv().unwrap();
        let mut counting = scraper();
        counting.add("counts", Box::new(Counts(0)));
        thread.replace(counting, Duration::ZERO).unwrap();
        let text = |coding| Want { coding, ..Want::default() };
        let pages = [
            text(Coding::Identity),
            text(Coding::Gzip),
            Want { syntax: Syntax::OpenMetrics, ..Want::default() },
            text(Coding::Identity),
            Want { scheme: Scheme::AllowUtf8, ..Want::default() },
            Want { pick: Pick::Except(vec!["x".into()]), ..Want::default() },
        ]
        .map(ask);
        tokio::task::yield_now().await;
        go_on.send(()).unwrap();
        first.await.unwrap();
        let mut bodies = Vec::new();
        for page in pages {
            bodies.push(page.await.unwrap());
        }
        let passes = |page: &Page| {
            let text = String::from_utf8_lossy(&page.body).into_owned();
            text.lines().find_map(|line| line.strip_prefix("passes ")?.parse::<u64>().ok())
        };
        let counts: Vec<_> = bodies.iter().map(passes).collect();
        assert_eq!(counts, [Some(1), None, Some(2), Some(1), Some(3), Some(4)]);
        assert_eq!(bodies[1].coding, Coding::Gzip);
        assert_eq!(bodies[1].body[..2], [0x1f, 0x8b]);
    });
}

/// How often the collector that counts had run when the page was made.
fn passes(page: &Page) -> Option<u64> {
    let text = String::from_utf8_lossy(&page.body).into_owned();
    text.lines().find_map(|line| line.strip_prefix("passes ")?.parse().ok())
}

fn counting() -> Scraper {
    let mut scraper = scraper();
    scraper.add("counts", Box::new(Counts(0)));
    scraper
}

/// The page that a request at `now` gets at once, if any.
fn at_once(thread: &ScrapeThread, want: &Want, now: Instant) -> Option<u64> {
    match thread.enqueue(want.clone(), None, now).unwrap() {
        Place::Page(page) => passes(&page),
        Place::Waits(_) => None,
    }
}

const BOUND: Duration = Duration::from_hours(1);

#[test]
fn a_request_gets_the_last_page_if_it_began_within_the_bound_and_is_the_same() {
    let thread = ScrapeThread::start(counting(), BOUND).unwrap();
    let want = Want::default();
    let first = within({
        let (thread, want) = (thread.clone(), want.clone());
        async move { thread.page(want, LONG).await.unwrap() }
    });
    assert_eq!(passes(&first), Some(1));
    // The page is kept once nobody else has joined; that is a moment after the answer.
    let kept = || lock(&thread.inbox, |inbox| inbox.last.as_ref().map(|(pass, _)| pass.begun));
    let begun = std::iter::repeat_with(kept).find_map(|begun| begun).unwrap();
    assert_eq!(at_once(&thread, &want, begun), Some(1));
    assert_eq!(at_once(&thread, &want, begun + BOUND), Some(1));
    let young = |want: &Want, now| lock(&thread.inbox, |inbox| inbox.young_page(want, now)).is_some();
    assert!(young(&want, begun + BOUND) && !young(&want, begun + BOUND + Duration::from_nanos(1)));
    for other in [
        Want { coding: Coding::Gzip, ..want.clone() },
        Want { syntax: Syntax::OpenMetrics, ..want.clone() },
        Want { scheme: Scheme::AllowUtf8, ..want.clone() },
        Want { pick: Pick::Except(vec!["x".into()]), ..want.clone() },
    ] {
        assert!(!young(&other, begun), "{other:?}");
    }
    // A reload: what was read before it is of no use to anybody.
    thread.replace(counting(), BOUND).unwrap();
    assert!(!young(&want, begun));
}

#[test]
fn a_request_joins_the_pass_that_runs_only_within_the_bound_and_without_a_reload_between() {
    for (bound, reload, expected) in
        [(BOUND, false, Some(1)), (Duration::ZERO, false, Some(2)), (BOUND, true, Some(7))]
    {
        let (mut scraper, calls, go_on) = hanging();
        scraper.add("counts", Box::new(Counts(0)));
        let thread = ScrapeThread::start(scraper, bound).unwrap();
        let second = within(async move {
            let ask = |coding| {
                let thread = thread.clone();
                tokio::spawn(async move { thread.page(Want { coding, ..Want::default() }, LONG).await })
            };
            let first = ask(Coding::Identity);
            tokio::task::yield_now().await;
            calls.recv().unwrap();
            if reload {
                let mut new = self::scraper();
                new.add("counts", Box::new(Counts(6)));
                thread.replace(new, bound).unwrap();
            }
            // Another coding is no reason for another pass.
            let others = [ask(Coding::Identity), ask(Coding::Gzip)];
            tokio::task::yield_now().await;
            go_on.send(()).unwrap();
            // For a second pass, if there is one.
            let _needed = go_on.send(());
            first.await.unwrap().unwrap();
            let [plain, gzip] = others;
            assert_eq!(gzip.await.unwrap().unwrap().coding, Coding::Gzip);
            plain.await.unwrap().unwrap()
        });
        assert_eq!(passes(&second), expected, "{bound:?}, reload: {reload}");
    }
}

#[test]
fn the_last_page_is_forgotten_when_it_is_of_no_more_use() {
    let thread = ScrapeThread::start(counting(), Duration::from_millis(20)).unwrap();
    let page = {
        let thread = thread.clone();
        within(async move { thread.page(Want::default(), LONG).await.unwrap() })
    };
    let gone = || lock(&thread.inbox, |inbox| inbox.running.is_none() && inbox.last.is_none());
    assert!((0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        gone()
    }));
    assert!(page.body.is_unique(), "it takes memory that nobody needs");
}

/// The passes that the samples say there were.
fn recorded_passes(recorded: &Recorded) -> Option<f64> {
    recorded.batch.family("passes")?.samples.first()?.value.number()
}

#[test]
fn samples_come_from_a_scrape_that_is_near_and_else_from_a_pass_of_their_own() {
    let mut scraper = scraper();
    scraper.add("counts", Box::new(Counts(0)));
    let thread = ScrapeThread::start(scraper, Duration::from_secs(1)).unwrap();
    let recorder = thread.clone();
    let waits = std::thread::spawn(move || {
        let shared = recorder.record(LONG, LONG).unwrap();
        let own = recorder.record(Duration::ZERO, LONG).unwrap();
        (recorded_passes(&shared), recorded_passes(&own))
    });
    let page = within(async move {
        while lock(&thread.inbox, |inbox| inbox.recorders.is_empty()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Some collectors are not all that there is to be sent.
        let some = Want { pick: Pick::Only(vec![]), ..Want::default() };
        text(thread.page(some, LONG).await);
        text(thread.page(Want::default(), LONG).await)
    });
    assert!(page.contains("passes 2\n"), "{page}");
    assert_eq!(waits.join().unwrap(), (Some(2.0), Some(3.0)));
}

#[test]
fn samples_come_without_a_collector_that_hangs() {
    let (mut scraper, calls, go_on) = hanging();
    scraper.add("counts", Box::new(Counts(0)));
    let thread = ScrapeThread::start(scraper, Duration::ZERO).unwrap();
    let recorded = thread.record(Duration::ZERO, Duration::from_secs(3)).unwrap();
    calls.recv().unwrap();
    assert_eq!(recorded_passes(&recorded), Some(2.0), "the first pass was left behind");
    assert!(recorded.batch.family("returned").is_none());
    go_on.send(()).unwrap();
}
