//! The queue: what it holds, what it drops, and what is left of it after a restart.

use super::*;

fn options(bytes: u64, records: usize, dir: Option<&Path>) -> Options {
    let dir = dir.map(Path::to_owned);
    Options { bytes_max: ByteSize::b(bytes), records_max: records, dir, ..Options::default() }
}

fn record(size: usize, points: u64) -> Record {
    Record { body: vec![u8::try_from(points).unwrap(); size], points, form: "f" }
}

fn open(options: &Options, known: &'static [&'static str]) -> Result<(Queue, Lost), QueueError> {
    Store::open(options, "a", known, None).map(Queue::new)
}

fn first(queue: &Queue) -> (u64, Record) {
    queue.first().unwrap().unwrap()
}

#[test]
fn the_oldest_goes_for_the_newest_and_is_counted() {
    for dir in [None, Some(tempfile::tempdir().unwrap())] {
        let dir = dir.as_ref().map(tempfile::TempDir::path);
        let (queue, lost) = open(&options(100, 3, dir), &["f"]).unwrap();
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
    let (queue, _) = open(&options, &["f"]).unwrap();
    assert!(open(&options, &["f"]).unwrap_err().to_string().contains("another process"));
    for points in 1..=12 {
        assert!(queue.push(record(10, points)).1.is_none());
    }
    let (number, _) = first(&queue);
    queue.done(number);
    drop(queue);
    let (queue, lost) = open(&options, &["f"]).unwrap();
    assert_eq!((queue.held(), lost), ((110, 11), Lost::default()));
    for points in 2..=12 {
        let (number, waiting) = first(&queue);
        assert_eq!(waiting, record(10, points));
        queue.done(number);
    }
    queue.push(record(10, 13));
    drop(queue);
    let (queue, _) = open(&options, &["f"]).unwrap();
    assert_eq!(first(&queue).1, record(10, 13));
    drop(queue);
    // Another form, such as another version of the protocol.
    let (queue, lost) = open(&options, &["g"]).unwrap();
    assert_eq!((queue.held(), lost.damaged), ((0, 0), 13), "as many as its points");
}

#[test]
fn a_file_that_was_cut_or_changed_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1000, 100, Some(dir.path()));
    let (queue, _) = open(&options, &["f"]).unwrap();
    queue.push(record(20, 9));
    drop(queue);
    let path = dir.path().join("a/00000000000000000001.record");
    let whole = std::fs::read(&path).unwrap();
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let (queue, lost) = open(&options, &["f"]).unwrap();
        // Where the head is whole, it says how many points there were.
        let points = if end < 25 { 1 } else { 9 };
        assert_eq!((queue.held(), lost.damaged), ((0, 0), points), "cut at {end}");
    }
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &changed).unwrap();
    std::fs::write(dir.path().join("a/00000000000000000002.new"), &whole).unwrap();
    let (queue, lost) = open(&options, &["f"]).unwrap();
    assert_eq!((queue.held(), lost.damaged), ((0, 0), 9));
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
    let (queue, _) = open(&options(100, 3, None), &["f"]).unwrap();
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

#[test]
fn what_cannot_be_written_waits_in_memory_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1000, 100, Some(dir.path()));
    let (queue, _) = open(&options, &["f"]).unwrap();
    assert!(queue.push(record(10, 1)).1.is_none());
    // As on a full disk: the file of the next record cannot be made.
    std::fs::create_dir(dir.path().join("a/00000000000000000002.new")).unwrap();
    assert!(queue.push(record(10, 2)).1.is_some());
    assert!(queue.push(record(10, 3)).1.is_none(), "there is room again");
    assert_eq!((queue.held(), queue.in_memory()), ((30, 3), 2));
    for points in 1..=3 {
        let (id, waiting) = first(&queue);
        assert_eq!(waiting, record(10, points));
        queue.done(id);
    }
    let left = std::fs::read_dir(dir.path().join("a")).unwrap().flatten();
    let records = left.filter(|entry| entry.path().extension().is_some_and(|end| end == "record"));
    assert_eq!(records.count(), 0);
}

#[test]
fn a_directory_with_strange_names_is_used_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1000, 100, Some(dir.path()));
    drop(open(&options, &["f"]).unwrap());
    let strange =
        ["18446744073709551615.record", "7.record", "x.record", "notes", "00000000000000000009.record"];
    for name in strange {
        std::fs::write(dir.path().join("a").join(name), "HEADROOM").unwrap();
    }
    let (queue, lost) = open(&options, &["f"]).unwrap();
    assert_eq!((queue.held(), lost.damaged), ((0, 0), 1), "one has a name of ours");
    for points in 1..=2 {
        assert_eq!(queue.push(record(10, points)).0, 0);
    }
    drop(queue);
    let (queue, _) = open(&options, &["f"]).unwrap();
    assert_eq!((queue.held(), first(&queue).1), ((20, 2), record(10, 1)));
    assert!(strange[..4].iter().all(|name| dir.path().join("a").join(name).exists()), "they are not ours");
}

#[test]
fn a_record_s_points_cannot_be_damaged_unseen() {
    let whole = file::bytes(&record(20, 9));
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(file::record(&changed, &["f", "g"]), None, "byte {at}");
        }
    }
    assert_eq!(file::record(&whole, &["g", "f"]), Some(record(20, 9)));
}

#[test]
fn a_queue_moves_to_another_directory_and_loses_nothing() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let known = &["f"];
    // What an earlier run left in the second directory.
    let (earlier, _) = open(&options(1000, 100, Some(two.path())), known).unwrap();
    earlier.push(record(10, 1));
    drop(earlier);
    let (queue, _) = open(&options(1000, 100, None), known).unwrap();
    queue.push(record(10, 2));
    let (sending, _) = first(&queue);
    queue.push(record(10, 3));
    for (dir, points) in [(Some(one.path()), 4), (Some(two.path()), 5), (Some(one.path()), 6), (None, 7)] {
        let store = Store::open(&options(1000, 100, dir), "a", known, Some(&queue)).unwrap();
        assert_eq!(queue.keep(store), Lost::default());
        queue.push(record(10, points));
    }
    assert_eq!(queue.in_memory(), 2 + 3 + 7);
    queue.done(sending);
    for points in [1, 3, 4, 5, 6, 7] {
        let (id, waiting) = first(&queue);
        assert_eq!(waiting, record(10, points));
        queue.done(id);
    }
    // Nobody needs the directories any more, so others may have them.
    for dir in [&one, &two] {
        assert_eq!(open(&options(1000, 100, Some(dir.path())), known).unwrap().0.held(), (0, 0));
    }
    // Less room is made at once.
    for points in 1..=4 {
        queue.push(record(10, points));
    }
    let store = Store::open(&options(20, 100, None), "a", known, Some(&queue)).unwrap();
    assert_eq!((queue.keep(store).full, queue.held()), (3, (20, 2)));
}

#[test]
fn a_queue_that_is_left_ends_when_it_is_empty_or_a_try_fails_and_may_stay() {
    let queue = || open(&options(1000, 100, None), &["f"]).unwrap().0;
    let left = queue();
    left.push(record(10, 1));
    left.leave();
    let (id, _) = first(&left);
    left.done(id);
    assert!(left.first().is_none() && !left.stay());
    let failing = queue();
    failing.push(record(10, 1));
    failing.leave();
    first(&failing);
    assert!(!failing.wait(Duration::from_mins(10)) && failing.is_left() && failing.in_memory() == 1);
    let stays = queue();
    stays.push(record(10, 1));
    stays.leave();
    assert!(stays.stay() && !stays.is_left());
    stays.hurry();
    assert!(stays.wait(Duration::from_mins(10)), "at once");
    assert_eq!(first(&stays).1, record(10, 1));
}
