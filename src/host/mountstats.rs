//! What the NFS client counts for each mount: /proc/PID/mountstats.
//!
//! Sources: `net/sunrpc/stats.c`, `net/sunrpc/xprtsock.c`, `fs/nfs/super.c`; there is no document.

use super::parse::{ParseError, lines, number};

/// One mount of NFS; names are as the kernel writes them, with blanks as `\040`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NfsMount<'a> {
    /// Server and export.
    pub device: &'a str,
    /// Where it is mounted.
    pub mount_point: &'a str,
    /// Its place among all mounts.
    pub place: usize,
    /// How long it is mounted.
    pub age_seconds: Option<u64>,
    /// Bytes read, written, read directly, written directly, read from and written to the server; pages read, written.
    pub bytes: Vec<u64>,
    /// Counts of events, in the kernel's order (`enum nfs_stat_eventcounters`).
    pub events: Vec<u64>,
    /// Its connections.
    pub transports: Vec<Transport<'a>>,
    /// Its operations.
    pub operations: Vec<Operation<'a>>,
}

/// One connection to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport<'a> {
    /// `tcp`, `udp` or `rdma`.
    pub protocol: &'a str,
    /// Port, binds, connects, connecting, idle seconds, sends, receives, bad ids, requests, backlog; since version 1.1
    /// slots, sending, pending. The three about connections are 0 for udp, which has none.
    pub counts: Vec<u64>,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The name (`READ`).
    pub name: &'a str,
    /// Requests, transmissions, major time-outs, bytes sent, bytes received; milliseconds queued, until the answer, in all.
    pub counts: [u64; 8],
}

/// The mounts of NFS.
pub fn nfs_mounts(text: &str) -> Result<Vec<NfsMount<'_>>, ParseError> {
    let mut out: Vec<NfsMount<'_>> = Vec::new();
    // What a line belongs to: nothing of NFS, a mount, or the operations of a mount.
    let (mut place, mut inside, mut operations) = (0, false, false);
    for (n, line) in lines(text) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let ["device", rest @ ..] = words.as_slice() {
            (inside, operations) = (false, false);
            if let Some((mount, statistics)) = device(rest, place, n)? {
                inside = statistics;
                out.extend(statistics.then_some(mount));
            }
            place += 1;
            continue;
        }
        let Some(mount) = out.last_mut().filter(|_| inside) else { continue };
        match words.as_slice() {
            ["per-op", ..] => operations = true,
            [name, counts @ ..] if operations => mount.operations.push(operation(name, counts, n)?),
            ["age:", age, ..] => mount.age_seconds = Some(number(Some(age), n, "an age in seconds")?),
            ["bytes:", counts @ ..] => mount.bytes = whole(counts, n)?,
            ["events:", counts @ ..] => mount.events = whole(counts, n)?,
            ["xprt:", protocol, counts @ ..] => mount.transports.push(transport(protocol, counts, n)?),
            _ => {}
        }
    }
    Ok(out)
}

/// A mount of NFS, and whether its statistics follow.
fn device<'a>(words: &[&'a str], place: usize, n: usize) -> Result<Option<(NfsMount<'a>, bool)>, ParseError> {
    match words {
        [device, "mounted", "on", mount_point, "with", "fstype", "nfs" | "nfs4", rest @ ..] => {
            let mount = NfsMount { device, mount_point, place, ..NfsMount::default() };
            Ok(Some((mount, rest.iter().any(|word| word.starts_with("statvers=")))))
        }
        [_, "mounted", "on", _, "with", "fstype", _, ..] => Ok(None),
        _ => Err(ParseError::new(n, "`device DEVICE mounted on DIR with fstype TYPE`")),
    }
}

fn whole(words: &[&str], n: usize) -> Result<Vec<u64>, ParseError> {
    words.iter().map(|word| number(Some(word), n, "whole numbers")).collect()
}

fn transport<'a>(protocol: &'a str, words: &[&str], n: usize) -> Result<Transport<'a>, ParseError> {
    let mut counts = whole(words, n)?;
    let fits = match protocol {
        "tcp" => matches!(counts.len(), 10 | 13),
        "udp" => matches!(counts.len(), 7 | 10),
        "rdma" => counts.len() >= 20,
        _ => false,
    };
    if !fits {
        return Err(ParseError::new(n, "tcp with 10 or 13, udp with 7 or 10 or rdma with 20 whole numbers"));
    }
    match protocol {
        "udp" => drop(counts.splice(2..2, [0; 3])),
        // What follows is of another kind than with the others.
        "rdma" => counts.truncate(10),
        _ => {}
    }
    Ok(Transport { protocol, counts })
}

fn operation<'a>(name: &'a str, words: &[&str], n: usize) -> Result<Operation<'a>, ParseError> {
    let mut counts = [0; 8];
    let mut words = words.iter().copied();
    for slot in &mut counts {
        *slot = number(words.next(), n, "an operation and eight whole numbers")?;
    }
    Ok(Operation { name: name.trim_end_matches(':'), counts })
}

/// Device, mount point and server's address of each mount in mountinfo, in its order.
pub fn addresses(text: &str) -> Vec<(&str, &str, &str)> {
    let place = |line| -> Option<(&str, &str, &str)> {
        let (place, what): (&str, &str) = str::split_once(line, " - ")?;
        let mut what = what.split(' ').skip(1);
        let (device, options) = (what.next()?, what.next()?);
        let address = options.split(',').find_map(|option| option.strip_prefix("addr="));
        Some((device, place.split(' ').nth(4)?, address.unwrap_or_default()))
    };
    text.lines().map(|line| place(line).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "device proc mounted on /proc with fstype proc\n\
        device srv:/a mounted on /mnt with fstype nfs4 statvers=1.1\n\tage:\t7\n\tevents:\t1 2\n\tbytes:\t3 4\n\
        \txprt:\tudp 832 0 5 6 0 7 0 8 9 10\n\txprt:\ttcp 1 2 3 4 5 6 7 8 9 10 11 12 13\n\tper-op statistics\n\
        \t        READ: 1 2 3 4 5 6 7 8 9\n\ndevice tmpfs mounted on /tmp with fstype tmpfs\n";

    #[test]
    fn a_mount_has_counts_connections_and_operations() {
        let mounts = nfs_mounts(TEXT).unwrap();
        assert_eq!(mounts.len(), 1);
        let mount = &mounts[0];
        assert_eq!((mount.device, mount.mount_point, mount.place), ("srv:/a", "/mnt", 1));
        assert_eq!((mount.age_seconds, mount.bytes.as_slice()), (Some(7), [3, 4].as_slice()));
        assert_eq!(mount.transports[0].counts, [832, 0, 0, 0, 0, 5, 6, 0, 7, 0, 8, 9, 10]);
        assert_eq!((mount.transports[1].protocol, mount.transports[1].counts[12]), ("tcp", 13));
        assert_eq!(mount.operations, [Operation { name: "READ", counts: [1, 2, 3, 4, 5, 6, 7, 8] }]);
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        for (from, to, line) in [
            ("mounted on /mnt", "mounted", 2),
            ("age:\t7", "age:\tx", 3),
            ("tcp 1", "tcp", 7),
            ("READ: 1 2", "READ:", 9),
        ] {
            let error = nfs_mounts(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{error}");
        }
    }

    #[test]
    fn the_servers_address_stands_in_mountinfo() {
        let text = "1 1 0:5 / /x rw - tmpfs none rw\n1 1 0:5 / /mnt rw shared:1 - nfs4 srv:/a rw,clientaddr=::2,addr=::1\n";
        assert_eq!(addresses(text), [("none", "/x", ""), ("srv:/a", "/mnt", "::1")]);
        assert_eq!(addresses("x\n"), [("", "", "")]);
    }
}
