//! Who is asked, in which order, for how long, and what is counted.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Holds so much, and says when it is asked.
struct Fixed {
    name: &'static str,
    held: AtomicU64,
    asked: Sender<(&'static str, u64)>,
}

impl Part for Fixed {
    fn held_bytes(&self) -> Option<u64> {
        Some(self.held.load(Ordering::SeqCst))
    }

    fn reclaim(&self, target_bytes: u64, urgency: Urgency) -> Result<u64, PartError> {
        self.asked.send((self.name, target_bytes))?;
        let held = self.held.load(Ordering::SeqCst);
        let give = if urgency == Urgency::High { held } else { held.min(target_bytes) };
        self.held.fetch_sub(give, Ordering::SeqCst);
        Ok(give)
    }
}

fn wish(target_bytes: u64) -> Wish<'static> {
    Wish { target_bytes, timeout: Duration::from_secs(20), ..Wish::default() }
}

/// A registry of `cheap` (100 bytes), `dear` (1,000 bytes) and `last`, which finishes.
fn three() -> (Reclaim, std::sync::mpsc::Receiver<(&'static str, u64)>, Metrics) {
    let metrics = Metrics::default();
    let reclaim = Reclaim::new(&metrics);
    let (asked, order) = channel();
    let part = |name, held| Arc::new(Fixed { name, held: AtomicU64::new(held), asked: asked.clone() });
    let last = About { finishes: true, ..About::new("last", "trim", 0.0) };
    reclaim.add(last, part("last", 50)).unwrap();
    reclaim.add(About::new("dear", "unload_models", 80.0), part("dear", 1000)).unwrap();
    reclaim.add(About::cache("cheap"), part("cheap", 100)).unwrap();
    (reclaim, order, metrics)
}

#[test]
fn the_cheapest_is_asked_first_and_nobody_once_there_is_enough() {
    let (reclaim, order, _) = three();
    assert_eq!(reclaim.held_bytes(), 1150);
    let outcome = reclaim.reclaim(&wish(60)).unwrap();
    assert_eq!(outcome.released_bytes, 60);
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [("cheap", 60), ("last", 0)]);
    let outcome = reclaim.reclaim(&wish(60)).unwrap();
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [("cheap", 60), ("dear", 20), ("last", 0)]);
    assert_eq!(outcome.released_bytes, 60);
    assert_eq!(reclaim.totals("cheap", "drop_caches"), Totals { released_bytes: 100, ok: 2 });
}

#[test]
fn when_it_is_urgent_all_give_all_and_no_byte_counts_twice() {
    let (reclaim, order, _) = three();
    let outcome = reclaim.reclaim(&Wish { urgency: Urgency::High, ..wish(1) }).unwrap();
    assert_eq!(order.try_iter().count(), 3);
    // `last` says 50, of what `cheap` and `dear` let go.
    assert_eq!(outcome.released_bytes, 1100);
    assert_eq!(reclaim.held_bytes(), 0);
}

#[test]
fn a_kind_is_asked_alone_and_one_that_nobody_has_is_an_error() {
    let (reclaim, order, _) = three();
    reclaim.reclaim(&Wish { kind: Some("unload_models"), ..wish(10) }).unwrap();
    assert_eq!(order.try_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["dear", "last"]);
    let error = reclaim.reclaim(&Wish { kind: Some("prune"), ..wish(10) }).unwrap_err();
    let want = "nothing of the kind 'prune' is registered; there are: drop_caches, trim, unload_models";
    assert_eq!(error.to_string(), want);
}

#[test]
fn who_panics_fails_or_hangs_costs_itself_and_not_the_others() {
    let (reclaim, order, metrics) = three();
    let (release, hangs) = channel::<()>();
    let hangs = Mutex::new(hangs);
    let zero = || 0;
    let about = |name: &str, cost| About::new(name, "drop_caches", cost);
    reclaim.register(about("panics", 1.0), zero, |_, _| std::panic::resume_unwind(Box::new("oh"))).unwrap();
    reclaim.register(about("fails", 2.0), zero, |_, _| Err("no disk".into())).unwrap();
    let hang = move |_, _| {
        let _released = lock(&hangs).recv();
        Ok(0)
    };
    reclaim.register(about("hangs", 3.0), zero, hang).unwrap();
    let short = Wish { timeout: Duration::from_secs(2), ..wish(150) };
    let outcome = reclaim.reclaim(&short).unwrap();
    let endings: Vec<_> = outcome.parts.iter().map(|p| (p.name.as_str(), p.outcome)).collect();
    let want = [
        ("panics", Ending::Failed),
        ("fails", Ending::Failed),
        ("hangs", Ending::Late),
        ("cheap", Ending::Ok),
        ("dear", Ending::Ok),
        ("last", Ending::Ok),
    ];
    assert_eq!(endings, want);
    assert_eq!(outcome.parts[0].error.as_deref(), Some("it panicked: oh"));
    assert_eq!(outcome.parts[1].error.as_deref(), Some("no disk"));
    assert_eq!(outcome.released_bytes, 150);
    assert_eq!(order.try_iter().count(), 3);
    // It is still away; and when it is back, it is asked again.
    let again = reclaim.reclaim(&short).unwrap();
    assert_eq!(again.parts[2].outcome, Ending::Busy);
    drop(release);
    loop {
        let again = reclaim.reclaim(&short).unwrap();
        if again.parts[2].outcome == Ending::Ok {
            break;
        }
    }
    let page = String::from_utf8(metrics.page().unwrap()).unwrap();
    let late = "headroom_kit_reclaims_total{kind=\"drop_caches\",outcome=\"late\",part=\"hangs\"} 1\n";
    assert!(page.contains(late), "{page}");
}

#[test]
fn one_reclaim_goes_on_at_a_time() {
    let (reclaim, _order, _) = three();
    let (begun, begins) = channel();
    let (release, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let wait = move |_, _| {
        begun.send(())?;
        let _released = lock(&hold).recv();
        Ok(0)
    };
    reclaim.register(About::new("slow", "drop_caches", 1.0), || 0, wait).unwrap();
    let other = reclaim.clone();
    let first = std::thread::spawn(move || other.reclaim(&wish(1)));
    begins.recv().unwrap();
    let error = reclaim.reclaim(&Wish { timeout: Duration::from_millis(20), ..wish(1) }).unwrap_err();
    assert!(matches!(error, ReclaimError::Busy(_)), "{error}");
    drop(release);
    first.join().unwrap().unwrap();
    // An error to begin with would leave the turn taken for ever.
    assert!(reclaim.reclaim(&wish(0)).is_ok());
}

#[test]
fn a_part_that_is_dropped_is_gone_and_one_that_hangs_is_without_its_number() {
    let metrics = Metrics::default();
    let reclaim = Reclaim::new(&metrics);
    let (asked, _order) = channel();
    let part: Arc<dyn Part> = Arc::new(Fixed { name: "weak", held: AtomicU64::new(7), asked });
    reclaim.add_weak(About::cache("weak"), &part).unwrap();
    let (release, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let held = move || {
        let _released = lock(&wait).recv();
        9
    };
    reclaim.register(About::cache("hangs"), held, |_, _| Ok(0)).unwrap();
    let page = String::from_utf8(metrics.page().unwrap()).unwrap();
    assert!(page.contains("headroom_kit_held_bytes{kind=\"drop_caches\",part=\"weak\"} 7\n"), "{page}");
    assert!(!page.contains("hangs"), "{page}");
    drop((part, release));
    let state = reclaim.state();
    assert_eq!(state.len(), 1, "{state:?}");
}

#[test]
fn there_is_a_bound_on_parts() {
    let reclaim = Reclaim::new(&Metrics::default());
    for number in 0..PARTS_MAX {
        reclaim.register(About::cache(&format!("part {number}")), || 0, |_, _| Ok(0)).unwrap();
    }
    let refused = reclaim.register(About::cache("one more"), || 0, |_, _| Ok(0)).unwrap_err();
    assert_eq!(refused.to_string(), "one more: there are 1000 parts already");
}
