//! The mounted file systems as /proc/PID/mountinfo tells them.
//!
//! Source: `Documentation/filesystems/proc.rst`, section 3.5.

use super::parse::{ParseError, lines, number};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted, as the kernel writes it.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// The kind of file system (`ext4`).
    pub fs_type: String,
    /// The number of the device's kind.
    pub major: u32,
    /// The number among its kind.
    pub minor: u32,
    /// Whether it, or this mount of it, cannot be written.
    pub read_only: bool,
}

/// The mounts of mountinfo, in its order.
pub fn mounts(text: &str) -> Result<Vec<Mount>, ParseError> {
    lines(text).map(|(n, line)| mount(line, n).ok_or_else(|| ParseError::new(n, WANT))?).collect()
}

const WANT: &str = "`id parent major:minor root mount-point options … - type device options`";

fn mount(line: &str, n: usize) -> Option<Result<Mount, ParseError>> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (major, minor) = place.next()?.split_once(':')?;
    let mount_point = place.nth(1)?;
    let options = place.next()?;
    let mut what = what.split(' ');
    let (fs_type, device, super_options) = (what.next()?, what.next()?, what.next()?);
    let has = |options: &str, name: &str| options.split(',').any(|option| option == name);
    let numbers = || Ok((number(Some(major), n, WANT)?, number(Some(minor), n, WANT)?));
    Some(numbers().map(|(major, minor)| Mount {
        device: device.to_owned(),
        mount_point: unescaped(mount_point),
        fs_type: fs_type.to_owned(),
        major,
        minor,
        // `emergency_ro`: the file system gave up writing after an error.
        read_only: has(options, "ro") || has(super_options, "ro") || has(super_options, "emergency_ro"),
    }))
}

/// Blank, tab, line feed and backslash are written as octal numbers.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let plain = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    plain.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_and_without_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
                    22 27 0:21 / /proc ro - proc proc rw\n22 27 0:21 / /x rw - ext4  rw,emergency_ro\n";
        let mounts = mounts(text).unwrap();
        assert_eq!(
            mounts[0],
            Mount {
                device: "/dev/root".into(),
                mount_point: "/mnt 2".into(),
                fs_type: "ext3".into(),
                major: 98,
                minor: 0,
                read_only: false,
            }
        );
        assert!(mounts[1].read_only && mounts[2].read_only);
        assert_eq!(mounts[2].device, "");
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        let good = "22 27 0:21 / /proc rw - proc proc rw";
        for bad in [
            "x",
            "22 27 0:21 / /proc rw",
            "22 27 0 / /p rw - a b c",
            "22 27 a:1 / /p rw - a b c",
            "1 2 3:4 / /p rw - a b",
        ] {
            let error = mounts(&format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{bad}: {error}");
        }
    }
}
