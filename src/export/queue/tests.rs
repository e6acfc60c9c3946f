//! The queue: what it holds, what it drops, and what is left of it after a restart.

use super::*;

fn options(bytes: u64, records: usize, dir: Option<&Path>) -> Options {
    let dir = dir.map(Path::to_owned);
    Options { bytes_max: ByteSize::b(bytes), records_max: records, dir, ..Options::default() }
}

fn record(size: usize, points: u64) -> Record {
    Record { body: vec![u8::try_from(points).unwrap(); size], points }
}

fn first(queue: &Queue) -> (u64, Record) {
    queue.first().unwrap().unwrap()
}

#[test]
fn the_oldest_goes_for_the_newest_and_is_counted() {
    for dir in [None, Some(tempfile::tempdir().unwrap())] {
        let dir = dir.as_ref().map(tempfile::TempDir::path);
        let (queue, lost) = Queue::open(&options(100, 3, dir), "a", "f").unwrap();
        assert_eq!(lost, Lost::default());
        for points in 1..=3 {
            assert_eq!(queue.push(record(30, points)).0, 0);
        }
        assert_eq!(queue.push(record(10, 4)).0, 1, "a fourth record");
        assert_eq!(queue.push(record(80, 5)).0, 2 + 3, "too many bytes");
        assert_eq!(queue.held(), (90, 2));
        let (number, oldest) = first(&queue);
        assert_eq!(oldest, record(10, 4));
        // What is being sent stays; the next one goes.
        assert_eq!(queue.push(record(90, 6)).0, 5);
        assert_eq!(first(&queue), (number, oldest));
        queue.done(number);
        assert_eq!(first(&queue).1, record(90, 6));
        assert_eq!(queue.push(record(1000, 7)).0, 7, "one that is larger than all is not kept");
        assert_eq!(queue.held(), (90, 1));
    }
}

#[test]
fn what_is_on_disk_waits_for_the_next_run_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1000, 100, Some(dir.path()));
    let (queue, _) = Queue::open(&options, "a", "f").unwrap();
    assert!(Queue::open(&options, "a", "f").unwrap_err().to_string().contains("another process"));
    for points in 1..=12 {
        assert!(queue.push(record(10, points)).1.is_none());
    }
    let (number, _) = first(&queue);
    queue.done(number);
    drop(queue);
    let (queue, lost) = Queue::open(&options, "a", "f").unwrap();
    assert_eq!((queue.held(), lost), ((110, 11), Lost::default()));
    for points in 2..=12 {
        let (number, waiting) = first(&queue);
        assert_eq!(waiting, record(10, points));
        queue.done(number);
    }
    queue.push(record(10, 13));
    drop(queue);
    let (queue, _) = Queue::open(&options, "a", "f").unwrap();
    assert_eq!(first(&queue).1, record(10, 13));
    drop(queue);
    // Another form, such as another version of the protocol.
    let (queue, lost) = Queue::open(&options, "a", "g").unwrap();
    assert_eq!((queue.held(), lost.damaged), ((0, 0), 1));
}

#[test]
fn a_file_that_was_cut_or_changed_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1000, 100, Some(dir.path()));
    let (queue, _) = Queue::open(&options, "a", "f").unwrap();
    queue.push(record(20, 9));
    drop(queue);
    let path = dir.path().join("a/00000000000000000001.record");
    let whole = std::fs::read(&path).unwrap();
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let (queue, lost) = Queue::open(&options, "a", "f").unwrap();
        assert_eq!((queue.held(), lost.damaged), ((0, 0), 1), "cut at {end}");
    }
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &changed).unwrap();
    std::fs::write(dir.path().join("a/00000000000000000002.new"), &whole).unwrap();
    let (queue, lost) = Queue::open(&options, "a", "f").unwrap();
    assert_eq!((queue.held(), lost.damaged), ((0, 0), 1));
    assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1, "the lock alone is left");
    // One that vanishes while it waits.
    queue.push(record(20, 9));
    for entry in std::fs::read_dir(dir.path().join("a")).unwrap().flatten() {
        std::fs::remove_file(entry.path()).unwrap();
    }
    assert_eq!(queue.first(), Some(Err(9)));
    assert_eq!(queue.held(), (0, 0));
}

#[test]
fn who_waits_is_woken_by_a_record_and_by_the_end() {
    let (queue, _) = Queue::open(&options(100, 3, None), "a", "f").unwrap();
    let queue = std::sync::Arc::new(queue);
    let waits = std::thread::spawn({
        let queue = std::sync::Arc::clone(&queue);
        move || (queue.first(), queue.wait(Duration::from_mins(10)), queue.first())
    });
    queue.push(record(1, 1));
    assert!(!queue.drained(Duration::from_millis(1)));
    queue.stop();
    let (one, waited, none) = waits.join().unwrap();
    assert!(!waited && none.is_none());
    // Stopped before it looked, it has nothing.
    assert!(one.is_none_or(|one| one.unwrap().1 == record(1, 1)));
}
