//! What runs in the machine: a service whose latency counts, a cache with a hook, and those who want memory.

use super::kernel::now_millis;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// Between two requests of the service.
const TICK: Duration = Duration::from_millis(5);
/// Pages of its own, and of its file, that a request touches; and what it takes for itself meanwhile.
const OWN_PAGES: usize = 64;
const FILE_PAGES: usize = 4;
const SCRATCH: usize = 256 << 10;
/// What a cache keeps, whatever it is asked.
const KEPT_BLOCKS: usize = 32;

/// A block that is really there. Its text is not all alike, so that it is worth something to a compressed swap, too.
fn block(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    for (n, byte) in out.iter_mut().enumerate() {
        *byte = (n * 7 + n / PAGE) as u8;
    }
    out
}

/// Numbers without order.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % sides
    }
}

/// Says `ready`, and on each `from` from its input begins to count anew; at its end, how long its requests took.
pub fn service(mib: usize, file: &str, file_mib: usize) {
    let mut own = block(mib * MIB);
    let file = File::open(file).unwrap();
    let mut page = [0; PAGE];
    for n in 0..file_mib * MIB / PAGE {
        file.read_exact_at(&mut page, (n * PAGE) as u64).unwrap();
    }
    let took: Arc<Mutex<Vec<f32>>> = Arc::new(Mutex::new(Vec::with_capacity(1 << 16)));
    let words = Arc::clone(&took);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            match line.as_deref() {
                Ok("from") => words.lock().unwrap().clear(),
                _ => break,
            }
        }
        report(&mut words.lock().unwrap());
        std::process::exit(0);
    });
    println!("ready");
    let mut dice = Dice(88_172_645_463_325_252);
    loop {
        let begun = Instant::now();
        for _ in 0..OWN_PAGES {
            let at = dice.roll(mib * MIB / PAGE) * PAGE;
            own[at] = own[at].wrapping_add(1);
        }
        for _ in 0..FILE_PAGES {
            let at = dice.roll(file_mib * MIB / PAGE) * PAGE;
            file.read_exact_at(&mut page, at as u64).unwrap();
        }
        std::hint::black_box(block(SCRATCH));
        took.lock().unwrap().push(begun.elapsed().as_secs_f32() * 1e3);
        sleep(TICK);
    }
}

fn report(took: &mut [f32]) {
    took.sort_by(f32::total_cmp);
    let at = |share: f32| took[((took.len() - 1) as f32 * share) as usize];
    println!("latency n={} p50={} p99={} worst={}", took.len(), at(0.5), at(0.99), at(1.0));
}

/// A cache of so much, which grows by so much a second, and gives back what its hook is asked for.
pub fn cache(mib: usize, address: &str, rate: usize) {
    let blocks: Arc<Mutex<Vec<Vec<u8>>>> = Arc::new(Mutex::new((0..mib).map(|_| block(MIB)).collect()));
    let listener = TcpListener::bind(address).unwrap();
    let held = Arc::clone(&blocks);
    // One thread, that there is always: an application may not get another when memory is short.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asks may have gone.
            let _answered = hook(stream, &held);
        }
    });
    println!("ready");
    let mut dice = Dice(1);
    loop {
        sleep(Duration::from_millis(1000_usize.checked_div(rate).unwrap_or(50) as u64));
        let mut held = blocks.lock().unwrap();
        let entry = dice.roll(held.len());
        std::hint::black_box(held[entry][dice.roll(MIB)]);
        if rate > 0 {
            held.push(block(MIB));
        }
    }
}

fn hook(stream: TcpStream, held: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let asked: usize = digits(body.split(',').next().unwrap_or_default()).parse().unwrap_or(0);
    let keep = {
        let have = held.lock().unwrap().len();
        let wanted = if body.contains("high") { 0 } else { have.saturating_sub(asked.div_ceil(MIB)) };
        wanted.max(KEPT_BLOCKS).min(have)
    };
    let mut released = 0;
    while let Some(block) = Some(&mut *held.lock().unwrap()).filter(|b| b.len() > keep).and_then(Vec::pop) {
        released += block.len();
    }
    println!("released {} at {}", released / MIB, now_millis());
    let answer = format!("{{\"released_bytes\": {released}}}");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    write!(reader.get_mut(), "{head} {}\r\n\r\n{answer}", answer.len())
}

/// Takes so much at so much a second, holds it, and is done. What it would take for ever is a leak.
pub fn grow(mib: usize, rate: usize, hold_millis: u64) {
    let begun = Instant::now();
    let mut held = Vec::new();
    for n in 0..mib {
        held.push(block(MIB));
        let due = Duration::from_secs_f64(n as f64 / rate.max(1) as f64);
        sleep(due.saturating_sub(begun.elapsed()));
    }
    sleep(Duration::from_millis(hold_millis));
    println!("done {}", held.len());
}

/// Reads a file over and over, as fast as it comes.
pub fn hog(file: &str) {
    let file = File::open(file).unwrap();
    let mut buffer = vec![0; 128 << 10];
    println!("ready");
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(read) if read > 0 => at += read as u64,
            _ => at = 0,
        }
    }
}

/// Many processes, one after the other, of some MiB each, which do their work at the same time.
pub fn swarm(count: usize, [mib, hold_millis]: [&str; 2], gap_millis: u64) {
    let own = std::env::current_exe().unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let mut command = Command::new(&own);
        command.args(["grow", mib, "1000000", hold_millis]).stdin(Stdio::null()).stdout(Stdio::null());
        all.push(command.spawn().unwrap());
        sleep(Duration::from_millis(gap_millis));
    }
    let lost =
        all.iter_mut().filter_map(|child| child.wait().ok()).filter(|status| !status.success()).count();
    if lost > 0 {
        println!("lost {lost}");
        std::process::exit(1);
    }
    println!("done {count}");
}
