//! Streams: nothing lost, nothing twice, nothing out of order, and no more in memory than was said.

use super::*;
use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};

fn stream(kit: &Kit, options: &Options) -> Stream {
    Stream::new(kit, "import", options).unwrap()
}

fn small() -> Options {
    Options { bytes_max: 4 * 64, piece_bytes: 64, workers: 3, ..Options::default() }
}

/// Lines of different lengths, some of them empty, the last one without its end.
fn lines(count: usize) -> String {
    let line = |n: usize| format!("{n}:{}", "x".repeat(n * 7 % 50));
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn all_of_it_comes_in_order_whatever_the_threads_do() {
    let kit = Kit::new();
    let stream = stream(&kit, &small());
    for text in [lines(500), lines(1), String::new(), "\n".repeat(200), "x".repeat(63) + "\n", "x".repeat(63)]
    {
        let mut out = String::new();
        let work = |piece: Piece<'_>| {
            // The first ones last longest.
            for _ in 0..(1000_u64.saturating_sub(piece.offset)) {
                std::hint::spin_loop();
            }
            Ok((piece.offset, String::from_utf8(piece.bytes.to_vec())?))
        };
        let done = stream
            .read(Cursor::new(&text), work, |(offset, piece)| {
                assert_eq!(offset, out.len() as u64);
                assert!(piece.ends_with('\n') || piece.len() + out.len() == text.len(), "{piece}");
                out.push_str(&piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(out, text);
        assert_eq!(done.bytes, text.len() as u64);
    }
    assert_eq!(kit.reclaim().held_bytes(), 0);
}

#[test]
fn no_more_is_in_memory_than_was_said_however_slow_the_taker_is() {
    let kit = Kit::new();
    let stream = stream(&kit, &small());
    let most = AtomicU64::new(0);
    let begun = AtomicU64::new(0);
    let work = |piece: Piece<'_>| {
        most.fetch_max(stream.buffers.held_bytes().unwrap(), Ordering::SeqCst);
        begun.fetch_add(1, Ordering::SeqCst);
        Ok(piece.bytes.len())
    };
    let mut taken = 0;
    let take = |_| {
        taken += 1;
        // Results that wait are bounded, too.
        assert!(begun.load(Ordering::SeqCst) <= taken + 4);
        std::thread::sleep(std::time::Duration::from_micros(200));
        Ok(())
    };
    stream.read(Cursor::new(lines(2000)), work, take).unwrap();
    assert!((1..=4 * 64).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

/// Gives so many pieces of empty lines, and then fails.
struct Breaks(u64);
impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("a bad sector"));
        }
        self.0 -= 1;
        buffer.fill(b'\n');
        Ok(buffer.len())
    }
}

#[test]
fn it_ends_with_the_first_error_and_says_where_that_was() {
    let kit = Kit::new();
    let stream = stream(&kit, &small());
    let text = lines(500);
    let nothing = |_: Piece<'_>| Ok(());
    let long = "short\n".to_owned() + &"x".repeat(100);
    let error = stream.read(Cursor::new(long), nothing, |()| Ok(())).unwrap_err();
    assert!(matches!(error, StreamError::RecordTooLong { offset: 6, piece_bytes: 64 }), "{error}");
    let fails = |piece: Piece<'_>| if piece.offset > 1000 { Err("no".into()) } else { Ok(()) };
    let error = stream.read(Cursor::new(&text), fails, |()| Ok(())).unwrap_err();
    assert!(matches!(error, StreamError::Work { offset: 1001.., .. }), "{error}");
    let error = stream.read(Cursor::new(&text), nothing, |()| Err("full".into())).unwrap_err();
    assert_eq!(error.to_string(), "the piece at byte 0: full");
    let panics = |piece: Piece<'_>| {
        if piece.offset > 1000 { std::panic::resume_unwind(Box::new("oh")) } else { Ok(()) }
    };
    let error = stream.read(Cursor::new(&text), panics, |()| Ok(())).unwrap_err();
    assert!(error.to_string().ends_with("it panicked: oh"), "{error}");
    let taker = || stream.read(Cursor::new(&text), nothing, |()| std::panic::resume_unwind(Box::new("oh")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(taker)).is_err());
    let mut bytes = 0;
    let count = |piece: Piece<'_>| Ok(piece.bytes.len());
    let sum = |n| {
        bytes += n;
        Ok(())
    };
    let error = stream.read(Breaks(3), count, sum).unwrap_err();
    assert!(error.to_string().contains("a bad sector"), "{error}");
    assert!(bytes >= 64, "what was read before counts: {bytes}");
    assert_eq!(stream.buffers.held_bytes(), Some(0));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let kit = Kit::new();
    let stream = stream(&kit, &small());
    let error = stream.file(Path::new("/nonexistent/rows"), |_| Ok(()), |()| Ok(())).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/rows"), "{error}");
}
